// Python bindings of coefficients of tapes for Pauli vectors, and of the maps that make them.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "coefficient_map_module.hpp"
#include "pauli_coefficients.hpp"
#include "pauli_module.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

using Matrices = std::vector<Array<double, 2>>;
using SequenceArrays = std::tuple<Indices, Indices, Indices, Numbers, Numbers>;
using TurnArrays = std::tuple<Indices, Numbers, Numbers>;
using Slope = std::tuple<bool, int64_t, Indices, Numbers>;

size_t count(int64_t size) { return static_cast<size_t>(size); }

template <class A> std::vector<double> numbers(const A& array) { return {array.data(), array.data() + array.size()}; }
template <class A> int64_t rows(const A& array) { return static_cast<int64_t>(array.shape(0)); }

std::vector<std::vector<double>> square(const Matrices& matrices) {
    std::vector<std::vector<double>> result;
    for (const auto& matrix : matrices) {
        check(matrix.shape(0) == matrix.shape(1), "transfer matrices must have shape (4**k, 4**k)");
        result.push_back(numbers(matrix));
    }
    return result;
}

std::shared_ptr<PauliChannels> channels_of(const Array<double, 2>& pairs, const Matrices& transfers, const Array<double, 2>& inverse_pairs,
                                           const Matrices& inverse_transfers) {
    check(pairs.shape(1) == 18, "pairs must have shape (P, 18)");
    auto made = std::make_shared<PauliChannels>();
    made->pairs = numbers(pairs);
    made->inverse_pairs = numbers(inverse_pairs);
    made->transfers = square(transfers);
    made->inverse_transfers = square(inverse_transfers);
    bool fits = made->pairs.size() == made->inverse_pairs.size() && transfers.size() == inverse_transfers.size();
    for (size_t i = 0; fits && i < transfers.size(); ++i) fits = made->transfers[i].size() == made->inverse_transfers[i].size();
    check(fits, "there must be as many inverse maps as maps");
    for (const auto& matrix : transfers) made->letters.push_back(static_cast<int>(matrix.shape(0)));
    return made;
}

std::shared_ptr<PauliChannels> make_channels(const Array<double, 3>& maps, const Array<double, 2>& pairs, const Matrices& transfers,
                                             const Array<double, 2>& inverse_pairs, const Matrices& inverse_transfers, const Array<bool, 1>& held,
                                             const Array<bool, 1>& batched_held, const Numbers& log_kappas) {
    check(maps.shape(1) == 3 && maps.shape(2) == 4, "the maps of channels must have shape (C, 3, 4)");
    auto made = channels_of(pairs, transfers, inverse_pairs, inverse_transfers);
    made->maps = numbers(maps);
    made->held.assign(held.data(), held.data() + held.size());
    made->batched_held.assign(batched_held.data(), batched_held.data() + batched_held.size());
    made->log_kappas = numbers(log_kappas);
    return made;
}

std::shared_ptr<PauliCoefficients> make_coefficients(const Array<double, 3>& affine, const Array<double, 4>& batched_affine,
                                                     const Array<double, 2>& pairs, const Array<double, 2>& turns,
                                                     const Array<double, 3>& batched_turns, const Matrices& transfers,
                                                     const Array<double, 3>& inverse_affine, const Array<double, 4>& inverse_batched_affine,
                                                     const Array<double, 2>& inverse_pairs, const Matrices& inverse_transfers) {
    check(affine.shape(1) == 3 && affine.shape(2) == 4, "affine must have shape (R, 3, 4)");
    check(batched_affine.shape(1) == 3 && batched_affine.shape(2) == 4, "batched_affine must have shape (R, 3, 4, B)");
    check(turns.shape(1) == 2, "turns must have shape (T, 2)");
    check(batched_turns.shape(1) == 2, "batched_turns must have shape (T, 2, B)");
    check(inverse_affine.size() == affine.size() && inverse_batched_affine.size() == batched_affine.size(),
          "there must be as many inverse maps as maps");
    const size_t batch = batched_affine.shape(0) ? batched_affine.shape(3) : batched_turns.shape(2);
    check(!batched_turns.shape(0) || batched_turns.shape(2) == batch, "batched coefficients differ in their number of samples");
    const PauliCounts counts{rows(affine), rows(batched_affine), rows(turns), rows(batched_turns), static_cast<int64_t>(batch)};
    auto made = std::make_shared<PauliCoefficients>(counts, channels_of(pairs, transfers, inverse_pairs, inverse_transfers), true);
    const PauliTargets& to = made->targets();
    const auto copy = [](const auto& from, double* target) { std::copy_n(from.data(), from.size(), target); };
    copy(affine, to.affine);
    copy(batched_affine, to.batched_affine);
    copy(turns, to.turns);
    copy(batched_turns, to.batched_turns);
    copy(inverse_affine, to.inverse_affine);
    copy(inverse_batched_affine, to.inverse_batched_affine);
    return made;
}

using Extents = std::vector<int64_t>;

// A read-only array of a part of `owner`.
nb::object view(nb::handle owner, const double* data, const Extents& extents) {
    const std::vector<size_t> shape(extents.begin(), extents.end());
    return nb::cast(nb::ndarray<nb::numpy, const double, nb::c_contig>(data, shape.size(), shape.data(), owner));
}

// An attribute of `PauliCoefficients`: its numbers and their shape.
template <class Shape> auto part(const double* PauliNumbers::*member, const Shape& shape_of) {
    return [member, shape_of](nb::handle self) {
        const auto& c = nb::cast<const PauliCoefficients&>(self);
        return view(self, c.numbers().*member, shape_of(c.numbers(), c.counts().batch));
    };
}

auto matrices(std::vector<const double*> PauliNumbers::*member) {
    return [member](nb::handle self) {
        const PauliNumbers& own = nb::cast<const PauliCoefficients&>(self).numbers();
        nb::list result;
        for (size_t k = 0; k < own.letters.size(); ++k) result.append(view(self, (own.*member)[k], {own.letters[k], own.letters[k]}));
        return nb::tuple(result);
    };
}

PauliSequences sequences(const SequenceArrays& a, int64_t num_channels, int64_t num_angles) {
    PauliSequences s{list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a)), list(std::get<3>(a)), list(std::get<4>(a))};
    check(s.start.size() && s.start[0] == 0 && count(s.start.back()) == s.axis.size() && std::is_sorted(s.start.begin(), s.start.end()) &&
              s.slot.size() == s.axis.size() && s.weight.size() == s.axis.size() && s.constant.size() == s.axis.size(),
          "the tables of sequences do not fit one another");
    for (size_t k = 0; k < s.axis.size(); ++k)
        check(0 <= s.axis[k] && s.axis[k] <= 3 && s.slot[k] >= (s.axis[k] == 3 ? 0 : -1) && s.slot[k] < (s.axis[k] == 3 ? num_channels : num_angles),
              "a factor names what is not there");
    return s;
}

PauliTurns turns(const TurnArrays& a, int64_t num_angles) {
    PauliTurns t{list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a))};
    check(t.weight.size() == t.slot.size() && t.constant.size() == t.slot.size(), "the tables of turns do not fit one another");
    for (const int64_t slot : t.slot) check(-1 <= slot && slot < num_angles, "a turn names what is not there");
    return t;
}

std::vector<int64_t> places(const Indices& given, int64_t operations, int64_t size, int64_t num_overlaps) {
    check(rows(given) == operations, "there must be an overlap for each operation");
    for (size_t k = 0; k < given.size(); ++k) check(given.data()[k] < 0 || given.data()[k] + size <= num_overlaps, "an overlap is not there");
    return list(given);
}

std::vector<PauliSlope> slopes(const PauliCoefficientMap& map, const PauliBound& bound, const std::vector<Slope>& given) {
    std::vector<PauliSlope> result;
    const int64_t channels = static_cast<int64_t>(bound.coefficients->channels().maps.size() / 12);
    for (const auto& [of_channels, slot, from, slope] : given) {
        check(0 <= slot && slot < map.tables().num_angles && (!of_channels || slope.size() == 12), "the derivative by a parameter of channels does not fit");
        for (size_t k = 0; k < from.size(); ++k) {
            const int64_t place = from.data()[k];
            const bool is_there = of_channels ? 0 <= place && place < channels : place < 0 || place + rows(slope) <= map.tables().num_overlaps;
            check(is_there, "a channel or overlap is not there");
        }
        result.push_back({of_channels, slot, list(from), list(slope)});
    }
    return result;
}

std::unique_ptr<PauliBound> bind(const PauliCoefficientMap& map, const Numbers& shared, const Array<double, 2>& batched,
                                 const std::shared_ptr<PauliChannels>& channels) {
    check(shared.size() == count(map.angles().num_shared), "the coefficient map expects another number of shared values");
    check(batched.shape(1) == count(map.angles().num_batched), "the coefficient map expects another number of batched values");
    check(channels->held.size() == count(map.tables().affine.size()) && channels->batched_held.size() == count(map.tables().batched_affine.size()),
          "the coefficient map expects channels of another plan");
    const nb::gil_scoped_release release;
    return map.bind(shared.data(), batched.data(), rows(batched), channels);
}

Result<double> shared_angles(const PauliCoefficientMap& map, const Numbers& shared) {
    check(shared.size() == count(map.angles().num_shared), "the coefficient map expects another number of shared values");
    auto angles = zeros({count(map.tables().num_angles)});
    map.shared_angles(shared.data(), angles.data());
    return angles;
}

Result<double> pull_sums(const PauliCoefficientMap& map, const PauliBound& bound, const Numbers& overlaps, const std::vector<Slope>& given) {
    check(overlaps.size() == count(map.tables().num_overlaps), "the coefficient map expects another number of overlaps");
    const std::vector<PauliSlope> by_parameter = slopes(map, bound, given);
    auto shared = zeros({count(map.angles().num_shared)});
    double* out = shared.data();
    const nb::gil_scoped_release release;
    map.pull(bound, 1, overlaps.data(), false, by_parameter, out, nullptr);
    return shared;
}

nb::tuple pull_samples(const PauliCoefficientMap& map, const PauliBound& bound, const Array<double, 2>& overlaps, bool per_sample,
                       const std::vector<Slope>& given) {
    const size_t batch = overlaps.shape(0), num_shared = count(map.angles().num_shared);
    check(overlaps.shape(1) == count(map.tables().num_overlaps), "the coefficient map expects another number of overlaps");
    check(batch == count(bound.coefficients->counts().batch), "there must be overlaps for each of the samples that were bound");
    const std::vector<PauliSlope> by_parameter = slopes(map, bound, given);
    auto shared = per_sample ? zeros({batch, num_shared}) : zeros({num_shared});
    auto batched = zeros({batch, count(map.angles().num_batched)});
    {
        const nb::gil_scoped_release release;
        map.pull(bound, static_cast<int64_t>(batch), overlaps.data(), per_sample, by_parameter, shared.data(), batched.data());
    }
    return nb::make_tuple(shared, batched);
}

void make_map(PauliCoefficientMap* self, int64_t num_angles, int64_t num_batched, int64_t num_overlaps, int64_t num_channels,
              const SequenceArrays& affine, const Indices& affine_overlaps, const SequenceArrays& batched_affine,
              const Indices& batched_affine_overlaps, const TurnArrays& shared_turns, const Indices& turn_overlaps,
              const TurnArrays& batched_turns, const Indices& batched_turn_overlaps) {
    PauliTables t;
    t.num_angles = num_angles;
    t.num_batched = num_batched;
    t.num_overlaps = num_overlaps;
    t.affine = sequences(affine, num_channels, num_angles);
    t.batched_affine = sequences(batched_affine, num_channels, num_batched);
    t.turns = turns(shared_turns, num_angles);
    t.batched_turns = turns(batched_turns, num_batched);
    t.affine_overlaps = places(affine_overlaps, t.affine.size(), 12, num_overlaps);
    t.batched_affine_overlaps = places(batched_affine_overlaps, t.batched_affine.size(), 12, num_overlaps);
    t.turn_overlaps = places(turn_overlaps, t.turns.size(), 1, num_overlaps);
    t.batched_turn_overlaps = places(batched_turn_overlaps, t.batched_turns.size(), 1, num_overlaps);
    new (self) PauliCoefficientMap(std::make_shared<const PauliTables>(std::move(t)), identity_angles(num_angles, num_batched));
}

}  // namespace

void bind_pauli_coefficients(nb::module_& m) {
    using N = PauliNumbers;
    const auto affine = [](const N& n, int64_t) { return Extents{n.num_affine, 3, 4}; };
    const auto batched_affine = [](const N& n, int64_t batch) { return Extents{n.num_batched_affine, 3, 4, batch}; };
    const auto pairs = [](const N& n, int64_t) { return Extents{n.num_pairs, 18}; };
    nb::class_<PauliChannels>(m, "PauliChannels").def(nb::new_(&make_channels));
    nb::class_<PauliCoefficients>(m, "PauliCoefficients")
        .def(nb::new_(&make_coefficients), "affine"_a, "batched_affine"_a, "pairs"_a, "turns"_a, "batched_turns"_a, "transfers"_a,
             "inverse_affine"_a, "inverse_batched_affine"_a, "inverse_pairs"_a, "inverse_transfers"_a)
        .def_prop_ro("affine", part(&N::affine, affine))
        .def_prop_ro("batched_affine", part(&N::batched_affine, batched_affine))
        .def_prop_ro("pairs", part(&N::pairs, pairs))
        .def_prop_ro("turns", part(&N::turns, [](const N& n, int64_t) { return Extents{n.num_turns, 2}; }))
        .def_prop_ro("batched_turns", part(&N::batched_turns, [](const N& n, int64_t batch) { return Extents{n.num_batched_turns, 2, batch}; }))
        .def_prop_ro("transfers", matrices(&N::transfers))
        .def_prop_ro("inverse_affine", part(&N::inverse_affine, affine))
        .def_prop_ro("inverse_batched_affine", part(&N::inverse_batched_affine, batched_affine))
        .def_prop_ro("inverse_pairs", part(&N::inverse_pairs, pairs))
        .def_prop_ro("inverse_transfers", matrices(&N::inverse_transfers));
    nb::class_<PauliBound>(m, "PauliBound")
        .def_prop_ro("coefficients", [](const PauliBound& bound) { return bound.coefficients; })
        .def_prop_ro("angles", [](nb::handle self) {
            const auto& angles = nb::cast<const PauliBound&>(self).angles;
            return view(self, angles.data(), {static_cast<int64_t>(angles.size())});
        })
        .def_prop_ro("log_kappas", [](nb::handle self) {
            const auto& kappas = nb::cast<const PauliBound&>(self).coefficients->channels().log_kappas;
            return view(self, kappas.data(), {static_cast<int64_t>(kappas.size())});
        });
    nb::class_<PauliCoefficientMap>(m, "PauliCoefficientMap")
        .def("__init__", &make_map, nb::kw_only(), "num_angles"_a, "num_batched"_a, "num_overlaps"_a, "num_channels"_a, "affine"_a, "affine_overlaps"_a,
             "batched_affine"_a, "batched_affine_overlaps"_a, "turns"_a, "turn_overlaps"_a, "batched_turns"_a, "batched_turn_overlaps"_a)
        .def("over",
             [](const PauliCoefficientMap& map, int64_t num_shared, int64_t num_batched, const LinearArrays& shared, const LinearArrays& from_shared,
                const LinearArrays& from_batched) {
                 return map.over(angle_tables(map.angles(), num_shared, num_batched, shared, from_shared, from_batched));
             })
        .def("shared_angles", &shared_angles)
        .def("bind", &bind)
        .def("pull_sums", &pull_sums)
        .def("pull_samples", &pull_samples);
}

}  // namespace fusedqml
