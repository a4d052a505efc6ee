// A tile in fast memory, and what operations on it share.
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
    int64_t group;                 // the first one
    int32_t stack_bits;            // log2 of the number of groups
    uint64_t outer;                // the tile's outer row bits and the constant bit
    Vec* ket;                      // [local row][re | im], or [local row]
    Vec* bra;
    double* sums;
    mutable uint32_t flipped_lanes = 0;  // ket and bra are to be multiplied by lane_sign(flipped_lanes) in the end

    // Steps of a walk over an operation's rows in all groups.
    uint64_t count(const Rows& rows) const { return uint64_t(1) << (rows.dim + stack_bits); }
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
        using Wide = typename S::Wide;
        *reinterpret_cast<Wide*>(sums + overlap * S::W) += *reinterpret_cast<const Wide*>(lanes) * __builtin_convertvector(factor, Wide);
    }
};

constexpr uint64_t flush_interval = 256;  // passes after which sums in working precision are added up in double

// Adds vector accumulators to sums in double precision.
template <class S> FQ_INLINE void flush(double* sums, typename S::Vec value) {
    *reinterpret_cast<typename S::Wide*>(sums) += __builtin_convertvector(value, typename S::Wide);
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

}  // namespace
}  // namespace fusedqml
