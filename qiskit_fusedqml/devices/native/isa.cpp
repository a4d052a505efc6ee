// The choice of an instruction set.
#include <cstring>

#include "kernels.hpp"
#include "portability.hpp"

namespace fusedqml {

extern const Kernels baseline_kernels[4];
#if defined(FUSEDQML_X86)
extern const Kernels avx2_kernels[4];
extern const Kernels avx512_kernels[8];
#endif

namespace {

bool runs_here(const char* isa) {
#if defined(FUSEDQML_X86)
    static const VectorFeatures features = vector_features();
    if (!std::strcmp(isa, "avx2")) return features.avx2;
    if (!std::strcmp(isa, "avx512")) return features.avx512;
#endif
    return !std::strcmp(isa, baseline_kernels[0].isa);
}

}  // namespace

const Kernels* find_kernels(const char* isa, int real_bytes, [[maybe_unused]] bool half_width, bool real_states) {
    const int number = (real_bytes == 4) + (real_states ? 2 : 0);
    const Kernels* candidates[] = {
#if defined(FUSEDQML_X86)
        avx512_kernels + (real_bytes == 4) + (half_width ? 2 : 0) + (real_states ? 4 : 0), avx2_kernels + number,
#endif
        baseline_kernels + number};
    for (const Kernels* kernels : candidates)
        if ((!isa || !std::strcmp(isa, kernels->isa)) && runs_here(kernels->isa)) return kernels;
    return nullptr;
}

const Kernels* complex_kernels(const Kernels& real_states) {
    const Kernels* wide = find_kernels(real_states.isa, real_states.real_bytes, false);
    return wide->width == real_states.width ? wide : find_kernels(real_states.isa, real_states.real_bytes, true);
}

}  // namespace fusedqml
