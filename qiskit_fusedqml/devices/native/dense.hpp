// Dense matrices on virtual qubits: gathered vectors times the matrix.
#pragma once
#include "unitary.hpp"

namespace fusedqml {
namespace {

constexpr int dense_room = 128;  // rows gathered at a time

// Where the 2**k rows of a matrix lie, from its first one, and how they are ordered in each lane.
template <class S> struct DenseRows {
    using Vec = typename S::Vec;
    int size, lane_bits;
    uint32_t* offsets;
    uint32_t twist[max_lane_bits];             // per lane bit: the XOR on the matrix index in lanes where the bit is set
    typename S::IntVec lanes[max_lane_bits];

    DenseRows(const Tile<S>& tile, const DenseMatrix& op) : size(1 << op.k), lane_bits(tile.call.lane_bits), offsets(static_cast<uint32_t*>(tile.scratch.dense)) {
        offsets[0] = 0;
        uint32_t flipped = 0;
        for (int i = 0; i < op.k; ++i) flipped |= uint32_t(tile.odd(op.sides[i].outer)) << i;
        for (int bit = 0; bit < op.k; ++bit)
            if (flipped >> bit & 1) offsets[0] ^= op.xs[bit];
        for (int i = 1; i < size; ++i) offsets[i] = offsets[i & (i - 1)] ^ op.xs[trailing_zeros(uint64_t(i))];
        for (int lane = 0; lane < lane_bits; ++lane) {
            twist[lane] = 0;
            for (int i = 0; i < op.k; ++i) twist[lane] |= (op.sides[i].lanes >> lane & 1) << i;
            uint32_t set = 0;
            for (uint32_t number = 0; number < uint32_t(1) << lane_bits; ++number) set |= (number >> lane & 1) << number;
            lanes[lane] = tile.lane_mask(set);
        }
    }
    void reorder(Vec* rows) const {
        for (int lane = 0; lane < lane_bits; ++lane)
            for (uint32_t i = 0; twist[lane] && i < uint32_t(size); ++i) {
                const uint32_t other = i ^ twist[lane];
                for (int part = 0; i < other && part < S::components; ++part) {
                    Vec &one = rows[S::components * int(i) + part], &two = rows[S::components * int(other) + part];
                    const Vec a = one, b = two;
                    one = S::select(lanes[lane], b, a);
                    two = S::select(lanes[lane], a, b);
                }
            }
    }
    void load(const Vec* data, uint32_t row, Vec* rows) const {
        for (int i = 0; i < size; ++i) Amplitude<S>::at(data, row ^ offsets[i]).store(rows, i);
        reorder(rows);
    }
    void store(Vec* data, uint32_t row, Vec* rows) const {
        reorder(rows);
        for (int i = 0; i < size; ++i) Amplitude<S>::at(rows, i).store(data, row ^ offsets[i]);
    }
};

// `count` rows of the product of a matrix with a vector
template <class S, int count>
FQ_INLINE void product_rows(const typename S::T* matrix, int size, const typename S::Vec* in, typename S::Vec* out) {
    Amplitude<S> sum[count] = {};
    for (int j = 0; j < size; ++j) {
        const Amplitude<S> x = Amplitude<S>::at(in, j);
        FQ_UNROLL
        for (int i = 0; i < count; ++i) {
            const typename S::T re = matrix[2 * (i * size + j)];
            sum[i].re += re * x.re;
            if constexpr (S::components == 2) {
                const typename S::T im = matrix[2 * (i * size + j) + 1];
                sum[i].im += re * x.im;
                sum[i].re -= im * x.im;
                sum[i].im += im * x.re;
            }
        }
    }
    FQ_UNROLL
    for (int i = 0; i < count; ++i) sum[i].store(out, i);
}

template <class S>
void product(const typename S::T* matrix, int size, const typename S::Vec* in, typename S::Vec* out) {
    if (size == 2) return product_rows<S, 2>(matrix, size, in, out);
    for (int i = 0; i < size; i += 4) product_rows<S, 4>(matrix + 2 * i * size, size, in, out + S::components * i);
}

template <class S> void apply_dense(const Tile<S>& tile, const DenseMatrix& op, typename S::Vec* data) {
    const auto* matrix = static_cast<const typename S::T*>(tile.call.dense[op.coefficient]);
    const DenseRows<S> rows(tile, op);
    auto* in = reinterpret_cast<typename S::Vec*>(static_cast<char*>(tile.scratch.dense) + dense_row_bytes(op.k));
    auto* out = in + S::components * rows.size;
    const uint64_t count = tile.count(op.rows);
    uint32_t row = 0;
    for (uint64_t i = 0;;) {
        rows.load(data, row, in);
        product<S>(matrix, rows.size, in, out);
        rows.store(data, row, out);
        if (++i == count) return;
        row ^= op.rows.steps[trailing_zeros(i)];
    }
}

// M[i][j] += sum ket[i] conj(bra[j]) over `count` gathered vectors of `size` rows
template <class S>
void add_moments(int size, int count, const typename S::Vec* ket, const typename S::Vec* bra, double* sums) {
    for (int i = 0; i < size; ++i)
        for (int j = 0; j < size; j += 2) {
            Complex<S> sum[2] = {};
            for (int c = 0; c < count; ++c) {
                const Amplitude<S> k = Amplitude<S>::at(ket, c * size + i);
                for (int side = 0; side < 2; ++side) {
                    const Amplitude<S> b = Amplitude<S>::at(bra, c * size + j + side);
                    add_re<S>(sum[side].re, b, k);
                    if constexpr (S::components == 2) add_im<S>(sum[side].im, b, k);
                }
            }
            for (int side = 0; side < 2; ++side) {
                flush<S>(sums + (i * size + j + side) * S::W, sum[side].re);
                flush<S>(sums + (size * size + i * size + j + side) * S::W, sum[side].im);
            }
        }
}

template <class S> void undo_dense(const Tile<S>& tile, const DenseMatrix& op) {
    if (op.overlap >= 0) {
        const DenseRows<S> rows(tile, op);
        typename S::Vec ket[S::components * dense_room], bra[S::components * dense_room];
        const uint64_t count = tile.count(op.rows), room = dense_room >> op.k;
        uint32_t row = 0;
        for (uint64_t i = 0; i < count;) {
            int filled = 0;
            for (; i < count && filled < int(room); ++filled) {
                rows.load(tile.ket, row, ket + S::components * filled * rows.size);
                rows.load(tile.bra, row, bra + S::components * filled * rows.size);
                row ^= op.rows.steps[trailing_zeros(++i)];
            }
            add_moments<S>(rows.size, filled, ket, bra, tile.sums + int64_t(op.overlap) * S::W);
        }
    }
    apply_dense(tile, op, tile.ket);
    apply_dense(tile, op, tile.bra);
}

}  // namespace
}  // namespace fusedqml
