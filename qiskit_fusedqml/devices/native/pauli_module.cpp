#include "pauli_module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <mutex>

#include "coefficient_map_module.hpp"
#include "interruptible.hpp"
#include "pauli_coefficients.hpp"
#include "pauli_run.hpp"

namespace nb = nanobind;

namespace fusedqml {
namespace {

// A tape, compiled on first use for each number of row bits in lanes.
class PauliTape {
public:
    explicit PauliTape(const Array<int64_t, 1>& source) : source_(source.data(), source.data() + source.size()) {
        overlaps_ = compiled(0).view.num_overlaps;
    }
    const CompiledPauliTape& compiled(int lane_bits) {
        std::lock_guard<std::mutex> lock(mutex_);
        auto& tape = tapes_[lane_bits];
        if (!tape) tape = compile_pauli_tape(source_, lane_bits);
        return *tape;
    }
    int64_t num_overlaps() const { return overlaps_; }

private:
    std::vector<int64_t> source_;
    std::mutex mutex_;
    std::map<int, std::unique_ptr<CompiledPauliTape>> tapes_;
    int64_t overlaps_ = 0;
};

// The coefficients' numbers, if they fit the state.
const PauliNumbers& numbers_for(const PauliCoefficients& coefficients, const PauliState& state) {
    const PauliCounts& counts = coefficients.counts();
    check(counts.batch == state.batch || (!counts.batched_affine && !counts.batched_turns),
          "a batched coefficient does not have one value for each of the state's samples");
    return coefficients.numbers();
}

void check_same(const PauliState& a, const PauliState& b) {
    check(a.kernels == b.kernels && a.num_qubits == b.num_qubits && a.batch == b.batch, "The ket and the bra differ in shape, precision or layout.");
}

// Overlaps, or None of directions that have none.
nb::object sweep(PauliTape& tape, const PauliCoefficients& coefficients, Way way, const PauliState* ket, const PauliState* bra, bool per_sample,
                 int threads) {
    const PauliState& state = ket ? *ket : *bra;
    if (ket && bra) check_same(*ket, *bra);
    const CompiledPauliTape& compiled = tape.compiled(state.lane_bits);
    check(compiled.view.num_qubits == state.num_qubits, "The tape and the state differ in their number of qubits.");
    const PauliNumbers& numbers = numbers_for(coefficients, state);
    const size_t count = static_cast<size_t>(tape.num_overlaps());
    nb::object result = nb::none();
    double* out = nullptr;
    if (ket && bra) {
        auto overlaps = per_sample ? zeros({static_cast<size_t>(state.batch), count}) : zeros({count});
        out = overlaps.data();
        result = nb::cast(overlaps);
    }
    interruptible([&](const Interrupted& interrupted) {
        return run_pauli(compiled, numbers, way, ket, bra, per_sample, out, threads, interrupted);
    });
    return result;
}

std::unique_ptr<PauliState> new_state(const std::string& isa, bool single, int num_qubits, int64_t batch, size_t limit) {
    const Kernels* kernels = find_kernels(isa.c_str(), single ? 4 : 8, false);
    check(kernels, "This machine does not have the instruction set asked for.");
    check(0 < num_qubits && num_qubits <= 16, "A Pauli vector has 1 to 16 qubits.");
    return std::make_unique<PauliState>(kernels, num_qubits, batch, limit);
}

// Vectors of |0...0>, or those given: (4**n,) or (B, 4**n).
PauliState* make_pauli_state(const std::string& isa, bool single, int num_qubits, int64_t batch, size_t limit,
                             const std::optional<nb::ndarray<const double, nb::c_contig, nb::device::cpu>>& vectors, int threads) {
    const bool per_sample = vectors && vectors->ndim() == 2;
    std::unique_ptr<PauliState> state = new_state(isa, single, num_qubits, batch, limit);
    if (vectors) {
        const size_t size = size_t(1) << 2 * num_qubits;
        check(per_sample ? vectors->shape(0) == static_cast<size_t>(batch) && vectors->shape(1) == size
                         : vectors->ndim() == 1 && vectors->shape(0) == size,
              "Vectors must have shape (4**n,) or (B, 4**n).");
    }
    nb::gil_scoped_release release;
    if (vectors) set_vectors(*state, vectors->data(), per_sample, threads);
    else set_zero_vector(*state);
    return state.release();
}

Result<double> vectors(const PauliState& state, int threads) {
    auto result = zeros({static_cast<size_t>(state.batch), size_t(1) << 2 * state.num_qubits});
    double* out = result.data();
    nb::gil_scoped_release release;
    get_vectors(state, out, threads);
    return result;
}

void check_rows(const PauliState& state, const Indices& rows) {
    for (size_t i = 0; i < rows.size(); ++i)
        check(rows.data()[i] >= 0 && !(rows.data()[i] >> 2 * state.num_qubits), "A row lies outside the vector.");
}

Result<double> rows(const PauliState& state, const Indices& rows) {
    check_rows(state, rows);
    auto result = zeros({static_cast<size_t>(state.batch), rows.size()});
    get_rows(state, rows.data(), static_cast<int64_t>(rows.size()), result.data());
    return result;
}

PauliSums sums_of(const PauliState& state, const Indices& starts, const Indices& rows, const Numbers& weights) {
    check_rows(state, rows);
    check(starts.size() && rows.size() == weights.size() && starts.data()[0] == 0 && starts.data()[starts.size() - 1] == static_cast<int64_t>(rows.size()),
          "starts, rows and weights of observables do not fit one another");
    for (size_t k = 1; k < starts.size(); ++k) check(starts.data()[k - 1] <= starts.data()[k], "starts must ascend");
    return {static_cast<int64_t>(starts.size()) - 1, starts.data(), rows.data(), weights.data()};
}

Result<double> expectation(const PauliState& state, const Indices& starts, const Indices& rows, const Numbers& weights) {
    const PauliSums sums = sums_of(state, starts, rows, weights);
    auto values = zeros({static_cast<size_t>(state.batch), static_cast<size_t>(sums.count)});
    get_sums(state, sums, values.data());
    return values;
}

PauliState* make_bra(const std::string& isa, bool single, int num_qubits, int64_t batch, size_t limit, const Indices& starts, const Indices& rows,
                     const Numbers& weights, const std::optional<Array<double, 2>>& cotangents, int threads) {
    std::unique_ptr<PauliState> state = new_state(isa, single, num_qubits, batch, limit);
    const PauliSums sums = sums_of(*state, starts, rows, weights);
    if (cotangents)
        check(cotangents->shape(0) == static_cast<size_t>(batch) && cotangents->shape(1) == static_cast<size_t>(sums.count),
              "Cotangents must have shape (B, n_obs).");
    else check(batch == sums.count, "There must be one state for each of the observables.");
    nb::gil_scoped_release release;
    set_sums(*state, sums, cotangents ? cotangents->data() : nullptr, threads);
    return state.release();
}

Result<double> products(const PauliState& bras, const PauliState& kets, int threads) {
    check(bras.kernels->real_bytes == kets.kernels->real_bytes && bras.num_qubits == kets.num_qubits, "The bras and the kets differ in size or precision.");
    auto values = zeros({static_cast<size_t>(kets.batch), static_cast<size_t>(bras.batch)});
    double* out = values.data();
    nb::gil_scoped_release release;
    get_products(bras, kets, out, threads);
    return values;
}

PauliState* combine(const PauliState& kets, const Array<double, 2>& weights, size_t limit, int threads) {
    check(weights.shape(0) == static_cast<size_t>(kets.batch), "Weights must have shape (B, K).");
    nb::gil_scoped_release release;
    auto state = std::make_unique<PauliState>(kets.kernels, kets.num_qubits, static_cast<int64_t>(weights.shape(1)), limit);
    set_combinations(kets, weights.data(), *state, threads);
    return state.release();
}

}  // namespace

void bind_pauli(nb::module_& m) {
    nb::class_<PauliState>(m, "PauliState")
        .def_prop_ro("num_qubits", [](const PauliState& s) { return s.num_qubits; })
        .def_prop_ro("batch", [](const PauliState& s) { return s.batch; })
        .def_prop_ro("lane_bits", [](const PauliState& s) { return s.lane_bits; })
        .def_prop_ro("bytes", &PauliState::bytes)
        .def_prop_ro("is_product", [](const PauliState& s) { return s.current_product() != nullptr; })
        .def("copy", [](const PauliState& s) { return new PauliState(s); }, nb::call_guard<nb::gil_scoped_release>());
    nb::class_<PauliTape>(m, "PauliTape").def(nb::init<const Array<int64_t, 1>&>()).def_prop_ro("num_overlaps", &PauliTape::num_overlaps);
    m.def("make_pauli_state", &make_pauli_state, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg());
    m.def("vectors", &vectors);
    m.def("pauli_rows", &rows);
    m.def("pauli_expectation", &expectation);
    m.def("make_bra", &make_bra, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg());
    m.def("products", &products);
    m.def("combine", &combine);
    m.def("pauli_forward", [](PauliTape& tape, const PauliCoefficients& c, const PauliState& ket, int threads) {
        return sweep(tape, c, Way::forward, &ket, nullptr, false, threads);
    });
    m.def("pauli_backward_bra", [](PauliTape& tape, const PauliCoefficients& c, const PauliState& bra, int threads) {
        return sweep(tape, c, Way::backward_bra, nullptr, &bra, false, threads);
    });
    m.def("pauli_backward", [](PauliTape& tape, const PauliCoefficients& c, const PauliState& ket, const PauliState& bra, bool per_sample,
                               int threads) { return sweep(tape, c, Way::backward, &ket, &bra, per_sample, threads); });
    m.def("pauli_joint", [](PauliTape& tape, const PauliCoefficients& c, const PauliState& ket, const PauliState& bra, bool per_sample,
                            int threads) { return sweep(tape, c, Way::joint, &ket, &bra, per_sample, threads); });
}

}  // namespace fusedqml
