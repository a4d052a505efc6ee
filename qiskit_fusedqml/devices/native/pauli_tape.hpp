// A tape for Pauli vectors as the sweeps read it: plain data, as tape.hpp. What operations mean is said in
// planner/pauli_vector/tape.py.
//
// Strings r of 2 n bits carry the form  <r, s> = parity(r & swapped(s)),  swapped: the bits of each qubit trade places. It is the
// same in every frame: <r, s> = y(r ^ s) ^ y(r) ^ y(s). A tile T is a subspace on which it is not degenerate, so that rows can be
// written as  row = T(u) ^ L(lane) ^ o  with L and o orthogonal to T: t local bits u, v bits in the SIMD lanes, the outer bits.
// Then the letters of a qubit whose vectors lie in T depend on u alone, and  y(row) = y(T(u)) ^ y(L(lane) ^ o).
#pragma once
#include "tape.hpp"

namespace fusedqml {

constexpr int max_letters = 64;     // of an operation: 3 qubits
constexpr int max_group = 16;       // operations of a group
constexpr int group_bits = 6;       // dimensions of a group's part of a tile, which stays in the fastest cache

enum class PauliKind : int32_t { affine, pair, turn, transfer };

// Rows of an operation are representatives, whose letters are all I, XORed by one of `vectors` and by one of its group's cosets. Of
// turns they are the rows whose local sign is +, in the plane with the row XORed by vectors[1].
struct PauliOp {
    PauliKind kind;
    int32_t num_letters;           // 4**k
    int32_t coefficient;
    int32_t batched;
    int32_t undone;                // by the backward sweep
    int32_t shifts[2];             // of pairs: whether the gains may differ from 0
    int32_t y_of_string;           // of turns
    int64_t overlap;               // or -1
    uint64_t outer_sign;           // of turns: a parity of outer rows, and of lanes
    uint32_t lane_sign;
    uint32_t local_sign;           // and of cosets
    uint32_t count[2];
    const uint32_t* rows[2];       // by y of the representatives; of pairs and turns all are in the first list
    const uint32_t* vectors;       // by letter, the first qubit's the low digit
};

// Operations one after the other on a part of a tile, a smaller tile T': local rows are  T'(u) ^ c  with cosets c orthogonal to T'.
struct PauliGroup {
    int32_t first, count;          // operations
    int32_t num_cosets;
    const uint32_t* cosets;        // local rows
    const uint8_t* odd;            // y of each
};

struct PauliBlock {
    int32_t t, num_outer;
    int32_t straight;              // rows of the tile are stored vectors, in some order
    int32_t in_place;              // they lie there in one piece, in order
    int32_t flips_lanes;           // see Block
    int32_t exchanged;             // tile vectors whose highest bit is in the lanes
    uint32_t exchanged_lanes;
    const uint32_t* steps;
    const uint32_t* lane_steps;
    const uint32_t* exchange_row;
    const uint32_t* exchange_shear;
    const uint32_t* row_steps;     // a walk over all stored vectors of the tile
    const uint64_t* outer;         // vectors of the outer bits
    uint32_t lane_shear[max_lane_bits];  // local XOR of the lanes with that bit: L is a unit vector plus one of T
    uint64_t lane_partner[max_lane_bits];  // swapped(L) of the unit lanes
    uint32_t lane_y;               // y(L(lane)), a bit a lane
    int32_t num_ops, num_undone, num_groups;
    const PauliOp* ops;
    const PauliGroup* groups;
};

struct PauliTapeView {
    int32_t num_qubits, num_blocks, lane_bits;
    int64_t num_overlaps;
    const PauliBlock* blocks;
};

// Directions of a sweep: `forward` and `backward_bra` on one vector; `backward` undoes the ket and pulls the bra back, `joint`
// applies the tape to the ket and undoes what pulled the bra back.
enum class Way : int32_t { forward, backward, backward_bra, joint };

constexpr bool goes_back(Way way) { return way == Way::backward || way == Way::backward_bra; }

// One call. Pointers to void are to arrays of the sweep's real type T, W lanes a vector.
struct PauliCall {
    const PauliTapeView* tape;
    Way way;
    int32_t lane_bits, sample_bits;  // lane = sample | row bits << s
    int64_t batch, groups, num_rows;
    void* ket;                     // [group][row][lane]
    void* bra;
    const void* lane_signs;        // [2**v][lane]: (-1)**parity(mask & row bits of the lane), by mask
    const double* affine;          // [map][12]
    const double* inverse_affine;
    const void* batched_affine;    // [map][group][12][lane]
    const void* inverse_batched_affine;
    const double* pairs;           // [pair][18]
    const double* inverse_pairs;
    const double* turns;           // [turn][cos | sin]
    const void* batched_turns;     // [turn][group][cos | sin][lane]
    const double* const* transfers;
    const double* const* inverse_transfers;
};

// Tiles number first .. last - 1 of a group.
struct PauliTiles {
    int64_t group, first, last;
};

struct PauliKernels {
    // Overlaps are added to sums[overlap][lane], doubles. `ket` and `bra`: buffers for a tile.
    void (*sweep)(const PauliCall& call, const PauliBlock& block, const PauliTiles& tiles, void* ket, void* bra, double* sums);
    // See pauli_dots.hpp.
    void (*dots)(const double* row, const double* vectors, int64_t count, int64_t size, double* sums);
    void (*combination)(const double* vectors, const double* factors, int64_t count, int64_t size, double* row);
};

}  // namespace fusedqml
