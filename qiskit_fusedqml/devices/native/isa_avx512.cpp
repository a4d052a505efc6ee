// AVX-512: 32 registers of 8 doubles, and half as wide for batches that would not give every thread a group.
#include "isa.hpp"

namespace fusedqml {

extern const Kernels avx512_kernels[] = {kernels_of<Isa<double, 8, 3>>("avx512"), kernels_of<Isa<float, 16, 3>>("avx512"),
                                         kernels_of<Isa<double, 4, 3>>("avx512"), kernels_of<Isa<float, 8, 3>>("avx512")};

}  // namespace fusedqml
