#pragma once
#include <nanobind/nanobind.h>

namespace fusedqml {

void bind_coefficient_map(nanobind::module_& m);

}  // namespace fusedqml
