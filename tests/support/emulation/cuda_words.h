// CUDA's words for a C++ compiler: included before the kernels' own text, which is compiled as it is.
// A block's threads run on one CPU thread each (EMULATION_THREADS, for ThreadSanitizer) or as fibers that change places only at barriers and
// shuffles, in an order drawn from a seed.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#define FUSEDQML_EMULATION 1
#define __global__ inline  // kernels that are no templates are in every translation unit
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

namespace emulation {

struct Index {
    unsigned x, y;
};
extern thread_local Index thread_index, block_index;
extern Index block_size, grid_size;

constexpr int slot_bytes = 16;  // the widest value a shuffle moves

unsigned char* shared();
void sync_block();
void sync_warp();
// Where a lane of the caller's warp leaves a value; two sets of places take turns, so that one barrier a shuffle is enough.
void* place(int lane);
void next_shuffle();

inline int lane() { return static_cast<int>(thread_index.x & 31u); }

template <class T> T shuffle(T value, int from) {
    static_assert(sizeof(T) <= slot_bytes);
    next_shuffle();
    *static_cast<T*>(place(lane())) = value;
    sync_warp();
    return *static_cast<T*>(place(from & 31));
}

void launch(unsigned blocks_x, unsigned blocks_y, unsigned threads, size_t shared_bytes, const std::function<void()>& kernel);

template <class... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A> void run(void (*kernel)(A...), const unsigned* sizes, size_t shared_bytes, void** arguments) {
#ifdef EMULATION_FLUSH
    const struct Flushed {  // subnormal numbers are 0, as with NVRTC's -ftz=true
        unsigned before = __builtin_ia32_stmxcsr();
        Flushed() { __builtin_ia32_ldmxcsr(before | 0x8040u); }
        ~Flushed() { __builtin_ia32_ldmxcsr(before); }
    } flushed;
#endif
    launch(sizes[0], sizes[1], sizes[2], shared_bytes, [=] { call(kernel, arguments, std::index_sequence_for<A...>{}); });
}

// sin(pi x) and cos(pi x): reduced exactly to an eighth of a turn before pi comes in.
inline void sine_cosine_pi(double x, double* sine, double* cosine) {
    const double pi = 3.14159265358979323846;
    const double quarters = std::nearbyint(2 * x), rest = x - quarters / 2;
    const double s = std::sin(pi * rest), c = std::cos(pi * rest);
    switch (static_cast<long long>(quarters) & 3) {
        case 0: *sine = s, *cosine = c; return;
        case 1: *sine = c, *cosine = -s; return;
        case 2: *sine = -s, *cosine = -c; return;
        default: *sine = -c, *cosine = s; return;
    }
}

}  // namespace emulation

#define shared_memory (emulation::shared())
#define threadIdx (emulation::thread_index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)

inline void __syncthreads() { emulation::sync_block(); }
inline void __syncwarp() { emulation::sync_warp(); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return emulation::shuffle(value, emulation::lane() ^ mask); }
template <class T> T __shfl_sync(unsigned, T value, int from) { return emulation::shuffle(value, from); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline void sincospi(double x, double* sine, double* cosine) { emulation::sine_cosine_pi(x, sine, cosine); }
inline void sincospif(float x, float* sine, float* cosine) {
    double s, c;
    emulation::sine_cosine_pi(x, &s, &c);
    *sine = static_cast<float>(s);
    *cosine = static_cast<float>(c);
}
