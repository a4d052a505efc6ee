// Python bindings of coefficient maps.
#include "coefficient_map_module.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <tuple>

#include "arrays.hpp"
#include "coefficients_module.hpp"
#include "coefficient_map.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

using SequenceArrays = std::tuple<Indices, Indices, Indices, Numbers>;

Linear linear(const LinearArrays& a) {
    return {list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a)), list(std::get<3>(a))};
}

RotationSequences sequences(const SequenceArrays& a) {
    return {list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a)), list(std::get<3>(a))};
}

size_t count(int64_t size) { return static_cast<size_t>(size); }

std::unique_ptr<Bound> bind(const CoefficientMap& map, const Numbers& shared, const Array<double, 2>& batched) {
    check(shared.size() == count(map.angles().num_shared), "the coefficient map expects another number of shared values");
    check(batched.shape(1) == count(map.angles().num_batched), "the coefficient map expects another number of batched values");
    const nb::gil_scoped_release release;
    return map.bind(shared.data(), batched.data(), static_cast<int64_t>(batched.shape(0)));
}

Result<double> pull_sums(const CoefficientMap& map, const Bound& bound, const Numbers& overlaps) {
    check(overlaps.size() == bound.factors.size(), "the coefficient map expects another number of overlaps");
    auto shared = zeros({count(map.angles().num_shared)});
    const nb::gil_scoped_release release;
    map.pull(bound, 1, overlaps.data(), false, shared.data(), nullptr);
    return shared;
}

nb::tuple pull_samples(const CoefficientMap& map, const Bound& bound, const Array<double, 2>& overlaps, bool per_sample) {
    const size_t batch = overlaps.shape(0), num_shared = count(map.angles().num_shared);
    check(overlaps.shape(1) == bound.factors.size(), "the coefficient map expects another number of overlaps");
    check(batch == count(bound.coefficients->counts().batch), "there must be overlaps for each of the samples that were bound");
    auto shared = per_sample ? zeros({batch, num_shared}) : zeros({num_shared});
    auto batched = zeros({batch, count(map.angles().num_batched)});
    {
        const nb::gil_scoped_release release;
        map.pull(bound, static_cast<int64_t>(batch), overlaps.data(), per_sample, shared.data(), batched.data());
    }
    return nb::make_tuple(shared, batched);
}

// Angles that are the values themselves.
Linear identity(int64_t size) {
    Linear linear;
    for (int64_t k = 0; k <= size; ++k) linear.start.push_back(k);
    linear.index.assign(linear.start.begin(), linear.start.end() - 1);
    linear.weight.assign(count(size), 1.0);
    linear.constant.assign(count(size), 0.0);
    return linear;
}

Linear within(const LinearArrays& arrays, int64_t rows, int64_t sources) {
    Linear result = linear(arrays);
    check(result.rows() == rows && result.start.size() == count(rows + 1) && result.start[0] == 0 &&
              result.index.size() == result.weight.size() && count(result.start.back()) == result.index.size() &&
              std::is_sorted(result.start.begin(), result.start.end()),
          "the rows of an angle table do not fit the coefficient map");
    check(std::all_of(result.index.begin(), result.index.end(), [&](int64_t k) { return 0 <= k && k < sources; }),
          "an angle table names a value that is not there");
    return result;
}

}  // namespace

AngleTables identity_angles(int64_t num_angles, int64_t num_batched) {
    const Linear nothing{std::vector<int64_t>(count(num_batched + 1)), {}, {}, std::vector<double>(count(num_batched))};
    return {num_angles, num_batched, identity(num_angles), nothing, identity(num_batched)};
}

AngleTables angle_tables(const AngleTables& before, int64_t num_shared, int64_t num_batched, const LinearArrays& shared,
                         const LinearArrays& from_shared, const LinearArrays& from_batched) {
    const int64_t batched = before.from_shared.rows();
    return {num_shared, num_batched, within(shared, before.shared.rows(), num_shared), within(from_shared, batched, num_shared),
            within(from_batched, batched, num_batched)};
}

void bind_coefficient_map(nb::module_& m) {
    m.def("all_finite", [](const nb::ndarray<const double, nb::c_contig, nb::device::cpu>& values) {
        return all_finite(values.data(), static_cast<int64_t>(values.size()));
    });
    nb::class_<Bound>(m, "Bound").def_prop_ro("coefficients", [](const Bound& bound) { return bound.coefficients; });
    nb::class_<CoefficientMap>(m, "CoefficientMap")
        .def(
            "__init__",
            [](CoefficientMap* self, int64_t num_angles, int64_t num_batched, int64_t num_overlaps, int64_t num_scales, const
               LinearArrays& pairs, const Indices& kinds, const Indices& pair_overlaps, const LinearArrays& batched_pairs, const Indices&
               batched_pair_overlaps, const LinearArrays& terms, const Indices& term_overlaps, const LinearArrays& batched_terms, const
               Indices& batched_term_overlaps, const SequenceArrays& turned, const Indices& sequence_overlaps, const Numbers&
               sequence_signs, const Indices& sequence_pairs, const SequenceArrays& matrices, const Indices& matrix_overlaps, const
               SequenceArrays& batched_matrices, const Indices& batched_matrix_overlaps, const Indices& factored, const Indices&
               stretch_start, const Indices& carrier_pair, const Indices& carrier_diag, const Indices& scale_order, const Indices&
               overlap_position, const std::vector<Array<Complex, 2>>& dense) {
                CoefficientTables t;
                t.num_angles = num_angles;
                t.num_batched = num_batched;
                t.num_overlaps = num_overlaps;
                t.num_scales = num_scales;
                t.pairs = linear(pairs);
                t.batched_pairs = linear(batched_pairs);
                t.terms = linear(terms);
                t.batched_terms = linear(batched_terms);
                t.kinds = list(kinds);
                t.pair_overlaps = list(pair_overlaps);
                t.batched_pair_overlaps = list(batched_pair_overlaps);
                t.term_overlaps = list(term_overlaps);
                t.batched_term_overlaps = list(batched_term_overlaps);
                t.sequences = sequences(turned);
                t.matrices = sequences(matrices);
                t.batched_matrices = sequences(batched_matrices);
                t.sequence_overlaps = list(sequence_overlaps);
                t.sequence_signs = list(sequence_signs);
                t.sequence_pairs = list(sequence_pairs);
                t.matrix_overlaps = list(matrix_overlaps);
                t.batched_matrix_overlaps = list(batched_matrix_overlaps);
                t.factored = list(factored);
                t.stretch_start = list(stretch_start);
                t.carrier_pair = list(carrier_pair);
                t.carrier_diag = list(carrier_diag);
                t.scale_order = list(scale_order);
                t.overlap_position = list(overlap_position);
                new (self) CoefficientMap(std::make_shared<const CoefficientTables>(std::move(t)), dense_matrices(dense),
                                  identity_angles(num_angles, num_batched));
            },
            nb::kw_only(), "num_angles"_a, "num_batched"_a, "num_overlaps"_a, "num_scales"_a, "pairs"_a, "kinds"_a, "pair_overlaps"_a,
            "batched_pairs"_a, "batched_pair_overlaps"_a, "terms"_a, "term_overlaps"_a, "batched_terms"_a, "batched_term_overlaps"_a, "sequences"_a,
            "sequence_overlaps"_a, "sequence_signs"_a, "sequence_pairs"_a, "matrices"_a, "matrix_overlaps"_a, "batched_matrices"_a,
            "batched_matrix_overlaps"_a, "factored"_a, "stretch_start"_a, "carrier_pair"_a, "carrier_diag"_a, "scale_order"_a, "overlap_position"_a,
            "dense"_a)
        .def("over",
             [](const CoefficientMap& map, int64_t num_shared, int64_t num_batched, const LinearArrays& shared, const LinearArrays& from_shared,
                const LinearArrays& from_batched) {
                 return map.over(angle_tables(map.angles(), num_shared, num_batched, shared, from_shared, from_batched));
             })
        .def("bind", &bind)
        .def("pull_sums", &pull_sums)
        .def("pull_samples", &pull_samples);
}

}  // namespace fusedqml
