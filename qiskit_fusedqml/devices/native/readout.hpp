// Amplitudes in and out of a state, and probabilities.
#pragma once
#include <vector>

#include "state.hpp"

namespace fusedqml {

// Rows of logical states: row(i) = XOR of columns[q] over the set bits q of i, ^ offset.
struct RowFrame {
    std::vector<uint64_t> columns;
    uint64_t offset;
};

void set_zero_state(const State& state, int threads);
// amplitudes: complex (2**n,), or (B, 2**n) if per_sample, by row; a real state takes their real parts
void set_amplitudes(const State& state, const double* amplitudes, bool per_sample, int threads);
// out: complex (B, 2**n) of the state's precision, by logical index
void get_amplitudes(const State& state, const RowFrame& frame, void* out, int threads);
// out: (B, 2**k); bit j of the outcome is qubits[j]
void get_probabilities(const State& state, const RowFrame& frame, const std::vector<int>& qubits, double* out, int threads);

}  // namespace fusedqml
