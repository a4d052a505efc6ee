// What the compiled code refuses; Python raises the package's errors of the same names.
#pragma once
#include <cstdio>
#include <new>
#include <stdexcept>

namespace fusedqml {

struct InvalidInputError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

struct OutOfMemoryError : std::bad_alloc {
    // `bytes` may be more than can be addressed
    explicit OutOfMemoryError(double bytes) {
        std::snprintf(message_, sizeof message_,
                      "%.1f MiB do not fit in memory. Use fewer qubits, a smaller batch, or precision='single'.", bytes / (1 << 20));
    }
    const char* what() const noexcept override { return message_; }

private:
    char message_[160];
};

}  // namespace fusedqml
