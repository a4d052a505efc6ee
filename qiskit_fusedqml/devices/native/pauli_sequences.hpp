// Sequences of rotations and channels of one qubit as affine maps; see devices/pauli_vector/sequences.py for the mathematics.
#pragma once
#include <cstdint>

namespace fusedqml {

// `AffineSequences` of planner/pauli_vector/tables.py, R sequences of F factors, and the channels' maps.
struct PauliSequences {
    int64_t count;
    const int64_t *starts, *axes, *slots;
    const double *weights, *constants;
    const double* maps;            // [channel][12]
    int64_t num_maps;
};

// From angles (num_angles,), or (batch, num_angles) if `batched`, to maps (R, 12) or (R, 12, batch).
void bind_sequences(const PauliSequences& sequences, const double* angles, int64_t num_angles, int64_t batch, bool batched, double* maps);
// From overlaps (leading, R, 12) to derivatives (leading, num_angles) and (leading, channels, 12), which start as zeros. Angles are
// (num_angles,), or (leading, num_angles) if `batched`.
void pull_sequences(const PauliSequences& sequences, const double* angles, int64_t num_angles, int64_t leading, bool batched,
                    const double* overlaps, double* by_angle, double* by_map);

}  // namespace fusedqml
