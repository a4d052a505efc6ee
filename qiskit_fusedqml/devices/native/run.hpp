// Whole forward and backward calls: preparation of coefficients, division among threads, collection of overlaps.
#pragma once
#include <functional>

#include "coefficients.hpp"
#include "compile.hpp"
#include "state.hpp"

namespace fusedqml {

// Asked now and then on the calling thread; true stops the call.
using Interrupted = std::function<bool()>;

// Apply the tape to the ket. False if interrupted; the states are garbage then.
bool run_forward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, int threads,
                 const Interrupted& interrupted);

// Undo it on ket and bra; overlaps: (num_overlaps,) or, per sample, (B, num_overlaps).
bool run_backward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State& bra,
                  bool per_sample, double* overlaps, int threads, const Interrupted& interrupted);

}  // namespace fusedqml
