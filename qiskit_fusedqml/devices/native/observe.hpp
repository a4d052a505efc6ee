// Expectation values of observables and their action on a state, one set of Pauli strings with equal flips at a time.
#pragma once
#include "unitary.hpp"

namespace fusedqml {
namespace {

constexpr int observe_rows = 64;

template <class S> FQ_INLINE typename S::Vec diagonal_at(const void* diagonal, int64_t row, bool per_lane) {
    if (per_lane) return static_cast<const typename S::Vec*>(diagonal)[row];
    return S::splat(static_cast<const typename S::T*>(diagonal)[row]);
}

template <class S> FQ_INLINE Complex<S> partner(const Pass& pass, int64_t row) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    const Complex<S> k = Complex<S>::at(ket, uint32_t(pass.first_row + row) ^ pass.flip_row);
    if (!pass.flip_lanes) return k;
    return {S::flip_mask(k.re, pass.flip_lanes), S::flip_mask(k.im, pass.flip_lanes)};
}

// Adds sum over the rows of d_k(r) Re(factor_k conj(a[r]) a[r ^ flip]) to sums[k][lane].
template <class S> void expectation(const Pass& pass, double* sums) {
    using Vec = typename S::Vec;
    const auto* ket = static_cast<const Vec*>(pass.ket);
    const int64_t count = pass.half_bit < 0 ? pass.num_rows : pass.num_rows / 2;
    const int64_t below = pass.half_bit < 0 ? ~int64_t(0) : (int64_t(1) << pass.half_bit) - 1;
    for (int64_t first = 0; first < count; first += observe_rows) {
        const int rows = int(count - first < observe_rows ? count - first : observe_rows);
        int64_t row[observe_rows];
        Vec product[observe_rows][2];
        for (int i = 0; i < rows; ++i) {
            const int64_t number = first + i;
            row[i] = (number & below) | (number & ~below) << 1;
            const Complex<S> a = Complex<S>::at(ket, uint32_t(pass.first_row + row[i])), b = partner<S>(pass, row[i]);
            product[i][0] = overlap_re(a, b);
            product[i][1] = -overlap_im(a, b);
        }
        for (int k = 0; k < pass.count; ++k) {
            Vec sum = {};
            const int part = pass.imaginary[k];
            for (int i = 0; i < rows; ++i) sum += diagonal_at<S>(pass.diagonals[k], row[i], pass.per_lane) * product[i][part];
            flush<S>(sums + k * S::W, sum);
        }
    }
}

// bra[r] += sum_k factors_k factor_k d_k(r) a[r ^ flip]
template <class S, bool first> void apply_flip(const Pass& pass) {
    using Vec = typename S::Vec;
    const auto* factors = static_cast<const Vec*>(pass.factors);
    auto* bra = static_cast<Vec*>(pass.bra);
    for (int64_t row = 0; row < pass.num_rows; ++row) {
        Complex<S> sum = {};
        for (int k = 0; k < pass.count; ++k) {
            const Vec term = factors[k] * diagonal_at<S>(pass.diagonals[k], row, pass.per_lane);
            if (pass.imaginary[k]) sum.im += term;
            else sum.re += term;
        }
        const uint32_t at = uint32_t(pass.first_row + row);
        const Complex<S> image = sum * partner<S>(pass, row);
        (first ? image : Complex<S>::at(bra, at) + image).store(bra, at);
    }
}

template <class S> void apply_observables(const Pass& pass) {
    if (pass.first) apply_flip<S, true>(pass);
    else apply_flip<S, false>(pass);
}

}  // namespace
}  // namespace fusedqml
