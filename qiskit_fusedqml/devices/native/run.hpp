// Whole forward and backward calls: preparation of coefficients, division among threads, collection of overlaps.
#pragma once
#include <functional>

#include "compile.hpp"
#include "state.hpp"

namespace fusedqml {

struct CoefficientArrays {
    const double *pairs, *batched_pairs, *matrices, *batched_matrices, *angles, *batched_angles, *scales;
    int64_t num_pairs, num_batched_pairs, num_matrices, num_batched_matrices, num_angles, num_batched_angles, num_scales;
    std::vector<const double*> dense;    // [2**k][2**k][re | im]
    std::vector<int> dense_qubits;
};

// Asked now and then on the calling thread; true stops the call.
using Interrupted = std::function<bool()>;

// Apply the tape to the ket. False if interrupted; the states are garbage then.
bool run_forward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, int threads,
                 const Interrupted& interrupted);

// Undo it on ket and bra; overlaps: (num_overlaps,) or, per sample, (B, num_overlaps).
bool run_backward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State& bra,
                  bool per_sample, double* overlaps, int threads, const Interrupted& interrupted);

}  // namespace fusedqml
