// Python bindings of the recipe.
#include "recipe_module.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <complex>
#include <tuple>

#include "recipe.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

template <class T, int dimensions> using Array = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;
template <class T> using Result = nb::ndarray<nb::numpy, T, nb::c_contig>;
using Complex = std::complex<double>;
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

template <class T> Result<T> make(std::initializer_list<size_t> shape) {
    size_t size = 1;
    for (const size_t extent : shape) size *= extent;
    T* data = new T[size];
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Result<T>(data, shape.size(), shape.begin(), owner);
}

double* reals(const Result<Complex>& array) { return reinterpret_cast<double*>(array.data()); }

void check(bool holds, const char* message) {
    if (!holds) throw nb::value_error(message);
}

size_t count(int64_t size) { return static_cast<size_t>(size); }

nb::tuple bind(const Recipe& recipe, const Numbers& shared, const Array<double, 2>& batched) {
    const RecipeTables& t = recipe.tables();
    check(shared.size() == count(t.num_angles), "one value for each shared angle is expected");
    check(batched.shape(1) == count(t.num_batched), "one value for each batched angle is expected");
    const size_t batch = batched.shape(0);
    auto pairs = make<double>({count(t.pairs.rows()), 2});
    auto matrices = make<Complex>({count(t.blends.size()), 2, 2});
    auto angles = make<double>({count(t.terms.rows())});
    auto scales = make<double>({count(t.num_scales)});
    auto factors = make<double>({count(t.num_overlaps)});
    auto alpha = make<double>({count(t.runs.size())});
    auto batched_pairs = make<double>({count(t.batched_pairs.rows()), 2, batch});
    auto batched_matrices = make<Complex>({count(t.batched_blends.size()), 2, 2, batch});
    auto batched_angles = make<double>({count(t.batched_terms.rows()), batch});
    {
        nb::gil_scoped_release release;
        recipe.bind_shared(shared.data(), pairs.data(), reals(matrices), angles.data(), scales.data(), factors.data(), alpha.data());
        recipe.bind_batched(static_cast<int64_t>(batch), batched.data(), batched_pairs.data(), reals(batched_matrices),
                            batched_angles.data());
    }
    return nb::make_tuple(pairs, batched_pairs, matrices, batched_matrices, angles, batched_angles, scales, factors, alpha);
}

Result<double> pull_shared(const Recipe& recipe, const Array<double, 2>& overlaps, const Numbers& shared, const Numbers& factors,
                           const Numbers& alpha) {
    const RecipeTables& t = recipe.tables();
    check(overlaps.shape(1) == count(t.num_overlaps) && shared.size() == count(t.num_angles), "overlaps or angles do not fit");
    auto gradients = make<double>({overlaps.shape(0), count(t.num_angles)});
    nb::gil_scoped_release release;
    recipe.pull_shared(static_cast<int64_t>(overlaps.shape(0)), overlaps.data(), shared.data(), factors.data(), alpha.data(),
                       gradients.data());
    return gradients;
}

Result<double> pull_batched(const Recipe& recipe, const Array<double, 2>& overlaps, const Array<double, 2>& batched,
                            const Numbers& factors) {
    const RecipeTables& t = recipe.tables();
    check(overlaps.shape(1) == count(t.num_overlaps) && batched.shape(1) == count(t.num_batched), "overlaps or angles do not fit");
    check(overlaps.shape(0) == batched.shape(0), "overlaps and batched angles differ in their number of samples");
    auto gradients = make<double>({overlaps.shape(0), count(t.num_batched)});
    nb::gil_scoped_release release;
    recipe.pull_batched(static_cast<int64_t>(overlaps.shape(0)), overlaps.data(), batched.data(), factors.data(), gradients.data());
    return gradients;
}

}  // namespace

void bind_recipe(nb::module_& m) {
    nb::class_<Recipe>(m, "Recipe")
        .def(
            "__init__",
            [](Recipe* self, int64_t num_angles, int64_t num_batched, int64_t num_overlaps, int64_t num_scales,
               const LinearArrays& pairs, const Indices& kinds, const Indices& pair_overlaps, const LinearArrays& batched_pairs,
               const Indices& batched_pair_overlaps, const LinearArrays& terms, const Indices& term_overlaps,
               const LinearArrays& batched_terms, const Indices& batched_term_overlaps, const RunArrays& turned,
               const Indices& run_overlaps, const Numbers& run_signs, const RunArrays& blends, const Indices& blend_overlaps,
               const RunArrays& batched_blends, const Indices& batched_blend_overlaps, const Indices& factored,
               const Indices& stretch_start, const Indices& carrier_pair, const Indices& carrier_diag, const Indices& scale_order,
               const Indices& overlap_position) {
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
                t.blend_overlaps = list(blend_overlaps);
                t.batched_blend_overlaps = list(batched_blend_overlaps);
                t.factored = list(factored);
                t.stretch_start = list(stretch_start);
                t.carrier_pair = list(carrier_pair);
                t.carrier_diag = list(carrier_diag);
                t.scale_order = list(scale_order);
                t.overlap_position = list(overlap_position);
                new (self) Recipe(std::move(t));
            },
            nb::kw_only(), "num_angles"_a, "num_batched"_a, "num_overlaps"_a, "num_scales"_a, "pairs"_a, "kinds"_a, "pair_overlaps"_a,
            "batched_pairs"_a, "batched_pair_overlaps"_a, "terms"_a, "term_overlaps"_a, "batched_terms"_a, "batched_term_overlaps"_a,
            "runs"_a, "run_overlaps"_a, "run_signs"_a, "blends"_a, "blend_overlaps"_a, "batched_blends"_a, "batched_blend_overlaps"_a,
            "factored"_a, "stretch_start"_a, "carrier_pair"_a, "carrier_diag"_a, "scale_order"_a, "overlap_position"_a)
        .def("bind", &bind, "shared"_a, "batched"_a)
        .def("pull_shared", &pull_shared, "overlaps"_a, "shared"_a, "factors"_a, "alpha"_a)
        .def("pull_batched", &pull_batched, "overlaps"_a, "batched"_a, "factors"_a);
}

}  // namespace fusedqml
