// A tile in fast memory: bringing it there and back, and what operations share.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace fusedqml {
namespace {

template <class S> struct Tile {
    using T = typename S::T;
    using Vec = typename S::Vec;
    using IntVec = typename S::IntVec;

    const Call& call;
    const Block& block;
    const Scratch& scratch;
    int64_t group;
    uint64_t outer;                // the tile's outer row bits and the constant bit
    Vec* ket;                      // [local row][re | im]
    Vec* bra;
    double* sums;

    bool odd(uint64_t mask) const { return parity(mask & outer); }
    Vec lane_sign(uint32_t lanes) const { return static_cast<const Vec*>(call.lane_signs)[lanes]; }

    // The two coefficients of a rotation.
    void pair(int32_t coefficient, bool batched, Vec& a, Vec& b) const {
        if (batched) {
            const Vec* both = static_cast<const Vec*>(call.batched_pairs) + 2 * (coefficient * call.groups + group);
            a = both[0];
            b = both[1];
        } else {
            a = S::splat(static_cast<T>(call.pairs[2 * coefficient]));
            b = S::splat(static_cast<T>(call.pairs[2 * coefficient + 1]));
        }
    }
    // All bits set in the lanes chosen by lane number.
    IntVec lane_mask(uint32_t lanes) const {
        IntVec mask;
        for (int lane = 0; lane < S::W; ++lane) mask[lane] = lanes >> (lane >> call.sample_bits) & 1 ? -1 : 0;
        return mask;
    }
    // Adds W sums over the lanes, times a factor a lane, to an overlap.
    void add(int64_t overlap, const double* lanes, Vec factor) const {
        double* to = sums + overlap * S::W;
        for (int lane = 0; lane < S::W; ++lane) to[lane] += lanes[lane] * static_cast<double>(factor[lane]);
    }
};

constexpr uint64_t flush_interval = 256;  // passes after which sums in working precision are added up in double

// Adds vector accumulators to sums in double precision.
template <class S> FQ_INLINE void flush(double* sums, typename S::Vec value) {
    alignas(64) typename S::T lanes[S::W];
    *reinterpret_cast<typename S::Vec*>(lanes) = value;
    for (int lane = 0; lane < S::W; ++lane) sums[lane] += static_cast<double>(lanes[lane]);
}

// Calls body(start, active lanes) for every part of an operation's rows; lanes of a part begin at the same row.
template <class S, class F> FQ_INLINE void for_parts(const Tile<S>& tile, const Rows& rows, F body) {
    const uint32_t all = (uint32_t(1) << (1 << tile.call.lane_bits)) - 1;
    uint32_t start = 0, active = all;
    for (int i = 0; i < rows.num_tests; ++i)
        if (tile.odd(rows.tests[i])) return;
    for (int i = 0; i < rows.num_shifts; ++i)
        if (tile.odd(rows.shifts[i].outer)) start ^= rows.shifts[i].vector;
    for (int i = 0; i < rows.num_lane_tests; ++i) {
        const Parity& test = rows.lane_tests[i];
        const bool wanted = tile.odd(test.outer);
        for (uint32_t lane = 0; lane < uint32_t(1) << tile.call.lane_bits; ++lane)
            if (bool(parity(test.lanes & lane)) != wanted) active &= ~(uint32_t(1) << lane);
    }
    for (int i = 0; i < rows.num_classes; ++i) {
        const uint32_t lanes = rows.classes[i].lanes & active;
        if (lanes) body(start ^ rows.classes[i].vector, lanes, lanes == all);
    }
}

template <class S> FQ_INLINE void copy_row(const typename S::Vec* from, typename S::Vec* to) {
    to[0] = from[0];
    to[1] = from[1];
}

// Moves a tile between the state and a buffer whose lanes are the block's. 2**j stored vectors at a time: their lanes trade
// places with the j lowest local bits.
template <class S, bool in> struct Mover {
    using Vec = typename S::Vec;
    const Block& block;
    int sample_bits;
    static constexpr int room = 1 << max_lane_bits;

    static void trade(int bit, int lane_bit, int count, Vec* part) {
        for (int i = 0; i < count; ++i)
            if (!(i >> bit & 1)) S::exchange_at(lane_bit, part[i], part[i | 1 << bit]);
    }
    uint32_t sheared(int i) const {
        uint32_t lanes = 0;
        for (int bit = 0; bit < block.exchanged; ++bit)
            if (i >> bit & 1) lanes ^= block.shear[bit];
        return lanes << sample_bits;
    }
    void move(Vec* state, const uint32_t* rows, uint32_t lanes, Vec* local) const {
        const int j = block.exchanged, count = 1 << j;
        Vec part[room];
        for (int component = 0; component < 2; ++component) {
            for (int i = 0; i < count; ++i)
                part[i] = in ? S::flip_mask(state[2 * size_t(rows[i]) + component], lanes)
                             : S::flip_mask(local[2 * i + component], sheared(i));
            for (int bit = 0; bit < j; ++bit) trade(bit, block.exchange_lane[bit] + sample_bits, count, part);
            for (int i = 0; i < count; ++i) {
                if (in) local[2 * i + component] = S::flip_mask(part[i], sheared(i));
                else state[2 * size_t(rows[i]) + component] = S::flip_mask(part[i], lanes);
            }
        }
    }
};

template <class S, bool in>
void move_tile(const Call& call, const Block& block, uint32_t base, typename S::Vec* state, typename S::Vec* local) {
    const uint64_t count = uint64_t(1) << (block.t - block.exchanged);
    if (block.straight) {
        uint32_t row = base;
        for (uint64_t i = 0;;) {
            if (in) copy_row<S>(state + 2 * size_t(row), local + 2 * i);
            else copy_row<S>(local + 2 * i, state + 2 * size_t(row));
            if (++i == count) return;
            row ^= block.steps[trailing_zeros(i)];
        }
    }
    const Mover<S, in> mover{block, call.sample_bits};
    uint32_t rows[Mover<S, in>::room] = {base};
    for (int bit = 0; bit < block.exchanged; ++bit)
        for (int i = 0; i < 1 << bit; ++i) rows[i | 1 << bit] = rows[i] ^ block.exchange_row[bit];
    uint32_t lanes = 0;
    for (uint64_t i = 0;;) {
        mover.move(state, rows, lanes << call.sample_bits, local + (i << block.exchanged) * 2);
        if (++i == count) return;
        const int changed = trailing_zeros(i);
        for (int k = 0; k < 1 << block.exchanged; ++k) rows[k] ^= block.steps[changed];
        lanes = block.lane_steps[changed] ^ lanes;
    }
}

// Row bits of tile number `number`.
inline uint64_t outer_word(const Block& block, uint64_t number) {
    uint64_t word = 0;
    for (int i = 0; i < block.num_outer; ++i) word |= (number >> i & 1) << block.outer_bits[i];
    return word;
}

}  // namespace
}  // namespace fusedqml
