// A block's operations on its tiles of Pauli vectors.
#pragma once
#include "pauli_move.hpp"
#include "pauli_pair.hpp"

namespace fusedqml {
namespace {

// Pauli rotations: r'[s] = cos r[s] + sin sign r[s'], r'[s'] = cos r[s'] - sin sign r[s]. The transposed map is the inverse.
template <class S, Way way> void pauli_turn(const PauliTile<S>& tile, const PauliOp& op) {
    using Vec = typename S::Vec;
    const auto rotate = [](Vec& first, Vec& second, Vec cosine, Vec sine) {
        const Vec turned = cosine * first + sine * second;
        second = cosine * second - sine * first;
        first = turned;
    };
    Vec sign = static_cast<const Vec*>(tile.call.lane_signs)[op.lane_sign];
    if (op.y_of_string) sign = -sign;
    else sign *= tile.sign;
    if (parity(op.outer_sign & tile.outer)) sign = -sign;
    Vec cosine, sine;
    if (op.batched) {
        const Vec* both = tile.batched(tile.call.batched_turns, op.coefficient, 2);
        cosine = both[0], sine = both[1];
    } else {
        cosine = S::splat(static_cast<typename S::T>(tile.call.turns[2 * op.coefficient]));
        sine = S::splat(static_cast<typename S::T>(tile.call.turns[2 * op.coefficient + 1]));
    }
    sine *= goes_back(way) ? -sign : sign;
    constexpr bool both = way == Way::backward || way == Way::joint;
    Vec m = {};
    for (uint32_t k = 0; k < op.count[0]; ++k) {
        const uint32_t u = op.rows[0][k], partner = u ^ op.vectors[1];
        Vec r = {}, s = {}, o = {}, q = {};
        if (way != Way::backward_bra) r = tile.ket[u], s = tile.ket[partner];
        if (way != Way::forward) o = tile.bra[u], q = tile.bra[partner];
        if (way == Way::backward) m += o * s - q * r;
        if (way != Way::backward_bra) rotate(r, s, cosine, sine), tile.ket[u] = r, tile.ket[partner] = s;
        if (way != Way::forward) rotate(o, q, cosine, sine), tile.bra[u] = o, tile.bra[partner] = q;
        if (way == Way::joint) m += o * s - q * r;
    }
    if (both && op.overlap >= 0) flush<S>(tile.overlap(op.overlap), m * sign);
}

// Transfer matrices, one set of 4**k rows at a time. Rows times d(a) = (-1)**((m + #Y(a)) // 2) have no signs between them.
template <class S> struct TransferRows {
    using Vec = typename S::Vec;
    const PauliTile<S>& tile;
    const PauliOp& op;
    Vec signs[2][max_letters];     // d by y of the representative

    TransferRows(const PauliTile<S>& t, const PauliOp& o) : tile(t), op(o) {
        for (int a = 0; a < op.num_letters; ++a) {
            int num_y = 0;
            for (int digits = a; digits; digits /= 4) num_y += digits % 4 == 2;
            for (int p = 0; p < 2; ++p)
                for (int lane = 0; lane < S::W; ++lane) {
                    const int m = p ^ (tile.sign[lane] < 0);
                    signs[p][a][lane] = (m + num_y) / 2 % 2 ? -1 : 1;
                }
        }
    }
    template <class F> void for_each(F body) const {
        for (int p = 0; p < 2; ++p)
            for (uint32_t k = 0; k < op.count[p]; ++k) body(op.rows[p][k], signs[p]);
    }
    void load(const Vec* rows, uint32_t u, const Vec* d, Vec* r) const {
        for (int a = 0; a < op.num_letters; ++a) r[a] = d[a] * rows[u ^ op.vectors[a]];
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
                rows[u ^ op.vectors[a]] = d[a] * sum;
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
                for (int b = 0; b < size; ++b) flush<S>(tile.overlap(op.overlap + a * size + b), o[a] * r[b]);
        });
    }
};

template <class S, Way way> void pauli_transfer(const PauliTile<S>& tile, const PauliOp& op) {
    const TransferRows<S> rows(tile, op);
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

template <class S, Way way> void pauli_op(const PauliTile<S>& tile, const PauliOp& op) {
    switch (op.kind) {
        case PauliKind::affine: return affine<S, way>(tile, op);
        case PauliKind::pair: return pair<S, way>(tile, op);
        case PauliKind::turn: return pauli_turn<S, way>(tile, op);
        case PauliKind::transfer: return pauli_transfer<S, way>(tile, op);
    }
}

// (-1)**y(L(lane) ^ outer).
template <class S> typename S::Vec lane_y_signs(const PauliCall& call, const PauliBlock& block, uint64_t outer) {
    constexpr uint64_t x_bits = 0x5555555555555555;
    uint32_t odd = block.lane_y ^ -uint32_t(parity(outer & outer >> 1 & x_bits)), mask = 0;
    for (int bit = 0; bit < call.lane_bits; ++bit) mask |= uint32_t(parity(block.lane_partner[bit] & outer)) << bit;
    typename S::Vec sign = static_cast<const typename S::Vec*>(call.lane_signs)[mask];
    for (int lane = 0; lane < S::W; ++lane)
        if (odd >> (lane >> call.sample_bits) & 1) sign[lane] = -sign[lane];
    return sign;
}

template <class S, Way way>
void sweep_tiles(const PauliCall& call, const PauliBlock& block, const PauliTiles& tiles, void* ket, void* bra, double* sums) {
    constexpr bool back = goes_back(way);
    for (int64_t number = tiles.first; number < tiles.last; ++number) {
        const uint64_t outer = outer_row(block, uint64_t(number));
        const PauliPlace<S> of_ket(call, block, way == Way::backward_bra ? nullptr : call.ket, tiles.group, outer, ket);
        const PauliPlace<S> of_bra(call, block, way == Way::forward ? nullptr : call.bra, tiles.group, outer, bra);
        const PauliTile<S> tile{call,         tiles.group,  outer, of_ket.local,
                                of_bra.local, sums, lane_y_signs<S>(call, block, outer)};
        for (int i = 0; i < block.num_ops; ++i) {
            const PauliOp& op = block.ops[back ? block.num_ops - 1 - i : i];
            if (way == Way::backward && !op.undone) break;
            pauli_op<S, way>(tile, op);
        }
        of_ket.put_back();
        of_bra.put_back();
    }
}

template <class S>
void pauli_sweep(const PauliCall& call, const PauliBlock& block, const PauliTiles& tiles, void* ket, void* bra, double* sums) {
    switch (call.way) {
        case Way::forward: return sweep_tiles<S, Way::forward>(call, block, tiles, ket, bra, sums);
        case Way::backward: return sweep_tiles<S, Way::backward>(call, block, tiles, ket, bra, sums);
        case Way::backward_bra: return sweep_tiles<S, Way::backward_bra>(call, block, tiles, ket, bra, sums);
        case Way::joint: return sweep_tiles<S, Way::joint>(call, block, tiles, ket, bra, sums);
    }
}

}  // namespace
}  // namespace fusedqml
