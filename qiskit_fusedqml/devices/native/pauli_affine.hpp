// Affine maps of one qubit and pairs, on the rows of a tile.
#pragma once
#include "pauli_tape.hpp"
#include "tile.hpp"

namespace fusedqml {
namespace {

// What operations on a tile share.
template <class S> struct PauliTile {
    using T = typename S::T;
    using Vec = typename S::Vec;

    const PauliCall& call;
    int64_t group;
    uint64_t outer;
    Vec* ket;                      // [local row][lane]
    Vec* bra;
    double* sums;
    Vec sign;                      // (-1)**y of the outer row and the lane

    double* overlap(int64_t number) const { return sums + number * S::W; }
    // The vectors of a batched coefficient of `count` numbers.
    const Vec* batched(const void* all, int64_t number, int64_t count) const {
        return static_cast<const Vec*>(all) + (number * call.groups + group) * count;
    }
};

// Affine maps change sign where just one of the two letters is Y and y of the other qubits is odd.
constexpr bool has_one_y(int entry) { return (entry / 4 == 1) != (entry % 4 == 2); }

template <class S> FQ_INLINE void signed_map(const PauliTile<S>& tile, const PauliOp& op, const double* shared, const void* batched,
                                             typename S::Vec sign, typename S::Vec* map) {
    if (op.batched) {
        const typename S::Vec* from = tile.batched(batched, op.coefficient, 12);
        FQ_UNROLL
        for (int i = 0; i < 12; ++i) map[i] = has_one_y(i) ? from[i] * sign : from[i];
    } else {
        const double* from = shared + 12 * op.coefficient;
        FQ_UNROLL
        for (int i = 0; i < 12; ++i) {
            const typename S::Vec entry = S::splat(static_cast<typename S::T>(from[i]));
            map[i] = has_one_y(i) ? entry * sign : entry;
        }
    }
}

// r'[a] = sum_b map[a, b] r[b] of the letters X, Y, Z.
template <class Vec> FQ_INLINE void map_quad(const Vec* map, Vec* r) {
    const Vec x = map[0] * r[0] + map[1] * r[1] + map[2] * r[2] + map[3] * r[3];
    const Vec y = map[4] * r[0] + map[5] * r[1] + map[6] * r[2] + map[7] * r[3];
    const Vec z = map[8] * r[0] + map[9] * r[1] + map[10] * r[2] + map[11] * r[3];
    r[1] = x, r[2] = y, r[3] = z;
}

// The same with the transposed map, which leaves I no matter of its own.
template <class Vec> FQ_INLINE void map_quad_transposed(const Vec* map, Vec* r) {
    const Vec i = r[0] + map[0] * r[1] + map[4] * r[2] + map[8] * r[3];
    const Vec x = map[1] * r[1] + map[5] * r[2] + map[9] * r[3];
    const Vec y = map[2] * r[1] + map[6] * r[2] + map[10] * r[3];
    const Vec z = map[3] * r[1] + map[7] * r[2] + map[11] * r[3];
    r[0] = i, r[1] = x, r[2] = y, r[3] = z;
}

template <class Vec> FQ_INLINE void load_quad(const Vec* rows, const uint32_t* places, Vec* r) {
    FQ_UNROLL
    for (int i = 0; i < 4; ++i) r[i] = rows[places[i]];
}

template <class Vec> FQ_INLINE void store_quad(Vec* rows, const uint32_t* places, const Vec* r, int first) {
    FQ_UNROLL
    for (int i = 0; i < 4; ++i)
        if (i >= first) rows[places[i]] = r[i];
}

// One vector: the ket by `map`, or the bra by its transpose.
template <class S, bool transposed>
void affine_rows(const PauliOp& op, int parity, const typename S::Vec* map, typename S::Vec* rows) {
    typename S::Vec own[12];
    for (int i = 0; i < 12; ++i) own[i] = map[i];
    const uint32_t v1 = op.vectors[1], v2 = op.vectors[2], v3 = op.vectors[3];
    for (uint32_t k = 0; k < op.count[parity]; ++k) {
        const uint32_t u = op.rows[parity][k], places[4] = {u, u ^ v1, u ^ v2, u ^ v3};
        typename S::Vec r[4];
        load_quad(rows, places, r);
        if (transposed) map_quad_transposed(own, r);
        else map_quad(own, r);
        store_quad(rows, places, r, transposed ? 0 : 1);
    }
}

// Both vectors, and M[a, b] += bra[a] ket[b] with the ket before and the bra after the operation.
template <class S, bool back>
void affine_both(const PauliTile<S>& tile, const PauliOp& op, int parity, const typename S::Vec* ket_map,
                 const typename S::Vec* bra_map, typename S::Vec* sums) {
    using Vec = typename S::Vec;
    Vec m[12] = {};
    const uint32_t v1 = op.vectors[1], v2 = op.vectors[2], v3 = op.vectors[3];
    for (uint32_t k = 0; k < op.count[parity]; ++k) {
        const uint32_t u = op.rows[parity][k], places[4] = {u, u ^ v1, u ^ v2, u ^ v3};
        Vec r[4], o[4];
        load_quad(tile.ket, places, r);
        load_quad(tile.bra, places, o);
        if (back) map_quad(ket_map, r);
        else map_quad_transposed(bra_map, o);
        FQ_UNROLL
        for (int i = 0; i < 12; ++i) m[i] += o[1 + i / 4] * r[i % 4];
        if (back) map_quad_transposed(bra_map, o);
        else map_quad(ket_map, r);
        store_quad(tile.ket, places, r, 1);
        store_quad(tile.bra, places, o, 0);
    }
    for (int i = 0; i < 12; ++i) sums[i] = m[i];
}

template <class S, Way way> void affine(const PauliTile<S>& tile, const PauliOp& op) {
    using Vec = typename S::Vec;
    constexpr bool ket_inverse = way == Way::backward, bra_inverse = way == Way::joint;
    const PauliCall& call = tile.call;
    const bool measured = way != Way::forward && way != Way::backward_bra && op.overlap >= 0;
    Vec total[12] = {};
    for (int parity = 0; parity < 2; ++parity) {
        const Vec sign = parity ? -tile.sign : tile.sign;
        Vec ket_map[12] = {}, bra_map[12] = {}, sums[12];
        if (way != Way::backward_bra)
            signed_map(tile, op, ket_inverse ? call.inverse_affine : call.affine,
                       ket_inverse ? call.inverse_batched_affine : call.batched_affine, sign, ket_map);
        if (way != Way::forward)
            signed_map(tile, op, bra_inverse ? call.inverse_affine : call.affine,
                       bra_inverse ? call.inverse_batched_affine : call.batched_affine, sign, bra_map);
        if (measured) {
            affine_both<S, way == Way::backward>(tile, op, parity, ket_map, bra_map, sums);
            for (int i = 0; i < 12; ++i) total[i] += has_one_y(i) ? sums[i] * sign : sums[i];
            continue;
        }
        if (way != Way::backward_bra) affine_rows<S, false>(op, parity, ket_map, tile.ket);
        if (way != Way::forward) affine_rows<S, true>(op, parity, bra_map, tile.bra);
    }
    if (!measured) return;
    for (int i = 0; i < 12; ++i) flush<S>(tile.overlap(op.overlap + i), total[i]);
}

}  // namespace
}  // namespace fusedqml
