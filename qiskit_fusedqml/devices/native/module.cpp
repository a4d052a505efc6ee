// Python bindings.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <mutex>

#include "arrays.hpp"
#include "coefficients_module.hpp"
#include "interruptible.hpp"
#include "observables.hpp"
#include "readout.hpp"
#include "coefficient_map_module.hpp"
#include "parts_module.hpp"
#include "pauli_module.hpp"
#include "run.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

// A tape, compiled on first use for each layout of states. `is_real`: it takes real states to real ones.
class Tape {
public:
    Tape(const Array<int64_t, 1>& source, bool is_real) : source_(source.data(), source.data() + source.size()), is_real_(is_real) {
        const CompiledTape& tape = compiled(0, 1);
        if (is_real && !tape.is_real) throw InvalidInputError("An operation of a real tape is complex.");
        overlaps_ = tape.view.num_overlaps;
    }
    const CompiledTape& compiled(int lane_bits, int group) {
        std::lock_guard<std::mutex> lock(mutex_);
        auto& tape = tapes_[{lane_bits, group}];
        if (!tape) tape = compile_tape(source_, lane_bits, group);
        return *tape;
    }
    const CompiledTape& for_state(const State& state) {
        const CompiledTape& tape = compiled(state.lane_bits, state.kernels->group);
        if (tape.view.num_qubits != state.num_qubits)
            throw InvalidInputError("The tape and the state differ in their number of qubits.");
        return tape;
    }
    int64_t num_overlaps() const { return overlaps_; }
    bool is_real() const { return is_real_; }

private:
    std::vector<int64_t> source_;
    bool is_real_;
    std::mutex mutex_;
    std::map<std::pair<int, int>, std::unique_ptr<CompiledTape>> tapes_;
    int64_t overlaps_ = 0;
};

// The coefficients' arrays, if they fit the state.
const CoefficientArrays& arrays_for(const Coefficients& coefficients, const State& state) {
    const CoefficientCounts& counts = coefficients.counts();
    if (counts.batch != state.batch && (counts.batched_pairs || counts.batched_matrices || counts.batched_angles))
        throw InvalidInputError("a batched coefficient does not have one value for each of the state's samples");
    return coefficients.arrays();
}

void check_same(const State& ket, const State& bra) {
    if (ket.kernels != bra.kernels || ket.num_qubits != bra.num_qubits || ket.batch != bra.batch ||
        ket.lane_bits != bra.lane_bits)
        throw InvalidInputError("The ket and the bra differ in shape, precision or layout.");
}

void forward(Tape& tape, const Coefficients& coefficients, State& ket, int threads) {
    if (!tape.is_real()) ket.make_complex();
    const CompiledTape& compiled = tape.for_state(ket);
    const CoefficientArrays& arrays = arrays_for(coefficients, ket);
    interruptible([&](const Interrupted& interrupted) { return run_forward(compiled, arrays, ket, threads, interrupted); });
}

Result<double> backward(Tape& tape, const Coefficients& coefficients, State& ket, State& bra, bool per_sample, int threads) {
    if (!(tape.is_real() && ket.is_real() && bra.is_real())) {
        ket.make_complex();
        bra.make_complex();
    }
    check_same(ket, bra);
    const CompiledTape& compiled = tape.for_state(ket);
    const CoefficientArrays& arrays = arrays_for(coefficients, ket);
    const size_t count = static_cast<size_t>(tape.num_overlaps());
    auto overlaps = per_sample ? zeros({static_cast<size_t>(ket.batch), count}) : zeros({count});
    double* out = overlaps.data();
    interruptible([&](const Interrupted& interrupted) {
        return run_backward(compiled, arrays, ket, bra, per_sample, out, threads, interrupted);
    });
    return overlaps;
}

State* make_state(const std::string& isa, bool single, bool half_width, bool real_states, int num_qubits, int64_t batch, int spread,
                  size_t limit) {
    const Kernels* kernels = find_kernels(isa.c_str(), single ? 4 : 8, half_width, real_states);
    if (!kernels) throw InvalidInputError("This machine does not have the instruction set asked for.");
    nb::gil_scoped_release release;
    return new State(kernels, num_qubits, batch, spread, limit);
}

void set_initial(const State& state, const nb::ndarray<const Complex, nb::c_contig, nb::device::cpu>& amplitudes, int threads) {
    const size_t size = size_t(1) << state.num_qubits;
    const bool per_sample =
        amplitudes.ndim() == 2 && amplitudes.shape(0) == static_cast<size_t>(state.batch) && amplitudes.shape(1) == size;
    if (!per_sample && (amplitudes.ndim() != 1 || amplitudes.shape(0) != size))
        throw InvalidInputError("Amplitudes must have shape (2**n,) or (B, 2**n).");
    const double* data = reinterpret_cast<const double*>(amplitudes.data());
    nb::gil_scoped_release release;
    set_amplitudes(state, data, per_sample, threads);
}

void check_frame(const State& state, const std::vector<uint64_t>& columns) {
    if (columns.size() != static_cast<size_t>(state.num_qubits)) throw InvalidInputError("The frame and the state differ in size.");
}

nb::object amplitudes(const State& state, const std::vector<uint64_t>& columns, uint64_t offset, int threads) {
    check_frame(state, columns);
    const std::vector<size_t> shape{static_cast<size_t>(state.batch), size_t(1) << state.num_qubits};
    const auto fill = [&](auto array) {
        void* out = array.data();
        {
            nb::gil_scoped_release release;
            get_amplitudes(state, {columns, offset}, out, threads);
        }
        return nb::cast(array);
    };
    return state.kernels->real_bytes == 4 ? fill(zeros<std::complex<float>>(shape)) : fill(zeros<Complex>(shape));
}

Result<double> probabilities(const State& state, const std::vector<uint64_t>& columns, uint64_t offset,
                             const std::vector<int>& qubits, int threads) {
    check_frame(state, columns);
    for (const int qubit : qubits)
        if (qubit < 0 || qubit >= state.num_qubits) throw InvalidInputError("A measured qubit lies outside the state.");
    auto result = zeros({static_cast<size_t>(state.batch), size_t(1) << qubits.size()});
    double* out = result.data();
    nb::gil_scoped_release release;
    get_probabilities(state, {columns, offset}, qubits, out, threads);
    return result;
}

// terms: one row (observable, x, z, power, first control, end of controls) a term
Observables* make_observables(const std::string& isa, int num_qubits, int num_observables, const Array<double, 1>& coefficients,
                              const Array<int64_t, 2>& terms, const Array<int64_t, 1>& controls) {
    if (terms.shape(0) != coefficients.shape(0) || (terms.shape(0) && terms.shape(1) != 6))
        throw InvalidInputError("Bad description of terms.");
    std::vector<TermSource> sources;
    for (size_t i = 0; i < terms.shape(0); ++i) {
        const int64_t* row = terms.data() + 6 * i;
        TermSource term{coefficients.data()[i], static_cast<uint64_t>(row[1]), static_cast<uint64_t>(row[2]),
                        static_cast<int>(row[3]), static_cast<int>(row[0]), {}};
        if (row[4] < 0 || row[5] > static_cast<int64_t>(controls.shape(0))) throw InvalidInputError("Bad description of terms.");
        for (int64_t k = row[4]; k < row[5]; ++k) term.controls.push_back(static_cast<uint64_t>(controls.data()[k]));
        sources.push_back(std::move(term));
    }
    const Kernels* kernels = find_kernels(isa.c_str(), 8, false);
    if (!kernels) throw InvalidInputError("This machine does not have the instruction set asked for.");
    return new Observables(kernels, num_qubits, num_observables, sources);
}

void check_size(const Observables& observables, const State& state) {
    if (observables.num_qubits() != state.num_qubits)
        throw InvalidInputError("The observables and the state differ in their number of qubits.");
}

Result<double> expectation(Observables& observables, const State& ket, int threads) {
    check_size(observables, ket);
    auto values = zeros({static_cast<size_t>(ket.batch), static_cast<size_t>(observables.num_observables())});
    double* out = values.data();
    nb::gil_scoped_release release;
    observables.expectation(ket, out, threads);
    return values;
}

// products: see Observables::apply
std::unique_ptr<State> bra_of(Observables& observables, const State& ket, const double* cotangents, int threads, double* products = nullptr) {
    nb::gil_scoped_release release;
    const auto applied = [&](const State& state) {
        auto bra = std::make_unique<State>(state.kernels, state.num_qubits, state.batch, state.lane_bits);
        observables.apply(state, *bra, cotangents, threads, products);
        return bra;
    };
    if (!ket.is_real() || observables.is_real()) return applied(ket);
    State whole(ket);
    whole.make_complex();
    return applied(whole);
}

std::unique_ptr<State> apply_observables(Observables& observables, const State& ket, const Array<double, 2>& cotangents, int threads) {
    check_size(observables, ket);
    if (cotangents.shape(0) != static_cast<size_t>(ket.batch) ||
        cotangents.shape(1) != static_cast<size_t>(observables.num_observables()))
        throw InvalidInputError("Cotangents must have shape (B, n_obs).");
    return bra_of(observables, ket, cotangents.data(), threads);
}

std::pair<Result<double>, std::unique_ptr<State>> value_and_bra(Observables& observables, const State& ket, int threads) {
    check_size(observables, ket);
    if (observables.num_observables() != 1) throw InvalidInputError("One observable is needed.");
    auto values = zeros({static_cast<size_t>(ket.batch), 1});
    const std::vector<double> ones(static_cast<size_t>(ket.batch), 1.0);
    auto bra = bra_of(observables, ket, ones.data(), threads, values.data());
    return {values, std::move(bra)};
}

// Have the exceptions of errors.hpp raised as the package's.
void raise_errors_of_package() {
    const auto translate = [](const std::exception_ptr& raised, void* errors) {
        const auto raise = [errors](const char* name, const char* message) {
            PyErr_SetString(nb::handle(static_cast<PyObject*>(errors)).attr(name).ptr(), message);
        };
        try {
            std::rethrow_exception(raised);
        } catch (const InvalidInputError& error) {
            raise("InvalidInputError", error.what());
        } catch (const OutOfMemoryError& error) {
            raise("OutOfMemoryError", error.what());
        } catch (const std::bad_alloc&) {
            raise("OutOfMemoryError", "Memory ran out. Use fewer qubits, a smaller batch, or precision='single'.");
        }
    };
    nb::register_exception_translator(translate, nb::module_::import_("qiskit_fusedqml.errors").release().ptr());
}

}  // namespace
}  // namespace fusedqml

NB_MODULE(_native, m) {
    using namespace fusedqml;
    // compiled tapes live in caches that the interpreter clears after this module
    nb::set_leak_warnings(false);
    raise_errors_of_package();
    m.doc() = "Sweeps of the CPU device; coefficients and the maps that make them. Not a public interface.";
    nb::class_<State>(m, "State")
        .def_prop_ro("num_qubits", [](const State& s) { return s.num_qubits; })
        .def_prop_ro("batch", [](const State& s) { return s.batch; })
        .def_prop_ro("bytes", &State::bytes)
        .def_prop_ro("groups", [](const State& s) { return s.groups; })
        .def_prop_ro("is_real", &State::is_real)
        .def_prop_ro("lane_bits", [](const State& s) { return s.lane_bits; })
        .def("copy", [](const State& s) { return new State(s); }, nb::call_guard<nb::gil_scoped_release>());
    nb::class_<Tape>(m, "Tape")
        .def(nb::init<const Array<int64_t, 1>&, bool>(), "words"_a, "is_real"_a = false)
        .def_prop_ro("num_overlaps", &Tape::num_overlaps);
    nb::class_<Observables>(m, "Observables").def_prop_ro("num_observables", &Observables::num_observables);
    bind_coefficients(m);
    bind_coefficient_map(m);
    bind_pauli_coefficients(m);
    bind_parts(m);
    bind_pauli(m);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const char* name : {"avx512", "avx2", "sse2", "neon"})
            if (find_kernels(name, 8, false)) names.emplace_back(name);
        return names;
    });
    m.def("width", [](const std::string& isa, bool single, bool half_width) {
        const Kernels* kernels = find_kernels(isa.c_str(), single ? 4 : 8, half_width);
        return kernels ? kernels->width : 0;
    }, "isa"_a, "single"_a, "half_width"_a);
    m.def("make_state", &make_state, "isa"_a, "single"_a, "half_width"_a, "real_states"_a, "num_qubits"_a, "batch"_a, "spread"_a, "limit"_a);
    m.def("make_observables", &make_observables, "isa"_a, "num_qubits"_a, "num_observables"_a, "coefficients"_a, "terms"_a,
          "controls"_a);
    m.def("set_zero_state", &set_zero_state, nb::call_guard<nb::gil_scoped_release>());
    m.def("set_amplitudes", &set_initial);
    m.def("forward", &forward);
    m.def("backward", &backward);
    m.def("expectation", &expectation);
    m.def("apply_observables", &apply_observables);
    m.def("value_and_bra", &value_and_bra);
    m.def("amplitudes", &amplitudes);
    m.def("probabilities", &probabilities);
}
