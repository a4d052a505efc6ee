// Tables of phases as products: exp(-1j sum_t h_t (-1)**f_t(i)) for all i, where few angles meet in each bit of i.
//
// Bit k doubles what is there: with D(i) = exp(-1j sum h_t (-1)**f_t(i)) over the terms whose highest bit is k, without that bit,
// entry i becomes T(i) D(i) and entry i + 2**k becomes T(i) conj D(i). D takes 2**r values for r functionals; where these are many it is
// a table made in the same way. So a table takes a complex product an entry instead of a sine and cosine.
#pragma once
#include "sine_cosine.hpp"

namespace fusedqml {
namespace {

// Some entries that are worked on together: neighbours in the table, or the lanes of one row.
template <class D, int count> struct PhaseCell {
    typename D::Vec re[count], im[count];
};

template <class D, int count> class PhaseProducts {
public:
    using Vec = typename D::Vec;
    using Cell = PhaseCell<D, count>;
    static constexpr int max_terms = 64;

    // The term h (-1)**parity(mask & cell's number), h by entry of a cell.
    void add(uint32_t mask, const Vec* half) {
        for (int t = 0; t < size_; ++t)
            if (terms_[t].mask == mask) return accumulate(terms_[t].angle, half, 1.0);
        terms_[size_] = {mask, size_};
        for (int c = 0; c < count; ++c) angles_[size_][c] = half[c];
        ++size_;
    }
    // Whether products take clearly fewer sines and cosines than one an entry; `bits`: log2 of the number of cells.
    bool pay(int bits) const {
        uint64_t phases = 1;
        for (int k = 0; k < bits; ++k) {
            int above = 0, in = 0;
            for (int t = 0; t < size_; ++t) {
                above += terms_[t].mask >> k == 1;
                in += terms_[t].mask == uint32_t(1) << k;
            }
            if (above) phases += uint64_t(1) << (above - in < most_signs ? above - in : most_signs);
        }
        return 2 * phases <= uint64_t(1) << bits;
    }
    // The table times a factor, 2**bits cells; scratch for as many cells.
    void build(int bits, double factor, Cell* out, Cell* scratch) {
        build(terms_, size_, bits, out, scratch);
        if (factor == 1.0) return;
        for (uint64_t i = 0; i < uint64_t(1) << bits; ++i)
            for (int c = 0; c < count; ++c) {
                out[i].re[c] *= factor;
                out[i].im[c] *= factor;
            }
    }

private:
    static constexpr int most_signs = 3;   // functionals whose signs choose D from a list
    struct Term {
        uint32_t mask;
        int32_t angle;
    };
    void accumulate(int to, const Vec* half, double sign) {
        for (int c = 0; c < count; ++c) angles_[to][c] += sign * half[c];
    }
    // exp(-1j h)
    static FQ_INLINE void phases(const Vec* half, Cell& out) {
        for (int c = 0; c < count; ++c) {
            sine_cosine<D>(reinterpret_cast<const double*>(half + c), reinterpret_cast<double*>(out.im + c),
                           reinterpret_cast<double*>(out.re + c));
            out.im[c] = -out.im[c];
        }
    }
    // a *= d; b = a conj d
    static FQ_INLINE void double_cell(const Cell& d, Cell& a, Cell& b) {
        FQ_UNROLL
        for (int c = 0; c < count; ++c) {
            const Vec same = a.re[c] * d.re[c], other = a.im[c] * d.im[c], re = a.im[c] * d.re[c], im = a.re[c] * d.im[c];
            a.re[c] = same - other;
            a.im[c] = re + im;
            b.re[c] = same + other;
            b.im[c] = re - im;
        }
    }
    void build(const Term* terms, int size, int bits, Cell* out, Cell* scratch) {
        Vec constant[count] = {};
        for (int t = 0; t < size; ++t)
            if (!terms[t].mask)
                for (int c = 0; c < count; ++c) constant[c] += angles_[terms[t].angle][c];
        phases(constant, out[0]);
        for (int k = 0; k < bits; ++k) {
            Term group[max_terms];
            Vec unit[count] = {};
            bool any = false;
            int signs = 0;
            for (int t = 0; t < size; ++t) {
                if (terms[t].mask >> k != 1) continue;
                any = true;
                const Term rest{terms[t].mask ^ uint32_t(1) << k, terms[t].angle};
                if (rest.mask) group[signs++] = rest;
                else for (int c = 0; c < count; ++c) unit[c] = angles_[rest.angle][c];
            }
            Cell* const upper = out + (size_t(1) << k);
            if (!any) __builtin_memcpy(static_cast<void*>(upper), out, sizeof(Cell) << k);
            else if (signs <= most_signs) by_signs(group, signs, unit, k, out, upper);
            else by_table(group, signs, unit, k, out, upper, scratch);
        }
    }
    void by_signs(const Term* group, int signs, const Vec* unit, int k, Cell* out, Cell* upper) {
        Cell values[1 << most_signs];
        for (int code = 0; code < 1 << signs; ++code) {
            Vec half[count];
            for (int c = 0; c < count; ++c) {
                half[c] = unit[c];
                for (int t = 0; t < signs; ++t) half[c] += (code >> t & 1 ? -1.0 : 1.0) * angles_[group[t].angle][c];
            }
            phases(half, values[code]);
        }
        int changes[32], code = 0;
        for (int bit = 0; bit < k; ++bit) {
            changes[bit] = 0;
            for (int t = 0; t < signs; ++t) changes[bit] |= parity(group[t].mask & ((uint32_t(2) << bit) - 1)) << t;
        }
        for (uint64_t i = 0;;) {
            double_cell(values[code], out[i], upper[i]);
            if (++i == uint64_t(1) << k) return;
            code ^= changes[trailing_zeros(i)];
        }
    }
    void by_table(Term* group, int signs, const Vec* unit, int k, Cell* out, Cell* upper, Cell* scratch) {
        Cell factor;
        phases(unit, factor);
        build(group, signs, k, scratch, scratch + (size_t(1) << k));
        for (uint64_t i = 0; i < uint64_t(1) << k; ++i) {
            Cell d;
            for (int c = 0; c < count; ++c) {
                d.re[c] = scratch[i].re[c] * factor.re[c] - scratch[i].im[c] * factor.im[c];
                d.im[c] = scratch[i].re[c] * factor.im[c] + scratch[i].im[c] * factor.re[c];
            }
            double_cell(d, out[i], upper[i]);
        }
    }

    Term terms_[max_terms];
    Vec angles_[max_terms][count];
    int size_ = 0;
};

}  // namespace
}  // namespace fusedqml
