// Pauli rotations and transfer matrices on the rows of a tile.
#pragma once
#include "pauli_tile.hpp"

namespace fusedqml {
namespace {

// r'[s] = cos r[s] + sin sign r[s'], r'[s'] = cos r[s'] - sin sign r[s]. The transposed map is the inverse.
template <class S, Way way> void prepare_turn(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& to) {
    using Vec = typename S::Vec;
    Vec sign = static_cast<const Vec*>(tile.call.lane_signs)[op.lane_sign];
    if (!op.y_of_string) sign *= tile.sign;
    if (parity(op.outer_sign & tile.outer) != (op.y_of_string || tile.odd)) sign = -sign;
    if (op.batched) {
        const Vec* both = tile.batched(tile.call.batched_turns, op.coefficient, 2);
        to.vectors[0][0] = both[0];
        to.vectors[0][1] = both[1];
    } else {
        to.vectors[0][0] = S::splat(static_cast<typename S::T>(tile.call.turns[2 * op.coefficient]));
        to.vectors[0][1] = S::splat(static_cast<typename S::T>(tile.call.turns[2 * op.coefficient + 1]));
    }
    to.vectors[0][1] *= goes_back(way) ? -sign : sign;
    to.vectors[0][2] = sign;
    to.sums[0] = Vec{};
}

template <class S, Way way> void run_turn(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, uint32_t coset, bool odd_coset) {
    using Vec = typename S::Vec;
    const auto rotate = [](Vec& first, Vec& second, Vec cosine, Vec sine) {
        const Vec turned = cosine * first + sine * second;
        second = cosine * second - sine * first;
        first = turned;
    };
    const bool negative = bool(parity(op.local_sign & coset)) != (!op.y_of_string && odd_coset);
    const Vec cosine = numbers.vectors[0][0], sine = negative ? -numbers.vectors[0][1] : numbers.vectors[0][1];
    Vec m = {};
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        const uint32_t u = op.rows[0][k] ^ coset, partner = u ^ op.vectors[1];
        Vec r = {}, s = {}, o = {}, q = {};
        if (way != Way::backward_bra) r = tile.ket[u], s = tile.ket[partner];
        if (way != Way::forward) o = tile.bra[u], q = tile.bra[partner];
        if (way == Way::backward) m += o * s - q * r;
        if (way != Way::backward_bra) rotate(r, s, cosine, sine), tile.ket[u] = r, tile.ket[partner] = s;
        if (way != Way::forward) rotate(o, q, cosine, sine), tile.bra[u] = o, tile.bra[partner] = q;
        if (way == Way::joint) m += o * s - q * r;
    }
    numbers.sums[0] += negative ? -m : m;
}

template <class S> void flush_turn(const PauliTile<S>& tile, const PauliOp& op, const PreparedOp<S>& numbers) {
    flush<S>(tile.sums + op.overlap * S::W, numbers.sums[0] * numbers.vectors[0][2]);
}

// Transfer matrices, 4**k rows at a time. Rows times d(a) = (-1)**((m + #Y(a)) // 2) have no signs between them.
template <class S> struct TransferRows {
    using Vec = typename S::Vec;
    const PauliTile<S>& tile;
    const PauliOp& op;
    uint32_t coset;
    bool odd;

    // Calls body(first row, d by number of Y).
    template <class F> void for_each(F body) const {
        for (int p = 0; p < 2; ++p) {
            const Vec one = Vec{} + 1, m = bool(p) != odd ? -tile.sign : tile.sign;
            const Vec d[4] = {one, m, -one, -m};
            for (uint32_t k = 0; k < op.count[p]; ++k) body(op.rows[p][k] ^ coset, d);
        }
    }
    static int num_y(int letters) {
        int count = 0;
        for (; letters; letters /= 4) count += letters % 4 == 2;
        return count;
    }
    void load(const Vec* rows, uint32_t u, const Vec* d, Vec* r) const {
        for (int a = 0; a < op.num_letters; ++a) r[a] = d[num_y(a)] * rows[u ^ op.vectors[a]];
    }
    template <bool transposed> void apply(const double* matrix, Vec* rows) const {
        const int size = op.num_letters;
        for_each([&](uint32_t u, const Vec* d) {
            Vec r[max_letters];
            load(rows, u, d, r);
            for (int a = 0; a < size; ++a) {
                Vec sum = {};
                for (int b = 0; b < size; ++b)
                    sum += S::splat(static_cast<typename S::T>(matrix[transposed ? b * size + a : a * size + b])) * r[b];
                rows[u ^ op.vectors[a]] = d[num_y(a)] * sum;
            }
        });
    }
    void measure() const {
        const int size = op.num_letters;
        for_each([&](uint32_t u, const Vec* d) {
            Vec r[max_letters], o[max_letters];
            load(tile.ket, u, d, r);
            load(tile.bra, u, d, o);
            for (int a = 0; a < size; ++a)
                for (int b = 0; b < size; ++b) flush<S>(tile.sums + (op.overlap + a * size + b) * S::W, o[a] * r[b]);
        });
    }
};

template <class S, Way way> void run_transfer(const PauliTile<S>& tile, const PauliOp& op, uint32_t coset, bool odd) {
    const TransferRows<S> rows{tile, op, coset, odd};
    const double* map = tile.call.transfers[op.coefficient];
    if (way == Way::forward) return rows.template apply<false>(map, tile.ket);
    if (way == Way::backward_bra) return rows.template apply<true>(map, tile.bra);
    const double* inverse = tile.call.inverse_transfers[op.coefficient];
    if (way == Way::backward) rows.template apply<false>(inverse, tile.ket);
    else rows.template apply<true>(inverse, tile.bra);
    if (op.overlap >= 0) rows.measure();
    if (way == Way::backward) rows.template apply<true>(map, tile.bra);
    else rows.template apply<false>(map, tile.ket);
}

}  // namespace
}  // namespace fusedqml
