// Whole sweeps over Pauli vectors: preparation of coefficients, division among threads, collection of overlaps.
#pragma once
#include "pauli_compile.hpp"
#include "pauli_state.hpp"
#include "run.hpp"

namespace fusedqml {

// The numbers of one call, see `PauliCoefficients` in devices/pauli_vector/__init__.py.
struct PauliNumbers {
    const double *affine, *inverse_affine, *batched_affine, *inverse_batched_affine, *pairs, *inverse_pairs, *turns, *batched_turns;
    int64_t num_affine, num_batched_affine, num_pairs, num_turns, num_batched_turns;
    std::vector<const double*> transfers, inverse_transfers;
    std::vector<int> letters;      // of each transfer matrix
};

// False if interrupted; the states are garbage then. The vector that a direction does not need is nullptr. Overlaps:
// (num_overlaps,) or, per sample, (B, num_overlaps); nullptr where the direction has none.
bool run_pauli(const CompiledPauliTape& tape, const PauliNumbers& numbers, Way way, const PauliState* ket, const PauliState* bra,
               bool per_sample, double* overlaps, int threads, const Interrupted& interrupted);

}  // namespace fusedqml
