#include "operations.hpp"

namespace fusedqml {
namespace {

constexpr int64_t max_index = int64_t(1) << 30;

void grow(int64_t& need, int64_t size) { need = std::max(need, size); }

}  // namespace

void BlockCompiler::read(Reader& reader, bool undone, std::vector<const Table*>& tables) {
    switch (reader.next(0, 5)) {
        case 1: return read_diagonal(reader, undone, tables);
        case 2: return read_ry(reader, undone);
        case 3: return read_unitary2(reader, undone);
        case 4: return read_pauli(reader, undone);
        default: return read_dense(reader, undone);
    }
}

const std::vector<Op>& BlockCompiler::finish() {
    flush();
    return ops_;
}

// An overlap's first index, -1 for none; `count` of them must fit.
int BlockCompiler::overlap(Reader& reader, int64_t count) {
    const int64_t first = reader.next(-1, max_index);
    if (first >= 0 && first + count > num_overlaps_) throw InvalidInputError("An overlap's index is beyond num_overlaps.");
    return static_cast<int>(first);
}

void BlockCompiler::read_diagonal(Reader& reader, bool undone, std::vector<const Table*>& tables) {
    DiagonalSource source;
    const int64_t num_factors = reader.next(0, 64);
    source.scale = static_cast<int>(reader.next(-1, max_index));
    grow(needs_.scales, source.scale + 1);
    const int64_t num_functionals = reader.next(0, max_index);
    source.overlap = overlap(reader, num_functionals);
    source.functionals = reader.masks(num_functionals, frame_.n + 1);
    for (int64_t i = 0; i < num_factors; ++i) {
        FactorSource factor;
        const int d = static_cast<int>(reader.next(0, 24));
        factor.basis = reader.masks(d, frame_.n);
        const int64_t num_terms = reader.next(0, max_index);
        factor.terms = reader.masks(num_terms, d + 1);
        factor.first = static_cast<int>(reader.next(0, max_index));
        factor.batched = reader.flag();
        grow(factor.batched ? needs_.batched_angles : needs_.angles, factor.first + num_terms);
        source.factors.push_back(std::move(factor));
    }
    const Diagonal diagonal = compile_diagonal(arena_, frame_, source, static_cast<int>(tables.size()));
    for (int i = 0; i < diagonal.num_tables; ++i) tables.push_back(diagonal.tables + i);
    bool batched = false;
    for (const FactorSource& factor : source.factors) batched |= factor.batched;
    emit(Kind::diagonal, undone, batched, diagonal);
}

int BlockCompiler::coefficient(Reader& reader, bool batched, int64_t count, int64_t Requirements::*shared,
                               int64_t Requirements::*separate) {
    const int64_t index = reader.next(0, max_index);
    grow(needs_.*(batched ? separate : shared), index + count);
    return static_cast<int>(index);
}

void BlockCompiler::read_ry(Reader& reader, bool undone) {
    const uint64_t x = reader.mask(frame_.n), w = reader.mask(frame_.n + 1);
    if (!gf2::parity(x & w)) throw InvalidInputError("A rotation's side functional must be odd on its flip vector.");
    Turn turn{};
    turn.batched = reader.flag();
    turn.coefficient = coefficient(reader, turn.batched, 1, &Requirements::pairs, &Requirements::batched_pairs);
    turn.num_overlaps = static_cast<int32_t>(reader.next(0, 2));
    turn.overlap = overlap(reader, turn.num_overlaps);
    if (turn.overlap < 0) turn.num_overlaps = 0;
    turn.x_optional = reader.flag();
    queue({turn, false, undone, w, x});
}

void BlockCompiler::read_pauli(Reader& reader, bool undone) {
    const uint64_t x = reader.mask(frame_.n);
    uint64_t sign = reader.mask(frame_.n + 1);
    const int power = static_cast<int>(reader.next(0, 3));
    const bool real = power & 1;
    if (gf2::parity(x & sign) != (power & 1)) throw InvalidInputError("A Pauli's power does not match its masks.");
    if (power & 2) sign ^= one();
    const std::vector<uint64_t> controls = reader.masks(reader.next(0, max_index), frame_.n + 1);
    for (const uint64_t control : controls)
        if (gf2::parity(control & x)) throw InvalidInputError("A control must be even on the flip vector.");
    Turn turn{};
    turn.batched = reader.flag();
    turn.coefficient = coefficient(reader, turn.batched, 1, &Requirements::pairs, &Requirements::batched_pairs);
    turn.overlap = overlap(reader, 1);
    turn.num_overlaps = turn.overlap >= 0;
    if (!x) return add_phase(turn, controls, sign, undone);
    turn.x = frame_.local(x);
    const bool plain = controls.empty() && (real || !frame_.split(sign).local);
    if (plain) return queue({turn, !real, undone, sign, x});
    add_controlled(turn, controls, sign, !real, undone);
}

void BlockCompiler::add_phase(const Turn& turn, const std::vector<uint64_t>& controls, uint64_t sign, bool undone) {
    const Selection selection(frame_, controls);
    const Functional z = selection.reduced(frame_.split(sign));
    Phase phase{};
    phase.sign = z.sign();
    phase.half = z.local ? selection.dual(z) : 0;
    phase.coefficient = turn.coefficient;
    phase.batched = turn.batched;
    phase.overlap = turn.overlap;
    phase.rows = selection.rows(arena_, {z.local});
    emit(Kind::phase, undone, phase.batched, phase);
}

void BlockCompiler::add_controlled(const Turn& source, const std::vector<uint64_t>& controls, uint64_t sign, bool imaginary,
                                   bool undone) {
    const Selection selection(frame_, controls);
    const Functional z = selection.reduced(frame_.split(sign));
    Turns turns{};
    turns.count = 1;
    turns.imaginary = imaginary;
    turns.controlled = !controls.empty();
    turns.turns[0] = source;
    Turn& turn = turns.turns[0];
    turn.sign = z.sign();
    turns.half = imaginary && z.local ? selection.dual(z) : 0;
    turns.rows = selection.rows(arena_, {z.local, imaginary ? uint64_t(1) << gf2::highest(turn.x) : 0});
    emit(Kind::turns, undone, turn.batched, turns);
}

// Rotations that follow each other and act on independent virtual qubits may be applied together.
bool BlockCompiler::fits(const Pending& next) const {
    if (pending_.empty()) return true;
    const Pending& first = pending_.front();
    if (next.imaginary != first.imaginary || next.undone != first.undone ||
        next.turn.num_overlaps != first.turn.num_overlaps)
        return false;
    gf2::Echelon flips;
    for (const Pending& other : pending_) {
        if (!next.imaginary && (gf2::parity(other.w & next.x) || gf2::parity(next.w & other.x))) return false;
        flips.add(other.x);
    }
    return flips.add(next.x);
}

void BlockCompiler::queue(const Pending& next) {
    if (!fits(next)) flush();
    pending_.push_back(next);
    pending_.back().turn.x = frame_.local(next.x);
    pending_.back().turn.sign = frame_.split(next.w).sign();
}

// Into as few passes as possible, of nearly equal size.
void BlockCompiler::flush() {
    const std::vector<Pending> pending = std::move(pending_);
    pending_.clear();
    const bool first = ops_.empty();
    const size_t count = pending.size(), most = static_cast<size_t>(group_), passes = (count + most - 1) / most;
    const auto at = [&](size_t pass) { return pending.data() + count * pass / passes; };
    for (size_t pass = 0; pass < passes; ++pass) {
        // where several groups are stacked, one long walk is better than two short ones for each of them
        if (pass + 1 < passes && !pending.front().imaginary && frame_.stack_bits() < 2) {
            add_pair(at(pass), at(pass + 1), at(pass + 2));
            ++pass;
        } else {
            add_turns(at(pass), at(pass + 1));
        }
    }
    if (first) num_head_ = static_cast<int>(ops_.size());
}

bool BlockCompiler::any_batched(const Pending* first, const Pending* last) {
    return std::any_of(first, last, [](const Pending& pending) { return pending.turn.batched; });
}

Turns BlockCompiler::make_turns(const Pending* first, const Pending* last) const {
    Turns turns{};
    turns.imaginary = first->imaginary;
    for (const Pending* pending = first; pending != last; ++pending) turns.turns[turns.count++] = pending->turn;
    return turns;
}

void BlockCompiler::add_turns(const Pending* first, const Pending* last) {
    Turns turns = make_turns(first, last);
    std::vector<uint64_t> masks;
    gf2::Echelon flips;
    for (const Pending* pending = first; pending != last; ++pending) {
        masks.push_back(frame_.split(pending->w).local);
        flips.add(pending->turn.x);
    }
    if (turns.imaginary) {
        masks.clear();
        for (const uint64_t x : flips.vectors()) masks.push_back(uint64_t(1) << gf2::highest(x));
    }
    turns.rows = Selection(frame_, {}).rows(arena_, masks);
    ops_.push_back({Kind::turns, first->undone, any_batched(first, last), arena_.keep_one(turns)});
}

// Steps of a walk over the flips of some rotations.
static void walk(const Turns& turns, uint32_t* steps) {
    uint32_t total = 0;
    for (int i = 0; i < turns.count; ++i) steps[i] = total ^= turns.turns[i].x;
    steps[turns.count] = 0;
}

void BlockCompiler::add_pair(const Pending* first, const Pending* middle, const Pending* last) {
    TurnPair pair{};
    pair.first = make_turns(first, middle);
    pair.second = make_turns(middle, last);
    walk(pair.second, pair.first_steps);
    walk(pair.first, pair.second_steps);
    std::vector<uint64_t> masks;
    for (const Pending* pending = first; pending != last; ++pending) masks.push_back(frame_.split(pending->w).local);
    pair.rows = Selection(frame_, {}).rows(arena_, masks);
    ops_.push_back({Kind::turn_pair, first->undone, any_batched(first, last), arena_.keep_one(pair)});
}

void BlockCompiler::read_unitary2(Reader& reader, bool undone) {
    const uint64_t x = reader.mask(frame_.n), w = reader.mask(frame_.n + 1);
    if (!gf2::parity(x & w)) throw InvalidInputError("A matrix's side functional must be odd on its flip vector.");
    const Functional side = frame_.split(w);
    Unitary2 u{};
    u.x = frame_.local(x);
    u.side = side.sign();
    u.batched = reader.flag();
    u.coefficient = coefficient(reader, u.batched, 1, &Requirements::matrices, &Requirements::batched_matrices);
    u.overlap = overlap(reader, 3);
    u.rows = Selection(frame_, {}).rows(arena_, {side.local});
    emit(Kind::unitary2, undone, u.batched, u);
}

void BlockCompiler::read_dense(Reader& reader, bool undone) {
    DenseMatrix dense{};
    dense.k = static_cast<int32_t>(reader.next(1, max_dense));
    const std::vector<uint64_t> xs = reader.masks(dense.k, frame_.n), ws = reader.masks(dense.k, frame_.n + 1);
    std::vector<uint64_t> masks;
    for (int i = 0; i < dense.k; ++i) {
        const size_t row = static_cast<size_t>(i);
        for (size_t j = 0; j < xs.size(); ++j)
            if (gf2::parity(ws[row] & xs[j]) != (row == j))
                throw InvalidInputError("The virtual qubits of a dense matrix are not independent.");
        dense.xs[i] = frame_.local(xs[row]);
        dense.sides[i] = frame_.split(ws[row]).sign();
        masks.push_back(frame_.split(ws[row]).local);
    }
    const int64_t index = reader.next(0, max_index);
    dense.coefficient = static_cast<int32_t>(index);
    if (needs_.dense.size() <= static_cast<size_t>(index)) needs_.dense.resize(static_cast<size_t>(index) + 1);
    int& size = needs_.dense[static_cast<size_t>(index)];
    if (size && size != dense.k) throw InvalidInputError("Two operations of different width share one dense matrix.");
    size = dense.k;
    dense.overlap = overlap(reader, int64_t(2) << 2 * dense.k);
    if (dense.overlap >= 0 && dense.k > max_moments) throw InvalidInputError("The moments of so large a matrix are not available.");
    dense.rows = Selection(frame_, {}).rows(arena_, masks);
    emit(Kind::dense, undone, false, dense);
}

}  // namespace fusedqml
