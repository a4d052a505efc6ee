// Affine maps of one qubit on the rows of a tile.
#pragma once
#include "pauli_tile.hpp"

namespace fusedqml {
namespace {

// Affine maps change sign where just one of the two letters is Y and y of the other qubits is odd.
constexpr bool has_one_y(int entry) { return (entry / 4 == 1) != (entry % 4 == 2); }

// sum + map[entry] r, with the sign of the entry.
template <bool odd, class Vec> FQ_INLINE Vec add_entry(int entry, Vec sum, Vec number, Vec r) {
    return odd && has_one_y(entry) ? sum - number * r : sum + number * r;
}

// r'[a] = sum_b map[a, b] r[b] of the letters X, Y, Z; unital: without I.
template <bool odd, bool unital, class Map, class Vec> FQ_INLINE void map_quad(const Map& map, Vec* r) {
    Vec to[3] = {};
    FQ_UNROLL
    for (int i = 0; i < 12; ++i)
        if (!unital || i % 4) to[i / 4] = add_entry<odd>(i, to[i / 4], map[i], r[i % 4]);
    FQ_UNROLL
    for (int a = 0; a < 3; ++a) r[1 + a] = to[a];
}

// The same with the transposed map; unital: I stays as it is.
template <bool odd, bool unital, class Map, class Vec> FQ_INLINE void map_quad_transposed(const Map& map, Vec* r) {
    Vec to[4] = {r[0]};
    FQ_UNROLL
    for (int i = 0; i < 12; ++i)
        if (!unital || i % 4) to[i % 4] = add_entry<odd>(i, to[i % 4], map[i], r[1 + i / 4]);
    FQ_UNROLL
    for (int a = 0; a < 4; ++a) r[a] = to[a];
}

template <int first, class Vec> FQ_INLINE void load_quad(const Vec* rows, const uint32_t* places, Vec* r) {
    FQ_UNROLL
    for (int i = first; i < 4; ++i) r[i] = rows[places[i]];
}

template <int first, class Vec> FQ_INLINE void store_quad(Vec* rows, const uint32_t* places, const Vec* r) {
    FQ_UNROLL
    for (int i = first; i < 4; ++i) rows[places[i]] = r[i];
}

// One vector: the ket by the map, or the bra by its transpose.
template <class S, bool transposed, bool in_lanes, bool unital, bool odd>
void affine_rows(const PauliOp& op, int parity, uint32_t coset, const Spread<S, in_lanes>& map, typename S::Vec* rows) {
    constexpr int first = unital ? 1 : 0;
    const uint32_t v1 = op.vectors[1], v2 = op.vectors[2], v3 = op.vectors[3];
    for (uint32_t k = 0; k < op.count[parity]; ++k) {
        const uint32_t u = op.rows[parity][k] ^ coset, places[4] = {u, u ^ v1, u ^ v2, u ^ v3};
        typename S::Vec r[4] = {};
        load_quad<first>(rows, places, r);
        if (transposed) map_quad_transposed<odd, unital>(map, r);
        else map_quad<odd, unital>(map, r);
        store_quad<transposed ? first : 1>(rows, places, r);
    }
}

// Both vectors, and M[a, b] += bra[a] ket[b] with the ket before and the bra after the operation.
template <class S, bool back, bool in_lanes, bool unital, bool odd>
void affine_both(const PauliTile<S>& tile, const PauliOp& op, int parity, uint32_t coset, const Spread<S, in_lanes>& ket_map,
                 const Spread<S, in_lanes>& bra_map, typename S::Vec* sums) {
    using Vec = typename S::Vec;
    constexpr int first = unital ? 1 : 0;
    Vec m[12];
    for (int i = 0; i < 12; ++i) m[i] = sums[i];
    const uint32_t v1 = op.vectors[1], v2 = op.vectors[2], v3 = op.vectors[3];
    for (uint32_t k = 0; k < op.count[parity]; ++k) {
        const uint32_t u = op.rows[parity][k] ^ coset, places[4] = {u, u ^ v1, u ^ v2, u ^ v3};
        Vec r[4], o[4] = {};
        load_quad<0>(tile.ket, places, r);
        load_quad<first>(tile.bra, places, o);
        if (back) map_quad<odd, unital>(ket_map, r);
        else map_quad_transposed<odd, unital>(bra_map, o);
        FQ_UNROLL
        for (int i = 0; i < 12; ++i) m[i] = add_entry<odd>(i, m[i], o[1 + i / 4], r[i % 4]);
        if (back) map_quad_transposed<odd, unital>(bra_map, o);
        else map_quad<odd, unital>(ket_map, r);
        store_quad<1>(tile.ket, places, r);
        store_quad<first>(tile.bra, places, o);
    }
    for (int i = 0; i < 12; ++i) sums[i] = m[i];
}

template <class S> bool is_zero(typename S::Vec a) {
    bool zero = true;
    for (int lane = 0; lane < S::W; ++lane) zero &= a[lane] == 0;
    return zero;
}

// The numbers of one of the two maps.
template <class S>
void prepare_map(const PauliTile<S>& tile, const PauliOp& op, const double* shared, const void* batched, int which, PreparedOp<S>& to) {
    using T = typename S::T;
    if (!op.batched) {
        for (int i = 0; i < 12; ++i) to.numbers[which][i] = static_cast<T>(shared[12 * op.coefficient + i]);
        to.unital = to.unital && to.numbers[which][0] == 0 && to.numbers[which][4] == 0 && to.numbers[which][8] == 0;
        for (int i = 0; to.in_lanes && i < 12; ++i)
            to.vectors[which][i] = has_one_y(i) ? tile.sign * to.numbers[which][i] : S::splat(to.numbers[which][i]);
        return;
    }
    const typename S::Vec* from = tile.batched(batched, op.coefficient, 12);
    for (int i = 0; i < 12; ++i) to.vectors[which][i] = has_one_y(i) ? tile.sign * from[i] : from[i];
    to.unital = to.unital && is_zero<S>(from[0]) && is_zero<S>(from[4]) && is_zero<S>(from[8]);
}

template <class S, Way way> void prepare_affine(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& to) {
    constexpr bool ket_inverse = way == Way::backward, bra_inverse = way == Way::joint;
    const PauliCall& call = tile.call;
    to.in_lanes = op.batched || tile.has_row_lanes();
    to.unital = true;
    if (way != Way::backward_bra)
        prepare_map<S>(tile, op, ket_inverse ? call.inverse_affine : call.affine,
                       ket_inverse ? call.inverse_batched_affine : call.batched_affine, 0, to);
    if (way != Way::forward)
        prepare_map<S>(tile, op, bra_inverse ? call.inverse_affine : call.affine,
                       bra_inverse ? call.inverse_batched_affine : call.batched_affine, 1, to);
    for (int i = 0; i < 12; ++i) to.sums[i] = typename S::Vec{};
}

template <class S, Way way, bool in_lanes, bool unital, bool odd>
void affine_list(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, int parity, uint32_t coset) {
    Spread<S, in_lanes> ket, bra;
    if constexpr (in_lanes) ket.from = numbers.vectors[0], bra.from = numbers.vectors[1];
    else ket.from = numbers.numbers[0], bra.from = numbers.numbers[1];
    constexpr bool both = way == Way::backward || way == Way::joint;
    if (both && op.overlap >= 0)
        return affine_both<S, way == Way::backward, in_lanes, unital, odd>(tile, op, parity, coset, ket, bra, numbers.sums);
    if (way != Way::backward_bra) affine_rows<S, false, in_lanes, unital, odd>(op, parity, coset, ket, tile.ket);
    if (way != Way::forward) affine_rows<S, true, in_lanes, unital, odd>(op, parity, coset, bra, tile.bra);
}

template <class S, Way way, bool in_lanes, bool unital>
void affine_lists(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, uint32_t coset, bool odd) {
    affine_list<S, way, in_lanes, unital, false>(tile, op, numbers, odd, coset);
    affine_list<S, way, in_lanes, unital, true>(tile, op, numbers, !odd, coset);
}

template <class S, Way way>
void run_affine(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, uint32_t coset, bool odd) {
    if (numbers.in_lanes) {
        if (numbers.unital) affine_lists<S, way, true, true>(tile, op, numbers, coset, odd);
        else affine_lists<S, way, true, false>(tile, op, numbers, coset, odd);
    } else {
        if (numbers.unital) affine_lists<S, way, false, true>(tile, op, numbers, coset, odd);
        else affine_lists<S, way, false, false>(tile, op, numbers, coset, odd);
    }
}

template <class S> void flush_affine(const PauliTile<S>& tile, const PauliOp& op, const PreparedOp<S>& numbers) {
    for (int i = 0; i < 12; ++i)
        flush<S>(tile.sums + (op.overlap + i) * S::W, has_one_y(i) ? numbers.sums[i] * tile.sign : numbers.sums[i]);
}

}  // namespace
}  // namespace fusedqml
