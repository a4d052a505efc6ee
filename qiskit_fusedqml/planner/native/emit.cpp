#include "emit.hpp"

#include <algorithm>

namespace fusedqml::planner {

namespace {

enum Column { x_after, y_after, z_after, z_before };
enum Euler { alpha, beta, gamma };
enum PairKind { plain, factored, carrier };
constexpr size_t fewest_before = 6;
constexpr size_t longest_stretch = 64;

}  // namespace

int64_t AngleTable::add(double value, int64_t overlap) {
    start.push_back(static_cast<int64_t>(index.size()));
    constant.push_back(value);
    overlaps.push_back(overlap);
    return size() - 1;
}

int64_t SequenceTable::add(const std::vector<SequenceGate>& gates, std::initializer_list<int64_t> of_sequence) {
    for (const SequenceGate& gate : gates) {
        axis.push_back(gate.axis);
        source.push_back(gate.slot);
        constant.push_back(gate.constant);
    }
    start.push_back(static_cast<int64_t>(axis.size()));
    overlaps.insert(overlaps.end(), of_sequence);
    return static_cast<int64_t>(start.size()) - 2;
}

void Emitter::begin(const Elements& window) {
    window_ = &window;
    sequence_number_.assign(window.sequences.size(), -1);
    for (size_t index = 0; index < window.sequences.size(); ++index) {
        const Sequence& sequence = window.sequences[index];
        if (sequence.is_matrix) continue;
        sequence_number_[index] = sequences.add(sequence.gates, {-1, -1, -1, -1});
        signs.insert(signs.end(), 4, 1.0);
        sequence_pairs.push_back(-1);
    }
}

void Emitter::block(const Group& group) {
    std::vector<Operation> operations;
    std::vector<const Element*> members;
    for (const auto& step : group.steps) {
        members.clear();
        std::vector<Element> strings;
        if (settings_.is_real) {
            strings = joined(step);
            for (const Element& string : strings) members.push_back(&string);
        } else {
            for (const size_t index : step)
                if (window_->elements[index].kind == Kind::z_rotation) members.push_back(&window_->elements[index]);
        }
        if (!members.empty()) operations.push_back(diag(members));
        for (const size_t index : step) {
            const Element& element = window_->elements[index];
            switch (element.kind) {
                case Kind::z_rotation: break;
                case Kind::pauli: operations.push_back(rotation(element)); break;
                case Kind::u2: operations.push_back(u2(element)); break;
                case Kind::dense: operations.push_back(dense_matrix(element)); break;
                case Kind::diagonal:
                    if (element.is_large() || !settings_.is_real) operations.push_back(diagonal(element));
                    break;
            }
        }
    }
    carry(operations);
    Block made;
    made.tile = group.tile;
    made.operations = std::move(operations);
    blocks.push_back(std::move(made));
}

void Emitter::grow_supports() {
    Span span;
    for (Block& block : blocks) {
        for (const Bits vector : block.tile) span.add(vector);
        block.is_whole = span.dimension == settings_.num_qubits;
        if (!block.is_whole) block.support = span.basis();
    }
}

Operation Emitter::rotation(const Element& element) {
    const bool mixed = element.sequence >= 0 && wants(window_->sequences[element.sequence]);
    const bool direct = wants(element.angle);
    Operation operation{element.side >= 0 ? Op::ry : Op::pauli, element.x, element.z, element.power, element.batched};
    if (mixed || direct) {
        operation.overlap = num_overlaps;
        operation.num_overlaps = mixed ? 2 : 1;
        num_overlaps += operation.num_overlaps;
    }
    operation.coefficient = add(pairs, element.angle, element.batched, direct ? operation.overlap : -1);
    if (mixed) {
        const int64_t number = sequence_number_[element.sequence];
        int64_t* overlaps = &sequences.overlaps[4 * number];
        overlaps[x_after] = operation.overlap + 1;
        overlaps[y_after] = operation.overlap;
        sequence_pairs[number] = operation.coefficient;
        operation.x_optional = overlaps[z_before] >= 0;
    }
    operation.controls = element.controls;
    return operation;
}

Operation Emitter::u2(const Element& element) {
    const Sequence& sequence = window_->sequences[element.sequence];
    Operation operation{Op::u2, element.x, element.z, 0, sequence.batched};
    if (wants(sequence)) {
        operation.overlap = num_overlaps;
        operation.num_overlaps = 3;
        num_overlaps += 3;
    }
    std::vector<SequenceGate> gates = sequence.gates;
    if (sequence.batched)
        for (SequenceGate& gate : gates) gate.slot = gate.slot < 0 ? -1 : settings_.batched[gate.slot];
    const int64_t first = operation.overlap;
    const bool none = first < 0;
    operation.coefficient = matrices[sequence.batched].add(gates, {first, none ? -1 : first + 1, none ? -1 : first + 2});
    return operation;
}

Operation Emitter::dense_matrix(const Element& element) {
    Operation operation{Op::dense};
    operation.coefficient = static_cast<int64_t>(dense.size());
    operation.flips = element.flips;
    operation.controls = element.sides;
    dense.push_back(element.dense);
    return operation;
}

Operation Emitter::diagonal(const Element& element) {
    Operation operation{Op::diag};
    const int64_t first = terms[false].size();
    for (const double angle : element.angles) terms[false].add(angle, -1);
    operation.factors.push_back({element.sides, element.masks, first, false});
    if (settings_.is_real) {
        last_phase_ = terms[false].add(taken_out(element.angles), -1);
        operation.factors.back().terms.push_back(0);
    }
    return operation;
}

// The angle that takes the phase of a real diagonal out, where all signs of its Z strings are 1.
template <class Angles> double Emitter::taken_out(const Angles& angles) {
    double phase = 0.0;
    for (const double angle : angles) phase += angle;
    phase_ += phase;
    return -phase;
}

// The Z strings of a step's diagonals, real together, each once; the first amplitude's phase is taken out.
std::vector<Element> Emitter::joined(const std::vector<size_t>& step) {
    std::vector<Bits> functionals;
    std::vector<double> angles;
    const auto angle_of = [&](Bits functional) -> double& {
        const auto found = std::find(functionals.begin(), functionals.end(), functional);
        const auto place = static_cast<size_t>(found - functionals.begin());
        if (found == functionals.end()) {
            functionals.push_back(functional);
            angles.push_back(0.0);
        }
        return angles[place];
    };
    for (const size_t index : step) {
        const Element& element = window_->elements[index];
        if (element.kind == Kind::z_rotation) angle_of(element.z) += element.angle.constant;
    }
    for (const size_t index : step) {
        const Element& element = window_->elements[index];
        if (element.kind != Kind::diagonal || element.is_large()) continue;
        for (size_t k = 0; k < element.masks.size(); ++k) angle_of(combination(element.sides, element.masks[k])) += element.angles[k];
    }
    std::vector<Element> strings;
    if (functionals.empty()) return strings;
    const double back = taken_out(angles);
    angle_of(0) += back;
    for (size_t k = 0; k < functionals.size(); ++k) {
        strings.push_back({Kind::z_rotation, 0, functionals[k]});
        strings.back().angle.constant = angles[k];
    }
    return strings;
}

Operation Emitter::diag(const std::vector<const Element*>& members) {
    Operation operation{Op::diag};
    std::vector<int64_t> overlaps(members.size(), -1);
    if (settings_.wants_any) measure(members, operation, overlaps);
    factors(members, false, overlaps, operation);
    factors(members, true, overlaps, operation);
    return operation;
}

// Notes which functionals' overlaps are wanted, and the overlap of each term that has one.
void Emitter::measure(const std::vector<const Element*>& members, Operation& diag, std::vector<int64_t>& overlaps) {
    struct Report {
        int64_t number;
        Column column;
        int sign;
    };
    std::vector<std::vector<Report>> reports(members.size());
    std::vector<char> direct(members.size());
    size_t total = 0, before = 0;
    bool any_direct = false;
    for (size_t k = 0; k < members.size(); ++k) {
        const Angle& angle = members[k]->angle;
        for (const auto& [source, sign] : angle.euler) {
            if (!wants(window_->sequences[source / 3])) continue;
            reports[k].push_back({sequence_number_[source / 3], source % 3 == alpha ? z_after : z_before, sign});
            ++total;
            before += source % 3 != alpha;
        }
        direct[k] = wants(angle);
        any_direct |= direct[k] != 0;
    }
    const bool too_few = !num_overlaps && !any_direct && before == total && total < fewest_before;
    for (size_t k = 0; k < members.size() && !too_few; ++k) {
        if (reports[k].empty() && !direct[k]) continue;
        overlaps[k] = num_overlaps++;
        if (diag.overlap < 0) diag.overlap = overlaps[k];
        diag.functionals.push_back(members[k]->z);
        for (const Report& report : reports[k]) {
            sequences.overlaps[4 * report.number + report.column] = overlaps[k];
            signs[4 * report.number + report.column] = report.sign;
        }
    }
    diag.num_overlaps = static_cast<int>(diag.functionals.size());
}

// Splits terms into factors: fills one with all terms its functionals span, then opens the next.
void Emitter::factors(const std::vector<const Element*>& members, bool batched, const std::vector<int64_t>& overlaps, Operation& diag) {
    std::vector<size_t> left, rest;
    for (size_t k = 0; k < members.size(); ++k)
        if (members[k]->batched == batched) left.push_back(k);
    while (!left.empty()) {
        Span span;
        Factor factor{{}, {}, -1, batched};
        rest.clear();
        for (const size_t position : left) {
            const Element& term = *members[position];
            Bits mask = 0;
            if (!span.coordinates(term.z, mask)) {
                if (factor.basis.size() == static_cast<size_t>(settings_.table_qubits)) {
                    rest.push_back(position);
                    continue;
                }
                mask = Bits(1) << factor.basis.size();
                span.add(term.z);
                factor.basis.push_back(term.z);
            }
            factor.terms.push_back(mask);
            const int64_t index = add(terms, term.angle, batched, wants(term.angle) ? overlaps[position] : -1);
            if (!term.z) last_phase_ = index;
            if (factor.first < 0) factor.first = index;
        }
        diag.factors.push_back(std::move(factor));
        left.swap(rest);
    }
}

// Appends an angle's row to the shared or the batched table; returns its number.
int64_t Emitter::add(AngleTable (&tables)[2], const Angle& angle, bool batched, int64_t overlap) {
    AngleTable& table = tables[batched];
    for (const auto& [slot, weight] : angle.slots) {
        table.index.push_back(batched ? settings_.batched[slot] : slot);
        table.weight.push_back(weight);
    }
    if (!batched)
        for (const auto& [source, sign] : angle.euler) {
            table.index.push_back(settings_.num_angles + 3 * sequence_number_[source / 3] + source % 3);
            table.weight.push_back(sign);
        }
    return table.add(angle.constant, overlap);
}

bool Emitter::wants(const Angle& angle) const {
    return std::any_of(angle.slots.begin(), angle.slots.end(), [this](const auto& each) { return wants(each.first); });
}

bool Emitter::wants(const Sequence& sequence) const {
    return std::any_of(sequence.gates.begin(), sequence.gates.end(), [this](const SequenceGate& gate) { return wants(gate.slot); });
}

// Gives factored rotations their carriers: the next diagonal of the block, else the previous one; of more than
// longest_stretch in a row, and where there is no diagonal, the last one carries the others.
void Emitter::carry(std::vector<Operation>& operations) {
    std::vector<size_t> diagonals;
    std::vector<std::vector<int64_t>> gaps(1);  // rotations before each diagonal, and at the end
    for (size_t k = 0; k < operations.size(); ++k) {
        if (operations[k].op == Op::diag) {
            diagonals.push_back(k);
            gaps.emplace_back();
        }
        const int64_t pair = operations[k].factorable_pair();
        if (pair >= 0) gaps.back().push_back(pair);
    }
    std::vector<int64_t> last = std::move(gaps.back());
    gaps.pop_back();
    if (diagonals.empty() || last.size() > longest_stretch) carry_themselves(last, 0);
    for (auto& pairs : gaps) carry_themselves(pairs, longest_stretch);
    if (!gaps.empty()) gaps.back().insert(gaps.back().end(), last.begin(), last.end());
    for (size_t k = 0; k < diagonals.size(); ++k) {
        if (gaps[k].empty()) continue;
        operations[diagonals[k]].scale = num_scales;
        stretches_.push_back({std::move(gaps[k]), -1, num_scales});
        ++num_scales;
    }
}

// Gives rotations in a row carriers of their own until at most `rest` are left.
void Emitter::carry_themselves(std::vector<int64_t>& pairs, size_t rest) {
    while (pairs.size() > rest) {
        const auto end = pairs.begin() + static_cast<int64_t>(std::min(pairs.size(), longest_stretch));
        if (end - pairs.begin() > 1) stretches_.push_back({{pairs.begin(), end - 1}, *(end - 1), -1});
        pairs.erase(pairs.begin(), end);
    }
}

void Emitter::finish() {
    if (settings_.is_real && settings_.keeps_phase && last_phase_ >= 0) terms[false].constant[last_phase_] += phase_;
    bool seen = false;
    for (Block& block : blocks) {
        while (!seen && block.undo_from < static_cast<int64_t>(block.operations.size())) {
            if (block.operations[block.undo_from].overlap >= 0)
                seen = true;
            else
                ++block.undo_from;
        }
    }
    scales.kinds.assign(pairs[false].constant.size(), plain);
    for (const Stretch& each : stretches_) {
        for (const int64_t pair : each.pairs) scales.kinds[pair] = factored;
        if (each.carrier_pair >= 0) scales.kinds[each.carrier_pair] = carrier;
        scales.starts.push_back(static_cast<int64_t>(scales.factored.size()));
        scales.factored.insert(scales.factored.end(), each.pairs.begin(), each.pairs.end());
        scales.carrier_pair.push_back(each.carrier_pair);
        scales.carrier_diag.push_back(each.carrier_diag);
    }
    scales.overlap_position.assign(num_overlaps, 0);
    const auto num_pairs = static_cast<int64_t>(scales.kinds.size());
    for (const Block& block : blocks)
        for (const Operation& operation : block.operations) {
            const int64_t pair = operation.factorable_pair();
            if (pair >= 0 && scales.kinds[pair] != plain)
                scales.order.push_back(pair);
            else if (operation.scale >= 0)
                scales.order.push_back(num_pairs + operation.scale);
            for (int k = 0; k < operation.num_overlaps; ++k)
                scales.overlap_position[operation.overlap + k] = static_cast<int64_t>(scales.order.size());
        }
}

}  // namespace fusedqml::planner
