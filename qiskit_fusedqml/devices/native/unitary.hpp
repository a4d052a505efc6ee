// Controlled phases and complex 2x2 matrices.
#pragma once
#include <type_traits>

#include "tile.hpp"

namespace fusedqml {
namespace {

template <class S> struct Complex {
    typename S::Vec re, im;
    FQ_INLINE Complex conj() const { return {re, -im}; }
    static FQ_INLINE Complex at(const typename S::Vec* data, uint32_t row) {
        return {data[2 * size_t(row)], data[2 * size_t(row) + 1]};
    }
    FQ_INLINE void store(typename S::Vec* data, uint32_t row) const {
        data[2 * size_t(row)] = re;
        data[2 * size_t(row) + 1] = im;
    }
};

// An amplitude of a real state.
template <class S> struct RealAmplitude {
    typename S::Vec re;
    static FQ_INLINE RealAmplitude at(const typename S::Vec* data, uint32_t row) { return {data[row]}; }
    FQ_INLINE void store(typename S::Vec* data, uint32_t row) const { data[row] = re; }
};

template <class S> using Amplitude = std::conditional_t<S::components == 2, Complex<S>, RealAmplitude<S>>;

template <class S> FQ_INLINE Complex<S> operator*(const typename S::Vec& a, const Complex<S>& b) {
    return {a * b.re, a * b.im};
}
template <class S> FQ_INLINE RealAmplitude<S> operator*(const typename S::Vec& a, const RealAmplitude<S>& b) {
    return {a * b.re};
}
// by a phase that is real as a whole
template <class S> FQ_INLINE RealAmplitude<S> operator*(const Complex<S>& a, const RealAmplitude<S>& b) {
    return {a.re * b.re};
}
template <class S> FQ_INLINE RealAmplitude<S> operator+(const RealAmplitude<S>& a, const RealAmplitude<S>& b) {
    return {a.re + b.re};
}
template <class S> FQ_INLINE Complex<S> operator*(const Complex<S>& a, const Complex<S>& b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class S> FQ_INLINE Complex<S> operator+(const Complex<S>& a, const Complex<S>& b) {
    return {a.re + b.re, a.im + b.im};
}
// sum += Im(conj(bra) ket), sum += Re(conj(bra) ket), as single multiply-adds
template <class S> FQ_INLINE void add_im(typename S::Vec& sum, const Complex<S>& bra, const Complex<S>& ket) {
    sum += bra.re * ket.im;
    sum -= bra.im * ket.re;
}
template <class S> FQ_INLINE void add_re(typename S::Vec& sum, const Complex<S>& bra, const Complex<S>& ket) {
    sum += bra.re * ket.re;
    sum += bra.im * ket.im;
}
template <class S> FQ_INLINE void add_re(typename S::Vec& sum, const RealAmplitude<S>& bra, const RealAmplitude<S>& ket) {
    sum += bra.re * ket.re;
}
template <class S> FQ_INLINE void subtract_im(typename S::Vec& sum, const Complex<S>& bra, const Complex<S>& ket) {
    sum -= bra.re * ket.im;
    sum += bra.im * ket.re;
}
template <class S> FQ_INLINE void subtract_re(typename S::Vec& sum, const Complex<S>& bra, const Complex<S>& ket) {
    sum -= bra.re * ket.re;
    sum -= bra.im * ket.im;
}
// Im(conj(bra) ket) and Re(conj(bra) ket)
template <class S> FQ_INLINE typename S::Vec overlap_im(const Complex<S>& bra, const Complex<S>& ket) {
    return bra.re * ket.im - bra.im * ket.re;
}
template <class S> FQ_INLINE typename S::Vec overlap_re(const Complex<S>& bra, const Complex<S>& ket) {
    return bra.re * ket.re + bra.im * ket.im;
}

template <class S>
void phase_rows(const Tile<S>& tile, typename S::Vec* data, const Rows& rows, uint32_t row, const Complex<S>& phase) {
    const uint64_t count = tile.count(rows);
    const Complex<S> factor = phase;
    for (uint64_t i = 0;;) {
        (factor * Complex<S>::at(data, row)).store(data, row);
        if (++i == count) return;
        row ^= rows.steps[trailing_zeros(i)];
    }
}

template <class S>
void measure_phase_rows(const Tile<S>& tile, const Rows& rows, uint32_t row, double* sums) {
    const uint64_t count = tile.count(rows);
    for (uint64_t i = 0; i < count;) {
        typename S::Vec sum = {};
        const uint64_t stop = count - i < flush_interval ? count : i + flush_interval;
        while (i < stop) {
            add_im<S>(sum, Complex<S>::at(tile.bra, row), Complex<S>::at(tile.ket, row));
            row ^= rows.steps[trailing_zeros(++i)];
        }
        flush<S>(sums, sum);
    }
}

// Calls body(start, phase, sign) for each set of rows with one phase; in the lanes without part phase is 1 and sign 0.
template <class S, class F> FQ_INLINE void for_phases(const Tile<S>& tile, const Phase& op, bool inverse, F body) {
    using Vec = typename S::Vec;
    Vec a, b;
    tile.pair(op.coefficient, op.batched, a, b);
    Vec sign = tile.odd(op.sign.outer) ? S::splat(-1) : S::splat(1);
    if (op.sign.lanes) sign *= tile.lane_sign(op.sign.lanes);
    for_parts(tile, op.rows, [&](uint32_t start, uint32_t lanes, bool all) {
        Vec part = sign, re = a;
        if (!all) {
            const auto mask = tile.lane_mask(lanes);
            part = S::select(mask, sign, S::splat(0));
            re = S::select(mask, a, S::splat(1));
        }
        const Vec im = inverse ? part * b : -part * b;
        body(start, Complex<S>{re, im}, part);
        if (op.half) body(start ^ op.half, Complex<S>{re, -im}, -part);
    });
}

template <class S> void apply_phase(const Tile<S>& tile, const Phase& op, typename S::Vec* data, bool inverse) {
    for_phases(tile, op, inverse, [&](uint32_t start, const Complex<S>& phase, typename S::Vec) {
        phase_rows<S>(tile, data, op.rows, start, phase);
    });
}

template <class S> void undo_phase(const Tile<S>& tile, const Phase& op) {
    for_phases(tile, op, true, [&](uint32_t start, const Complex<S>& phase, typename S::Vec sign) {
        if (op.overlap >= 0) {
            alignas(64) double sums[S::W] = {};
            measure_phase_rows(tile, op.rows, start, sums);
            tile.add(op.overlap, sums, sign);
        }
        phase_rows<S>(tile, tile.ket, op.rows, start, phase);
        phase_rows<S>(tile, tile.bra, op.rows, start, phase);
    });
}

template <class S> struct Matrix2 {
    Complex<S> m[2][2];
};

// The matrix in every lane; adjoint, and with the two sides exchanged in lanes where the side functional is odd.
template <class S> Matrix2<S> load_matrix(const Tile<S>& tile, const Unitary2& op, bool inverse) {
    using Vec = typename S::Vec;
    Matrix2<S> u;
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            if (op.batched) {
                const Vec* all = static_cast<const Vec*>(tile.call.batched_matrices) +
                                 8 * (op.coefficient * tile.call.groups + tile.group);
                u.m[i][j] = {all[2 * (2 * i + j)], all[2 * (2 * i + j) + 1]};
            } else {
                const double* entry = tile.call.matrices + 8 * size_t(op.coefficient) + 2 * (2 * i + j);
                u.m[i][j] = {S::splat(static_cast<typename S::T>(entry[0])), S::splat(static_cast<typename S::T>(entry[1]))};
            }
        }
    if (inverse) u = {{{u.m[0][0].conj(), u.m[1][0].conj()}, {u.m[0][1].conj(), u.m[1][1].conj()}}};
    if (op.side.lanes) {
        const auto odd = (typename S::IntVec)(tile.lane_sign(op.side.lanes) < S::splat(0));
        const Matrix2<S> v = u;
        for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j)
                u.m[i][j] = {S::select(odd, v.m[1 - i][1 - j].re, v.m[i][j].re),
                             S::select(odd, v.m[1 - i][1 - j].im, v.m[i][j].im)};
    }
    return u;
}

template <class S>
FQ_INLINE void transform_pair(typename S::Vec* data, uint32_t row, uint32_t x, const Matrix2<S>& u) {
    const Complex<S> lower = Complex<S>::at(data, row), upper = Complex<S>::at(data, row ^ x);
    (u.m[0][0] * lower + u.m[0][1] * upper).store(data, row);
    (u.m[1][0] * lower + u.m[1][1] * upper).store(data, row ^ x);
}

template <class S> void apply_unitary(const Tile<S>& tile, const Unitary2& op, typename S::Vec* data, bool inverse) {
    const Matrix2<S> u = load_matrix(tile, op, inverse);
    uint32_t row = tile.odd(op.side.outer) ? op.x : 0;
    const uint64_t count = tile.count(op.rows);
    for (uint64_t i = 0;;) {
        transform_pair<S>(data, row, op.x, u);
        if (++i == count) return;
        row ^= op.rows.steps[trailing_zeros(i)];
    }
}

template <class S> void undo_unitary(const Tile<S>& tile, const Unitary2& op) {
    using Vec = typename S::Vec;
    if (op.overlap < 0) {
        apply_unitary(tile, op, tile.ket, true);
        apply_unitary(tile, op, tile.bra, true);
        return;
    }
    const Matrix2<S> u = load_matrix(tile, op, true);
    alignas(64) double sums[3][S::W] = {};
    uint32_t row = tile.odd(op.side.outer) ? op.x : 0;
    const uint64_t count = tile.count(op.rows);
    for (uint64_t i = 0; i < count;) {
        Vec x = {}, y = {}, z = {};
        const uint64_t stop = count - i < flush_interval ? count : i + flush_interval;
        while (i < stop) {
            const Complex<S> k0 = Complex<S>::at(tile.ket, row), k1 = Complex<S>::at(tile.ket, row ^ op.x);
            const Complex<S> b0 = Complex<S>::at(tile.bra, row), b1 = Complex<S>::at(tile.bra, row ^ op.x);
            add_im<S>(x, b0, k1);
            add_im<S>(x, b1, k0);
            add_re<S>(y, b1, k0);
            subtract_re<S>(y, b0, k1);
            add_im<S>(z, b0, k0);
            subtract_im<S>(z, b1, k1);
            transform_pair<S>(tile.ket, row, op.x, u);
            transform_pair<S>(tile.bra, row, op.x, u);
            row ^= op.rows.steps[trailing_zeros(++i)];
        }
        flush<S>(sums[0], x);
        flush<S>(sums[1], y);
        flush<S>(sums[2], z);
    }
    const Vec sign = tile.lane_sign(op.side.lanes);
    tile.add(op.overlap, sums[0], S::splat(1));
    tile.add(op.overlap + 1, sums[1], sign);
    tile.add(op.overlap + 2, sums[2], sign);
}

}  // namespace
}  // namespace fusedqml
