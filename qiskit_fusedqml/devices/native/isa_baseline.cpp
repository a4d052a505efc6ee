// What every machine of the architecture has: SSE2 on x86-64, NEON on arm64.
#include "isa.hpp"

namespace fusedqml {

#if defined(__aarch64__)
constexpr const char* name = "neon";
constexpr int rotations = 3;
#else
constexpr const char* name = "sse2";
constexpr int rotations = 2;
#endif

using Double = Isa<double, 2, rotations>;
using Single = Isa<float, 4, rotations>;
extern const Kernels baseline_kernels[] = {kernels_of<Double>(name), kernels_of<Single>(name), real_kernels_of<Double>(name),
                                           real_kernels_of<Single>(name)};

}  // namespace fusedqml
