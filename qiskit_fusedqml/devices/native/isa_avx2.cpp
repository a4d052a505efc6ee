// AVX2 with FMA: 16 registers of 4 doubles.
#include "isa.hpp"

namespace fusedqml {

extern const Kernels avx2_kernels[] = {kernels_of<Isa<double, 4, 2>>("avx2"), kernels_of<Isa<float, 8, 2>>("avx2")};

}  // namespace fusedqml
