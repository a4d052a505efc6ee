// Python bindings of the recipe.
#include "recipe_module.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <tuple>

#include "arrays.hpp"
#include "coefficients_module.hpp"
#include "recipe.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

using Indices = Array<int64_t, 1>;
using Numbers = Array<double, 1>;
using LinearArrays = std::tuple<Indices, Indices, Numbers, Numbers>;
using RunArrays = std::tuple<Indices, Indices, Indices, Numbers>;

template <class T> std::vector<T> list(const Array<T, 1>& array) { return {array.data(), array.data() + array.size()}; }

Linear linear(const LinearArrays& a) {
    return {list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a)), list(std::get<3>(a))};
}

Runs runs(const RunArrays& a) {
    return {list(std::get<0>(a)), list(std::get<1>(a)), list(std::get<2>(a)), list(std::get<3>(a))};
}

size_t count(int64_t size) { return static_cast<size_t>(size); }

std::unique_ptr<Bound> bind(const Recipe& recipe, const Numbers& base, const Array<double, 2>& rows) {
    check(base.size() == count(recipe.angles().num_base), "the recipe expects another number of shared values");
    check(rows.shape(1) == count(recipe.angles().num_row), "the recipe expects another number of values in a row");
    const nb::gil_scoped_release release;
    return recipe.bind(base.data(), rows.data(), static_cast<int64_t>(rows.shape(0)));
}

Result<double> pull_sums(const Recipe& recipe, const Bound& bound, const Numbers& overlaps) {
    check(overlaps.size() == bound.factors.size(), "the recipe expects another number of overlaps");
    auto base = zeros({count(recipe.angles().num_base)});
    const nb::gil_scoped_release release;
    recipe.pull(bound, 1, overlaps.data(), false, base.data(), nullptr);
    return base;
}

nb::tuple pull_rows(const Recipe& recipe, const Bound& bound, const Array<double, 2>& overlaps, bool per_row) {
    const size_t batch = overlaps.shape(0), num_base = count(recipe.angles().num_base);
    check(overlaps.shape(1) == bound.factors.size(), "the recipe expects another number of overlaps");
    check(batch == count(bound.coefficients->counts().batch), "there must be overlaps for each of the samples that were bound");
    auto base = per_row ? zeros({batch, num_base}) : zeros({num_base});
    auto rows = zeros({batch, count(recipe.angles().num_row)});
    {
        const nb::gil_scoped_release release;
        recipe.pull(bound, static_cast<int64_t>(batch), overlaps.data(), per_row, base.data(), rows.data());
    }
    return nb::make_tuple(base, rows);
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

AngleTables identity(int64_t num_angles, int64_t num_batched) {
    const Linear nothing{std::vector<int64_t>(count(num_batched + 1)), {}, {}, std::vector<double>(count(num_batched))};
    return {num_angles, num_batched, identity(num_angles), nothing, identity(num_batched)};
}

Linear within(const LinearArrays& arrays, int64_t rows, int64_t sources) {
    Linear result = linear(arrays);
    check(result.rows() == rows && result.start.size() == count(rows + 1) && result.start[0] == 0 &&
              result.index.size() == result.weight.size() && count(result.start.back()) == result.index.size() &&
              std::is_sorted(result.start.begin(), result.start.end()),
          "the rows of an angle table do not fit the recipe");
    check(std::all_of(result.index.begin(), result.index.end(), [&](int64_t k) { return 0 <= k && k < sources; }),
          "an angle table names a value that is not there");
    return result;
}

Recipe over(const Recipe& recipe, int64_t num_base, int64_t num_row, const LinearArrays& shared, const LinearArrays& batched_base,
            const LinearArrays& batched_row) {
    const RecipeTables& t = recipe.tables();
    return recipe.over({num_base, num_row, within(shared, t.num_angles, num_base), within(batched_base, t.num_batched, num_base),
                        within(batched_row, t.num_batched, num_row)});
}

}  // namespace

void bind_recipe(nb::module_& m) {
    m.def("all_finite", [](const nb::ndarray<const double, nb::c_contig, nb::device::cpu>& values) {
        return all_finite(values.data(), static_cast<int64_t>(values.size()));
    });
    nb::class_<Bound>(m, "Bound").def_prop_ro("coefficients", [](const Bound& bound) { return bound.coefficients; });
    nb::class_<Recipe>(m, "Recipe")
        .def(
            "__init__",
            [](Recipe* self, int64_t num_angles, int64_t num_batched, int64_t num_overlaps, int64_t num_scales,
               const LinearArrays& pairs, const Indices& kinds, const Indices& pair_overlaps, const LinearArrays& batched_pairs,
               const Indices& batched_pair_overlaps, const LinearArrays& terms, const Indices& term_overlaps,
               const LinearArrays& batched_terms, const Indices& batched_term_overlaps, const RunArrays& turned,
               const Indices& run_overlaps, const Numbers& run_signs, const Indices& run_pairs, const RunArrays& blends, const Indices& blend_overlaps,
               const RunArrays& batched_blends, const Indices& batched_blend_overlaps, const Indices& factored,
               const Indices& stretch_start, const Indices& carrier_pair, const Indices& carrier_diag, const Indices& scale_order,
               const Indices& overlap_position, const std::vector<Array<Complex, 2>>& dense) {
                RecipeTables t;
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
                t.runs = runs(turned);
                t.blends = runs(blends);
                t.batched_blends = runs(batched_blends);
                t.run_overlaps = list(run_overlaps);
                t.run_signs = list(run_signs);
                t.run_pairs = list(run_pairs);
                t.blend_overlaps = list(blend_overlaps);
                t.batched_blend_overlaps = list(batched_blend_overlaps);
                t.factored = list(factored);
                t.stretch_start = list(stretch_start);
                t.carrier_pair = list(carrier_pair);
                t.carrier_diag = list(carrier_diag);
                t.scale_order = list(scale_order);
                t.overlap_position = list(overlap_position);
                new (self) Recipe(std::make_shared<const RecipeTables>(std::move(t)), dense_matrices(dense),
                                  identity(num_angles, num_batched));
            },
            nb::kw_only(), "num_angles"_a, "num_batched"_a, "num_overlaps"_a, "num_scales"_a, "pairs"_a, "kinds"_a, "pair_overlaps"_a,
            "batched_pairs"_a, "batched_pair_overlaps"_a, "terms"_a, "term_overlaps"_a, "batched_terms"_a, "batched_term_overlaps"_a,
            "runs"_a, "run_overlaps"_a, "run_signs"_a, "run_pairs"_a, "blends"_a, "blend_overlaps"_a, "batched_blends"_a, "batched_blend_overlaps"_a,
            "factored"_a, "stretch_start"_a, "carrier_pair"_a, "carrier_diag"_a, "scale_order"_a, "overlap_position"_a,
            "dense"_a)
        .def("over", &over, "num_base"_a, "num_row"_a, "shared"_a, "batched_base"_a, "batched_row"_a)
        .def("bind", &bind)
        .def("pull_sums", &pull_sums)
        .def("pull_rows", &pull_rows);
}

}  // namespace fusedqml
