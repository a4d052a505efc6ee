#include "pauli_compile.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "pauli_frame.hpp"

namespace fusedqml {
namespace {

// An operation as it is given.
struct Given {
    PauliKind kind;
    int coefficient = 0;
    bool batched = false, undone = false;
    std::array<bool, 2> shifts{};
    int64_t overlap = -1;
    std::vector<uint64_t> vectors;  // x and z of each qubit; x of a turn
    uint64_t z = 0;                 // of a turn: the linear part of its sign
    bool y_of_string = false;
};

[[noreturn]] void refuse(const char* why) { throw InvalidInputError(why); }

class GivenReader {
public:
    GivenReader(Reader& reader, PauliRequirements& needs, int n, int64_t num_overlaps)
        : reader_(reader), needs_(needs), n_(n), num_overlaps_(num_overlaps) {}

    Given read(bool undone) {
        Given op;
        op.undone = undone;
        op.kind = static_cast<PauliKind>(reader_.next(0, 3));
        op.coefficient = static_cast<int>(reader_.next(0, int64_t(1) << 30));
        switch (op.kind) {
            case PauliKind::affine: read_affine(op); break;
            case PauliKind::pair: read_pair(op); break;
            case PauliKind::turn: read_turn(op); break;
            case PauliKind::transfer: read_transfer(op); break;
        }
        return op;
    }

private:
    static void need(int64_t& count, int coefficient) { count = std::max<int64_t>(count, coefficient + 1); }
    int64_t overlap(int64_t count) {
        const int64_t first = reader_.next(-1, num_overlaps_);
        if (first >= 0 && first + count > num_overlaps_) refuse("An overlap lies outside the tape's overlaps.");
        return first;
    }
    void read_qubits(Given& op, int64_t count) {
        if (count > n_) refuse("An operation has more qubits than the tape.");
        op.vectors = reader_.masks(2 * count, 2 * n_);
        for (size_t i = 0; i < op.vectors.size(); ++i)
            for (size_t j = 0; j < i; ++j)
                if (form(op.vectors[i], op.vectors[j]) != (i % 2 == 1 && j == i - 1))
                    refuse("The vectors of an operation's qubits do not belong to a frame.");
    }
    void read_affine(Given& op) {
        op.batched = reader_.flag();
        need(op.batched ? needs_.batched_affine : needs_.affine, op.coefficient);
        op.overlap = overlap(12);
        read_qubits(op, 1);
    }
    void read_pair(Given& op) {
        need(needs_.pairs, op.coefficient);
        op.shifts[0] = reader_.flag();
        op.shifts[1] = reader_.flag();
        op.overlap = overlap(18);
        read_qubits(op, 2);
    }
    void read_turn(Given& op) {
        op.batched = reader_.flag();
        need(op.batched ? needs_.batched_turns : needs_.turns, op.coefficient);
        op.overlap = overlap(1);
        op.vectors = reader_.masks(1, 2 * n_);
        if (!op.vectors[0]) refuse("A turn about the identity.");
        op.z = reader_.mask(2 * n_);
        op.y_of_string = reader_.flag();
    }
    void read_transfer(Given& op) {
        const int64_t k = reader_.next(1, 3);
        op.overlap = overlap(int64_t(1) << 4 * k);
        const size_t index = static_cast<size_t>(op.coefficient);
        if (needs_.letters.size() <= index) needs_.letters.resize(index + 1);
        needs_.letters[index] = 1 << 2 * k;
        read_qubits(op, k);
    }

    Reader& reader_;
    PauliRequirements& needs_;
    int n_;
    int64_t num_overlaps_;
};

// Compiles the operations of one group: `part` is its part of the tile.
class PauliGroupCompiler {
public:
    PauliGroupCompiler(Arena& arena, const PauliTileFrame& tile, const PauliTileFrame& part, const std::vector<uint64_t>& lanes)
        : arena_(arena), tile_(tile), part_(part), lanes_(lanes) {
        for (uint32_t u = 0; u < uint32_t(1) << part.size(); ++u) {
            rows_.push_back(part.row(u));
            local_.push_back(tile.local(rows_.back()));
        }
    }

    PauliOp compile(const Given& given) const {
        PauliOp op{};
        op.kind = given.kind;
        op.coefficient = given.coefficient;
        op.batched = given.batched;
        op.undone = given.undone;
        op.overlap = given.overlap;
        op.shifts[0] = given.shifts[0];
        op.shifts[1] = given.shifts[1];
        if (given.kind == PauliKind::turn) set_turn(op, given);
        else set_letters(op, given);
        return op;
    }

    PauliGroup group(int first, int count) const {
        gf2::Echelon others;
        for (const uint64_t vector : tile_.basis()) others.add(part_.orthogonal(vector));
        std::vector<uint32_t> cosets;
        std::vector<uint8_t> odd;
        for (uint64_t number = 0; number < uint64_t(1) << others.vectors().size(); ++number) {
            uint64_t row = 0;
            for (size_t k = 0; k < others.vectors().size(); ++k) row ^= -(number >> k & 1) & others.vectors()[k];
            cosets.push_back(tile_.local(row));
            odd.push_back(y_parity(row));
        }
        return {first, count, static_cast<int32_t>(cosets.size()), arena_.keep(cosets), arena_.keep(odd)};
    }

private:
    void keep(PauliOp& op, const std::array<std::vector<uint32_t>, 2>& lists) const {
        for (size_t p = 0; p < 2; ++p) {
            op.rows[p] = arena_.keep(lists[p]);
            op.count[p] = static_cast<uint32_t>(lists[p].size());
        }
    }

    void set_letters(PauliOp& op, const Given& given) const {
        const size_t k = given.vectors.size() / 2;
        std::vector<uint32_t> functionals, letters{0};
        for (const uint64_t vector : given.vectors) functionals.push_back(part_.functional(vector));
        for (size_t q = 0; q < k; ++q) {
            const uint32_t x = tile_.local(given.vectors[2 * q]), z = tile_.local(given.vectors[2 * q + 1]);
            const std::vector<uint32_t> lower = letters;
            for (const uint32_t letter : {x, x ^ z, z})
                for (const uint32_t other : lower) letters.push_back(letter ^ other);
        }
        std::array<std::vector<uint32_t>, 2> lists;
        for (uint32_t u = 0; u < rows_.size(); ++u) {
            const auto odd = [u](uint32_t functional) { return gf2::parity(functional & u); };
            if (std::any_of(functionals.begin(), functionals.end(), odd)) continue;
            lists[given.kind != PauliKind::pair && y_parity(rows_[u])].push_back(local_[u]);
        }
        op.num_letters = static_cast<int32_t>(letters.size());
        op.vectors = arena_.keep(letters);
        keep(op, lists);
    }

    void set_turn(PauliOp& op, const Given& given) const {
        const uint64_t x = given.vectors[0];
        const uint32_t part_x = part_.local(x), side = part_.functional(x);
        const auto negative = [&](uint32_t u) {
            return bool(gf2::parity(given.z & rows_[u])) != (!given.y_of_string && y_parity(rows_[u]));
        };
        std::array<std::vector<uint32_t>, 2> lists;
        for (uint32_t u = 0; u < rows_.size(); ++u) {
            if (!gf2::parity(side & u)) continue;
            if (negative(u) == negative(u ^ part_x)) refuse("A turn's sign is the same for both rows of a plane.");
            if (!negative(u)) lists[0].push_back(local_[u]);
        }
        op.y_of_string = given.y_of_string;
        op.outer_sign = given.z;
        for (size_t bit = 0; bit < lanes_.size(); ++bit)
            op.lane_sign |= static_cast<uint32_t>(gf2::parity(given.z & lanes_[bit])) << bit;
        for (size_t k = 0; k < tile_.basis().size(); ++k)
            op.local_sign |= static_cast<uint32_t>(gf2::parity(given.z & tile_.basis()[k])) << k;
        op.num_letters = 2;
        op.vectors = arena_.keep(std::vector<uint32_t>{0, tile_.local(x)});
        keep(op, lists);
    }

    Arena& arena_;
    const PauliTileFrame& tile_;
    const PauliTileFrame& part_;
    const std::vector<uint64_t>& lanes_;  // L of the unit lanes
    std::vector<uint64_t> rows_;
    std::vector<uint32_t> local_;         // the same in local bits of the tile
};

// Which row bits the lanes hold (where possible those that they hold in the stored state), and what is left.
void choose_outer(const PauliTileFrame& frame, int bits, int v, std::vector<int>& lane_bits, std::vector<int>& outer_bits) {
    uint64_t used = frame.pivots();
    for (int i = 0; i < v; ++i) {
        int bit = used >> i & 1 ? v : i;
        while (used >> bit & 1) ++bit;
        lane_bits.push_back(bit);
        used |= uint64_t(1) << bit;
    }
    for (int bit = 0; bit < bits; ++bit)
        if (!(used >> bit & 1)) outer_bits.push_back(bit);
}

// How a tile's rows are found in memory; compare `make_block` of compile.cpp.
PauliBlock make_block(Arena& arena, const PauliTileFrame& frame, int v, const std::vector<int>& lane_bits, const std::vector<int>& outer_bits) {
    const uint64_t low = (uint64_t(1) << v) - 1;
    std::vector<uint32_t> steps, lane_steps, exchange_row, exchange_shear;
    PauliBlock block{};
    block.t = frame.size();
    block.straight = block.in_place = 1;
    uint64_t total = 0;
    for (int k = 0; k < block.t; ++k) {
        const uint64_t vector = frame.basis()[static_cast<size_t>(k)];
        const int pivot = gf2::highest(vector);
        if (vector & low) block.straight = 0;
        if (vector != uint64_t(1) << (k + v)) block.in_place = 0;
        if (pivot < v) {
            block.exchanged_lanes |= uint32_t(1) << pivot;
            exchange_row.push_back(static_cast<uint32_t>(uint64_t(1) << lane_bits[static_cast<size_t>(pivot)] >> v));
            exchange_shear.push_back(static_cast<uint32_t>(vector ^ uint64_t(1) << pivot));
            continue;
        }
        total ^= vector;
        steps.push_back(static_cast<uint32_t>(total >> v));
        lane_steps.push_back(static_cast<uint32_t>(total & low));
    }
    steps.push_back(0);
    lane_steps.push_back(0);
    std::vector<uint64_t> outer;
    for (const int bit : outer_bits) {
        outer.push_back(frame.orthogonal(uint64_t(1) << bit));
        if (outer.back() & low) block.straight = 0;
        if (outer.back() >> v & ((uint64_t(1) << block.t) - 1)) block.in_place = 0;
    }
    for (int bit = 0; bit < v; ++bit) {
        block.lane_shear[bit] = frame.projection(uint64_t(1) << lane_bits[static_cast<size_t>(bit)]);
        if (block.lane_shear[bit]) block.in_place = 0;
    }
    block.in_place = block.in_place && block.straight;
    std::vector<uint32_t> row_steps = exchange_row;
    for (size_t k = 1; k < row_steps.size(); ++k) row_steps[k] ^= row_steps[k - 1];
    for (const uint32_t step : steps) row_steps.push_back(step ^ (exchange_row.empty() ? 0 : row_steps[exchange_row.size() - 1]));
    block.row_steps = arena.keep(row_steps);
    block.steps = arena.keep(steps);
    block.lane_steps = arena.keep(lane_steps);
    block.exchange_row = arena.keep(exchange_row);
    block.exchange_shear = arena.keep(exchange_shear);
    block.num_outer = static_cast<int32_t>(outer.size());
    block.outer = arena.keep(outer);
    return block;
}

// Cuts operations, in order, into as few parts as possible that have tiles of up to `bits` dimensions, or one operation:
// add(vectors, first, last).
template <class F>
void in_parts(const std::vector<Given>& given, int bits, size_t most, const std::vector<uint64_t>& larger, F add) {
    std::vector<uint64_t> vectors;
    const Given *first = given.data(), *end = first + given.size();
    for (const Given* op = first; op != end; ++op) {
        std::vector<uint64_t> more = vectors;
        more.insert(more.end(), op->vectors.begin(), op->vectors.end());
        if (op != first && (size_t(op - first) == most || PauliTileFrame(more, larger).size() > bits)) {
            add(vectors, first, op);
            first = op;
            more = op->vectors;
        }
        vectors = more;
    }
    add(vectors, first, end);
}

PauliBlock compile_block(Arena& arena, const PauliTileFrame& frame, int n, int v, const std::vector<Given>& given) {
    std::vector<int> lane_bits, outer_bits;
    choose_outer(frame, 2 * n, v, lane_bits, outer_bits);
    PauliBlock block = make_block(arena, frame, v, lane_bits, outer_bits);
    std::vector<uint64_t> lanes;
    for (const int bit : lane_bits) {
        lanes.push_back(frame.orthogonal(uint64_t(1) << bit));
        block.lane_partner[lanes.size() - 1] = swapped(lanes.back());
    }
    for (uint32_t lane = 0; lane < uint32_t(1) << v; ++lane) {
        uint64_t row = 0;
        for (int bit = 0; bit < v; ++bit)
            if (lane >> bit & 1) row ^= lanes[static_cast<size_t>(bit)];
        block.lane_y |= uint32_t(y_parity(row)) << lane;
    }
    std::vector<PauliOp> ops;
    std::vector<PauliGroup> groups;
    const auto add = [&](const std::vector<uint64_t>& vectors, const Given* first, const Given* last) {
        const PauliTileFrame part(frame.size() <= group_bits ? frame.basis() : vectors, frame.basis());
        const PauliGroupCompiler compiler(arena, frame, part, lanes);
        groups.push_back(compiler.group(static_cast<int>(ops.size()), static_cast<int>(last - first)));
        for (; first != last; ++first) ops.push_back(compiler.compile(*first));
    };
    in_parts(given, std::min(frame.size(), group_bits), max_group, frame.basis(), add);
    for (const Given& op : given) block.num_undone += op.undone;
    block.num_ops = static_cast<int32_t>(ops.size());
    block.ops = arena.keep(ops);
    block.num_groups = static_cast<int32_t>(groups.size());
    block.groups = arena.keep(groups);
    return block;
}

// A block's operations on the tile given, or, where what completes it makes it too large, on several tiles one after the other.
void add_blocks(CompiledPauliTape& tape, const std::vector<uint64_t>& tile, const std::vector<Given>& given, std::vector<PauliBlock>& blocks) {
    const int n = tape.view.num_qubits, v = tape.view.lane_bits, room = std::min(2 * n - v, max_tile_bits);
    std::vector<uint64_t> units;
    for (int bit = 0; bit < 2 * n; ++bit) units.push_back(uint64_t(1) << bit);
    const auto add = [&](const std::vector<uint64_t>& vectors, const Given* first, const Given* last) {
        const PauliTileFrame frame(vectors, units);
        if (frame.size() > room) refuse("An operation has more qubits than the lanes leave; allocate the state with more lanes.");
        tape.tile_bits = std::max(tape.tile_bits, frame.size());
        blocks.push_back(compile_block(tape.arena, frame, n, v, std::vector<Given>(first, last)));
    };
    if (given.empty()) return;
    const int most = std::min(room, std::max(static_cast<int>(tile.size()), default_tile_bits));
    if (PauliTileFrame(tile, units).size() <= most) return add(tile, given.data(), given.data() + given.size());
    in_parts(given, most, given.size(), units, add);
}

// Notes an operation for products of one-qubit states.
void note_product_op(CompiledPauliTape& tape, const Given& op) {
    const int qubit = gf2::highest(op.vectors[0]) / 2, other = op.kind == PauliKind::pair ? gf2::highest(op.vectors[2]) / 2 : qubit;
    const auto is_plain = [&](size_t k, int q) {
        return op.vectors[2 * k] == uint64_t(1) << 2 * q && op.vectors[2 * k + 1] == uint64_t(2) << 2 * q;
    };
    const uint64_t letter = op.vectors[0] >> 2 * qubit, x_bit = letter & 1, z_bit = letter >> 1;
    bool keeps = op.kind != PauliKind::transfer;
    if (op.kind == PauliKind::turn)
        keeps = letter << 2 * qubit == op.vectors[0] && op.z == (z_bit << 2 * qubit) && op.y_of_string == (letter == 3);
    else if (keeps) keeps = is_plain(0, qubit) && (op.kind == PauliKind::affine || is_plain(1, other));
    tape.keeps_products = tape.keeps_products && keeps;
    tape.product_ops.push_back({op.kind, qubit, other, !z_bit ? 0 : x_bit ? 1 : 2, op.coefficient, op.batched});
}

}  // namespace

std::unique_ptr<CompiledPauliTape> compile_pauli_tape(const std::vector<int64_t>& source, int lane_bits) {
    Reader reader(source.data(), source.size());
    auto tape = std::make_unique<CompiledPauliTape>();
    tape->view.num_qubits = static_cast<int32_t>(reader.next(1, 16));
    tape->view.lane_bits = lane_bits;
    tape->view.num_overlaps = reader.next(0, int64_t(1) << 30);
    const int64_t num_blocks = reader.next(0, int64_t(1) << 30);
    const int bits = 2 * tape->view.num_qubits;
    GivenReader given(reader, tape->requirements, tape->view.num_qubits, tape->view.num_overlaps);
    std::vector<PauliBlock> blocks;
    for (int64_t i = 0; i < num_blocks; ++i) {
        const std::vector<uint64_t> tile = reader.masks(reader.next(0, bits), bits);
        const int64_t undo_from = reader.next(), num_ops = reader.next();
        std::vector<Given> ops;
        for (int64_t k = 0; k < num_ops; ++k) {
            ops.push_back(given.read(k >= undo_from));
            note_product_op(*tape, ops.back());
        }
        add_blocks(*tape, tile, ops, blocks);
    }
    if (!reader.done()) throw InvalidInputError("The tape's description is longer than expected.");
    if (!tape->keeps_products) tape->product_ops.clear();
    tape->view.num_blocks = static_cast<int32_t>(blocks.size());
    tape->view.blocks = tape->arena.keep(blocks);
    return tape;
}

}  // namespace fusedqml
