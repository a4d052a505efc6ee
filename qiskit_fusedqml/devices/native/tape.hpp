// A tape as the sweeps read it: plain data, because the sweeps are compiled once per instruction set and may share nothing
// with each other that the linker could merge.
//
// A block's rows are written as  row = T(u) ^ L(lane) ^ o : u are t local bits over the tile's basis T, L are the v row bits
// held in the SIMD lanes, o the remaining outer bits. A functional splits accordingly into a mask on u, a mask on the lane bits
// and a mask on o; the latter also holds the functional's constant, as bit n, which is always set in a tile's outer word.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fusedqml {

constexpr int max_lane_bits = 4;   // row bits in lanes
constexpr int chunk_bits = 8;      // rows whose overlaps with diagonals are summed at a time
constexpr int micro_bits = 4;      // rows whose phases are looked up at a time
constexpr int max_turns = 4;       // rotations applied in one pass
constexpr int max_dense = 12;      // virtual qubits of a dense matrix
constexpr int max_moments = 6;     // and of one whose moments are wanted
constexpr int max_stack_bits = 5;  // groups of samples that a tile holds, as further local bits above its own

// Of a rotation by coefficients (a, b): see RY.is_steep in plan.py.
static inline bool steep(double a, double b) { return 8.0 * __builtin_fabs(2.0 * a * b) >= a * a + b * b; }

// The parity of a functional without local part, per tile and lane.
struct Parity {
    uint64_t outer;
    uint32_t lanes;
};

// XOR `vector` into the first row where the parity of `outer` is odd.
struct Shift {
    uint64_t outer;
    uint32_t vector;
};

// Lanes (set bits of `lanes`, by lane number) whose rows begin at `vector`.
struct LaneClass {
    uint32_t vector;
    uint32_t lanes;
};

// The rows an operation works on: an affine subspace of the tile, walked as row ^= steps[ctz(i)], i = 1, 2, ...
// The walk goes on over the groups stacked above the first one.
struct Rows {
    int32_t dim;
    int32_t num_shifts, num_tests, num_lane_tests, num_classes;
    const uint32_t* steps;         // dim + max_stack_bits + 1 of them, the last one unused
    const Shift* shifts;
    const uint64_t* tests;         // outer masks; the tile takes part if all are even
    const Parity* lane_tests;      // a lane takes part if all are even
    const LaneClass* classes;
};

// A rotation in the plane of two rows, u and u ^ x.
struct Turn {
    uint32_t x;
    Parity sign;                   // odd: b changes sign (for real rotations: the two rows trade places)
    int32_t coefficient;
    int32_t batched;
    int32_t overlap;               // index of Y (real), X (imaginary), or -1
    int32_t num_overlaps;          // real rotations: Y, or Y and X
    int32_t x_optional;            // X is wanted only if the rotation is not steep, see RY in plan.py
};

// Up to `max_turns` independent rotations, all real (RY, Paulis with an odd number of Y) or all imaginary (the others).
struct Turns {
    int32_t count;
    int32_t imaginary;
    int32_t controlled;            // not all rows take part
    uint32_t half;                 // not 0: the rows ^ half take part with the sign of b changed (imaginary only)
    Turn turns[max_turns];
    Rows rows;
};

// Two groups of independent real rotations on all rows, applied one after the other to 2**(first.count + second.count) rows at a
// time, so that the second group finds them in the fastest cache.
struct TurnPair {
    Turns first, second;           // their rows are not used
    uint32_t first_steps[max_turns + 1], second_steps[max_turns + 1];  // walks over the other group's flips
    Rows rows;                     // one of each set of rows
};

// A controlled phase: a[r] *= a - 1j b, or a + 1j b where the sign is odd.
struct Phase {
    Parity sign;
    uint32_t half;
    int32_t coefficient, batched, overlap;
    Rows rows;
};

struct Unitary2 {
    uint32_t x;
    Parity side;
    int32_t coefficient, batched, overlap;
    Rows rows;
};

struct DenseMatrix {
    int32_t k, coefficient, overlap;
    uint32_t xs[max_dense];
    Parity sides[max_dense];
    Rows rows;
};

// Scratch memory of a dense matrix: where its 2**k rows lie, then a vector before and after the product.
static inline size_t dense_row_bytes(int k) { return ((sizeof(uint32_t) << k) + 63) & ~size_t(63); }
static inline size_t dense_bytes(int k, size_t vector_bytes) { return dense_row_bytes(k) + (vector_bytes << (k + 2)); }

// A term of a diagonal's angle: theta times (-1)**(mask & index), negated where `sign`, and in lanes where lanes is odd.
struct Term {
    uint32_t mask;
    uint32_t lanes;
    int32_t sign;
};

// The table of one factor. An entry's number is an XOR-linear map of the row: bits 0 .. index_bits-1 choose a row of the table,
// the bits above (where the tile's own rows differ from lane to lane) an XOR permutation of its lanes.
struct Table {
    int32_t id;                    // position among the tape's tables
    int32_t index_bits;
    int32_t per_lane;              // entries are vectors: the angles are batched or the lanes' rows differ
    int32_t permuted;              // the lane permutation is not always trivial
    int32_t batched, first, num_terms;
    int32_t scale;                 // index of K, folded into this table, or -1
    const Term* terms;
    const uint32_t* low;           // entry numbers of the rows 0 .. 2**min(t, micro_bits) - 1
    const uint32_t* steps;         // change of the entry number when u counts up, per position of the highest changed bit
    int32_t num_outer;
    const Shift* outer;            // XORed into the entry number
};

// One butterfly of a pruned Walsh-Hadamard transform over a chunk of rows.
struct Butterfly {
    uint16_t first, half;
    uint16_t kind;                 // 0: keep the sums, 1: the differences, 2: both
};

// A wanted overlap of a diagonal.
struct Wanted {
    uint16_t position;             // in the transformed chunk
    uint32_t high;                 // mask on the local bits above the chunk's
    Parity sign;
};

struct Diagonal {
    int32_t num_tables, overlap, num_wanted, num_butterflies;
    const Table* tables;
    const Wanted* wanted;
    const Butterfly* butterflies;
};

enum class Kind : int32_t { turns, turn_pair, phase, unitary2, dense, diagonal };

struct Op {
    Kind kind;
    int32_t undone;                // whether the backward sweep undoes it
    int32_t batched;               // whether coefficients differ from group to group
    const void* detail;
};

struct Block {
    int32_t t, num_outer, num_ops, num_undone;
    int32_t num_head;              // first operations that make a product state of |0...0>: independent rotations, uncontrolled
    int32_t in_place;              // the tile lies in memory as one piece, in local order
    int32_t stack_bits;            // so many groups may be stacked: the tile is a group's whole state, and small
    int32_t straight;              // rows are copied without moving lanes
    int32_t exchanged;             // j: lane bits that trade places with the j lowest local bits
    uint32_t exchanged_lanes;      // these lane bits, as a mask
    int32_t flips_lanes;           // rows are also XORed within the lanes
    const uint32_t* steps;         // XOR on vector rows when u >> j counts up
    const uint32_t* lane_steps;    // and on lane bits
    const uint32_t* exchange_row;  // j vector rows
    const uint32_t* shear;         // j XOR permutations of lane bits, per low local bit
    const uint64_t* outer;         // basis of the outer words o, by ascending pivot: 2**num_outer tiles
    const Op* ops;
};

struct TapeView {
    int32_t num_qubits, lane_bits, num_blocks, num_tables;
    int64_t num_overlaps;
    const Block* blocks;
    const Table* const* tables;    // by id
};

}  // namespace fusedqml
