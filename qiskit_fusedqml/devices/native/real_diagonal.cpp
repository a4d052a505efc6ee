#include "observables.hpp"
#include "rows.hpp"

namespace fusedqml {

constexpr size_t expanded_controls = 3;  // more are walked row by row instead of becoming 2**k strings

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
        String string{coefficient / static_cast<double>(count), 0, 0};
        uint64_t functional = term.z;
        for (size_t i = 0; i < term.controls.size(); ++i)
            if (subset >> i & 1) {
                functional ^= term.controls[i];
                string.coefficient = -string.coefficient;
            }
        string.low = static_cast<uint32_t>(functional & low);
        string.outer = functional & ~low;
        strings_.push_back(string);
    }
}

void RealDiagonal::add_controlled(Arena& arena, const TermSource& term, double coefficient, int n, int block_bits) {
    Frame frame;
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

static void transform(double* values, size_t count) {
    for (size_t half = 1; half < count; half *= 2)
        for (size_t first = 0; first < count; first += 2 * half)
            for (size_t i = first; i < first + half; ++i) {
                const double sum = values[i] + values[i + half];
                values[i + half] = values[i] - values[i + half];
                values[i] = sum;
            }
}

static void add_along(const Rows& rows, uint32_t row, double value, double* values) {
    const uint64_t count = uint64_t(1) << rows.dim;
    for (uint64_t i = 0; i < count;) {
        values[row] += value;
        row ^= rows.steps[__builtin_ctzll(++i)];
    }
}

void RealDiagonal::evaluate(uint64_t high, int block_bits, double* values) const {
    const size_t count = size_t(1) << block_bits;
    for (size_t i = 0; i < count; ++i) values[i] = 0;
    for (const String& string : strings_)
        values[string.low] += gf2::parity(string.outer & high) ? -string.coefficient : string.coefficient;
    if (!strings_.empty()) transform(values, count);
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
