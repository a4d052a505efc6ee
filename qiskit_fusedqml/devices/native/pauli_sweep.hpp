// A block's operations on its tiles of Pauli vectors.
#pragma once
#include "pauli_affine.hpp"
#include "pauli_move.hpp"
#include "pauli_pair.hpp"
#include "pauli_turn.hpp"

namespace fusedqml {
namespace {

template <class S, Way way> void prepare_op(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& to) {
    switch (op.kind) {
        case PauliKind::affine: return prepare_affine<S, way>(tile, op, to);
        case PauliKind::pair: return prepare_pair<S, way>(tile, op, to);
        case PauliKind::turn: return prepare_turn<S, way>(tile, op, to);
        case PauliKind::transfer: return;
    }
}

template <class S, Way way>
void run_op(const PauliTile<S>& tile, const PauliOp& op, PreparedOp<S>& numbers, uint32_t coset, bool odd_coset) {
    const bool odd = odd_coset != tile.odd;
    switch (op.kind) {
        case PauliKind::affine: return run_affine<S, way>(tile, op, numbers, coset, odd);
        case PauliKind::pair: return run_pair<S, way>(tile, op, numbers, coset);
        case PauliKind::turn: return run_turn<S, way>(tile, op, numbers, coset, odd_coset);
        case PauliKind::transfer: return run_transfer<S, way>(tile, op, coset, odd);
    }
}

template <class S> void flush_op(const PauliTile<S>& tile, const PauliOp& op, const PreparedOp<S>& numbers) {
    if (op.overlap < 0) return;
    switch (op.kind) {
        case PauliKind::affine: return flush_affine(tile, op, numbers);
        case PauliKind::pair: return flush_pair(tile, op, numbers);
        case PauliKind::turn: return flush_turn(tile, op, numbers);
        case PauliKind::transfer: return;
    }
}

// A group's operations, one part of the tile after the other.
template <class S, Way way>
void run_group(const PauliTile<S>& tile, const PauliBlock& block, const PauliGroup& group, NextTile<S>& next) {
    constexpr bool back = goes_back(way);
    PreparedOp<S> numbers[max_group];
    const PauliOp* ops = block.ops + group.first;
    int first = 0;
    while (way == Way::backward && first < group.count && !ops[first].undone) ++first;
    for (int i = first; i < group.count; ++i) prepare_op<S, way>(tile, ops[i], numbers[i]);
    for (int c = 0; c < group.num_cosets; ++c) {
        next.fetch();
        for (int i = first; i < group.count; ++i) {
            const int k = back ? group.count - 1 - (i - first) : i;
            run_op<S, way>(tile, ops[k], numbers[k], group.cosets[c], group.odd[c]);
        }
    }
    if (way == Way::forward || way == Way::backward_bra) return;
    for (int i = first; i < group.count; ++i) flush_op(tile, ops[i], numbers[i]);
}

// A bit a lane: y(L(lane) ^ outer).
inline uint32_t odd_lanes(const PauliCall& call, const PauliBlock& block, uint64_t outer) {
    constexpr uint64_t x_of_qubits = 0x5555555555555555;
    uint32_t odd = block.lane_y ^ -uint32_t(parity(outer & outer >> 1 & x_of_qubits)), mask = 0;
    for (int bit = 0; bit < call.lane_bits; ++bit) mask |= uint32_t(parity(block.lane_partner[bit] & outer)) << bit;
    for (uint32_t lane = 0; lane < uint32_t(1) << call.lane_bits; ++lane) odd ^= uint32_t(parity(mask & lane)) << lane;
    return odd;
}

template <class S, Way way>
void sweep_tiles(const PauliCall& call, const PauliBlock& block, const PauliTiles& tiles, void* ket, void* bra, double* sums) {
    int num_steps = 0;
    for (int i = 0; i < block.num_groups; ++i) num_steps += block.groups[i].num_cosets;
    for (int64_t number = tiles.first; number < tiles.last; ++number) {
        const uint64_t outer = outer_row(block, uint64_t(number));
        NextTile<S> next(call, block, tiles.group, outer_row(block, uint64_t(number + 1 < tiles.last ? number + 1 : number)), num_steps);
        const PauliPlace<S> of_ket(call, block, way == Way::backward_bra ? nullptr : call.ket, tiles.group, outer, ket);
        const PauliPlace<S> of_bra(call, block, way == Way::forward ? nullptr : call.bra, tiles.group, outer, bra);
        const uint32_t odd = odd_lanes(call, block, outer);
        PauliTile<S> tile{call, tiles.group, outer, of_ket.local, of_bra.local, sums, !call.lane_bits && (odd & 1), {}};
        for (int lane = 0; lane < S::W; ++lane) tile.sign[lane] = call.lane_bits && odd >> (lane >> call.sample_bits) & 1 ? -1 : 1;
        for (int i = 0; i < block.num_groups; ++i)
            run_group<S, way>(tile, block, block.groups[goes_back(way) ? block.num_groups - 1 - i : i], next);
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
