// What the driver asks of the sweeps compiled for one instruction set, real type, number of lanes and kind of amplitudes. Plain data and function
// pointers only, see tape.hpp.
#pragma once
#include "pauli_tape.hpp"
#include "tape.hpp"

namespace fusedqml {

// One forward or backward call. Pointers to void are to arrays of the sweep's real type T, W lanes a vector.
struct Call {
    const TapeView* tape;
    int32_t lane_bits;             // v
    int32_t sample_bits;           // s, s + v = log2 W: lane = sample | row bits << s
    int64_t batch, groups;
    int64_t num_rows;              // stored vector rows a group, 2**(n - v)
    void* ket;                     // [group][row][re | im][lane], of real amplitudes [group][row][lane]
    void* bra;
    int32_t per_sample;
    const void* lane_signs;        // [2**v][lane]: (-1)**parity(mask & row bits of the lane), by mask

    const double* pairs;
    const void* batched_pairs;     // [pair][group][a | b][lane]
    const double* matrices;        // [matrix][2][2][re | im]
    const void* batched_matrices;  // [matrix][group][4][re | im][lane]
    const void* const* dense;      // [2**k][2**k][re | im], for the backward sweep the adjoint
    const double* angles;
    const double* batched_angles;  // [angle][sample]
    const double* scales;
    void* const* tables;           // shared tables by id; nullptr for batched ones
};

// Memory of one worker.
struct Scratch {
    void* ket;                     // a tile
    void* bra;
    void* tables;                  // batched tables of a block
    const size_t* table_offsets;   // by id, in bytes; those of the current block count
    double* work;                  // angles of one table
    void* dense;                   // see dense_bytes
};

// Tiles number first .. last - 1 of a group, or (one tile a group) of the 2**stack_bits groups from `group` on.
struct Tiles {
    int64_t group;
    int32_t stack_bits;
    int32_t from_zero;             // the state is |0...0>, and the block the first one (forward only)
    int64_t first, last;
};

// Part of observables, on a block of stored rows of one group: (A a)[r] = factor sum_k d_k(r) a[r ^ flip_k], d_k a real diagonal, factor 1 or 1j.
// Either one flip for several observables, one diagonal each, or flips of one observable.
struct Pass {
    const void* ket;               // of the group
    void* bra;
    int64_t first_row, num_rows;   // stored vector rows; the block's own are numbered from 0
    const uint32_t* flip_rows;     // the partners' rows: one, or one for each diagonal
    int32_t num_flips;
    int32_t is_joint;              // of flips that pass together, of which some may be left out
    uint32_t flip_lanes;           // the partners' place among the lanes
    int32_t half_bit;              // only rows with this row bit 0 count, or -1: all
    int32_t per_lane;              // diagonals differ from lane to lane
    int32_t count;                 // diagonals
    int32_t imaginary;
    const void* const* diagonals;  // [row] or [row][lane]; of a joint pass at the partners' lanes
    const void* factors;           // [observable][lane], for `apply`
    int32_t first;                 // the bra is written, not added to
};

// Overlaps are added to sums[overlap][lane], doubles.
struct Kernels {
    const char* isa;
    int32_t width;                 // W
    int32_t real_bytes;            // sizeof(T)
    int32_t group;                 // rotations in one pass
    int32_t components;            // numbers of an amplitude: 2, or 1 of real states, which only real operations keep so
    size_t (*table_bytes)(const Table& table);
    size_t (*table_work)(const Table& table);                    // doubles
    void (*shared_table)(const Call& call, const Table& table, void* out, double* work);
    void (*batched_tables)(const Call& call, const Block& block, int64_t group, int first_op, int last_op,
                           const Scratch& scratch);
    void (*forward)(const Call& call, const Block& block, const Tiles& tiles, const Scratch& scratch);
    void (*backward)(const Call& call, const Block& block, const Tiles& tiles, const Scratch& scratch, double* sums);
    // Expectation values and observables, see observables.hpp.
    void (*expectation)(const Pass& pass, double* sums);
    void (*apply)(const Pass& pass);
    void (*inner_product)(const Pass& pass, double* sums);       // Re <ket|bra>
    // Walsh-Hadamard transform of doubles aligned to 64 bytes.
    void (*transform)(double* values, size_t count);
    // Of any number of doubles; the results may replace the arguments.
    void (*sine_cosine)(const double* x, int64_t count, double* sine, double* cosine);
    PauliKernels pauli;
};

// The best instruction set of this machine; nullptr if none of the given name (or nullptr) can run here.
const Kernels* find_kernels(const char* isa, int real_bytes, bool half_width, bool real_states = false);

// Those for complex amplitudes with the same instruction set, real type and lanes.
const Kernels* complex_kernels(const Kernels& real_states);

}  // namespace fusedqml
