// What every machine of the architecture has: SSE2 on x86-64, NEON on arm64.
#include "isa.hpp"

namespace fusedqml {

#if defined(__aarch64__)
extern const Kernels baseline_kernels[] = {kernels_of<Isa<double, 2, 3>>("neon"), kernels_of<Isa<float, 4, 3>>("neon")};
#else
extern const Kernels baseline_kernels[] = {kernels_of<Isa<double, 2, 2>>("sse2"), kernels_of<Isa<float, 4, 2>>("sse2")};
#endif

}  // namespace fusedqml
