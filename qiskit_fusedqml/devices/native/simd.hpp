// Vectors of W real numbers, one a lane. Included by the sweeps only: everything here has internal linkage, so that code for
// one instruction set is never merged with code for another.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#define FQ_INLINE __attribute__((always_inline)) inline
#define FQ_UNROLL _Pragma("GCC unroll 64")

namespace fusedqml {
namespace {

template <int bytes> struct IntOf;
template <> struct IntOf<4> { using type = int32_t; };
template <> struct IntOf<8> { using type = int64_t; };

constexpr int log2_of(int value) { return value <= 1 ? 0 : 1 + log2_of(value / 2); }

template <class Real, int lanes> struct Simd {
    using T = Real;
    using Int = typename IntOf<sizeof(T)>::type;
    static constexpr int W = lanes;
    static constexpr int log_width = log2_of(W);
    typedef T Vec __attribute__((vector_size(sizeof(T) * lanes)));
    typedef Int IntVec __attribute__((vector_size(sizeof(T) * lanes)));
    // the lanes in double precision, anywhere in memory
    typedef double Wide __attribute__((vector_size(sizeof(double) * lanes), aligned(sizeof(double))));

    // x in every lane (x - 0 is x, unlike -0 + 0, and costs nothing)
    static FQ_INLINE Vec splat(T x) { return x - Vec{}; }

    template <int bit, int... I> static FQ_INLINE Vec flip_bit(Vec a, std::integer_sequence<int, I...>) {
        return __builtin_shufflevector(a, a, (I ^ (1 << bit))...);
    }
    // lane l of the result is lane l ^ (1 << bit) of a
    template <int bit> static FQ_INLINE Vec flip(Vec a) {
        return flip_bit<bit>(a, std::make_integer_sequence<int, W>{});
    }
    template <int bit, int... I>
    static FQ_INLINE void exchange_bit(Vec& a, Vec& b, std::integer_sequence<int, I...>) {
        const Vec low = __builtin_shufflevector(a, b, ((I >> bit & 1) ? W + (I ^ (1 << bit)) : I)...);
        b = __builtin_shufflevector(a, b, ((I >> bit & 1) ? W + I : (I ^ (1 << bit)))...);
        a = low;
    }
    // lane bit `bit` trades places with the choice between a and b
    template <int bit> static FQ_INLINE void exchange(Vec& a, Vec& b) {
        exchange_bit<bit>(a, b, std::make_integer_sequence<int, W>{});
    }
    // lane l of the result is lane l ^ mask of a
    static FQ_INLINE Vec flip_mask(Vec a, uint32_t mask) {
        if (mask & 1) a = flip<0>(a);
        if constexpr (W > 2) { if (mask & 2) a = flip<1>(a); }
        if constexpr (W > 4) { if (mask & 4) a = flip<2>(a); }
        if constexpr (W > 8) { if (mask & 8) a = flip<3>(a); }
        return a;
    }
    // the same for a mask that changes from call to call
    static FQ_INLINE Vec permute(Vec a, uint32_t mask) {
#if defined(__clang__)
        return flip_mask(a, mask);
#else
        IntVec lane = {};
        FQ_UNROLL
        for (int i = 0; i < W; ++i) lane[i] = i;
        return __builtin_shuffle(a, lane ^ static_cast<Int>(mask));
#endif
    }
    static FQ_INLINE void exchange_at(int bit, Vec& a, Vec& b) {
        switch (bit) {
            case 0: exchange<0>(a, b); break;
            case 1: if constexpr (W > 2) exchange<1>(a, b); break;
            case 2: if constexpr (W > 4) exchange<2>(a, b); break;
            default: if constexpr (W > 8) exchange<3>(a, b); break;
        }
    }
    static FQ_INLINE Vec select(IntVec mask, Vec yes, Vec no) {
        return (Vec)((mask & (IntVec)yes) | (~mask & (IntVec)no));
    }
    template <int step> static FQ_INLINE void sum_step(Vec* rows) {
        if constexpr (step < log_width) {
            FQ_UNROLL
            for (int i = 0; i < W; i += 2 << step) {
                exchange<step>(rows[i], rows[i + (1 << step)]);
                rows[i] += rows[i + (1 << step)];
            }
            sum_step<step + 1>(rows);
        }
    }
    // lane l of the result is the sum over the lanes of rows[l]; rows is used up
    static FQ_INLINE Vec sums_of_rows(Vec* rows) {
        sum_step<0>(rows);
        return rows[0];
    }
};

FQ_INLINE int parity(uint64_t mask) { return __builtin_parityll(mask); }
FQ_INLINE int trailing_zeros(uint64_t value) { return __builtin_ctzll(value); }

}  // namespace
}  // namespace fusedqml
