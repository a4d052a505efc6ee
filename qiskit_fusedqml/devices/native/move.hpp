// Tiles between the state and a buffer.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace fusedqml {
namespace {

// Row bits of tile number `number`.
inline uint64_t outer_word(const Block& block, uint64_t number) {
    uint64_t word = 0;
    for (int i = 0; i < block.num_outer; ++i) word ^= (number >> i & 1) ? block.outer[i] : 0;
    return word;
}

template <class S> FQ_INLINE void copy_row(const typename S::Vec* from, typename S::Vec* to) {
    to[0] = from[0];
    if constexpr (S::components == 2) to[1] = from[1];
}

// Rows are fetched to be written: another thread's core may hold them.
template <class S> FQ_INLINE void prefetch_row(const typename S::Vec* row) {
    for (size_t byte = 0; byte < S::components * sizeof(typename S::Vec); byte += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(row) + byte, 1);
}

// A walk over the stored rows of a tile that also runs a little ahead, to have rows fetched in time.
class RowWalk {
public:
    RowWalk(const uint32_t* steps, uint64_t count, uint32_t first) : row(first), ahead(first), steps_(steps), count_(count) {
        while (ahead_number_ < distance && advance_ahead()) {}
    }
    // False after the last row.
    FQ_INLINE bool next() {
        advance_ahead();
        if (++number == count_) return false;
        row ^= steps_[trailing_zeros(number)];
        return true;
    }
    uint64_t number = 0;
    uint32_t row, ahead;

private:
    static constexpr uint64_t distance = 6;
    FQ_INLINE bool advance_ahead() {
        if (ahead_number_ + 1 >= count_) return false;
        ahead ^= steps_[trailing_zeros(++ahead_number_)];
        return true;
    }
    const uint32_t* steps_;
    uint64_t count_, ahead_number_ = 0;
};

template <class S, bool in>
void move_straight(const Block& block, uint32_t base, typename S::Vec* state, typename S::Vec* local) {
    RowWalk walk(block.steps, uint64_t(1) << block.t, base);
    do {
        typename S::Vec* stored = state + S::components * size_t(walk.row);
        if (in) prefetch_row<S>(state + S::components * size_t(walk.ahead));
        if (in) copy_row<S>(stored, local + S::components * walk.number);
        else copy_row<S>(local + S::components * walk.number, stored);
    } while (walk.next());
}

constexpr int set_bits(unsigned mask) { return mask ? int(mask & 1) + set_bits(mask >> 1) : 0; }
constexpr int bit_number(unsigned mask, int which) {  // position of the set bit number `which`
    return !(mask & 1) ? 1 + bit_number(mask >> 1, which) : which ? 1 + bit_number(mask >> 1, which - 1) : 0;
}

// Lane bits in `mask` trade places with the numbers of 2**j vectors.
template <class S, unsigned mask, int bit = 0> FQ_INLINE void trade_lanes(typename S::Vec* part) {
    constexpr int j = set_bits(mask);
    if constexpr (bit < j) {
        FQ_UNROLL
        for (int i = 0; i < 1 << j; ++i)
            if (!(i >> bit & 1)) S::template exchange<bit_number(mask, bit)>(part[i], part[i | 1 << bit]);
        trade_lanes<S, mask, bit + 1>(part);
    }
}

// The general case: 2**j stored vectors at a time; if `flips`, lanes are also XORed by numbers that differ from row to row.
template <class S, bool in, unsigned mask, bool flips>
void move_lanes(const Call& call, const Block& block, uint32_t base, typename S::Vec* state, typename S::Vec* local) {
    using Vec = typename S::Vec;
    constexpr int j = set_bits(mask), count = 1 << j;
    uint32_t offsets[count] = {0}, shear[count] = {0}, lanes = 0;
    for (int bit = 0; bit < j; ++bit)
        for (int i = 0; i < 1 << bit; ++i) {
            offsets[i | 1 << bit] = offsets[i] ^ block.exchange_row[bit];
            shear[i | 1 << bit] = shear[i] ^ block.shear[bit] << call.sample_bits;
        }
    RowWalk walk(block.steps, uint64_t(1) << (block.t - j), base);
    for (;;) {
        Vec* here = local + (walk.number << j) * S::components;
        const uint32_t flip = lanes << call.sample_bits;
        if (in) for (int i = 0; i < count; ++i) prefetch_row<S>(state + S::components * size_t(walk.ahead ^ offsets[i]));
        FQ_UNROLL
        for (int component = 0; component < S::components; ++component) {
            Vec part[count];
            FQ_UNROLL
            for (int i = 0; i < count; ++i) {
                part[i] = in ? state[S::components * size_t(walk.row ^ offsets[i]) + component] : here[S::components * i + component];
                if (flips) part[i] = S::permute(part[i], in ? flip : shear[i]);
            }
            trade_lanes<S, mask>(part);
            FQ_UNROLL
            for (int i = 0; i < count; ++i) {
                if (flips) part[i] = S::permute(part[i], in ? shear[i] : flip);
                (in ? here[S::components * i + component] : state[S::components * size_t(walk.row ^ offsets[i]) + component]) = part[i];
            }
        }
        if (!walk.next()) return;
        lanes ^= block.lane_steps[trailing_zeros(walk.number)];
    }
}

template <class S, bool in, unsigned mask = 0>
void move_tile(const Call& call, const Block& block, uint32_t base, typename S::Vec* state, typename S::Vec* local) {
    if (block.straight) return move_straight<S, in>(block, base, state, local);
    if constexpr (mask < unsigned(S::W)) {
        if (mask != block.exchanged_lanes << call.sample_bits) return move_tile<S, in, mask + 1>(call, block, base, state, local);
        if (block.flips_lanes) move_lanes<S, in, mask, true>(call, block, base, state, local);
        else move_lanes<S, in, mask, false>(call, block, base, state, local);
    }
}

// One tile's place in the state, and the buffer it is worked on in (the state itself if the tile lies there in one piece).
template <class S> struct Place {
    using Vec = typename S::Vec;
    const Call& call;
    const Block& block;
    Vec* state;
    Vec* local;
    uint32_t base;

    Place(const Call& c, const Block& b, void* whole, int64_t group, uint64_t outer, void* buffer)
        : call(c), block(b), state(static_cast<Vec*>(whole) + S::components * group * c.num_rows), local(static_cast<Vec*>(buffer)),
          base(static_cast<uint32_t>(outer >> c.lane_bits)) {
        if (block.in_place) local = state + S::components * size_t(base);
        else move_tile<S, true>(call, block, base, state, local);
    }
    void put_back(uint32_t flipped_lanes) const {
        if (flipped_lanes) {
            const Vec sign = static_cast<const Vec*>(call.lane_signs)[flipped_lanes];
            for (uint64_t i = 0; i < uint64_t(S::components) << block.t; ++i) local[i] *= sign;
        }
        if (!block.in_place) move_tile<S, false>(call, block, base, state, local);
    }
};

}  // namespace
}  // namespace fusedqml
