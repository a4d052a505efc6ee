// What the bindings of all coefficient maps share.
#pragma once
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "arrays.hpp"
#include "coefficient_map.hpp"

namespace fusedqml {

using Indices = Array<int64_t, 1>;
using Numbers = Array<double, 1>;
using LinearArrays = std::tuple<Indices, Indices, Numbers, Numbers>;  // `CSRRows.arrays`

template <class T> std::vector<T> list(const Array<T, 1>& array) { return {array.data(), array.data() + array.size()}; }

// Angles that are the values themselves.
AngleTables identity_angles(int64_t num_angles, int64_t num_batched);
// `AngleTables` of planner/tables.py for the angles of others.
AngleTables angle_tables(const AngleTables& before, int64_t num_shared, int64_t num_batched, const LinearArrays& shared,
                         const LinearArrays& from_shared, const LinearArrays& from_batched);

void bind_coefficient_map(nb::module_& m);

}  // namespace fusedqml
