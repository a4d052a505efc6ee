// What every kernel shares. The files are joined in the order given by gpu/sources.py and compiled as one text, by NVRTC
// for the device and by a C++ compiler for the tests, which supply their own `shared_memory`.
#ifndef FUSEDQML_EMULATION
extern __shared__ __align__(16) unsigned char shared_memory[];
#endif

namespace fusedqml {

template <class Real> struct alignas(2 * sizeof(Real)) Complex {
    Real re, im;
};

// Words that are read at once.
template <int count> struct alignas(4 * count) Words {
    int at[count];
};
template <int count> __device__ __forceinline__ Words<count> read(const int* words) { return *reinterpret_cast<const Words<count>*>(words); }

__device__ __forceinline__ unsigned parity(unsigned value) { return __popc(value) & 1u; }

// All ones where bit `k` of `value` is set, else 0.
__device__ __forceinline__ unsigned spread(unsigned value, int k) { return 0u - (value >> k & 1u); }

template <class Real> __device__ __forceinline__ Complex<Real> operator*(Complex<Real> a, Complex<Real> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

template <class Real> __device__ __forceinline__ Complex<Real> conj(Complex<Real> a) { return {a.re, -a.im}; }

template <class Real> __device__ __forceinline__ void add_product(Complex<Real>& sum, Complex<Real> a, Complex<Real> b) {
    sum.re += a.re * b.re - a.im * b.im;
    sum.im += a.re * b.im + a.im * b.re;
}

// Real and imaginary part of conj(bra) ket.
template <class Real> __device__ __forceinline__ Real overlap_re(Complex<Real> bra, Complex<Real> ket) {
    return bra.re * ket.re + bra.im * ket.im;
}
template <class Real> __device__ __forceinline__ Real overlap_im(Complex<Real> bra, Complex<Real> ket) {
    return bra.re * ket.im - bra.im * ket.re;
}

__device__ __forceinline__ void sine_cosine_pi(float x, float* sine, float* cosine) { sincospif(x, sine, cosine); }
__device__ __forceinline__ void sine_cosine_pi(double x, double* sine, double* cosine) { sincospi(x, sine, cosine); }

// Read anew wherever they are needed.
__device__ __forceinline__ unsigned thread_number() {
#ifdef FUSEDQML_EMULATION
    return threadIdx.x;
#else
    unsigned number;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
    return number;
#endif
}
__device__ __forceinline__ unsigned block_number() {
#ifdef FUSEDQML_EMULATION
    return blockIdx.x;
#else
    unsigned number;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(number));
    return number;
#endif
}

// A pointer to the GPU's own memory, which takes the shorter way there. How it was computed is hidden: to add a number to it takes one instruction, where
// the compiler would otherwise take all sums apart and do them in 64 bits anew.
template <class T> __device__ __forceinline__ T* to_global(T* pointer) {
#ifndef FUSEDQML_EMULATION
    asm("" : "+l"(pointer));
    __builtin_assume(__isGlobal(pointer));
#endif
    return pointer;
}

// Not computed anew wherever it is needed.
__device__ __forceinline__ float kept(float value) {
#ifndef FUSEDQML_EMULATION
    asm("" : "+f"(value));
#endif
    return value;
}
__device__ __forceinline__ double kept(double value) {
#ifndef FUSEDQML_EMULATION
    asm("" : "+d"(value));
#endif
    return value;
}

// With the other sign if `odd` is.
__device__ __forceinline__ float signed_by(float value, unsigned odd) {
#ifdef FUSEDQML_EMULATION
    return odd & 1 ? -value : value;
#else
    return __uint_as_float(__float_as_uint(value) ^ odd << 31);
#endif
}
__device__ __forceinline__ double signed_by(double value, unsigned odd) {
#ifdef FUSEDQML_EMULATION
    return odd & 1 ? -value : value;
#else
    return __hiloint2double(__double2hiint(value) ^ odd << 31, __double2loint(value));
#endif
}

constexpr unsigned whole_warp = 0xffffffffu;

}  // namespace fusedqml
