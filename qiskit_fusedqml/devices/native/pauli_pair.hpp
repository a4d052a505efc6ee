// Diagonals of two qubits, and what is added to their Z.
#pragma once
#include "pauli_tile.hpp"

namespace fusedqml {
namespace {

constexpr int letter_z = 3;

// r[Z] += gain r[I], rows `step` apart from letter to letter; transposed: r[I] += gain r[Z].
template <int step, bool transposed, class Vec> FQ_INLINE void add_shift(Vec* r, Vec gain) {
    if (transposed) r[0] += gain * r[letter_z * step];
    else r[letter_z * step] += gain * r[0];
}

// A pair, its inverse or the transpose of either: scales S[b, a] and gains are those of the map or of its inverse.
template <class S, bool inverse, bool transposed, bool first, bool second> struct PairMap {
    using Vec = typename S::Vec;
    static constexpr bool scales_first = inverse == transposed;
    Vec scales[16], gains[2];

    explicit PairMap(const typename S::T* numbers) {
        for (int i = 0; i < 16; ++i) scales[i] = S::splat(numbers[i]);
        for (int i = 0; i < 2; ++i) gains[i] = S::splat(inverse ? -numbers[16 + i] : numbers[16 + i]);
    }
    // The rows [b, a] of one letter b, but for the shift of the second qubit.
    FQ_INLINE void scale(int b, Vec* r) const {
        if (first && !scales_first) add_shift<1, transposed>(r, gains[0]);
        FQ_UNROLL
        for (int a = 0; a < 4; ++a) r[a] *= scales[4 * b + a];
        if (first && scales_first) add_shift<1, transposed>(r, gains[0]);
    }
    // The rows [I, a] and [Z, a], 4 apart.
    FQ_INLINE void shift(Vec* r) const {
        FQ_UNROLL
        for (int a = 0; a < 4; ++a) {
            if (transposed) r[a] += gains[1] * r[4 + a];
            else r[4 + a] += gains[1] * r[a];
        }
    }
};

// As few rows at a time as belong together, so that the numbers stay in registers.
template <class S, bool inverse, bool transposed, bool first, bool second>
void pair_rows(const PauliOp& op, const typename S::T* numbers, uint32_t coset, typename S::Vec* rows) {
    using Map = PairMap<S, inverse, transposed, first, second>;
    const Map map(numbers);
    uint32_t vectors[16];
    for (int i = 0; i < 16; ++i) vectors[i] = op.vectors[i];
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        const uint32_t u = op.rows[0][k] ^ coset;
        typename S::Vec r[8];
        FQ_UNROLL
        for (int b = 1; b < letter_z; ++b) {
            FQ_UNROLL
            for (int a = 0; a < 4; ++a) r[a] = rows[u ^ vectors[4 * b + a]];
            map.scale(b, r);
            FQ_UNROLL
            for (int a = 0; a < 4; ++a) rows[u ^ vectors[4 * b + a]] = r[a];
        }
        FQ_UNROLL
        for (int i = 0; i < 8; ++i) r[i] = rows[u ^ vectors[i + i / 4 * 8]];
        if (second && !Map::scales_first) map.shift(r);
        map.scale(0, r);
        map.scale(letter_z, r + 4);
        if (second && Map::scales_first) map.shift(r);
        FQ_UNROLL
        for (int i = 0; i < 8; ++i) rows[u ^ vectors[i + i / 4 * 8]] = r[i];
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
        for (int b = 0; b < 4; ++b) add_shift<1, false>(scaled + 4 * b, table[16]);
        for (int a = 0; a < 4; ++a) m[17] += o[12 + a] * scaled[a];
        for (int a = 0; a < 4; ++a) add_shift<4, true>(o + a, table[17]);
        for (int b = 0; b < 4; ++b) m[16] += o[4 * b + letter_z] * table[4 * b] * r[4 * b];
        for (int b = 0; b < 4; ++b) add_shift<1, true>(o + 4 * b, table[16]);
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
