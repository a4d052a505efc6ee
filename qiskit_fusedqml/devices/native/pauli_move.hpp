// Tiles of Pauli vectors between the state and a buffer.
#pragma once
#include "move.hpp"
#include "pauli_tape.hpp"

namespace fusedqml {
namespace {

inline uint64_t outer_row(const PauliBlock& block, uint64_t number) {
    uint64_t row = 0;
    for (int i = 0; i < block.num_outer; ++i) row ^= -(number >> i & 1) & block.outer[i];
    return row;
}

// Has the rows of a block's next tile brought closer while the current one is worked on: into the second cache, which a prefetch
// for writing would pass by on its way to the first.
template <class S> class NextTile {
public:
    using Vec = typename S::Vec;
    NextTile(const PauliCall& call, const PauliBlock& block, int64_t group, uint64_t outer, int num_steps)
        : block_(block), row_(static_cast<uint32_t>(outer >> call.lane_bits)), count_(uint64_t(1) << block.t),
          each_((count_ + static_cast<uint64_t>(num_steps) - 1) / static_cast<uint64_t>(num_steps)) {
        if (call.ket) ket_ = static_cast<const Vec*>(call.ket) + group * call.num_rows;
        if (call.bra) bra_ = static_cast<const Vec*>(call.bra) + group * call.num_rows;
    }
    // The rows of one of the steps in which the current tile is worked on.
    void fetch() {
        for (uint64_t end = number_ + each_ < count_ ? number_ + each_ : count_; number_ < end;) {
            if (ket_) __builtin_prefetch(ket_ + row_, 0, 2);
            if (bra_) __builtin_prefetch(bra_ + row_, 0, 2);
            row_ ^= block_.row_steps[trailing_zeros(++number_)];
        }
    }

private:
    const PauliBlock& block_;
    const Vec *ket_ = nullptr, *bra_ = nullptr;
    uint32_t row_;
    uint64_t number_ = 0, count_, each_;
};

template <class S, bool in>
void move_real_straight(const PauliBlock& block, uint32_t base, typename S::Vec* state, typename S::Vec* local) {
    RowWalk walk(block.steps, uint64_t(1) << block.t, base);
    do {
        if (in) {
            __builtin_prefetch(state + walk.ahead);
            local[walk.number] = state[walk.row];
        } else {
            state[walk.row] = local[walk.number];
        }
    } while (walk.next());
}

// As `move_lanes` of move.hpp; the first row's lanes are XORed by `lanes`.
template <class S, bool in, unsigned mask>
void move_real_lanes(const PauliBlock& block, int sample_bits, uint32_t base, uint32_t lanes, typename S::Vec* state,
                     typename S::Vec* local) {
    using Vec = typename S::Vec;
    constexpr int j = set_bits(mask), count = 1 << j;
    uint32_t offsets[count] = {0}, shear[count] = {0};
    for (int bit = 0; bit < j; ++bit)
        for (int i = 0; i < 1 << bit; ++i) {
            offsets[i | 1 << bit] = offsets[i] ^ block.exchange_row[bit];
            shear[i | 1 << bit] = shear[i] ^ block.exchange_shear[bit] << sample_bits;
        }
    RowWalk walk(block.steps, uint64_t(1) << (block.t - j), base);
    for (;;) {
        Vec* here = local + (walk.number << j);
        const uint32_t flip = lanes << sample_bits;
        Vec part[count];
        FQ_UNROLL
        for (int i = 0; i < count; ++i) {
            if (in) __builtin_prefetch(state + (walk.ahead ^ offsets[i]));
            part[i] = in ? state[walk.row ^ offsets[i]] : here[i];
            if (in || mask) part[i] = S::permute(part[i], in ? flip : shear[i]);
        }
        trade_lanes<S, mask>(part);
        FQ_UNROLL
        for (int i = 0; i < count; ++i) {
            if (!in || mask) part[i] = S::permute(part[i], in ? shear[i] : flip);
            (in ? here[i] : state[walk.row ^ offsets[i]]) = part[i];
        }
        if (!walk.next()) return;
        lanes ^= block.lane_steps[trailing_zeros(walk.number)];
    }
}

template <class S, bool in, unsigned mask = 0>
void move_real_tile(const PauliBlock& block, int sample_bits, uint32_t base, uint32_t lanes, typename S::Vec* state,
                    typename S::Vec* local) {
    if constexpr (mask < unsigned(S::W)) {
        if (mask != block.exchanged_lanes << sample_bits)
            return move_real_tile<S, in, mask + 1>(block, sample_bits, base, lanes, state, local);
        move_real_lanes<S, in, mask>(block, sample_bits, base, lanes, state, local);
    }
}

// For each of `count` independent vectors, the lanes of one bit trade places between rows u and u ^ vector; its own inverse.
template <class S, int count> void shear_lanes(typename S::Vec* local, int t, const int* bits, const uint32_t* vectors) {
    using Vec = typename S::Vec;
    typename S::IntVec chosen[count];
    uint32_t sums[1 << count] = {0}, pivots = 0;
    for (int k = 0; k < count; ++k)
        for (int lane = 0; lane < S::W; ++lane) chosen[k][lane] = lane >> bits[k] & 1 ? -1 : 0;
    for (int k = 0; k < count; ++k) {
        for (int i = 0; i < 1 << k; ++i) sums[i | 1 << k] = sums[i] ^ vectors[k];
        uint32_t reduced = vectors[k];  // a bit that no combination of the earlier ones has alone
        for (int i = 0; i < 1 << k; ++i)
            if ((sums[i] ^ vectors[k]) < reduced) reduced = sums[i] ^ vectors[k];
        pivots |= uint32_t(1) << (31 - __builtin_clz(reduced));
    }
    for (uint32_t u = 0; u < uint32_t(1) << t; ++u) {
        if (u & pivots) continue;
        Vec part[1 << count];
        FQ_UNROLL
        for (int i = 0; i < 1 << count; ++i) part[i] = local[u ^ sums[i]];
        FQ_UNROLL
        for (int k = 0; k < count; ++k) {
            FQ_UNROLL
            for (int i = 0; i < 1 << count; ++i) {
                if (i >> k & 1) continue;
                const Vec a = part[i], b = part[i | 1 << k];
                part[i] = S::select(chosen[k], b, a);
                part[i | 1 << k] = S::select(chosen[k], a, b);
            }
        }
        FQ_UNROLL
        for (int i = 0; i < 1 << count; ++i) local[u ^ sums[i]] = part[i];
    }
}

// One tile's place in a state, and the buffer it is worked on in (the state itself if the tile lies there in one piece).
template <class S> struct PauliPlace {
    using Vec = typename S::Vec;
    const PauliCall& call;
    const PauliBlock& block;
    Vec* state;
    Vec* local;
    uint32_t base, lanes;

    PauliPlace(const PauliCall& c, const PauliBlock& b, void* whole, int64_t group, uint64_t outer, void* buffer)
        : call(c), block(b), state(static_cast<Vec*>(whole)), local(static_cast<Vec*>(buffer)),
          base(static_cast<uint32_t>(outer >> c.lane_bits)),
          lanes(static_cast<uint32_t>(outer) & ((uint32_t(1) << c.lane_bits) - 1)) {
        if (!state) return;
        state += group * c.num_rows;
        if (block.in_place) local = state + base;
        else if (block.straight) move_real_straight<S, true>(block, base, state, local);
        else move_real_tile<S, true>(block, call.sample_bits, base, lanes, state, local);
        shear();
    }
    void put_back() const {
        if (!state || block.in_place) return;
        shear();
        if (block.straight) move_real_straight<S, false>(block, base, state, local);
        else move_real_tile<S, false>(block, call.sample_bits, base, lanes, state, local);
    }

private:
    // Up to three bits at a time, as long as their vectors are independent.
    void shear() const {
        int bits[3], count = 0;
        uint32_t vectors[3];
        const auto finish = [&] {
            if (count == 1) shear_lanes<S, 1>(local, block.t, bits, vectors);
            if (count == 2) shear_lanes<S, 2>(local, block.t, bits, vectors);
            if (count == 3) shear_lanes<S, 3>(local, block.t, bits, vectors);
            count = 0;
        };
        for (int bit = 0; bit < call.lane_bits; ++bit) {
            const uint32_t vector = block.lane_shear[bit];
            if (!vector) continue;
            bool depends = count == 3;
            for (int i = 0; i < 1 << count && !depends; ++i) {
                uint32_t sum = vector;
                for (int k = 0; k < count; ++k)
                    if (i >> k & 1) sum ^= vectors[k];
                depends = !sum;
            }
            if (depends) finish();
            bits[count] = bit + call.sample_bits;
            vectors[count++] = vector;
        }
        finish();
    }
};

}  // namespace
}  // namespace fusedqml
