#pragma once
#include <nanobind/nanobind.h>

namespace fusedqml {

void bind_recipe(nanobind::module_& m);

}  // namespace fusedqml
