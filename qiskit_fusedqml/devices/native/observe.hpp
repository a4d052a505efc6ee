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

template <class S> FQ_INLINE Amplitude<S> partner(const Pass& pass, int64_t row) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    const Amplitude<S> k = Amplitude<S>::at(ket, uint32_t(pass.first_row + row) ^ pass.flip_row);
    if (!pass.flip_lanes) return k;
    if constexpr (S::components == 1) return {S::flip_mask(k.re, pass.flip_lanes)};
    else return {S::flip_mask(k.re, pass.flip_lanes), S::flip_mask(k.im, pass.flip_lanes)};
}

// The rows that count.
class HalfRows {
public:
    explicit HalfRows(const Pass& pass)
        : count(pass.half_bit < 0 ? pass.num_rows : pass.num_rows / 2),
          below_(pass.half_bit < 0 ? ~int64_t(0) : (int64_t(1) << pass.half_bit) - 1) {}
    FQ_INLINE int64_t operator[](int64_t number) const { return (number & below_) | (number & ~below_) << 1; }
    const int64_t count;

private:
    int64_t below_;
};

// Re(a* b), or -Im(a* b) for an imaginary diagonal.
template <class S, bool imaginary> FQ_INLINE typename S::Vec product(const Complex<S>& a, const Complex<S>& b) {
    return imaginary ? a.im * b.re - a.re * b.im : a.re * b.re + a.im * b.im;
}
template <class S, bool imaginary> FQ_INLINE typename S::Vec product(const RealAmplitude<S>& a, const RealAmplitude<S>& b) {
    return imaginary ? typename S::Vec{} : a.re * b.re;
}

// Adds the sum over the rows of d(r) Re(factor conj(a[r]) a[r ^ flip]) for one diagonal.
template <class S, bool imaginary, bool per_lane> void expect_one(const Pass& pass, double* sums) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    const HalfRows rows(pass);
    const auto term = [&](int64_t number) {
        const int64_t row = rows[number];
        const Amplitude<S> a = Amplitude<S>::at(ket, uint32_t(pass.first_row + row));
        return diagonal_at<S>(pass.diagonals[0], row, per_lane) * product<S, imaginary>(a, partner<S>(pass, row));
    };
    for (int64_t i = 0; i < rows.count;) {
        typename S::Vec even = {}, odd = {};  // additions to one sum would wait for each other
        const int64_t stop = rows.count - i < int64_t(flush_interval) ? rows.count : i + int64_t(flush_interval);
        for (; i + 1 < stop; i += 2) {
            even += term(i);
            odd += term(i + 1);
        }
        if (i < stop) even += term(i++);
        flush<S>(sums, even + odd);
    }
}

// The same for several diagonals.
template <class S> void expect_many(const Pass& pass, double* sums) {
    using Vec = typename S::Vec;
    const auto* ket = static_cast<const Vec*>(pass.ket);
    const HalfRows rows(pass);
    for (int64_t first = 0; first < rows.count; first += observe_rows) {
        const int count = int(rows.count - first < observe_rows ? rows.count - first : observe_rows);
        Vec products[observe_rows][2];
        for (int i = 0; i < count; ++i) {
            const int64_t row = rows[first + i];
            const Amplitude<S> a = Amplitude<S>::at(ket, uint32_t(pass.first_row + row)), b = partner<S>(pass, row);
            products[i][0] = product<S, false>(a, b);
            products[i][1] = product<S, true>(a, b);
        }
        for (int k = 0; k < pass.count; ++k) {
            Vec sum = {};
            for (int i = 0; i < count; ++i)
                sum += diagonal_at<S>(pass.diagonals[k], rows[first + i], pass.per_lane) * products[i][pass.imaginary[k]];
            flush<S>(sums + k * S::W, sum);
        }
    }
}

// sums: [diagonal][lane]
template <class S> void expectation(const Pass& pass, double* sums) {
    if (pass.count != 1) return expect_many<S>(pass, sums);
    if (!pass.imaginary[0]) return pass.per_lane ? expect_one<S, false, true>(pass, sums) : expect_one<S, false, false>(pass, sums);
    if constexpr (S::components == 2) pass.per_lane ? expect_one<S, true, true>(pass, sums) : expect_one<S, true, false>(pass, sums);
}

// bra[r] += sum_k factors_k factor_k d_k(r) a[r ^ flip]; real states have real observables
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
        const Amplitude<S> image = sum * partner<S>(pass, row);
        (first ? image : Amplitude<S>::at(bra, at) + image).store(bra, at);
    }
}

template <class S, bool imaginary, bool per_lane> void apply_one(const Pass& pass) {
    using Vec = typename S::Vec;
    const Vec factor = *static_cast<const Vec*>(pass.factors);
    auto* bra = static_cast<Vec*>(pass.bra);
    for (int64_t row = 0; row < pass.num_rows; ++row) {
        const Vec d = factor * diagonal_at<S>(pass.diagonals[0], row, per_lane);
        const uint32_t at = uint32_t(pass.first_row + row);
        const Amplitude<S> a = partner<S>(pass, row), b = Amplitude<S>::at(bra, at);
        if constexpr (S::components == 1) Amplitude<S>{b.re + d * a.re}.store(bra, at);
        else if constexpr (imaginary) Complex<S>{b.re - d * a.im, b.im + d * a.re}.store(bra, at);
        else Complex<S>{b.re + d * a.re, b.im + d * a.im}.store(bra, at);
    }
}

template <class S> void apply_observables(const Pass& pass) {
    if (pass.first) return apply_flip<S, true>(pass);
    if (pass.count != 1) return apply_flip<S, false>(pass);
    if (!pass.imaginary[0]) return pass.per_lane ? apply_one<S, false, true>(pass) : apply_one<S, false, false>(pass);
    if constexpr (S::components == 2) pass.per_lane ? apply_one<S, true, true>(pass) : apply_one<S, true, false>(pass);
}

}  // namespace
}  // namespace fusedqml
