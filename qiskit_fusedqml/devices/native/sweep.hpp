// The tape's operations on the tiles of one block.
#pragma once
#include "dense.hpp"
#include "diagonal.hpp"
#include "move.hpp"
#include "tables.hpp"
#include "turn_sweeps.hpp"

namespace fusedqml {
namespace {

template <class S> void apply_op(const Tile<S>& tile, const Op& op) {
    switch (op.kind) {
        case Kind::turns:
            tile.flipped_lanes ^= apply_turns(tile, *static_cast<const Turns*>(op.detail), tile.ket, false);
            return;
        case Kind::turn_pair:
            tile.flipped_lanes ^= apply_pair(tile, *static_cast<const TurnPair*>(op.detail), tile.ket, false);
            return;
        case Kind::phase: return apply_phase(tile, *static_cast<const Phase*>(op.detail), tile.ket, false);
        case Kind::unitary2: return apply_unitary(tile, *static_cast<const Unitary2*>(op.detail), tile.ket, false);
        case Kind::dense: return apply_dense(tile, *static_cast<const DenseMatrix*>(op.detail), tile.ket);
        case Kind::diagonal: return apply_diagonal(tile, *static_cast<const Diagonal*>(op.detail), tile.ket);
        case Kind::map: return;    // moved by the driver
    }
}

template <class S> void undo_op(const Tile<S>& tile, const Op& op) {
    switch (op.kind) {
        case Kind::turns: return undo_turns(tile, *static_cast<const Turns*>(op.detail));
        case Kind::turn_pair: return undo_pair(tile, *static_cast<const TurnPair*>(op.detail));
        case Kind::phase: return undo_phase(tile, *static_cast<const Phase*>(op.detail));
        case Kind::unitary2: return undo_unitary(tile, *static_cast<const Unitary2*>(op.detail));
        case Kind::dense: return undo_dense(tile, *static_cast<const DenseMatrix*>(op.detail));
        case Kind::diagonal: return undo_diagonal(tile, *static_cast<const Diagonal*>(op.detail));
        case Kind::map: return;
    }
}

// With one tile a group, batched tables are built right before they are used; else before the block.
inline bool tables_on_the_fly(const Block& block) { return block.num_outer == 0; }

template <class S>
void forward(const Call& call, const Block& block, int64_t group, int64_t first_tile, int64_t last_tile,
             const Scratch& scratch) {
    for (int64_t number = first_tile; number < last_tile; ++number) {
        const uint64_t outer = outer_word(block, uint64_t(number));
        const Place<S> ket(call, block, call.ket, group, outer, scratch.ket);
        const uint64_t one = uint64_t(1) << call.tape->num_qubits;
        const Tile<S> tile{call, block, scratch, group, outer | one, ket.local, nullptr, nullptr};
        for (int i = 0; i < block.num_ops; ++i) {
            if (tables_on_the_fly(block)) batched_tables<S>(call, block, group, i, i + 1, scratch);
            apply_op(tile, block.ops[i]);
        }
        ket.put_back(tile.flipped_lanes);
    }
}

template <class S>
void backward(const Call& call, const Block& block, int64_t group, int64_t first_tile, int64_t last_tile,
              const Scratch& scratch, double* sums) {
    for (int64_t number = first_tile; number < last_tile; ++number) {
        const uint64_t outer = outer_word(block, uint64_t(number));
        const Place<S> ket(call, block, call.ket, group, outer, scratch.ket);
        const Place<S> bra(call, block, call.bra, group, outer, scratch.bra);
        const uint64_t one = uint64_t(1) << call.tape->num_qubits;
        const Tile<S> tile{call, block, scratch, group, outer | one, ket.local, bra.local, sums};
        for (int i = block.num_ops - 1; i >= block.num_ops - block.num_undone; --i) {
            if (tables_on_the_fly(block)) batched_tables<S>(call, block, group, i, i + 1, scratch);
            undo_op(tile, block.ops[i]);
        }
        ket.put_back(tile.flipped_lanes);
        bra.put_back(tile.flipped_lanes);
    }
}

}  // namespace
}  // namespace fusedqml
