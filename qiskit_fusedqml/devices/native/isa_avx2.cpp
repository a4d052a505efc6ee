// AVX2 with FMA: 16 registers of 4 doubles.
#include "isa.hpp"

namespace fusedqml {

using Double = Isa<double, 4, 2>;
using Single = Isa<float, 8, 2>;
extern const Kernels avx2_kernels[] = {kernels_of<Double>("avx2"), kernels_of<Single>("avx2"), real_kernels_of<Double>("avx2"),
                                       real_kernels_of<Single>("avx2")};

}  // namespace fusedqml
