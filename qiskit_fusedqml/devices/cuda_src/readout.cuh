// States as wholes: start values, relabelled rows, observables, amplitudes and probabilities.
namespace fusedqml {

// The image of `index` under a linear map with the columns given.
__device__ __forceinline__ unsigned image(const int* __restrict__ columns, unsigned index, int bits, unsigned offset) {
    for (int k = 0; k < bits; ++k) offset ^= static_cast<unsigned>(columns[k]) & spread(index, k);
    return offset;
}

// Every sample's state from one source (stride 0) or its own (stride 2**n); without a source, |0...0>.
template <class Real>
__global__ void set_state(Complex<Real>* state, const Complex<Real>* __restrict__ source, long long stride, int n, long long total) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const long long row = k & ((1ll << n) - 1);
    state[k] = source ? source[(k >> n) * stride + row] : Complex<Real>{row ? Real(0) : Real(1), 0};
}

// to[k] = from[row(k)] in every sample.
template <class Real>
__global__ void relabel(const Complex<Real>* __restrict__ from, Complex<Real>* to, const int* __restrict__ columns, int offset, int n, long long total) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const long long base = k >> n << n;
    to[k] = from[base + image(columns, static_cast<unsigned>(k - base), n, static_cast<unsigned>(offset))];
}

// A term of an observable is 6 words [flip, sign functional, power, first control, end of controls, observable]; terms are ordered by observable or by flip.
// The factor of a term at a row, 0 where a control is; multiplied by (-1j)**power it is the matrix element.
template <class Real>
__device__ __forceinline__ Real term_sign(const int* term, const int* __restrict__ controls, unsigned row) {
    for (int k = term[3]; k < term[4]; ++k)
        if (!parity(static_cast<unsigned>(controls[k]) & row)) return 0;
    return parity(static_cast<unsigned>(term[1]) & row) ? Real(-1) : Real(1);
}

// Re of conj(left) (-1j)**power right.
template <class Real> __device__ __forceinline__ Real matrix_element(int power, Complex<Real> left, Complex<Real> right) {
    const Real value = power & 1 ? overlap_im(left, right) : overlap_re(left, right);
    return power & 2 ? -value : value;
}

// partials[observable][sample * chunks + chunk]: one block each; bounds: first term of each observable.
template <class Real>
__global__ void __launch_bounds__(256)
expectation(const Complex<Real>* __restrict__ state, int n, const int* __restrict__ terms, const int* __restrict__ controls, const double* __restrict__ coefficients,
            const int* __restrict__ bounds, int chunks, long long rows, double* partials) {
    double* room = reinterpret_cast<double*>(shared_memory);
    const long long sample = blockIdx.x / chunks;
    const int chunk = static_cast<int>(blockIdx.x % chunks), observable = static_cast<int>(blockIdx.y);
    const unsigned size = 1u << n, share = (size + chunks - 1) / chunks;
    const unsigned first = chunk * share, stop = first + share < size ? first + share : size;
    const Complex<Real>* from = state + (sample << n);
    double sum = 0;
    for (unsigned row = first + threadIdx.x; row < stop; row += blockDim.x) {
        const Complex<Real> own = from[row];
        Complex<Real> partner = own;
        unsigned flip = 0;
        Real value = 0;
        for (int k = bounds[observable]; k < bounds[observable + 1]; ++k) {
            const int* term = terms + 6 * k;
            if (static_cast<unsigned>(term[0]) != flip) {
                flip = static_cast<unsigned>(term[0]);
                partner = from[row ^ flip];
            }
            value += static_cast<Real>(coefficients[k]) * term_sign<Real>(term, controls, row | size) * matrix_element(term[2], own, partner);
        }
        sum += value;
    }
    room[threadIdx.x] = sum;
    __syncthreads();
    for (int half = static_cast<int>(blockDim.x) / 2; half; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) partials[observable * rows + blockIdx.x] = room[0];
}

// bra = sum_k weights[sample, k] O_k ket.
template <class Real>
__global__ void apply_observables(const Complex<Real>* __restrict__ ket, Complex<Real>* bra, int n, long long total, const int* __restrict__ terms, int num_terms,
                                  const int* __restrict__ controls, const double* __restrict__ coefficients, const double* __restrict__ weights, int observables) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const unsigned size = 1u << n, row = static_cast<unsigned>(k) & (size - 1);
    const Complex<Real>* from = ket + (k >> n << n);
    const double* own = weights + (k >> n) * observables;
    Complex<Real> sum = {0, 0}, partner = from[row];
    unsigned flip = 0;
    for (int j = 0; j < num_terms; ++j) {
        const int* term = terms + 6 * j;
        if (static_cast<unsigned>(term[0]) != flip) {
            flip = static_cast<unsigned>(term[0]);
            partner = from[row ^ flip];
        }
        Real value = static_cast<Real>(coefficients[j] * own[term[5]]) * term_sign<Real>(term, controls, row | size);
        if (term[2] & 2) value = -value;
        if (term[2] & 1) {  // -1j times the partner
            sum.re += value * partner.im;
            sum.im -= value * partner.re;
        } else {
            sum.re += value * partner.re;
            sum.im += value * partner.im;
        }
    }
    bra[k] = sum;
}

// partials[outcome][sample * chunks + chunk]: the weight of the rows with these outcome bits. columns: those of the outcome's bits, then of all others.
template <class Real>
__global__ void probabilities(const Complex<Real>* __restrict__ state, int n, const int* __restrict__ columns, int offset, int kept, int chunk_bits, long long rows,
                              long long total, double* partials) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;  // sample, chunk, outcome
    if (k >= total) return;
    const unsigned outcome = static_cast<unsigned>(k) & ((1u << kept) - 1);
    const long long slot_row = k >> kept;
    const unsigned chunk = static_cast<unsigned>(slot_row & ((1ll << chunk_bits) - 1));
    const Complex<Real>* from = state + ((slot_row >> chunk_bits) << n);
    const int inner = n - kept - chunk_bits;
    const unsigned base = image(columns, outcome, kept, static_cast<unsigned>(offset)) ^ image(columns + kept + inner, chunk, chunk_bits, 0u);
    double sum = 0;
    for (unsigned i = 0; i < 1u << inner; ++i) {
        const Complex<Real> a = from[image(columns + kept, i, inner, base)];
        sum += static_cast<double>(a.re) * a.re + static_cast<double>(a.im) * a.im;
    }
    partials[outcome * rows + slot_row] = sum;
}

}  // namespace fusedqml
