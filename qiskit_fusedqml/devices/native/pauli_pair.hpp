// Diagonals of two qubits, and what is added to their Z.
#pragma once
#include "pauli_affine.hpp"

namespace fusedqml {
namespace {

constexpr int letter_z = 3;

// r[b, Z] += gain r[b, I] for the letters of the first qubit (step 1) or the second (step 4); transposed: r[b, I] += gain r[b, Z].
template <int step, bool transposed, class Vec> FQ_INLINE void add_shift(Vec* r, Vec gain) {
    FQ_UNROLL
    for (int i = 0; i < 4; ++i) {
        Vec* at = r + (4 / step) * i;
        if (transposed) at[0] += gain * at[letter_z * step];
        else at[letter_z * step] += gain * at[0];
    }
}

// A pair, its inverse or the transpose of either on 16 rows; scales and gains are those of the map or of its inverse.
template <bool inverse, bool transposed, bool first, bool second, class Vec>
FQ_INLINE void pair_map(Vec* r, const Vec* table) {
    const Vec gains[2] = {inverse ? -table[16] : table[16], inverse ? -table[17] : table[17]};
    if (inverse == transposed) {   // scales come first
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) r[i] *= table[i];
        if (first) add_shift<1, transposed>(r, gains[0]);
        if (second) add_shift<4, transposed>(r, gains[1]);
    } else {
        if (second) add_shift<4, transposed>(r, gains[1]);
        if (first) add_shift<1, transposed>(r, gains[0]);
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) r[i] *= table[i];
    }
}

template <class S, bool inverse, bool transposed, bool first, bool second>
void pair_rows(const PauliOp& op, const typename S::Vec* table, typename S::Vec* rows) {
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        const uint32_t u = op.rows[0][k];
        typename S::Vec r[16];
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) r[i] = rows[u ^ op.vectors[i]];
        pair_map<inverse, transposed, first, second>(r, table);
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) rows[u ^ op.vectors[i]] = r[i];
    }
}

template <class S, bool inverse, bool transposed>
void pair_vector(const PauliTile<S>& tile, const PauliOp& op, typename S::Vec* rows) {
    const double* from = (inverse ? tile.call.inverse_pairs : tile.call.pairs) + 18 * op.coefficient;
    typename S::Vec table[18];
    for (int i = 0; i < 18; ++i) table[i] = S::splat(static_cast<typename S::T>(from[i]));
    if (op.shifts[0] && op.shifts[1]) pair_rows<S, inverse, transposed, true, true>(op, table, rows);
    else if (op.shifts[0]) pair_rows<S, inverse, transposed, true, false>(op, table, rows);
    else if (op.shifts[1]) pair_rows<S, inverse, transposed, false, true>(op, table, rows);
    else pair_rows<S, inverse, transposed, false, false>(op, table, rows);
}

// dE/dS and dE/dgains from the ket before and the bra after the operation.
template <class S> void measure_pair(const PauliTile<S>& tile, const PauliOp& op) {
    using Vec = typename S::Vec;
    const double* from = tile.call.pairs + 18 * op.coefficient;
    Vec table[18], m[18] = {};
    for (int i = 0; i < 18; ++i) table[i] = S::splat(static_cast<typename S::T>(from[i]));
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        Vec r[16], o[16];
        for (int i = 0; i < 16; ++i) r[i] = tile.ket[op.rows[0][k] ^ op.vectors[i]], o[i] = tile.bra[op.rows[0][k] ^ op.vectors[i]];
        Vec scaled[16];
        for (int i = 0; i < 16; ++i) scaled[i] = table[i] * r[i];
        add_shift<1, false>(scaled, table[16]);
        for (int a = 0; a < 4; ++a) m[17] += o[12 + a] * scaled[a];
        add_shift<4, true>(o, table[17]);
        for (int b = 0; b < 4; ++b) m[16] += o[4 * b + letter_z] * table[4 * b] * r[4 * b];
        add_shift<1, true>(o, table[16]);
        for (int i = 0; i < 16; ++i) m[i] += o[i] * r[i];
    }
    for (int i = 0; i < 18; ++i) flush<S>(tile.overlap(op.overlap + i), m[i]);
}

template <class S, Way way> void pair(const PauliTile<S>& tile, const PauliOp& op) {
    if (way == Way::forward) return pair_vector<S, false, false>(tile, op, tile.ket);
    if (way == Way::backward_bra) return pair_vector<S, false, true>(tile, op, tile.bra);
    if (way == Way::backward) pair_vector<S, true, false>(tile, op, tile.ket);
    else pair_vector<S, true, true>(tile, op, tile.bra);
    if (op.overlap >= 0) measure_pair(tile, op);
    if (way == Way::backward) pair_vector<S, false, true>(tile, op, tile.bra);
    else pair_vector<S, false, false>(tile, op, tile.ket);
}

}  // namespace
}  // namespace fusedqml
