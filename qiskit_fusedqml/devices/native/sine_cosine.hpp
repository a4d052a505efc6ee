// Sine and cosine of vectors of doubles.
#pragma once
#include "simd.hpp"

namespace fusedqml {
namespace {

// Taylor coefficients: on [-pi/4, pi/4] the first one left out is below 1e-19.
constexpr double sine_terms[] = {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0,
                                 -1.0 / 1307674368000.0, 1.0 / 355687428096000.0};
constexpr double cosine_terms[] = {-1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600.0,
                                   -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
constexpr double largest_reduced = 1e5;

// sin and cos of |x| <= largest_reduced, to about one unit in the last place.
template <class D> struct SineCosine {
    using Vec = typename D::Vec;
    using IntVec = typename D::IntVec;

    static FQ_INLINE void compute(Vec x, Vec& sine, Vec& cosine) {
        // x = k pi/2 + r. pi/2 in three parts; k times the first two is exact, they have 33 bits each.
        const Vec magic = D::splat(6755399441055744.0);  // 1.5 * 2**52: adding it rounds to an integer in the low bits
        const Vec shifted = x * 0.63661977236758134308 + magic;
        const Vec k = shifted - magic;
        const Vec part = (x - k * 0x1.921fb544p+0) - k * 0x1.0b4611a6p-34;
        const Vec r = part - k * 0x1.3198a2e037073p-69;
        const Vec tail = (part - r) - k * 0x1.3198a2e037073p-69;
        const Vec r2 = r * r;
        Vec s = D::splat(sine_terms[7]), c = D::splat(cosine_terms[7]);
        FQ_UNROLL
        for (int i = 6; i >= 0; --i) {
            s = s * r2 + sine_terms[i];
            c = c * r2 + cosine_terms[i];
        }
        s = r + (r * r2 * s + tail);
        c = 1.0 + (r2 * c - r * tail);
        const IntVec quadrant = (IntVec)shifted;
        const IntVec odd = -(quadrant & 1);
        sine = D::select(odd, c, s);
        cosine = D::select(odd, s, c);
        const IntVec sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
        sine = (Vec)((IntVec)sine ^ sine_sign);
        cosine = (Vec)((IntVec)cosine ^ cosine_sign);
    }
};

inline bool all_reducible(const double* angles, size_t count) {
    bool fine = true;
    for (size_t i = 0; i < count; ++i) fine &= __builtin_fabs(angles[i]) <= largest_reduced;
    return fine;
}

// Sine and cosine of W numbers, by the library if one of them is large.
template <class D> FQ_INLINE void sine_cosine(const double* x, double* sine, double* cosine) {
    using Vec = typename D::Vec;
    if (all_reducible(x, D::W)) {
        SineCosine<D>::compute(*reinterpret_cast<const Vec*>(x), *reinterpret_cast<Vec*>(sine),
                               *reinterpret_cast<Vec*>(cosine));
        return;
    }
    for (int i = 0; i < D::W; ++i) {
        sine[i] = __builtin_sin(x[i]);
        cosine[i] = __builtin_cos(x[i]);
    }
}

template <class S> void sine_cosines(const double* x, int64_t count, double* sine, double* cosine) {
    using D = Simd<double, S::W * sizeof(typename S::T) / sizeof(double)>;
    alignas(64) double angle[D::W], s[D::W], c[D::W];
    const auto some = [&](int64_t first, size_t bytes) {
        __builtin_memcpy(angle, x + first, bytes);
        sine_cosine<D>(angle, s, c);
        __builtin_memcpy(sine + first, s, bytes);
        __builtin_memcpy(cosine + first, c, bytes);
    };
    int64_t first = 0;
    for (; first + D::W <= count; first += D::W) some(first, sizeof angle);
    if (first == count) return;
    for (double& lane : angle) lane = 0.0;
    some(first, static_cast<size_t>(count - first) * sizeof(double));
}

}  // namespace
}  // namespace fusedqml
