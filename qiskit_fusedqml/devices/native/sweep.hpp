// The tape's operations on the tiles of one block.
#pragma once
#include "dense.hpp"
#include "diagonal.hpp"
#include "move.hpp"
#include "tables.hpp"
#include "turn_sweeps.hpp"

namespace fusedqml {
namespace {

// Controlled phases and 2x2 matrices are none of a real tape's operations, see CompiledTape.
template <class S> void apply_op(const Tile<S>& tile, const Op& op) {
    switch (op.kind) {
        case Kind::turns:
            tile.flipped_lanes ^= apply_turns(tile, *static_cast<const Turns*>(op.detail), tile.ket, false);
            return;
        case Kind::turn_pair:
            tile.flipped_lanes ^= apply_pair(tile, *static_cast<const TurnPair*>(op.detail), tile.ket, false);
            return;
        case Kind::phase:
            if constexpr (S::components == 2) apply_phase(tile, *static_cast<const Phase*>(op.detail), tile.ket, false);
            return;
        case Kind::unitary2:
            if constexpr (S::components == 2) apply_unitary(tile, *static_cast<const Unitary2*>(op.detail), tile.ket, false);
            return;
        case Kind::dense: return apply_dense(tile, *static_cast<const DenseMatrix*>(op.detail), tile.ket);
        case Kind::diagonal: return apply_diagonal(tile, *static_cast<const Diagonal*>(op.detail), tile.ket);
    }
}

template <class S> void undo_op(const Tile<S>& tile, const Op& op) {
    switch (op.kind) {
        case Kind::turns: return undo_turns(tile, *static_cast<const Turns*>(op.detail));
        case Kind::turn_pair: return undo_pair(tile, *static_cast<const TurnPair*>(op.detail));
        case Kind::phase:
            if constexpr (S::components == 2) undo_phase(tile, *static_cast<const Phase*>(op.detail));
            return;
        case Kind::unitary2:
            if constexpr (S::components == 2) undo_unitary(tile, *static_cast<const Unitary2*>(op.detail));
            return;
        case Kind::dense: return undo_dense(tile, *static_cast<const DenseMatrix*>(op.detail));
        case Kind::diagonal: return undo_diagonal(tile, *static_cast<const Diagonal*>(op.detail));
    }
}

// One group of a tile in which several are stacked, the i-th.
template <class S> Tile<S> group_of(const Tile<S>& tile, int64_t i) {
    const int64_t rows = i << tile.block.t;
    return {tile.call, tile.block, tile.scratch, tile.group + i, 0, tile.outer, tile.ket + S::components * rows,
            tile.bra ? tile.bra + S::components * rows : nullptr, tile.sums};
}

// Calls body with the tile, its batched tables ready; one group at a time where coefficients differ. With one tile a group, tables
// are built right before they are used; else before the block.
template <class S, class F> void for_groups(const Tile<S>& tile, int position, F body) {
    const Block& block = tile.block;
    const auto prepare = [&](int64_t group) {
        if (!block.num_outer) batched_tables<S>(tile.call, block, group, position, position + 1, tile.scratch);
    };
    if (!block.ops[position].batched) return body(tile);
    if (!tile.stack_bits) {
        prepare(tile.group);
        return body(tile);
    }
    for (int64_t i = 0; i < int64_t(1) << tile.stack_bits; ++i) {
        prepare(tile.group + i);
        body(group_of(tile, i));
    }
}

// The head of a block that begins with |0...0>: other tiles than the first hold nothing yet.
template <class S> void begin(const Tile<S>& tile, bool first_tile) {
    for (int64_t i = 0; first_tile && i < int64_t(1) << tile.stack_bits; ++i) make_product(group_of(tile, i));
}

template <class S> void forward(const Call& call, const Block& block, const Tiles& tiles, const Scratch& scratch) {
    for (int64_t number = tiles.first; number < tiles.last; ++number) {
        const uint64_t outer = outer_word(block, uint64_t(number));
        const Place<S> ket(call, block, call.ket, tiles.group, outer, scratch.ket);
        const uint64_t one = uint64_t(1) << call.tape->num_qubits;
        const Tile<S> tile{call, block, scratch, tiles.group, tiles.stack_bits, outer | one, ket.local, nullptr, nullptr};
        if (tiles.from_zero) begin(tile, number == 0);
        for (int i = tiles.from_zero ? block.num_head : 0; i < block.num_ops; ++i)
            for_groups(tile, i, [&](const Tile<S>& part) { apply_op(part, block.ops[i]); });
        ket.put_back(tile.flipped_lanes);
    }
}

template <class S>
void backward(const Call& call, const Block& block, const Tiles& tiles, const Scratch& scratch, double* sums) {
    for (int64_t number = tiles.first; number < tiles.last; ++number) {
        const uint64_t outer = outer_word(block, uint64_t(number));
        const Place<S> ket(call, block, call.ket, tiles.group, outer, scratch.ket);
        const Place<S> bra(call, block, call.bra, tiles.group, outer, scratch.bra);
        const uint64_t one = uint64_t(1) << call.tape->num_qubits;
        const Tile<S> tile{call, block, scratch, tiles.group, tiles.stack_bits, outer | one, ket.local, bra.local, sums};
        for (int i = block.num_ops - 1; i >= block.num_ops - block.num_undone; --i)
            for_groups(tile, i, [&](const Tile<S>& part) { undo_op(part, block.ops[i]); });
        ket.put_back(tile.flipped_lanes);
        bra.put_back(tile.flipped_lanes);
    }
}

}  // namespace
}  // namespace fusedqml
