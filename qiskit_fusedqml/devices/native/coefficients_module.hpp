#pragma once
#include "arrays.hpp"
#include "coefficients.hpp"

namespace fusedqml {

void bind_coefficients(nanobind::module_& m);
std::shared_ptr<const DenseMatrices> dense_matrices(const std::vector<Array<Complex, 2>>& given);

}  // namespace fusedqml
