#include "collector.hpp"

#include <algorithm>
#include <cmath>

namespace fusedqml::planner {

namespace {

constexpr double pi = 3.14159265358979323846;
constexpr double epsilon = 1e-14;
constexpr int max_expanded_controls = 3;
enum Axis { axis_x, axis_y, axis_z };
enum Euler { alpha, beta, gamma };

// Whether a gate of a sequence is Z, or nothing, up to a phase.
bool is_half_turn(const SequenceGate& gate) {
    return gate.axis == axis_z && gate.slot < 0 && std::abs(std::remainder(gate.constant, pi)) < epsilon;
}

}  // namespace

Collector::Collector(Frame frame, const std::vector<int64_t>& batched, bool keep_phase, bool euler, bool is_real)
    : frame_(std::move(frame)),
      batched_(batched),
      keep_phase_(keep_phase),
      euler_(euler),
      is_real_(is_real),
      one_(Bits(1) << frame_.columns.size()),
      open_sequences_(frame_.columns.size()) {}

Elements Collector::window() {
    flush();
    close(one_ - 1);
    auto& elements = made_.elements;
    const auto nothing = [](const Element& e) { return e.kind == Kind::z_rotation && e.angle.is_zero(); };
    elements.erase(std::remove_if(elements.begin(), elements.end(), nothing), elements.end());
    Elements window = std::move(made_);
    made_ = Elements();
    for (Terms& terms : open_terms_) terms.clear();
    return window;
}

void Collector::rotation(Rotation r) {
    if (has_pending_) {
        // a controlled X is a flip and the phase that it leaves, with the other sign
        const bool goes_on = r.slot < 0 && !r.z && r.ctrl_mask == pending_mask_ && r.ctrl_value == pending_value_;
        if (goes_on && !r.x) {
            r.theta += pending_theta_;
            has_pending_ = false;
        } else if (!(goes_on && is_real_)) {
            flush();
        }
    }
    if (r.slot < 0) {
        if (std::abs(std::remainder(r.theta, 4 * pi)) < epsilon) return;
        if (r.x && count(r.ctrl_mask) <= 1 && std::abs(std::abs(std::remainder(r.theta, 2 * pi)) - pi) < epsilon) {
            if (!(is_real_ && r.z && r.ctrl_mask)) {  // it leaves phases under the control that are not real
                flip(r);
                return;
            }
        }
    }
    if (!r.ctrl_mask && count(r.x | r.z) == 1) {
        const Axis axis = r.x ? (r.z ? axis_y : axis_x) : axis_z;
        extend_sequence(bit_length(r.x | r.z) - 1, {axis, r.slot, r.theta}, is_batched(r.slot));
    } else if (!r.x && count(r.ctrl_mask) <= max_expanded_controls) {
        phases(r);
    } else {
        pauli(r);
    }
}

void Collector::diagonal(const Table& d) {
    flush();
    Bits mask = 0;
    for (const int64_t q : d.qubits) mask |= Bits(1) << q;
    close_unless_diagonal(mask);
    if (!is_real_ && d.masks.size() <= max_expanded_terms) {
        for (size_t k = 0; k < d.masks.size(); ++k) {
            Bits logical = 0, rest = d.masks[k];
            while (rest) logical |= Bits(1) << d.qubits[pop_lowest(rest)];
            add_term(frame_.functional(logical), -1, d.angles[k], false);
        }
        return;
    }
    append_diagonal(d.qubits, d.masks, d.angles);
}

void Collector::append_diagonal(const std::vector<int64_t>& qubits, const std::vector<Bits>& masks, const std::vector<double>& angles) {
    Element element{Kind::diagonal};
    Bits constants = 0;
    for (size_t j = 0; j < qubits.size(); ++j) {
        const Bits dual = frame_.duals[qubits[j]];
        constants |= Bits((dual & one_) != 0) << j;
        element.sides.push_back(linear(dual));
        element.generators.push_back({0, linear(dual)});
    }
    element.masks = masks;
    // where a functional's constant is 1, the strings that hold it change their sign
    for (size_t k = 0; k < masks.size(); ++k) element.angles.push_back((1.0 - 2.0 * parity(masks[k] & constants)) * angles[k]);
    append(std::move(element));
}

// -1 where the controls hold, as one element: its Z strings are not real one by one.
void Collector::sign(Bits ctrl_mask, Bits ctrl_value) {
    std::vector<int64_t> qubits;
    Bits negated = 0, left = ctrl_mask;
    while (left) {
        const int q = pop_lowest(left);
        negated |= (ctrl_value >> q & 1) << qubits.size();
        qubits.push_back(q);
    }
    std::vector<Bits> masks;
    std::vector<double> angles;
    const auto size = Bits(1) << qubits.size();
    for (Bits mask = 0; mask < size; ++mask) {
        masks.push_back(mask);
        angles.push_back(2 * pi / static_cast<double>(size) * (1.0 - 2.0 * parity(mask & negated)));
    }
    append_diagonal(qubits, masks, angles);
}

void Collector::matrix(const Table& m) {
    flush();
    if (m.dense < 0) {
        const Axis axes[] = {axis_z, axis_y, axis_z};
        for (int k = 0; k < 3; ++k) extend_sequence(static_cast<int>(m.qubits[0]), {axes[k], -1, m.angles[k]}, false);
        add_term(0, -1, -2.0 * m.angles[3], false);
        return;
    }
    Bits mask = 0;
    for (const int64_t q : m.qubits) mask |= Bits(1) << q;
    close(mask);
    Element element{Kind::dense};
    element.dense = m.dense;
    for (const int64_t q : m.qubits) {
        element.flips.push_back(frame_.columns[q]);
        element.sides.push_back(frame_.duals[q]);
    }
    for (const Bits x : element.flips) element.generators.push_back({x, 0});
    for (const Bits side : element.sides) element.generators.push_back({0, linear(side)});
    append(std::move(element));
}

void Collector::close(Bits mask) {
    mask &= open_mask_;
    open_mask_ ^= mask;
    flipping_mask_ &= ~mask;
    while (mask) {
        const int q = pop_lowest(mask);
        Sequence closed = std::move(open_sequences_[q]);
        open_sequences_[q] = Sequence();
        emit_sequence(frame_.columns[q], frame_.duals[q], std::move(closed));
    }
}

void Collector::extend_sequence(int q, const SequenceGate& gate, bool batched) {
    const Bits bit = Bits(1) << q;
    Sequence& sequence = open_sequences_[q];
    if (open_mask_ & bit && sequence.batched != batched) close(bit);
    if (!(open_mask_ & bit)) {
        sequence.batched = batched;
        open_mask_ |= bit;
    }
    sequence.gates.push_back(gate);
    if (gate.axis != axis_z) flipping_mask_ |= bit;
}

// C[exp(-1j theta/2 P)], theta = pi mod 2 pi: flip the x bits, then a Z string and a phase, under C.
void Collector::flip(const Rotation& r) {
    close(r.x | r.z);
    close_unless_diagonal(r.ctrl_mask);
    frame_.flip(r.x, bit_length(r.ctrl_mask) - 1, r.ctrl_value != 0);
    double phase = -std::remainder(r.theta, 4 * pi) / 2 - pi / 2 * (count(r.x & r.z) % 4);
    if (r.z) {
        // (-1)**z = exp(-1j pi/2) exp(+1j pi/2 (-1)**z)
        add_phases(frame_.functional(r.z), frame_.controls(r.ctrl_mask, r.ctrl_value), -1, -pi);
        phase -= pi / 2;
    }
    hold(r, (has_pending_ ? pending_theta_ : 0.0) - 2 * phase);
}

void Collector::hold(const Rotation& r, double theta) {
    has_pending_ = true;
    pending_mask_ = r.ctrl_mask;
    pending_value_ = r.ctrl_value;
    pending_theta_ = theta;
}

void Collector::flush() {
    if (!has_pending_) return;
    has_pending_ = false;
    add_phases(0, frame_.controls(pending_mask_, pending_value_), -1, pending_theta_);
}

void Collector::phases(const Rotation& r) {
    close_unless_diagonal(r.z | r.ctrl_mask);
    if (is_real_ && count(r.ctrl_mask) > 1) {
        sign(r.ctrl_mask, r.ctrl_value);
        return;
    }
    if (is_real_ && r.ctrl_mask) {  // real once a flip under the same control has followed
        hold(r, r.theta);
        return;
    }
    add_phases(frame_.functional(r.z), frame_.controls(r.ctrl_mask, r.ctrl_value), r.slot, r.theta);
}

// A diagonal rotation under k controls as 2**k Z strings: each control projects by (1 - (-1)**c)/2.
void Collector::add_phases(Bits string, const std::vector<Bits>& controls, int64_t slot, double theta) {
    double whole = 1.0;
    for (size_t k = 0; k < controls.size(); ++k) whole *= 0.5;
    for (size_t subset = 0; subset < size_t(1) << controls.size(); ++subset) {
        Bits functional = string;
        for (size_t k = 0; k < controls.size(); ++k)
            if (subset >> k & 1) functional ^= controls[k];
        add_term(functional, slot, theta, is_batched(slot), parity(subset) ? -whole : whole);
    }
}

void Collector::pauli(const Rotation& r) {
    close(r.x | r.z);
    close_unless_diagonal(r.ctrl_mask);
    Element element{Kind::pauli, frame_.vector(r.x), frame_.functional(r.z)};
    if (r.slot < 0)
        element.angle.constant = r.theta;
    else
        element.angle.slots.emplace_back(r.slot, 1.0);
    element.power = count(r.x & r.z) % 4;
    element.controls = frame_.controls(r.ctrl_mask, r.ctrl_value);
    element.batched = is_batched(r.slot);
    element.generators.push_back({element.x, linear(element.z)});
    for (const Bits control : element.controls) element.generators.push_back({0, linear(control)});
    append(std::move(element));
}

// Adds an element that flips; the open terms that do not commute with it can no longer be joined.
void Collector::append(Element&& element) {
    const Bits* flips = element.flips_begin();
    for (size_t k = 0; k < element.num_flips(); ++k)
        for (Terms& terms : open_terms_) {
            const auto meets = [x = flips[k]](const auto& term) { return parity(term.first & x) != 0; };
            terms.erase(std::remove_if(terms.begin(), terms.end(), meets), terms.end());
        }
    made_.elements.push_back(std::move(element));
}

// exp(-1j angle/2 (-1)**f); the angle is `weight` times the slot's or, if that is -1, times theta.
void Collector::add_term(Bits functional, int64_t slot, double theta, bool batched, double weight) {
    if (functional & one_) {
        functional ^= one_;
        weight = -weight;
    }
    if (!functional && !keep_phase_) return;
    Angle& angle = angle_of(functional, batched);
    if (slot < 0)
        angle.constant += weight * theta;
    else
        angle.slots.emplace_back(slot, weight);
}

Angle& Collector::angle_of(Bits functional, bool batched) {
    Terms& terms = open_terms_[batched];
    for (const auto& [known, place] : terms)
        if (known == functional) return made_.elements[place].angle;
    terms.emplace_back(functional, made_.elements.size());
    Element& element = made_.elements.emplace_back(Element{Kind::z_rotation, 0, functional});
    element.batched = batched;
    element.generators.push_back({0, functional});
    return element.angle;
}

// A sequence as Z rotations around one flip about a common axis; else by Euler angles, or as matrices.
void Collector::emit_sequence(Bits x, Bits w, Sequence&& sequence) {
    const auto& gates = sequence.gates;
    size_t first = 0, last = gates.size();
    while (first < last && gates[first].axis == axis_z) ++first;
    while (first < last && gates[last - 1].axis == axis_z) --last;
    const int64_t axis = first < last ? gates[first].axis : int64_t(axis_z);
    for (size_t k = first; k < last; ++k)
        if (gates[k].axis != axis && !is_half_turn(gates[k])) {
            emit_mixed_sequence(x, w, std::move(sequence));
            return;
        }
    for (size_t k = 0; k < first; ++k) add_term(w, gates[k].slot, gates[k].constant, sequence.batched);
    if (first < last) {
        const bool is_y = axis == axis_y;
        Element element{Kind::pauli, x, is_y ? w : 0};
        double sign = 1.0, half_turns = 0.0;
        for (size_t k = first; k < last; ++k) {
            if (gates[k].axis == axis_z) {  // it goes behind the rotations after it, which change their sign
                if (std::llrint(gates[k].constant / pi) & 1) sign = -sign;
                half_turns += gates[k].constant;
                continue;
            }
            element.angle.constant += sign * gates[k].constant;
            if (gates[k].slot >= 0) element.angle.slots.emplace_back(gates[k].slot, sign);
        }
        element.power = is_y;
        element.side = is_y ? static_cast<int64_t>(w) : -1;
        element.batched = sequence.batched;
        element.generators.push_back({x, linear(element.z)});
        append(std::move(element));
        if (half_turns != 0.0)  // an even number of them is a phase
            add_term(std::llrint(half_turns / pi) & 1 ? w : 0, -1, half_turns, sequence.batched);
    }
    for (size_t k = last; k < gates.size(); ++k) add_term(w, gates[k].slot, gates[k].constant, sequence.batched);
}

void Collector::emit_mixed_sequence(Bits x, Bits w, Sequence&& sequence) {
    const auto index = static_cast<int64_t>(made_.sequences.size());
    sequence.is_matrix = sequence.batched || !euler_;
    const bool is_matrix = sequence.is_matrix, batched = sequence.batched;
    made_.sequences.push_back(std::move(sequence));
    if (!is_matrix) add_euler_term(w, index, gamma);
    Element element{is_matrix ? Kind::u2 : Kind::pauli, x, w};
    element.power = 1;
    element.side = static_cast<int64_t>(w);
    element.batched = is_matrix && batched;
    element.sequence = index;
    if (is_matrix) {
        element.generators = {{x, 0}, {0, linear(w)}};
    } else {
        element.generators = {{x, linear(w)}};
        element.angle.euler.emplace_back(3 * index + beta, 1);
    }
    append(std::move(element));
    if (!is_matrix) add_euler_term(w, index, alpha);
}

void Collector::add_euler_term(Bits w, int64_t index, int which) {
    angle_of(linear(w), false).euler.emplace_back(3 * index + which, w & one_ ? -1 : 1);
}

void drop_last_phases(Elements& window) {
    std::vector<Element> kept;
    Span later;
    std::vector<Bits> flips;
    auto& elements = window.elements;
    for (auto element = elements.rbegin(); element != elements.rend(); ++element) {
        if (element->is_diagonal()) {
            const bool matters = std::any_of(element->generators.begin(), element->generators.end(), [&](const Generator& g) {
                return std::any_of(flips.begin(), flips.end(), [&](Bits x) { return parity(g.z & x) != 0; });
            });
            if (!matters) continue;
        }
        const Bits* own = element->flips_begin();
        for (size_t k = 0; k < element->num_flips(); ++k)
            if (later.add(own[k])) flips.push_back(own[k]);  // what the span holds meets what its basis meets
        kept.push_back(std::move(*element));
    }
    std::reverse(kept.begin(), kept.end());
    elements = std::move(kept);
}

}  // namespace fusedqml::planner
