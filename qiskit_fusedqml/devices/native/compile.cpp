#include "compile.hpp"

#include <string>

#include "operations.hpp"

namespace fusedqml {
namespace {

constexpr int smallest_tile = 7;   // smaller tiles are widened: a diagonal needs no tile, but a loop wants some length

// Rows of a block: the tile, row bits for the lanes (if possible those that are in the lanes of the stored state), and the rest.
TileFrame make_frame(int n, int v, const std::vector<uint64_t>& tile) {
    TileFrame frame;
    frame.n = n;
    frame.v = v;
    gf2::Echelon echelon;
    for (const uint64_t vector : tile)
        if (!echelon.add(vector)) throw InvalidInputError("The vectors of a tile are linearly dependent.");
    frame.declared = echelon;
    const int wanted = std::min(n - v, smallest_tile);
    for (int bit = v; bit < n && static_cast<int>(echelon.vectors().size()) < wanted; ++bit)
        if (!(echelon.pivots() >> bit & 1)) echelon.add(uint64_t(1) << bit);
    frame.basis = echelon.vectors();
    for (const uint64_t vector : frame.basis) frame.pivots.push_back(gf2::highest(vector));
    uint64_t used = echelon.pivots();
    for (int i = 0; i < v; ++i) {
        int bit = used >> i & 1 ? v : i;
        while (used >> bit & 1) ++bit;
        frame.lane_bits.push_back(bit);
        used |= uint64_t(1) << bit;
    }
    for (int bit = 0; bit < n; ++bit)
        if (!(used >> bit & 1)) frame.outer_bits.push_back(bit);
    return frame;
}

// The tiles' outer words: all of them, or those of the tiles that meet the span of `support`.
std::vector<uint64_t> outer_vectors(const TileFrame& frame, const std::vector<uint64_t>* support) {
    std::vector<uint64_t> result;
    uint64_t all = 0;
    for (const int bit : frame.outer_bits) {
        all |= uint64_t(1) << bit;
        result.push_back(uint64_t(1) << bit);
    }
    if (!support) return result;
    gf2::Echelon echelon;
    for (uint64_t vector : *support) {
        for (size_t k = 0; k < frame.basis.size(); ++k)
            if (vector >> frame.pivots[k] & 1) vector ^= frame.basis[k];
        echelon.add(vector & all);
    }
    return echelon.vectors();
}

// How a tile's rows are found in memory: stored vectors hold the lowest v row bits in their lanes.
Block make_block(Arena& arena, const TileFrame& frame, const std::vector<uint64_t>* support) {
    const int v = frame.v, t = static_cast<int>(frame.basis.size());
    const uint64_t low = (uint64_t(1) << v) - 1;
    std::vector<uint32_t> steps, lane_steps, exchange_row, shear;
    Block block{};
    block.t = t;
    block.straight = block.in_place = 1;
    uint64_t total = 0;
    for (int k = 0; k < t; ++k) {
        const uint64_t vector = frame.basis[static_cast<size_t>(k)];
        const int pivot = frame.pivots[static_cast<size_t>(k)];
        if (pivot < v) {
            block.exchanged_lanes |= uint32_t(1) << pivot;
            ++block.exchanged;
            exchange_row.push_back(static_cast<uint32_t>(uint64_t(1) << frame.lane_bits[static_cast<size_t>(pivot)] >> v));
            shear.push_back(static_cast<uint32_t>(vector ^ uint64_t(1) << pivot));
            if (shear.back()) block.flips_lanes = 1;
            block.straight = 0;
            continue;
        }
        total ^= vector;
        steps.push_back(static_cast<uint32_t>(total >> v));
        lane_steps.push_back(static_cast<uint32_t>(total & low));
        if (vector & low) block.flips_lanes = 1;
        if (vector != uint64_t(1) << (k + v)) block.in_place = 0;
    }
    block.straight = block.straight && !block.flips_lanes;
    block.in_place = block.in_place && block.straight;
    steps.push_back(0);
    lane_steps.push_back(0);
    block.steps = arena.keep(steps);
    block.lane_steps = arena.keep(lane_steps);
    block.exchange_row = arena.keep(exchange_row);
    block.shear = arena.keep(shear);
    block.stack_bits = block.in_place ? frame.stack_bits() : 0;
    const std::vector<uint64_t> outer = outer_vectors(frame, support);
    block.num_outer = static_cast<int32_t>(outer.size());
    block.outer = arena.keep(outer);
    return block;
}

Block read_block(CompiledTape& tape, Reader& reader, int n, int v, int group, std::vector<const Table*>& tables) {
    const std::vector<uint64_t> tile = reader.masks(reader.next(0, n), n);
    if (static_cast<int>(tile.size()) > n - tape.lane_qubits)
        throw InvalidInputError("A tile leaves fewer dimensions outside than the tape's lane_qubits.");
    const int64_t support_size = reader.next(-1, n);
    const std::vector<uint64_t> support = reader.masks(support_size, n);
    const int64_t undo_from = reader.next();
    const int64_t num_ops = reader.next();
    const TileFrame frame = make_frame(n, v, tile);
    BlockCompiler compiler(tape.arena, tape.requirements, frame, tape.view.num_overlaps, group);
    for (int64_t i = 0; i < num_ops; ++i) compiler.read(reader, i >= undo_from, tables);
    const std::vector<Op>& ops = compiler.finish();
    Block block = make_block(tape.arena, frame, support_size < 0 ? nullptr : &support);
    block.num_ops = static_cast<int32_t>(ops.size());
    block.num_head = compiler.num_head();
    for (const Op& op : ops) {
        block.num_undone += op.undone;
        if (op.undone && op.batched) tape.requirements.undoes_batched = true;
        if (op.kind == Kind::phase || op.kind == Kind::unitary2) tape.is_real = false;
        if (op.kind == Kind::turns && static_cast<const Turns*>(op.detail)->imaginary) tape.is_real = false;
    }
    block.ops = tape.arena.keep(ops);
    return block;
}

}  // namespace

std::unique_ptr<CompiledTape> compile_tape(const std::vector<int64_t>& source, int lane_bits, int group) {
    Reader reader(source.data(), source.size());
    auto tape = std::make_unique<CompiledTape>();
    const int n = static_cast<int>(reader.next(1, 40));
    tape->lane_qubits = static_cast<int>(reader.next(0, n));
    if (lane_bits > tape->lane_qubits || lane_bits > max_lane_bits)
        throw InvalidInputError("The state holds " + std::to_string(lane_bits) + " qubits in its lanes, the tape allows " +
                                    std::to_string(tape->lane_qubits) + "; allocate the state with this tape.");
    tape->view.num_qubits = n;
    tape->view.lane_bits = lane_bits;
    tape->view.num_overlaps = reader.next(0, int64_t(1) << 30);
    const int64_t num_blocks = reader.next(0, int64_t(1) << 30);
    std::vector<Block> blocks;
    std::vector<const Table*> tables;
    for (int64_t i = 0; i < num_blocks; ++i) blocks.push_back(read_block(*tape, reader, n, lane_bits, group, tables));
    if (!reader.done()) throw InvalidInputError("The tape's description is longer than expected.");
    tape->view.num_blocks = static_cast<int32_t>(num_blocks);
    tape->view.blocks = tape->arena.keep(blocks);
    tape->view.num_tables = static_cast<int32_t>(tables.size());
    tape->view.tables = tape->arena.keep(tables);
    return tape;
}

}  // namespace fusedqml
