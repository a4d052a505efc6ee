// Diagonals of two qubits, and what is added to their Z.
#pragma once
#include "pauli_tile.hpp"

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
template <bool inverse, bool transposed, bool first, bool second, class Vec, class Table>
FQ_INLINE void pair_map(Vec* r, const Table& table) {
    const auto shift = [&] {
        if (first) add_shift<1, transposed>(r, inverse ? -table[16] : table[16]);
        if (second) add_shift<4, transposed>(r, inverse ? -table[17] : table[17]);
    };
    if (inverse != transposed) shift();  // the two shifts commute
    FQ_UNROLL
    for (int i = 0; i < 16; ++i) r[i] *= table[i];
    if (inverse == transposed) shift();
}

template <class S, bool inverse, bool transposed, bool first, bool second>
void pair_rows(const PauliOp& op, const typename S::T* numbers, uint32_t coset, typename S::Vec* rows) {
    const Spread<S, false> table{numbers};
    uint32_t vectors[16];
    for (int i = 0; i < 16; ++i) vectors[i] = op.vectors[i];
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        const uint32_t u = op.rows[0][k] ^ coset;
        typename S::Vec r[16];
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) r[i] = rows[u ^ vectors[i]];
        pair_map<inverse, transposed, first, second>(r, table);
        FQ_UNROLL
        for (int i = 0; i < 16; ++i) rows[u ^ vectors[i]] = r[i];
    }
}

template <class S, bool inverse, bool transposed>
void pair_vector(const PauliOp& op, const typename S::T* numbers, uint32_t coset, typename S::Vec* rows) {
    if (op.shifts[0] && op.shifts[1]) pair_rows<S, inverse, transposed, true, true>(op, numbers, coset, rows);
    else if (op.shifts[0]) pair_rows<S, inverse, transposed, true, false>(op, numbers, coset, rows);
    else if (op.shifts[1]) pair_rows<S, inverse, transposed, false, true>(op, numbers, coset, rows);
    else pair_rows<S, inverse, transposed, false, false>(op, numbers, coset, rows);
}

// dE/dS and dE/dgains from the ket before and the bra after the operation, `numbers` being those of the map itself.
template <class S> void measure_pair(const PauliTile<S>& tile, const PauliOp& op, const typename S::T* numbers, uint32_t coset, typename S::Vec* m) {
    using Vec = typename S::Vec;
    const Spread<S, false> table{numbers};
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        Vec r[16], o[16], scaled[16];
        for (int i = 0; i < 16; ++i) {
            const uint32_t u = op.rows[0][k] ^ coset ^ op.vectors[i];
            r[i] = tile.ket[u], o[i] = tile.bra[u], scaled[i] = table[i] * r[i];
        }
        add_shift<1, false>(scaled, table[16]);
        for (int a = 0; a < 4; ++a) m[17] += o[12 + a] * scaled[a];
        add_shift<4, true>(o, table[17]);
        for (int b = 0; b < 4; ++b) m[16] += o[4 * b + letter_z] * table[4 * b] * r[4 * b];
        add_shift<1, true>(o, table[16]);
        for (int i = 0; i < 16; ++i) m[i] += o[i] * r[i];
    }
}

template <class S, Way way> void prepare_pair(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& to) {
    const double* tables[2] = {way == Way::backward ? tile.call.inverse_pairs : tile.call.pairs,
                               way == Way::joint ? tile.call.inverse_pairs : tile.call.pairs};
    for (int which = 0; which < 2; ++which)
        for (int i = 0; i < 18; ++i) to.numbers[which][i] = static_cast<typename S::T>(tables[which][18 * op.coefficient + i]);
    for (int i = 0; op.overlap >= 0 && i < 18; ++i) to.sums[i] = typename S::Vec{};
}

template <class S, Way way> void run_pair(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, uint32_t coset) {
    const typename S::T *ket = numbers.numbers[0], *bra = numbers.numbers[1];
    if (way == Way::forward) return pair_vector<S, false, false>(op, ket, coset, tile.ket);
    if (way == Way::backward_bra) return pair_vector<S, false, true>(op, bra, coset, tile.bra);
    if (way == Way::backward) pair_vector<S, true, false>(op, ket, coset, tile.ket);
    else pair_vector<S, true, true>(op, bra, coset, tile.bra);
    if (op.overlap >= 0) measure_pair<S>(tile, op, way == Way::backward ? bra : ket, coset, numbers.sums);
    if (way == Way::backward) pair_vector<S, false, true>(op, bra, coset, tile.bra);
    else pair_vector<S, false, false>(op, ket, coset, tile.ket);
}

template <class S> void flush_pair(const PauliTile<S>& tile, const PauliOp& op, const PreparedOp<S>& numbers) {
    for (int i = 0; i < 18; ++i) flush<S>(tile.sums + (op.overlap + i) * S::W, numbers.sums[i]);
}

}  // namespace
}  // namespace fusedqml
