#include <algorithm>
#include <cmath>
#include <limits>

#include "observables.hpp"
#include "rows.hpp"

namespace fusedqml {

constexpr size_t expanded_controls = 3;  // more are walked row by row instead of becoming 2**k strings
constexpr size_t summed_sets = 4;        // more sets of strings are transformed for each block instead of added up

void RealDiagonal::add(Arena& arena, const TermSource& term, int n, int block_bits) {
    // (-1j)**power is 1, -1j, -1, 1j
    const double coefficient = term.power == 1 || term.power == 2 ? -term.coefficient : term.coefficient;
    if (term.controls.size() <= expanded_controls) add_strings(term, coefficient, block_bits);
    else add_controlled(arena, term, coefficient, n, block_bits);
}

void RealDiagonal::add_strings(const TermSource& term, double coefficient, int block_bits) {
    // a control c holds: (1 - (-1)**c) / 2
    const size_t count = size_t(1) << term.controls.size();
    const uint64_t low = (uint64_t(1) << block_bits) - 1;
    for (size_t subset = 0; subset < count; ++subset) {
        double value = coefficient / static_cast<double>(count);
        uint64_t functional = term.z;
        for (size_t i = 0; i < term.controls.size(); ++i)
            if (subset >> i & 1) {
                functional ^= term.controls[i];
                value = -value;
            }
        auto set = std::find_if(sets_.begin(), sets_.end(), [&](const Strings& s) { return s.outer == (functional & ~low); });
        if (set == sets_.end()) set = sets_.insert(sets_.end(), Strings{functional & ~low, {}, {}});
        set->strings.push_back({value, static_cast<uint32_t>(functional & low)});
    }
}

void RealDiagonal::add_controlled(Arena& arena, const TermSource& term, double coefficient, int n, int block_bits) {
    TileFrame frame;
    frame.n = n;
    for (int bit = 0; bit < n; ++bit) {
        if (bit >= block_bits) {
            frame.outer_bits.push_back(bit);
            continue;
        }
        frame.basis.push_back(uint64_t(1) << bit);
        frame.pivots.push_back(bit);
    }
    const Selection selection(frame, term.controls);
    const Functional z = selection.reduced(frame.split(term.z));
    controlled_.push_back({coefficient, z.outer, z.local ? selection.dual(z) : 0, selection.rows(arena, {z.local})});
}

void RealDiagonal::finish(const Kernels& kernels, int n, int block_bits) {
    const uint64_t high = (uint64_t(1) << n) - (uint64_t(1) << block_bits);
    double total = 0;
    for (const Strings& set : sets_) {
        functionals_.add(set.outer & high);
        for (const String& string : set.strings) total += std::abs(string.coefficient);
    }
    for (const Controlled& term : controlled_) {
        functionals_.add(term.outer & high);
        for (int i = 0; i < term.rows.num_tests; ++i) functionals_.add(term.rows.tests[i] & high);
        for (int i = 0; i < term.rows.num_shifts; ++i) functionals_.add(term.rows.shifts[i].outer & high);
        total += std::abs(term.coefficient);
    }
    // nothing is negligible beside what overflows
    negligible_ = std::isfinite(total) ? total * std::numeric_limits<double>::epsilon() : 0.0;
    if (sets_.size() > summed_sets) return;
    const size_t count = size_t(1) << block_bits;
    const Memory memory(count * sizeof(double), false);
    double* values = static_cast<double*>(memory.get());
    for (Strings& set : sets_) {
        std::fill(values, values + count, 0.0);
        for (const String& string : set.strings) values[string.low] += string.coefficient;
        kernels.transform(values, count);
        set.sum.assign(values, values + count);
    }
}

uint32_t RealDiagonal::kind_of_bit(int bit) const {
    uint32_t kind = 0;
    for (size_t i = 0; i < functionals_.vectors().size(); ++i) kind |= static_cast<uint32_t>(functionals_.vectors()[i] >> bit & 1) << i;
    return kind;
}

uint64_t RealDiagonal::block_of(uint32_t kind) const {
    uint64_t high = 0;
    for (size_t i = 0; i < functionals_.vectors().size(); ++i)
        if (kind >> i & 1) high |= uint64_t(1) << gf2::highest(functionals_.vectors()[i]);  // in no other functional
    return high;
}

static void add_along(const Rows& rows, uint32_t row, double value, double* values) {
    const uint64_t count = uint64_t(1) << rows.dim;
    for (uint64_t i = 0; i < count;) {
        values[row] += value;
        row ^= rows.steps[__builtin_ctzll(++i)];
    }
}

bool RealDiagonal::evaluate(const Kernels& kernels, uint64_t high, int block_bits, double* values) const {
    const size_t count = size_t(1) << block_bits;
    std::fill(values, values + count, 0.0);
    if (sets_.size() > summed_sets) {
        for (const Strings& set : sets_) {
            const double sign = gf2::parity(set.outer & high) ? -1.0 : 1.0;
            for (const String& string : set.strings) values[string.low] += sign * string.coefficient;
        }
        kernels.transform(values, count);
    } else {
        for (const Strings& set : sets_) {
            const double sign = gf2::parity(set.outer & high) ? -1.0 : 1.0;
            for (size_t i = 0; i < count; ++i) values[i] += sign * set.sum[i];
        }
    }
    add_controlled_values(high, values);
    return std::any_of(values, values + count, [&](double value) { return !(std::abs(value) <= negligible_); });  // NaN counts
}

void RealDiagonal::add_controlled_values(uint64_t high, double* values) const {
    for (const Controlled& term : controlled_) {
        bool holds = true;
        for (int i = 0; i < term.rows.num_tests; ++i) holds &= !gf2::parity(term.rows.tests[i] & high);
        if (!holds) continue;
        uint32_t row = 0;
        for (int i = 0; i < term.rows.num_shifts; ++i)
            if (gf2::parity(term.rows.shifts[i].outer & high)) row ^= term.rows.shifts[i].vector;
        const double value = gf2::parity(term.outer & high) ? -term.coefficient : term.coefficient;
        add_along(term.rows, row, value, values);
        if (term.half) add_along(term.rows, row ^ term.half, -value, values);
    }
}

}  // namespace fusedqml
