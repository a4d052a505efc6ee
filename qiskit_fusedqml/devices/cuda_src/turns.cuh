// Operations on the pairs of one register bit: layers of real rotations, 2x2 matrices, controlled Pauli rotations.
namespace fusedqml {

// Registers i and i | 1 << J of the pair number p.
template <int J> __device__ __forceinline__ constexpr int lower(int p) { return (p >> J << (J + 1)) | (p & ((1 << J) - 1)); }

// a0' = a a0 - b a1, a1' = b a0 + a a1; one of a and |b| that is 1 need not be multiplied by: `kind` says which, 0 none, 1 a, 2 b, 3 -b.
template <int kind, int J, class Real, int W>
__device__ __forceinline__ void turn_as(Complex<Real> (&v)[1 << W], Real a, Real b, unsigned odd) {
#pragma unroll
    for (int p = 0; p < (1 << W) / 2; ++p) {
        Complex<Real>&x = v[lower<J>(p)], &y = v[lower<J>(p) | 1 << J];
        const Complex<Real> u = x;
        if (kind == 1) {
            x = {u.re - b * y.re, u.im - b * y.im};
            y = {y.re + b * u.re, y.im + b * u.im};
        } else if (kind == 2) {
            x = {a * u.re - y.re, a * u.im - y.im};
            y = {a * y.re + u.re, a * y.im + u.im};
        } else if (kind == 3) {
            x = {a * u.re + y.re, a * u.im + y.im};
            y = {a * y.re - u.re, a * y.im - u.im};
        } else {
            const Real s = odd >> lower<J>(p) & 1 ? -b : b;
            x = {a * u.re - s * y.re, a * u.im - s * y.im};
            y = {a * y.re + s * u.re, a * y.im + s * u.im};
        }
    }
}

// The ket, and backwards the bra, by one of these. `odd`: bit i set where b changes its sign; `uniform`: bit 0 is all registers'.
template <bool undo, int J, class Real, int W>
__device__ __forceinline__ void turn(Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W], Real a, Real b, bool uniform, unsigned odd) {
    if (uniform) {
        b = signed_by(b, odd);
        odd = 0;
    }
    if (uniform && a == 1) {
        turn_as<1, J, Real, W>(ket, a, b, odd);
        if (undo) turn_as<1, J, Real, W>(bra, a, b, odd);
    } else if (uniform && b == 1) {
        turn_as<2, J, Real, W>(ket, a, b, odd);
        if (undo) turn_as<2, J, Real, W>(bra, a, b, odd);
    } else if (uniform && b == -1) {
        turn_as<3, J, Real, W>(ket, a, b, odd);
        if (undo) turn_as<3, J, Real, W>(bra, a, b, odd);
    } else {
        turn_as<0, J, Real, W>(ket, a, b, odd);
        if (undo) turn_as<0, J, Real, W>(bra, a, b, odd);
    }
}

// <Y> and <X> of the pair's virtual qubit.
template <int J, class Real, int W>
__device__ __forceinline__ void measure_turn(const Complex<Real> (&ket)[1 << W], const Complex<Real> (&bra)[1 << W], bool uniform, unsigned odd,
                                             bool with_x, Real* y, Real* x) {
    Real sum = 0, other = 0;
    if (uniform) {
        Real less = 0;
#pragma unroll
        for (int p = 0; p < (1 << W) / 2; ++p) {
            const int i = lower<J>(p), h = i | 1 << J;
            sum += bra[h].re * ket[i].re;
            less += bra[i].re * ket[h].re;
            sum += bra[h].im * ket[i].im;
            less += bra[i].im * ket[h].im;
        }
        sum -= less;
    } else {
#pragma unroll
        for (int p = 0; p < (1 << W) / 2; ++p) {
            const int i = lower<J>(p), h = i | 1 << J;
            const Real value = overlap_re(bra[h], ket[i]) - overlap_re(bra[i], ket[h]);
            sum += odd >> i & 1 ? -value : value;
        }
    }
    *y = uniform ? signed_by(sum, odd) : sum;
    if (with_x) {
#pragma unroll
        for (int p = 0; p < (1 << W) / 2; ++p) {
            const int i = lower<J>(p), h = i | 1 << J;
            other += overlap_im(bra[i], ket[h]) + overlap_im(bra[h], ket[i]);
        }
    }
    *x = other;
}

// A layer of RY, at most one on each register bit, in ascending order. Words: the first slot, 0, 0; four functionals, four coefficients, and four
// flags of the register bits (1: there is one, 2: batched, 4: <Y> wanted, 8: <X> wanted, 16: that only if the rotation is not steep, see RY.is_steep of planner/tape.py).
template <bool undo, int J, class Real, int W, bool warp>
__device__ __forceinline__ void turn_bit(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W],
                                         Real (&values)[8], unsigned& valid) {
    const int flags = words[11 + J];
    if (!(flags & 1)) return;
    const unsigned functional = static_cast<unsigned>(words[3 + J]);
    const Complex<Real> coefficients = tile.pair(words[7 + J], flags & 2);
    const Real a = coefficients.re, b = coefficients.im;
    const bool uniform = (functional & ((1u << W) - 1)) == 1u << J;
    // register i, which has bit J clear, is on the side of bit i
    const unsigned odd = uniform ? __popc(functional & tile.position()) : tile.pattern(functional);
    if (undo && flags & 4) {
        const bool is_steep = Real(steep - 0.1) * fabs(2 * a * b) >= a * a + b * b;  // never where it is not, for all the rounding
        measure_turn<J, Real, W>(ket, bra, uniform, odd, flags & 8 && !(flags & 16 && is_steep), &values[2 * J], &values[2 * J + 1]);
        valid |= (flags & 8 ? 3u : 1u) << 2 * J;
    }
    turn<undo, J, Real, W>(ket, bra, a, undo ? -b : b, uniform, odd);
}

template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void turns(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    Real values[8] = {};
    unsigned valid = 0;
    if (!undo) {
        turn_bit<undo, 0>(tile, words, ket, bra, values, valid);
        if constexpr (W > 1) turn_bit<undo, 1>(tile, words, ket, bra, values, valid);
        if constexpr (W > 2) turn_bit<undo, 2>(tile, words, ket, bra, values, valid);
        if constexpr (W > 3) turn_bit<undo, 3>(tile, words, ket, bra, values, valid);
        return;
    }
    if constexpr (W > 3) turn_bit<undo, 3>(tile, words, ket, bra, values, valid);
    if constexpr (W > 2) turn_bit<undo, 2>(tile, words, ket, bra, values, valid);
    if constexpr (W > 1) turn_bit<undo, 1>(tile, words, ket, bra, values, valid);
    turn_bit<undo, 0>(tile, words, ket, bra, values, valid);
    if (valid) tile.template add_up<8>(values, words[0], valid);
}

// The same of a plain layer: each register bit has one, its functional is that bit and others that the group shares, its coefficients are the batch's;
// undone, <Y> is wanted of each, and <X> where the rotation is not steep: the first slots are those of <Y>.
template <bool undo, int J, class Real, int W, bool warp>
__device__ __forceinline__ void plain_bit(const Tile<Real, W, warp>& tile, int functional, int coefficient, Complex<Real> (&ket)[1 << W],
                                          Complex<Real> (&bra)[1 << W], Real (&y)[4], Real (&x)[4], bool& flat) {
    const Complex<Real> pair = tile.pair(coefficient, false);
    const unsigned odd = __popc(static_cast<unsigned>(functional) & tile.position());
    if (undo) {
        const bool is_flat = Real(steep - 0.1) * fabs(2 * pair.re * pair.im) < pair.re * pair.re + pair.im * pair.im;  // always where it is, for all the rounding
        measure_turn<J, Real, W>(ket, bra, true, odd, is_flat, &y[J], &x[J]);
        flat |= is_flat;
    }
    turn<undo, J, Real, W>(ket, bra, pair.re, undo ? -pair.im : pair.im, true, odd);
}

template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void plain_turns(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    Real y[4] = {}, x[4] = {};
    bool flat = false;
    const Words<4> functionals = read<4>(words + 3), coefficients = read<4>(words + 7);
#define FUSEDQML_BIT(J) \
    if constexpr (J < W) plain_bit<undo, J>(tile, functionals.at[J], coefficients.at[J], ket, bra, y, x, flat)
    if (undo) {
        FUSEDQML_BIT(3);
        FUSEDQML_BIT(2);
        FUSEDQML_BIT(1);
        FUSEDQML_BIT(0);
        tile.template add_up<4>(y, words[0], (1u << W) - 1);
        if (flat) tile.template add_up<4>(x, words[0] + W, (1u << W) - 1);
    } else {
        FUSEDQML_BIT(0);
        FUSEDQML_BIT(1);
        FUSEDQML_BIT(2);
        FUSEDQML_BIT(3);
    }
#undef FUSEDQML_BIT
}

template <class Real> struct Matrix {
    Complex<Real> m00, m01, m10, m11;
};

// `odd`: bit i set where the two sides change places.
template <int J, class Real, int W>
__device__ __forceinline__ void multiply(Complex<Real> (&v)[1 << W], const Matrix<Real>& m, unsigned odd) {
#pragma unroll
    for (int p = 0; p < (1 << W) / 2; ++p) {
        Complex<Real>&x = v[lower<J>(p)], &y = v[lower<J>(p) | 1 << J];
        const bool swapped = odd >> lower<J>(p) & 1;
        const Complex<Real> a = swapped ? y : x, b = swapped ? x : y;
        Complex<Real> first = m.m00 * a, second = m.m10 * a;
        add_product(first, m.m01, b);
        add_product(second, m.m11, b);
        x = swapped ? second : first;
        y = swapped ? first : second;
    }
}

// A 2x2 matrix. Words: slot (-1: no overlaps), functional, coefficient, batched.
template <bool undo, int J, class Real, int W, bool warp>
__device__ __forceinline__ void unitary(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    const unsigned functional = static_cast<unsigned>(words[1]);
    const bool batched = words[3], uniform = (functional & ((1u << W) - 1)) == 1u << J;
    const unsigned odd = tile.pattern(functional);
    Matrix<Real> m = {{tile.number(words[2], batched, 0), tile.number(words[2], batched, 1)},
                      {tile.number(words[2], batched, 2), tile.number(words[2], batched, 3)},
                      {tile.number(words[2], batched, 4), tile.number(words[2], batched, 5)},
                      {tile.number(words[2], batched, 6), tile.number(words[2], batched, 7)}};
    if (undo) {
        if (words[0] >= 0) {
            Real values[4] = {};
            measure_turn<J, Real, W>(ket, bra, uniform, odd, true, &values[1], &values[0]);
#pragma unroll
            for (int i = 0; i < 1 << W; ++i) {
                const Real value = overlap_im(bra[i], ket[i]);
                values[2] += odd >> i & 1 ? -value : value;
            }
            tile.template add_up<4>(values, words[0], 7u);
        }
        m = {conj(m.m00), conj(m.m10), conj(m.m01), conj(m.m11)};
    }
    if (uniform && odd & 1) m = {m.m11, m.m10, m.m01, m.m00};
    if (uniform) {
        multiply<J, Real, W>(ket, m, 0u);
        if (undo) multiply<J, Real, W>(bra, m, 0u);
    } else {
        multiply<J, Real, W>(ket, m, odd);
        if (undo) multiply<J, Real, W>(bra, m, odd);
    }
}

// v' = a v + (-1j)**(power + 1) b (-1)**z partner, on the selected pairs.
template <int J, class Real, int W>
__device__ __forceinline__ void rotate(Complex<Real> (&v)[1 << W], Real a, Real b, int power, unsigned odd, unsigned selected) {
#pragma unroll
    for (int p = 0; p < (1 << W) / 2; ++p) {
        const int i = lower<J>(p), h = i | 1 << J;
        const Complex<Real> x = v[i], y = v[h];
        const bool minus = power == 0 || power == 1;  // (-1j)**(power + 1) is -1j, -1, 1j, 1
        const Real s = (odd >> i & 1) != minus ? -b : b, r = (odd >> h & 1) != minus ? -b : b;
        Complex<Real> first, second;
        if (power & 1) {
            first = {a * x.re + s * y.re, a * x.im + s * y.im};
            second = {a * y.re + r * x.re, a * y.im + r * x.im};
        } else {
            first = {a * x.re - s * y.im, a * x.im + s * y.re};
            second = {a * y.re - r * x.im, a * y.im + r * x.re};
        }
        if (selected >> i & 1) {
            v[i] = first;
            v[h] = second;
        }
    }
}

template <class Real, int W, bool warp> __device__ __forceinline__ unsigned selection(const Tile<Real, W, warp>& tile, const int* controls, int count) {
    unsigned selected = ~0u;
    for (int k = 0; k < count; ++k) selected &= tile.pattern(static_cast<unsigned>(controls[k]));
    return selected;
}

// A controlled Pauli rotation. Words: slot (-1: no overlap), sign functional, coefficient, batched, power, number of controls, controls.
template <bool undo, int J, class Real, int W, bool warp>
__device__ __forceinline__ void pauli(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    const unsigned odd = tile.pattern(static_cast<unsigned>(words[1])), selected = selection(tile, words + 6, words[5]);
    const Real a = tile.number(words[2], words[3], 0), b = tile.number(words[2], words[3], 1);
    const int power = words[4];
    if (undo) {
        if (words[0] >= 0) {
            Real values[1] = {};
#pragma unroll
            for (int i = 0; i < 1 << W; ++i) {
                const Complex<Real> l = bra[i], k = ket[i ^ 1 << J];
                const Real value = power & 1 ? overlap_re(l, k) : overlap_im(l, k);
                if (selected >> i & 1) values[0] += odd >> i & 1 ? -value : value;
            }
            // (-1j)**power is 1, -1j, -1, 1j: the imaginary part of its product with w is Im w, -Re w, -Im w, Re w
            if (power == 1 || power == 2) values[0] = -values[0];
            tile.template add_up<1>(values, words[0], 1u);
        }
        rotate<J, Real, W>(bra, a, -b, power, odd, selected);
    }
    rotate<J, Real, W>(ket, a, undo ? -b : b, power, odd, selected);
}

// A controlled phase, the Pauli rotation without a flip; the same words.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void phase(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    const unsigned odd = tile.pattern(static_cast<unsigned>(words[1])), selected = selection(tile, words + 6, words[5]);
    const Real a = tile.number(words[2], words[3], 0), b = tile.number(words[2], words[3], 1);
    const bool minus = words[4] == 0;  // the power is 0 or 2: a -+ 1j b
    Real values[1] = {};
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) {
        const bool negative = (odd >> i & 1) != minus;
        const Real s = negative != undo ? -b : b;
        const Complex<Real> k = ket[i], l = bra[i], factor = {a, s};
        if (!(selected >> i & 1)) continue;
        if (undo) {
            const Real value = overlap_im(l, k);
            values[0] += negative ? value : -value;
            bra[i] = factor * l;
        }
        ket[i] = factor * k;
    }
    if (undo && words[0] >= 0) tile.template add_up<1>(values, words[0], 1u);
}

}  // namespace fusedqml
