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

template <class S> FQ_INLINE Amplitude<S> with_lanes_flipped(const Amplitude<S>& a, uint32_t lanes) {
    if (!lanes) return a;
    if constexpr (S::components == 1) return {S::flip_mask(a.re, lanes)};
    else return {S::flip_mask(a.re, lanes), S::flip_mask(a.im, lanes)};
}

// a[r ^ flip] of a pass that is not joint.
template <class S> FQ_INLINE Amplitude<S> partner(const Pass& pass, int64_t row) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    return with_lanes_flipped<S>(Amplitude<S>::at(ket, uint32_t(pass.first_row + row) ^ pass.flip_rows[0]), pass.flip_lanes);
}

// sum_k d_k(r) a[r ^ flip_k] of a joint pass.
template <class S, bool per_lane> FQ_INLINE Amplitude<S> sum_of_partners(const Pass& pass, int64_t row) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    Amplitude<S> sum = {};
    for (int k = 0; k < pass.num_flips; ++k) {
        const Amplitude<S> a = Amplitude<S>::at(ket, uint32_t(pass.first_row + row) ^ pass.flip_rows[k]);
        sum = sum + diagonal_at<S>(pass.diagonals[k], row, per_lane) * a;
    }
    return with_lanes_flipped<S>(sum, pass.flip_lanes);
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

// Adds the sum of term(number) over so many numbers.
template <class S, class Term> FQ_INLINE void add_terms(int64_t count, double* sums, const Term& term) {
    for (int64_t i = 0; i < count;) {
        typename S::Vec even = {}, odd = {};  // additions to one sum would wait for each other
        const int64_t stop = count - i < int64_t(flush_interval) ? count : i + int64_t(flush_interval);
        for (; i + 1 < stop; i += 2) {
            even += term(i);
            odd += term(i + 1);
        }
        if (i < stop) even += term(i++);
        flush<S>(sums, even + odd);
    }
}

// Adds the sum over the rows of Re(factor conj(a[r]) sum_k d_k(r) a[r ^ flip_k]) of one observable.
template <class S, bool imaginary, bool per_lane> void expect_one(const Pass& pass, double* sums) {
    const auto* ket = static_cast<const typename S::Vec*>(pass.ket);
    const HalfRows rows(pass);
    const auto own = [&](int64_t row) { return Amplitude<S>::at(ket, uint32_t(pass.first_row + row)); };
    if (pass.is_joint)
        add_terms<S>(rows.count, sums, [&](int64_t number) {
            const int64_t row = rows[number];
            return product<S, imaginary>(own(row), sum_of_partners<S, per_lane>(pass, row));
        });
    else
        add_terms<S>(rows.count, sums, [&](int64_t number) {
            const int64_t row = rows[number];
            return diagonal_at<S>(pass.diagonals[0], row, per_lane) * product<S, imaginary>(own(row), partner<S>(pass, row));
        });
}

// The same for several observables with one flip.
template <class S, bool imaginary> void expect_several(const Pass& pass, double* sums) {
    using Vec = typename S::Vec;
    const auto* ket = static_cast<const Vec*>(pass.ket);
    const HalfRows rows(pass);
    for (int64_t first = 0; first < rows.count; first += observe_rows) {
        const int count = int(rows.count - first < observe_rows ? rows.count - first : observe_rows);
        Vec products[observe_rows];
        for (int i = 0; i < count; ++i) {
            const int64_t row = rows[first + i];
            products[i] = product<S, imaginary>(Amplitude<S>::at(ket, uint32_t(pass.first_row + row)), partner<S>(pass, row));
        }
        for (int k = 0; k < pass.count; ++k) {
            Vec sum = {};
            for (int i = 0; i < count; ++i) sum += diagonal_at<S>(pass.diagonals[k], rows[first + i], pass.per_lane) * products[i];
            flush<S>(sums + k * S::W, sum);
        }
    }
}

template <class S, bool imaginary> void expectation_of(const Pass& pass, double* sums) {
    if (pass.count > pass.num_flips) expect_several<S, imaginary>(pass, sums);
    else if (pass.per_lane) expect_one<S, imaginary, true>(pass, sums);
    else expect_one<S, imaginary, false>(pass, sums);
}

// sums: [observable][lane]; imaginary strings have expectation 0 in real states
template <class S> void expectation(const Pass& pass, double* sums) {
    if (!pass.imaginary) return expectation_of<S, false>(pass, sums);
    if constexpr (S::components == 2) expectation_of<S, true>(pass, sums);
}

// bra[r] += factor image, or = of the first pass; real states have real observables
template <class S, bool first, bool imaginary>
FQ_INLINE void add_image(typename S::Vec* bra, uint32_t row, const typename S::Vec& d, const Amplitude<S>& a) {
    Amplitude<S> b = {};
    if constexpr (!first) b = Amplitude<S>::at(bra, row);
    if constexpr (S::components == 1) Amplitude<S>{b.re + d * a.re}.store(bra, row);
    else if constexpr (imaginary) Amplitude<S>{b.re - d * a.im, b.im + d * a.re}.store(bra, row);
    else Amplitude<S>{b.re + d * a.re, b.im + d * a.im}.store(bra, row);
}

template <class S, bool first, bool imaginary, bool per_lane> void apply_one(const Pass& pass) {
    using Vec = typename S::Vec;
    const Vec factor = *static_cast<const Vec*>(pass.factors);
    auto* bra = static_cast<Vec*>(pass.bra);
    for (int64_t row = 0; row < pass.num_rows; ++row) {
        const uint32_t at = uint32_t(pass.first_row + row);
        if (pass.is_joint) add_image<S, first, imaginary>(bra, at, factor, sum_of_partners<S, per_lane>(pass, row));
        else add_image<S, first, imaginary>(bra, at, factor * diagonal_at<S>(pass.diagonals[0], row, per_lane), partner<S>(pass, row));
    }
}

template <class S, bool first, bool imaginary> void apply_several(const Pass& pass) {
    using Vec = typename S::Vec;
    const auto* factors = static_cast<const Vec*>(pass.factors);
    auto* bra = static_cast<Vec*>(pass.bra);
    for (int64_t row = 0; row < pass.num_rows; ++row) {
        Vec sum = {};
        for (int k = 0; k < pass.count; ++k) sum += factors[k] * diagonal_at<S>(pass.diagonals[k], row, pass.per_lane);
        add_image<S, first, imaginary>(bra, uint32_t(pass.first_row + row), sum, partner<S>(pass, row));
    }
}

template <class S, bool first, bool imaginary> void apply_pass(const Pass& pass) {
    if (pass.count > pass.num_flips) apply_several<S, first, imaginary>(pass);
    else if (pass.per_lane) apply_one<S, first, imaginary, true>(pass);
    else apply_one<S, first, imaginary, false>(pass);
}

template <class S> void apply_observables(const Pass& pass) {
    if (!pass.imaginary) return pass.first ? apply_pass<S, true, false>(pass) : apply_pass<S, false, false>(pass);
    if constexpr (S::components == 2) pass.first ? apply_pass<S, true, true>(pass) : apply_pass<S, false, true>(pass);
}

template <class S> void inner_product(const Pass& pass, double* sums) {
    const auto *ket = static_cast<const typename S::Vec*>(pass.ket), *bra = static_cast<const typename S::Vec*>(pass.bra);
    add_terms<S>(pass.num_rows, sums, [&](int64_t number) {
        const uint32_t row = uint32_t(pass.first_row + number);
        return product<S, false>(Amplitude<S>::at(ket, row), Amplitude<S>::at(bra, row));
    });
}

}  // namespace
}  // namespace fusedqml
