// Planning in compiled code; the package's Python modules of the same names say what it does, and tests compare both.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "account.hpp"
#include "collector.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml::planner {
namespace {

// A NumPy array that owns a vector's numbers.
template <class T> nb::object array(std::vector<T>&& values) {
    auto* numbers = new std::vector<T>(std::move(values));
    nb::capsule owner(numbers, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(numbers->data(), {numbers->size()}, owner));
}

int64_t integer(PyObject* number) {
    if (PyLong_Check(number)) {
        const long long value = PyLong_AsLongLong(number);
        if (value == -1 && PyErr_Occurred()) throw nb::python_error();
        return value;
    }
    const nb::object index = nb::steal(PyNumber_Index(number));
    if (!index.is_valid()) throw nb::python_error();
    return integer(index.ptr());
}

double real(PyObject* number) {
    const double value = PyFloat_AsDouble(number);
    if (value == -1.0 && PyErr_Occurred()) throw nb::python_error();
    return value;
}

// The instructions of a program, read once.
class Source {
public:
    // `read` gives, of an instruction that is no rotation, whether it is a matrix, its qubits, masks, angles and number.
    Source(int num_qubits, nb::tuple instructions, nb::callable read, std::vector<int64_t> cuts)
        : num_qubits_(num_qubits), cuts_(std::move(cuts)) {
        if (num_qubits < 1 || num_qubits > max_qubits) throw nb::value_error("1 to 62 qubits are expected");
        rotations_.reserve(instructions.size());
        for (const nb::handle each : instructions) {
            PyObject* item = each.ptr();
            if (PyTuple_Check(item) && PyTuple_Size(item) == 6) {
                Bits masks[4];
                for (int k = 0; k < 4; ++k) masks[k] = static_cast<Bits>(integer(PyTuple_GetItem(item, k)));
                if ((masks[0] | masks[1] | masks[2]) >> num_qubits) throw nb::value_error("a rotation acts on a qubit that is not there");
                const int64_t slot = integer(PyTuple_GetItem(item, 4));
                largest_slot_ = std::max(largest_slot_, slot);
                rotations_.push_back({masks[0], masks[1], masks[2], masks[3], slot, real(PyTuple_GetItem(item, 5))});
                continue;
            }
            const nb::tuple parts = nb::cast<nb::tuple>(read(each));
            tables_.push_back({nb::cast<std::vector<int64_t>>(parts[1]), nb::cast<std::vector<Bits>>(parts[2]),
                               nb::cast<std::vector<double>>(parts[3]), nb::cast<int64_t>(parts[4])});
            is_matrix_.push_back(nb::cast<bool>(parts[0]));
            for (const int64_t q : tables_.back().qubits)
                if (q < 0 || q >= num_qubits) throw nb::value_error("a table acts on a qubit that is not there");
            places_.push_back(rotations_.size());
            rotations_.push_back({});
        }
    }

    int num_qubits() const { return num_qubits_; }
    int64_t largest_slot() const { return largest_slot_; }
    bool has_cuts() const { return !cuts_.empty(); }

    // Gives each window of elements to `take`; returns the frame after the last one.
    template <class Take>
    Frame collect(Frame frame, const Settings& settings, size_t window_size, bool keep_phase, bool populations, bool euler, const Take& take) const {
        Collector collector(std::move(frame), settings.batched, keep_phase, euler, settings.is_real);
        size_t first = 0, table = 0;
        for (size_t position = 0; position < rotations_.size(); ++position) {
            const size_t length = position - first;
            const bool full = length >= window_size && (!collector.has_open_sequences() || length >= 2 * window_size) && !collector.has_pending();
            if (length && (full || std::binary_search(cuts_.begin(), cuts_.end(), static_cast<int64_t>(position)))) {
                take(collector.window());
                first = position;
            }
            if (table < places_.size() && places_[table] == position) {
                if (is_matrix_[table])
                    collector.matrix(tables_[table]);
                else
                    collector.diagonal(tables_[table]);
                ++table;
            } else {
                collector.rotation(rotations_[position]);
            }
        }
        Elements last = collector.window();
        if (populations) drop_last_phases(last);
        take(std::move(last));
        return collector.frame();
    }

    // The work of applying one instruction at a time (cost.gate_by_gate).
    Work one_by_one(const Settings& settings, double amplitude_bytes) const {
        Work work;
        size_t table = 0, gradients = 0, undone = 0;
        for (size_t position = 0; position < rotations_.size(); ++position) {
            double apply = 4.0, wanted = 0.0;
            bool is_wanted = false;
            if (table < places_.size() && places_[table] == position) {
                if (is_matrix_[table]) apply *= static_cast<double>(Bits(1) << tables_[table].qubits.size());
                ++table;
            } else {
                const Rotation& r = rotations_[position];
                if (r.x) apply /= static_cast<double>(Bits(1) << count(r.ctrl_mask));
                wanted = r.slot >= 0 ? apply : 0.0;
                is_wanted = r.slot >= 0 && settings.wanted[r.slot];
            }
            work.forward += apply;
            if (undone || is_wanted) {
                ++undone;
                work.backward += 2.0 * apply + wanted;
                gradients += wanted > 0.0;
            }
        }
        const double pass_bytes = 2.0 * amplitude_bytes;
        work.forward_bytes = static_cast<double>(rotations_.size()) * pass_bytes;
        work.backward_bytes = static_cast<double>(2 * undone + gradients) * pass_bytes;
        return work;
    }

private:
    int num_qubits_;
    int64_t largest_slot_ = -1;
    std::vector<Rotation> rotations_;  // with an empty one at the place of each table
    std::vector<Table> tables_;
    std::vector<char> is_matrix_;
    std::vector<size_t> places_;
    std::vector<int64_t> cuts_;
};

void write(const Operation& operation, std::vector<int64_t>& words) {
    const auto put = [&words](const auto& bits) { words.insert(words.end(), bits.begin(), bits.end()); };
    const auto x = static_cast<int64_t>(operation.x), z = static_cast<int64_t>(operation.z);
    words.push_back(static_cast<int64_t>(operation.op));
    switch (operation.op) {
        case Op::diag:
            words.insert(words.end(), {static_cast<int64_t>(operation.factors.size()), operation.scale,
                                       static_cast<int64_t>(operation.functionals.size()), operation.overlap});
            put(operation.functionals);
            for (const Factor& factor : operation.factors) {
                words.push_back(static_cast<int64_t>(factor.basis.size()));
                put(factor.basis);
                words.push_back(static_cast<int64_t>(factor.terms.size()));
                put(factor.terms);
                words.insert(words.end(), {factor.first, factor.batched});
            }
            break;
        case Op::ry:
            words.insert(words.end(), {x, z, operation.batched, operation.coefficient, operation.num_overlaps, operation.overlap,
                                       operation.x_optional});
            break;
        case Op::u2: words.insert(words.end(), {x, z, operation.batched, operation.coefficient, operation.overlap}); break;
        case Op::pauli:
            words.insert(words.end(), {x, z, operation.power, static_cast<int64_t>(operation.controls.size())});
            put(operation.controls);
            words.insert(words.end(), {operation.batched, operation.coefficient, operation.overlap});
            break;
        case Op::dense:
            words.push_back(static_cast<int64_t>(operation.flips.size()));
            put(operation.flips);
            put(operation.controls);
            words.insert(words.end(), {operation.coefficient, operation.overlap});
            break;
    }
}

nb::tuple numbers(const Work& work) { return nb::make_tuple(work.forward, work.backward, work.forward_bytes, work.backward_bytes); }

// Arrays of whole or of real numbers in one: where each ends is noted, as an array of its own costs more than filling it.
template <class T> struct Numbers {
    std::vector<T> values;
    std::vector<size_t> ends;

    void add(const std::vector<T>& part) {
        values.insert(values.end(), part.begin(), part.end());
        ends.push_back(values.size());
    }
};

// All tables, in the order of planner/compiled.py.
struct Tables {
    Numbers<int64_t> whole;
    Numbers<double> real;

    void add(const AngleTable& table) {
        for (const auto* part : {&table.start, &table.index, &table.overlaps}) whole.add(*part);
        for (const auto* part : {&table.weight, &table.constant}) real.add(*part);
    }
    void add(const SequenceTable& table) {
        for (const auto* part : {&table.start, &table.axis, &table.source, &table.overlaps}) whole.add(*part);
        real.add(table.constant);
    }
    explicit Tables(const Emitter& made) {
        for (const auto& table : {&made.pairs[0], &made.pairs[1], &made.terms[0], &made.terms[1]}) add(*table);
        for (const auto& table : {&made.sequences, &made.matrices[0], &made.matrices[1]}) add(*table);
        const ScaleTable& scales = made.scales;
        for (const auto* part : {&scales.kinds, &made.sequence_pairs, &scales.factored, &scales.starts, &scales.carrier_pair,
                                 &scales.carrier_diag, &scales.order, &scales.overlap_position, &made.dense})
            whole.add(*part);
        real.add(made.signs);
    }
};

template <class T> nb::tuple given(Numbers<T>&& numbers) { return nb::make_tuple(array(std::move(numbers.values)), numbers.ends); }

Frame made_frame(const std::vector<Bits>& columns, const std::vector<Bits>& duals, Bits offset) {
    if (columns.size() != duals.size()) throw nb::value_error("a frame has as many columns as duals");
    return {columns, duals, offset};
}

// The words of the tape and the tables, as planner/compiled.py reads them.
nb::dict plan(const Source& source, const std::vector<Bits>& columns, const std::vector<Bits>& duals, Bits offset, int64_t num_angles,
              const std::vector<int64_t>& batched_slots, const std::vector<int64_t>& wanted_slots, int tile_limit, int lane_qubits, bool grows, const std::vector<int>& supports,
              int table_qubits, size_t window, bool keep_phase, bool populations, bool euler, bool is_real, const std::array<double, 2 * num_kinds>& factors,
              double byte_cost, double amplitude_bytes) {
    Frame frame = made_frame(columns, duals, offset);
    if (frame.columns.size() != static_cast<size_t>(source.num_qubits())) throw nb::value_error("frame and program differ in their qubits");
    const int64_t num_slots = std::max(num_angles, source.largest_slot() + 1);
    Settings settings{source.num_qubits(), table_qubits, num_angles, std::vector<int64_t>(num_slots, -1), std::vector<char>(num_slots),
                      !wanted_slots.empty(), is_real, keep_phase && !populations};
    for (size_t k = 0; k < batched_slots.size(); ++k) settings.batched.at(batched_slots[k]) = static_cast<int64_t>(k);
    for (const int64_t slot : wanted_slots)
        if (slot >= 0 && slot < num_angles) settings.wanted[static_cast<size_t>(slot)] = 1;  // others have no gradient to give
    Prices prices{{}, {}, byte_cost, amplitude_bytes};
    for (int k = 0; k < num_kinds; ++k) {
        prices.forward[k] = factors[2 * k];
        prices.backward[k] = factors[2 * k + 1];
    }
    Emitter emitter(settings);
    Account total;
    Work one_by_one;
    const std::vector<int> none;
    std::vector<int64_t> words;
    std::vector<std::array<int64_t, 3>> sizes;
    {
        nb::gil_scoped_release release;
        frame = source.collect(std::move(frame), settings, window, keep_phase, populations, euler, [&](Elements&& made) {
            emitter.begin(made);
            if (made.elements.empty() && source.has_cuts()) return;  // gates that only changed the frame need no sweep of their own
            const std::vector<int>& kept = emitter.blocks.empty() ? supports : none;
            for (const Group& each : group(made.elements, settings.num_qubits, tile_limit, kept)) emitter.block(each);
        });
        if (grows) emitter.grow_supports();
        emitter.finish();
        total = account(emitter, prices, settings);
        one_by_one = source.one_by_one(settings, is_real ? 2.0 * amplitude_bytes : amplitude_bytes);
        words = {settings.num_qubits, lane_qubits, emitter.num_overlaps, static_cast<int64_t>(emitter.blocks.size())};
        for (const Block& block : emitter.blocks) {
            const auto tile = static_cast<int64_t>(block.tile.size()), count = static_cast<int64_t>(block.operations.size());
            sizes.push_back({tile, count, block.undo_from});
            words.push_back(tile);
            words.insert(words.end(), block.tile.begin(), block.tile.end());
            words.push_back(block.is_whole ? -1 : static_cast<int64_t>(block.support.size()));
            words.insert(words.end(), block.support.begin(), block.support.end());
            words.insert(words.end(), {block.undo_from, count});
            for (const Operation& operation : block.operations) write(operation, words);
        }
    }
    Tables tables(emitter);
    nb::dict made;
    made["words"] = array(std::move(words));
    made["sizes"] = nb::cast(sizes);
    made["frame"] = nb::make_tuple(frame.columns, frame.duals, frame.offset);
    made["num_overlaps"] = emitter.num_overlaps;
    made["num_scales"] = emitter.num_scales;
    made["whole"] = given(std::move(tables.whole));
    made["real"] = given(std::move(tables.real));
    made["work"] = numbers(total.work);
    made["baseline"] = numbers(one_by_one);
    made["arithmetic_cost"] = total.arithmetic_cost;
    made["cost"] = total.cost;
    made["gain_of_matrices"] = total.gain_of_matrices;
    return made;
}

}  // namespace
}  // namespace fusedqml::planner

NB_MODULE(_native, m) {
    using namespace fusedqml::planner;
    nb::class_<Source>(m, "Source")
        .def(nb::init<int, nb::tuple, nb::callable, std::vector<int64_t>>(), "num_qubits"_a, "instructions"_a, "read"_a, "cuts"_a);
    m.def("plan", &plan, "source"_a, "columns"_a, "duals"_a, "offset"_a, "num_angles"_a, "batched_slots"_a, "wanted_slots"_a,
          "tile_limit"_a, "lane_qubits"_a, "grows"_a, "supports"_a, "table_qubits"_a, "window"_a, "keep_phase"_a, "populations"_a, "euler"_a, "is_real"_a, "factors"_a, "byte_cost"_a,
          "amplitude_bytes"_a);
    m.attr("MAX_QUBITS") = max_qubits;
}
