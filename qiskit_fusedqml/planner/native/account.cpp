#include "account.hpp"

#include <algorithm>
#include <cmath>

namespace fusedqml::planner {

namespace {

enum Price { ry_factored, ry_plain, u2, pauli, diag_one_table, diag_more_tables, dense_2, dense_3 };

struct Applied {
    Price kind;
    double apply, overlap;
};

Applied applied(const Operation& operation, bool factored, bool is_real) {
    const double each = is_real ? 1.0 : 2.0;
    switch (operation.op) {
        case Op::ry: {
            const int measured = operation.x_optional ? 1 : operation.num_overlaps;  // X of few rotations only
            return {factored ? ry_factored : ry_plain, factored ? each : 2.0 * each, each * measured};
        }
        case Op::diag:
            return {operation.factors.size() <= 1 ? diag_one_table : diag_more_tables,
                    is_real ? std::max(4.0 * static_cast<double>(operation.factors.size()) - 3.0, 1.0)
                            : 4.0 * static_cast<double>(operation.factors.size()),
                    operation.num_overlaps ? 2.0 : 0.0};
        case Op::u2: return {u2, 8.0, operation.num_overlaps ? 8.0 : 0.0};
        case Op::pauli: {
            const double share = std::ldexp(1.0, -static_cast<int>(operation.controls.size()));
            return {pauli, (factored ? each : 2.0 * each) * share, each * share * operation.num_overlaps};
        }
        case Op::dense: break;
    }
    return {operation.flips.size() <= 2 ? dense_2 : dense_3, std::ldexp(each * each, static_cast<int>(operation.flips.size())), 0.0};
}

class Accountant {
public:
    Accountant(const Emitter& emitted, const Prices& prices, const Settings& settings)
        : emitted_(emitted), prices_(prices), num_qubits_(settings.num_qubits), is_real_(settings.is_real) {
        const int64_t num_angles = settings.num_angles;
        const AngleTable &pairs = emitted.pairs[false], &terms = emitted.terms[false];
        is_euler_.resize(pairs.size());
        for (int64_t row = 0; row < pairs.size(); ++row)
            is_euler_[row] = std::any_of(pairs.index.data() + pairs.start[row], pairs.index.data() + pairs.start[row + 1],
                                         [=](int64_t source) { return source >= num_angles; });
        has_others_.resize(terms.size());
        for (int64_t row = 0; row < terms.size(); ++row)
            has_others_[row] = terms.constant[row] != 0.0 ||
                               std::any_of(terms.index.data() + terms.start[row], terms.index.data() + terms.start[row + 1],
                                           [=](int64_t source) { return source < num_angles; });
    }

    Account total() const {
        Account result;
        Work& work = result.work;
        for (const Block& block : emitted_.blocks) {
            const double share = block.share(num_qubits_);
            double arithmetic = 0.0, saved = 0.0;
            for (size_t k = 0; k < block.operations.size(); ++k) {
                const Operation& operation = block.operations[k];
                const bool undone = static_cast<int64_t>(k) >= block.undo_from;
                const Applied done = applied(operation, is_factored(operation), is_real_);
                work.forward += share * done.apply;
                work.backward += share * (undone ? 2.0 * done.apply + done.overlap : 0.0);
                arithmetic += cost(done, undone);
                saved += gain(operation, undone);
            }
            arithmetic *= share;
            result.gain_of_matrices += share * saved;
            const bool undone = block.undo_from < static_cast<int64_t>(block.operations.size());
            const double forward_bytes = 2.0 * prices_.amplitude_bytes * share, backward_bytes = undone ? 2.0 * forward_bytes : 0.0;
            work.forward_bytes += forward_bytes;
            work.backward_bytes += backward_bytes;
            result.arithmetic_cost += arithmetic;
            result.cost += arithmetic + prices_.byte_cost * (forward_bytes + backward_bytes);
        }
        return result;
    }

private:
    double cost(const Applied& done, bool undone) const {
        return prices_.forward[done.kind] * done.apply + prices_.backward[done.kind] * (undone ? 2.0 * done.apply + done.overlap : 0.0);
    }

    bool is_factored(const Operation& operation) const {
        return (operation.op == Op::ry || operation.op == Op::pauli) && !operation.batched &&
               emitted_.scales.kinds[operation.coefficient] == 1;
    }

    // What 2x2 matrices instead of Euler angles can save of an operation, at most (Plan.gain_of_matrices).
    double gain(const Operation& operation, bool undone) const {
        if (operation.op == Op::diag) {
            const bool stays = std::any_of(operation.factors.begin(), operation.factors.end(), [this](const Factor& f) {
                const auto first = has_others_.begin() + f.first;
                return f.batched || std::any_of(first, first + static_cast<int64_t>(f.terms.size()), [](char each) { return each != 0; });
            });
            const Applied whole = applied(operation, false, is_real_);
            const double one_factor = is_real_ ? 1.0 : 4.0 * static_cast<double>(std::min<size_t>(operation.factors.size(), 1));
            const Applied left{diag_one_table, one_factor, whole.overlap};
            return cost(whole, undone) - (stays ? cost(left, undone) : 0.0);
        }
        if (operation.op != Op::ry && operation.op != Op::pauli) return 0.0;
        const bool factored = is_factored(operation);
        if (operation.op == Op::ry && !operation.batched && is_euler_[operation.coefficient])
            return cost(applied(operation, factored, is_real_), undone) - cost({u2, 8.0, 0.0}, undone);
        if (factored) return 0.0;
        return std::max(cost(applied(operation, false, is_real_), undone) - cost(applied(operation, true, is_real_), undone), 0.0);
    }

    const Emitter& emitted_;
    const Prices& prices_;
    const int num_qubits_;
    const bool is_real_;
    std::vector<char> is_euler_, has_others_;
};

}  // namespace

Account account(const Emitter& emitted, const Prices& prices, const Settings& settings) {
    return Accountant(emitted, prices, settings).total();
}

}  // namespace fusedqml::planner
