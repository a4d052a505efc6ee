// Python bindings of parts of states.
#pragma once
#include <nanobind/nanobind.h>

namespace fusedqml {

void bind_parts(nanobind::module_& m);

}  // namespace fusedqml
