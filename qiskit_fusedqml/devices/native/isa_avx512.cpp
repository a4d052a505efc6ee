// AVX-512: 32 registers of 8 doubles, and half as wide for batches that would not give every thread a group.
#include "isa.hpp"

namespace fusedqml {

using Double = Isa<double, 8, 3>;
using Single = Isa<float, 16, 3>;
using HalfDouble = Isa<double, 4, 3>;
using HalfSingle = Isa<float, 8, 3>;
extern const Kernels avx512_kernels[] = {kernels_of<Double>("avx512"),          kernels_of<Single>("avx512"),
                                         kernels_of<HalfDouble>("avx512"),      kernels_of<HalfSingle>("avx512"),
                                         real_kernels_of<Double>("avx512"),     real_kernels_of<Single>("avx512"),
                                         real_kernels_of<HalfDouble>("avx512"), real_kernels_of<HalfSingle>("avx512")};

}  // namespace fusedqml
