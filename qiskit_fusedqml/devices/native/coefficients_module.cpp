// Python bindings of coefficients.
#include "coefficients_module.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "tape.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedqml {
namespace {

// Samples of the batched arrays: those that hold something must agree.
int64_t common_batch(std::initializer_list<std::pair<size_t, size_t>> rows_and_extents) {
    const std::pair<size_t, size_t>* found = rows_and_extents.begin();
    for (const auto& each : rows_and_extents) {
        check(!each.first || !found->first || each.second == found->second, "batched coefficients differ in their number of samples");
        if (each.first) found = &each;
    }
    return static_cast<int64_t>(found->second);
}

std::shared_ptr<Coefficients> make_coefficients(const Array<double, 2>& pairs, const Array<double, 3>& batched_pairs,
                                                const Array<Complex, 3>& matrices, const Array<Complex, 4>& batched_matrices,
                                                const Array<double, 1>& angles, const Array<double, 2>& batched_angles, const Array<double, 1>& scales,
                                                const std::vector<Array<Complex, 2>>& dense) {
    check(pairs.shape(1) == 2, "pairs must have shape (R, 2)");
    check(batched_pairs.shape(1) == 2, "batched pairs must have shape (R, 2, B)");
    check(matrices.shape(1) == 2 && matrices.shape(2) == 2, "matrices must have shape (U, 2, 2)");
    check(batched_matrices.shape(1) == 2 && batched_matrices.shape(2) == 2, "batched matrices must have shape (U, 2, 2, B)");
    const int64_t batch = common_batch({{batched_pairs.shape(0), batched_pairs.shape(2)},
                                        {batched_matrices.shape(0), batched_matrices.shape(3)},
                                        {batched_angles.shape(0), batched_angles.shape(1)}});
    const auto rows = [](const auto& array) { return static_cast<int64_t>(array.shape(0)); };
    auto made = std::make_shared<Coefficients>(
        CoefficientCounts{rows(pairs), rows(batched_pairs), rows(matrices), rows(batched_matrices), rows(angles), rows(batched_angles),
                          rows(scales), batch},
        dense_matrices(dense));
    const auto copy = [](const auto& from, double* to) {
        const double* data = reinterpret_cast<const double*>(from.data());
        std::copy_n(data, from.nbytes() / sizeof(double), to);
    };
    const CoefficientTargets& to = made->targets();
    copy(pairs, to.pairs);
    copy(batched_pairs, to.batched_pairs);
    copy(matrices, to.matrices);
    copy(batched_matrices, to.batched_matrices);
    copy(angles, to.angles);
    copy(batched_angles, to.batched_angles);
    copy(scales, to.scales);
    return made;
}

std::vector<size_t> shape(std::initializer_list<int64_t> extents) { return {extents.begin(), extents.end()}; }

// A read-only array of a part of `owner`.
template <class T> nb::object view(nb::handle owner, const double* data, const std::vector<size_t>& shape) {
    return nb::cast(nb::ndarray<nb::numpy, const T, nb::c_contig>(reinterpret_cast<const T*>(data), shape.size(), shape.data(), owner));
}

// An attribute of `Coefficients`: its numbers and their shape, from the counts.
template <class T, class Shape> auto part(const double* CoefficientArrays::*member, const Shape& shape_of) {
    return [member, shape_of](nb::handle self) {
        const Coefficients& c = nb::cast<const Coefficients&>(self);
        return view<T>(self, c.arrays().*member, shape_of(c.counts()));
    };
}

nb::tuple dense_views(nb::handle self) {
    const DenseMatrices& dense = nb::cast<const Coefficients&>(self).dense();
    nb::list result;
    for (size_t k = 0; k < dense.entries.size(); ++k) {
        const int64_t size = int64_t(1) << dense.qubits[k];
        result.append(view<Complex>(self, dense.entries[k].data(), shape({size, size})));
    }
    return nb::tuple(result);
}

}  // namespace

std::shared_ptr<const DenseMatrices> dense_matrices(const std::vector<Array<Complex, 2>>& given) {
    auto dense = std::make_shared<DenseMatrices>();
    for (const auto& matrix : given) {
        int qubits = 1;
        while (qubits < max_dense && size_t(1) << qubits < matrix.shape(0)) ++qubits;
        check(matrix.shape(0) == size_t(1) << qubits && matrix.shape(1) == matrix.shape(0), "dense matrices must have shape (2**k, 2**k)");
        const double* data = reinterpret_cast<const double*>(matrix.data());
        dense->entries.emplace_back(data, data + 2 * matrix.size());
        dense->qubits.push_back(qubits);
    }
    return dense;
}

void bind_coefficients(nb::module_& m) {
    using C = CoefficientCounts;
    using A = CoefficientArrays;
    nb::class_<Coefficients>(m, "Coefficients")
        .def(nb::new_(&make_coefficients), "pairs"_a, "batched_pairs"_a, "matrices"_a, "batched_matrices"_a, "angles"_a,
             "batched_angles"_a, "scales"_a, "dense"_a = nb::make_tuple())
        .def_prop_ro("pairs", part<double>(&A::pairs, [](const C& c) { return shape({c.pairs, 2}); }))
        .def_prop_ro("batched_pairs", part<double>(&A::batched_pairs, [](const C& c) { return shape({c.batched_pairs, 2, c.batch}); }))
        .def_prop_ro("matrices", part<Complex>(&A::matrices, [](const C& c) { return shape({c.matrices, 2, 2}); }))
        .def_prop_ro("batched_matrices",
                     part<Complex>(&A::batched_matrices, [](const C& c) { return shape({c.batched_matrices, 2, 2, c.batch}); }))
        .def_prop_ro("angles", part<double>(&A::angles, [](const C& c) { return shape({c.angles}); }))
        .def_prop_ro("batched_angles", part<double>(&A::batched_angles, [](const C& c) { return shape({c.batched_angles, c.batch}); }))
        .def_prop_ro("scales", part<double>(&A::scales, [](const C& c) { return shape({c.scales}); }))
        .def_prop_ro("dense", &dense_views);
}

}  // namespace fusedqml
