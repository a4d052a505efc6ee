// From a tape for Pauli vectors as flat integers (written by devices/pauli_vector/cpu.py) to the form the sweeps read.
#pragma once
#include "compile.hpp"
#include "pauli_tape.hpp"

namespace fusedqml {

constexpr int max_tile_bits = 16;
constexpr int default_tile_bits = 10;

// What a call's coefficients must provide at least.
struct PauliRequirements {
    int64_t affine = 0, batched_affine = 0, pairs = 0, turns = 0, batched_turns = 0;
    std::vector<int> letters;      // of transfer matrices by index, 0 where unused
};

// An operation that products of one-qubit states may survive: an affine map, a rotation about X, Y or Z (axis 0 to 2), or a pair
// whose table is a product, on qubits before any relabelling.
struct ProductOp {
    PauliKind kind;
    int qubit, other, axis, coefficient;
    bool batched;
};

struct CompiledPauliTape {
    Arena arena;
    PauliTapeView view{};
    PauliRequirements requirements;
    int tile_bits = 0;             // of the largest tile
    bool keeps_products = true;    // then these are all operations
    std::vector<ProductOp> product_ops;
};

// `lane_bits` row bits are held in the SIMD lanes.
std::unique_ptr<CompiledPauliTape> compile_pauli_tape(const std::vector<int64_t>& source, int lane_bits);

}  // namespace fusedqml
