// Python bindings of Pauli vectors.
#pragma once
#include "arrays.hpp"

namespace fusedqml {

void bind_pauli(nb::module_& m);
void bind_pauli_coefficients(nb::module_& m);

}  // namespace fusedqml
