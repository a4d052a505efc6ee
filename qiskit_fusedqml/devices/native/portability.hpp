// What every system does in its own way: aligned memory, huge pages, forks, waiting in a loop, the processor's features.
#pragma once
#include <cstddef>
#include <cstdlib>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fusedqml {

// Memory at a multiple of `alignment`, a power of two; nullptr if there is none. `free_aligned` takes it back.
inline void* allocate_aligned(size_t bytes, size_t alignment) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, alignment);
#else
    void* data = nullptr;
    return posix_memalign(&data, alignment, bytes) ? nullptr : data;
#endif
}

inline void free_aligned(void* data) {
#if defined(_WIN32)
    _aligned_free(data);
#else
    std::free(data);
#endif
}

// Asks for large pages where the system gives them to any memory.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
}

// Has every forked child call a function. Windows forks nothing.
inline void call_in_forked_children([[maybe_unused]] void (*function)()) {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, function);
#endif
}

// A step of a loop that waits for another thread.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

#if defined(__x86_64__)
struct VectorFeatures {
    bool avx2, avx512;  // with fused multiply-adds; AVX-512 F, DQ, BW and VL
};

// What the processor has and the system keeps for each thread. Not __builtin_cpu_supports, for which clang links no library on Windows.
inline VectorFeatures vector_features() {
    constexpr unsigned fma_xsave_avx = 1u << 12 | 1u << 27 | 1u << 28, avx2 = 1u << 5;
    constexpr unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    constexpr unsigned kept_avx = 0x6, kept_avx512 = 0xe6;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & fma_xsave_avx) != fma_xsave_avx) return {false, false};
    unsigned kept, high;
    asm volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    if ((kept & kept_avx) != kept_avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & avx2)) return {false, false};
    return {true, (kept & kept_avx512) == kept_avx512 && (b & avx512) == avx512};
}
#endif

}  // namespace fusedqml
