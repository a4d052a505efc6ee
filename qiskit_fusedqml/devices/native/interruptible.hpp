// Long calls without the interpreter's lock that Ctrl-C stops.
#pragma once
#include <nanobind/nanobind.h>

#include <chrono>

#include "run.hpp"

namespace fusedqml {

// Looks for Ctrl-C about twenty times a second.
class Signals {
public:
    bool operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now < next_) return false;
        next_ = now + std::chrono::milliseconds(50);
        nanobind::gil_scoped_acquire gil;
        return PyErr_CheckSignals() != 0;
    }

private:
    std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
};

// Calls run(interrupted), which is false if it was interrupted.
template <class Run> void interruptible(const Run& run) {
    bool finished;
    {
        nanobind::gil_scoped_release release;
        Signals signals;
        finished = run([&] { return signals(); });
    }
    if (!finished) throw nanobind::python_error();
}

}  // namespace fusedqml
