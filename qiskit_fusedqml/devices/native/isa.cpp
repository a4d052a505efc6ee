// The choice of an instruction set.
#include <cstring>

#include "kernels.hpp"
#include "portability.hpp"

namespace fusedqml {

extern const Kernels baseline_kernels[2];
#if defined(FUSEDQML_X86)
extern const Kernels avx2_kernels[2];
extern const Kernels avx512_kernels[4];
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

const Kernels* find_kernels(const char* isa, int real_bytes, [[maybe_unused]] bool half_width) {
    const int single = real_bytes == 4;
    const Kernels* candidates[] = {
#if defined(FUSEDQML_X86)
        avx512_kernels + single + (half_width ? 2 : 0), avx2_kernels + single,
#endif
        baseline_kernels + single};
    for (const Kernels* kernels : candidates)
        if ((!isa || !std::strcmp(isa, kernels->isa)) && runs_here(kernels->isa)) return kernels;
    return nullptr;
}

}  // namespace fusedqml
