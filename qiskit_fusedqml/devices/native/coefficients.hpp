// The numbers of one call to a device; `Coefficients` in devices/__init__.py says what they mean.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "state.hpp"

namespace fusedqml {

// Constant matrices [2**k][2**k][re | im].
struct DenseMatrices {
    std::vector<std::vector<double>> entries;
    std::vector<int> qubits;
};

struct CoefficientCounts {
    int64_t pairs = 0, batched_pairs = 0, matrices = 0, batched_matrices = 0, angles = 0, batched_angles = 0, scales = 0, batch = 0;
};

// What the sweeps are given.
struct CoefficientArrays {
    const double *pairs, *batched_pairs, *matrices, *batched_matrices, *angles, *batched_angles, *scales;
    int64_t num_pairs, num_batched_pairs, num_matrices, num_batched_matrices, num_angles, num_batched_angles, num_scales;
    std::vector<const double*> dense;    // [2**k][2**k][re | im]
    std::vector<int> dense_qubits;
    uint64_t serial;                     // differs from that of all others: tables made from these numbers go by it
};

// Where a maker of coefficients writes them.
struct CoefficientTargets {
    double *pairs, *batched_pairs, *matrices, *batched_matrices, *angles, *batched_angles, *scales;
};

// Coefficients in one piece of memory. They are written by their maker and never change afterwards.
class Coefficients {
public:
    Coefficients(const CoefficientCounts& counts, std::shared_ptr<const DenseMatrices> dense);
    const CoefficientTargets& targets() { return targets_; }
    const CoefficientCounts& counts() const { return counts_; }
    const CoefficientArrays& arrays() const { return arrays_; }
    const DenseMatrices& dense() const { return *dense_; }

private:
    CoefficientCounts counts_;
    std::shared_ptr<const DenseMatrices> dense_;
    Memory memory_;
    CoefficientTargets targets_;
    CoefficientArrays arrays_;
};

}  // namespace fusedqml
