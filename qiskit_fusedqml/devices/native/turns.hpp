// Rotations in planes of two rows: RY and Pauli rotations that flip a bit, several independent ones a pass.
//
// real       a0' = a a0 - b a1,     a1' = a a1 + b a0
// imaginary  a0' = a a0 - 1j b a1,  a1' = a a1 - 1j b a0
//
// The inverse of a real rotation is the rotation itself with the two rows trading places; so is the rotation where a virtual
// qubit's side functional is odd. Coefficients equal to 1 are not multiplied by: half the operations.
#pragma once
#include "tile.hpp"

namespace fusedqml {
namespace {

enum class Form { tangent, cotangent, plain };  // a == 1, b == 1, neither

// The coefficients of some rotations, in the order in which the kernels want them: cotangents first.
template <class S> struct Planes {
    using Vec = typename S::Vec;
    int count, cotangents;
    bool plain;
    uint32_t flipped_lanes;        // the rotations leave out these lanes' sign, see Tile
    uint32_t start;                // first row
    uint32_t x[S::group];
    Vec a[S::group], b[S::group];
    const Turn* turn[S::group];
};

template <class V> FQ_INLINE void swap_values(V& a, V& b) {
    const V kept = a;
    a = b;
    b = kept;
}

template <class S> void swap_planes(Planes<S>& planes, int i, int j) {
    swap_values(planes.x[i], planes.x[j]);
    swap_values(planes.a[i], planes.a[j]);
    swap_values(planes.b[i], planes.b[j]);
    swap_values(planes.turn[i], planes.turn[j]);
}

template <class S> void load_planes(const Tile<S>& tile, const Turns& turns, bool inverse, Planes<S>& planes) {
    planes.count = turns.count;
    planes.cotangents = 0;
    planes.plain = false;
    planes.start = 0;
    planes.flipped_lanes = 0;
    for (int i = 0; i < turns.count; ++i) {
        const Turn& turn = turns.turns[i];
        planes.turn[i] = &turn;
        planes.x[i] = turn.x;
        tile.pair(turn.coefficient, turn.batched, planes.a[i], planes.b[i]);
        const bool turned = tile.odd(turn.sign.outer) != inverse;
        Form form = Form::plain;
        if (!turn.batched && tile.call.pairs[2 * turn.coefficient] == 1.0) form = Form::tangent;
        else if (!turn.batched && !turns.imaginary && !(turn.sign.lanes && turns.controlled) &&
                 tile.call.pairs[2 * turn.coefficient + 1] == 1.0)
            form = Form::cotangent;
        if (!turns.imaginary && turned) planes.start ^= turn.x;
        if (turns.imaginary && turned) planes.b[i] = -planes.b[i];
        if (turn.sign.lanes && form == Form::cotangent) {
            planes.a[i] *= tile.lane_sign(turn.sign.lanes);  // (a, -1) is -(-a, 1); the sign of all rows is left for the end
            planes.flipped_lanes ^= turn.sign.lanes;
        } else if (turn.sign.lanes) {
            planes.b[i] *= tile.lane_sign(turn.sign.lanes);
        }
        if (form == Form::plain) planes.plain = true;
        if (form == Form::cotangent) swap_planes(planes, i, planes.cotangents++);
    }
}

template <class S, bool imaginary, Form form>
FQ_INLINE void rotate_complex(typename S::Vec* re, typename S::Vec* im, int i0, int i1, typename S::Vec a, typename S::Vec b) {
    const auto r0 = re[i0], m0 = im[i0], r1 = re[i1], m1 = im[i1];
    if constexpr (imaginary) {
        re[i0] = (form == Form::tangent ? r0 : a * r0) + b * m1;
        im[i0] = (form == Form::tangent ? m0 : a * m0) - b * r1;
        re[i1] = (form == Form::tangent ? r1 : a * r1) + b * m0;
        im[i1] = (form == Form::tangent ? m1 : a * m1) - b * r0;
    } else if constexpr (form == Form::tangent) {
        re[i0] = r0 - b * r1;
        im[i0] = m0 - b * m1;
        re[i1] = r1 + b * r0;
        im[i1] = m1 + b * m0;
    } else if constexpr (form == Form::cotangent) {
        re[i0] = a * r0 - r1;
        im[i0] = a * m0 - m1;
        re[i1] = a * r1 + r0;
        im[i1] = a * m1 + m0;
    } else {
        re[i0] = a * r0 - b * r1;
        im[i0] = a * m0 - b * m1;
        re[i1] = a * r1 + b * r0;
        im[i1] = a * m1 + b * m0;
    }
}

template <class S, bool imaginary, Form form>
FQ_INLINE void rotate(typename S::Vec* re, typename S::Vec* im, int i0, int i1, typename S::Vec a, typename S::Vec b) {
    if constexpr (S::components == 1) {
        static_assert(!imaginary, "an imaginary rotation of a real state");
        const auto r0 = re[i0], r1 = re[i1];
        re[i0] = (form == Form::tangent ? r0 : a * r0) - (form == Form::cotangent ? r1 : b * r1);
        re[i1] = (form == Form::tangent ? r1 : a * r1) + (form == Form::cotangent ? r0 : b * r0);
    } else {
        rotate_complex<S, imaginary, form>(re, im, i0, i1, a, b);
    }
}

// N rotations on 2**N rows; the first C are cotangents, the others tangents, or all are plain (C < 0).
template <class S, int N, int C, bool imaginary, int k = 0>
FQ_INLINE void rotate_all(typename S::Vec* re, typename S::Vec* im, const typename S::Vec* a, const typename S::Vec* b) {
    if constexpr (k < N) {
        constexpr Form form = C < 0 ? Form::plain : k < C ? Form::cotangent : Form::tangent;
        FQ_UNROLL
        for (int i = 0; i < 1 << N; ++i)
            if (!(i >> k & 1)) rotate<S, imaginary, form>(re, im, i, i | 1 << k, a[k], b[k]);
        rotate_all<S, N, C, imaginary, k + 1>(re, im, a, b);
    }
}

// Byte offsets of 2**N rows from the first one.
template <class S, int N> FQ_INLINE void row_offsets(const uint32_t* x, size_t* offsets) {
    offsets[0] = 0;
    for (int k = 0; k < N; ++k)
        for (int i = 0; i < 1 << k; ++i) offsets[i | 1 << k] = offsets[i] ^ size_t(x[k]) * S::components * sizeof(typename S::Vec);
}

// The places, in bytes, of 2**N rows.
template <class S, int N> struct Places {
    size_t at[1 << N];
    FQ_INLINE Places(uint32_t row, const size_t* offsets) {
        FQ_UNROLL
        for (int i = 0; i < 1 << N; ++i) at[i] = size_t(row) * S::components * sizeof(typename S::Vec) ^ offsets[i];
    }
    FQ_INLINE typename S::Vec* row(typename S::Vec* data, int i) const {
        return reinterpret_cast<typename S::Vec*>(reinterpret_cast<char*>(data) + at[i]);
    }
    FQ_INLINE void load(typename S::Vec* data, typename S::Vec* re, typename S::Vec* im) const {
        FQ_UNROLL
        for (int i = 0; i < 1 << N; ++i) {
            re[i] = row(data, i)[0];
            if constexpr (S::components == 2) im[i] = row(data, i)[1];
        }
    }
    FQ_INLINE void store(typename S::Vec* data, const typename S::Vec* re, const typename S::Vec* im) const {
        FQ_UNROLL
        for (int i = 0; i < 1 << N; ++i) {
            row(data, i)[0] = re[i];
            if constexpr (S::components == 2) row(data, i)[1] = im[i];
        }
    }
};

// Applies N rotations to `count` sets of rows; `row` is in the first of them.
template <class S, int N, int C, bool imaginary>
void turn_rows(typename S::Vec* data, const uint32_t* steps, uint64_t count, const Planes<S>& planes, uint32_t row) {
    using Vec = typename S::Vec;
    Vec a[N], b[N], re[1 << N], im[1 << N];
    size_t offsets[1 << N];
    for (int k = 0; k < N; ++k) {
        a[k] = planes.a[k];
        b[k] = planes.b[k];
    }
    row_offsets<S, N>(planes.x, offsets);
    for (uint64_t i = 0;;) {
        const Places<S, N> places(row, offsets);
        places.load(data, re, im);
        rotate_all<S, N, C, imaginary>(re, im, a, b);
        places.store(data, re, im);
        if (++i == count) return;
        row ^= steps[trailing_zeros(i)];
    }
}

// Adds the terms of the overlaps of N rotations. Additions to one sum are kept apart, lest they wait for each other.
template <class S, int N, int overlaps, bool imaginary>
FQ_INLINE void measure_rows(typename S::Vec* bra, const Places<S, N>& places, const typename S::Vec* re,
                            const typename S::Vec* im, typename S::Vec* y, typename S::Vec* x) {
    constexpr bool with_y = !imaginary, with_x = imaginary || overlaps == 2;
    FQ_UNROLL
    for (int i = 0; i < 1 << N; ++i) {
        const typename S::Vec r = places.row(bra, i)[0], m = places.row(bra, i)[S::components - 1];
        FQ_UNROLL
        for (int k = 0; k < N; ++k) {
            if (with_y) y[k] = i >> k & 1 ? y[k] + r * re[i ^ 1 << k] : y[k] - r * re[i ^ 1 << k];
            if constexpr (with_x) x[k] += r * im[i ^ 1 << k];
        }
        if constexpr (S::components == 2) {
            FQ_UNROLL
            for (int k = 0; k < N; ++k) {
                if (with_y) y[k] = i >> k & 1 ? y[k] + m * im[i ^ 1 << k] : y[k] - m * im[i ^ 1 << k];
                if constexpr (with_x) x[k] -= m * re[i ^ 1 << k];
            }
        }
    }
}

// Sums over the lanes' own rows: of Y and X of each real rotation, of X alone (in the first place) of imaginary ones. They are
// kept in working precision for a while.
template <class S> struct TurnSums {
    typename S::Vec of[S::group][S::components] = {};
    alignas(64) double total[S::group][S::components][S::W] = {};
    FQ_INLINE void flush_all(int count, bool both) {
        for (int k = 0; k < count; ++k)
            for (int i = 0; i <= int(both); ++i) {
                flush<S>(total[k][i], of[k][i]);
                of[k][i] = typename S::Vec{};
            }
    }
};

// Measures N rotations and undoes them on ket and bra, for the sets of rows number first .. last - 1; `row` is in the first of
// them. Adds to the sums; returns a row of the set after the last one.
template <class S, int N, int C, bool imaginary, int overlaps>
uint32_t turn_rows_back(typename S::Vec* ket, typename S::Vec* bra, const uint32_t* steps, const Planes<S>& planes,
                        uint64_t first, uint64_t last, uint32_t row, TurnSums<S>& sums) {
    using Vec = typename S::Vec;
    Vec a[N], b[N], re[1 << N], im[1 << N], y[N], x[N];
    size_t offsets[1 << N];
    FQ_UNROLL
    for (int k = 0; k < N; ++k) {
        a[k] = planes.a[k];
        b[k] = planes.b[k];
        y[k] = x[k] = Vec{};
    }
    row_offsets<S, N>(planes.x, offsets);
    for (uint64_t i = first; i < last;) {
        const Places<S, N> places(row, offsets);
        places.load(ket, re, im);
        measure_rows<S, N, overlaps, imaginary>(bra, places, re, im, y, x);
        rotate_all<S, N, C, imaginary>(re, im, a, b);
        places.store(ket, re, im);
        places.load(bra, re, im);
        rotate_all<S, N, C, imaginary>(re, im, a, b);
        places.store(bra, re, im);
        row ^= steps[trailing_zeros(++i)];
    }
    FQ_UNROLL
    for (int k = 0; k < N; ++k) {
        sums.of[k][0] += imaginary ? x[k] : y[k];
        if constexpr (!imaginary && overlaps == 2) sums.of[k][1] += x[k];
    }
    return row;
}

}  // namespace
}  // namespace fusedqml
