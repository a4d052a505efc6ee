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
// At a row, where all controls are 1, it is weight * (-1j)**power * (-1)**sign times the amplitude at the row with the flip.
//
// Some terms at a time are in shared memory, with their weights: those of the observable, or of all observables and a sample's cotangents. The sign
// of (-1j)**2 is in the weight; what is left of the power, 0 or 1, is the lowest bit of the last word.
template <class Real> struct StagedTerms {
    Real* weights;
    int* words;  // 4 each: flip, sign functional, first control, number of controls and power

    __device__ __forceinline__ explicit StagedTerms(unsigned char* memory)
        : weights(reinterpret_cast<Real*>(memory)), words(reinterpret_cast<int*>(memory + sizeof(double) * staged_terms)) {}
    __device__ __forceinline__ void load(const int* __restrict__ terms, const double* __restrict__ coefficients, const double* __restrict__ cotangents, int count) const {
        __syncthreads();
        for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x)) {
            const int* term = terms + 6 * k;
            const double weight = cotangents ? coefficients[k] * cotangents[term[5]] : coefficients[k];
            weights[k] = static_cast<Real>(term[2] & 2 ? -weight : weight);
            words[4 * k] = term[0];
            words[4 * k + 1] = term[1];
            words[4 * k + 2] = term[3];
            words[4 * k + 3] = (term[4] - term[3]) << 1 | (term[2] & 1);
        }
        __syncthreads();
    }
};

// A thread's rows, of which it has up to 16, in a part of a state: they differ in bits above those that number the threads.
struct ThreadRows {
    unsigned first, size;  // the first one; and the bit beyond a row's, that of constants
    int shift, count;

    __device__ __forceinline__ ThreadRows(int n, int chunk, int chunks) : size(1u << n), shift(__popc(blockDim.x - 1)) {
        const unsigned share = size / static_cast<unsigned>(chunks);
        first = static_cast<unsigned>(chunk) * share + threadIdx.x;
        count = share > blockDim.x ? static_cast<int>(share >> shift) : threadIdx.x < share;
    }
    __device__ __forceinline__ unsigned at(int k) const { return first | static_cast<unsigned>(k) << shift; }
    // A functional at each of them, as bits of a word.
    __device__ __forceinline__ unsigned pattern(unsigned functional) const {
        constexpr unsigned bits[4] = {0xaaaau, 0xccccu, 0xf0f0u, 0xff00u};
        unsigned word = 0u - parity(functional & (first | size));
#pragma unroll
        for (int k = 0; k < 4; ++k) word ^= bits[k] & spread(functional >> shift, k);
        return word;
    }
};

// Sums of terms with the same flip, at the thread's rows: those without a factor -1j, and those with one.
template <class Real> struct FlipSums {
    Real even[thread_rows], odd[thread_rows];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int k = 0; k < thread_rows; ++k) even[k] = odd[k] = 0;
    }
    __device__ __forceinline__ void add(const ThreadRows& rows, const int* words, Real weight, const int* __restrict__ controls) {
        const unsigned negative = rows.pattern(static_cast<unsigned>(words[1]));
        unsigned selected = ~0u;
        for (int k = 0; k < words[3] >> 1; ++k) selected &= rows.pattern(static_cast<unsigned>(controls[words[2] + k]));
        if (words[3] & 1) add_to(odd, weight, negative, selected);
        else add_to(even, weight, negative, selected);
    }
    static __device__ __forceinline__ void add_to(Real (&sums)[thread_rows], Real weight, unsigned negative, unsigned selected) {
        if (selected == ~0u) {
#pragma unroll
            for (int k = 0; k < thread_rows; ++k) sums[k] += negative >> k & 1 ? -weight : weight;
            return;
        }
#pragma unroll
        for (int k = 0; k < thread_rows; ++k)
            if (selected >> k & 1) sums[k] += negative >> k & 1 ? -weight : weight;
    }
};

// Terms, some at a time, and what is done with the sums of each flip.
template <class Real, class Use>
__device__ __forceinline__ void for_each_flip(const ThreadRows& rows, const StagedTerms<Real>& staged, const int* __restrict__ terms, const int* __restrict__ controls,
                                              const double* __restrict__ coefficients, const double* __restrict__ cotangents, int num_terms, const Use& use) {
    FlipSums<Real> sums;
    sums.clear();
    unsigned flip = num_terms ? static_cast<unsigned>(terms[0]) : 0u;
    for (int first = 0; first < num_terms; first += staged_terms) {
        const int count = num_terms - first < staged_terms ? num_terms - first : staged_terms;
        staged.load(terms + 6 * first, coefficients + first, cotangents, count);
        for (int k = 0; k < count; ++k) {
            const int* words = staged.words + 4 * k;
            if (static_cast<unsigned>(words[0]) != flip) {
                use(flip, sums);
                sums.clear();
                flip = static_cast<unsigned>(words[0]);
            }
            sums.add(rows, words, staged.weights[k], controls);
        }
    }
    if (num_terms) use(flip, sums);
}

// partials[observable][sample * chunks + chunk]: one block each; bounds: first term of each observable.
template <class Real>
__global__ void __launch_bounds__(256, 1)
expectation(const Complex<Real>* __restrict__ state, int n, const int* __restrict__ terms, const int* __restrict__ controls, const double* __restrict__ coefficients,
            const int* __restrict__ bounds, int chunks, long long rows, double* partials) {
    double* room = reinterpret_cast<double*>(shared_memory);
    const StagedTerms<Real> staged(shared_memory + sizeof(double) * blockDim.x);
    const long long sample = blockIdx.x / chunks;
    const ThreadRows own(n, static_cast<int>(blockIdx.x % chunks), chunks);
    const int first = bounds[blockIdx.y], stop = bounds[blockIdx.y + 1];
    const Complex<Real>* from = state + (sample << n);
    double sum = 0;
    for_each_flip<Real>(own, staged, terms + 6 * first, controls, coefficients + first, static_cast<const double*>(nullptr), stop - first,
                        [&](unsigned flip, const FlipSums<Real>& sums) {
#pragma unroll
                            for (int k = 0; k < thread_rows; ++k) {
                                if (k >= own.count) continue;
                                const Complex<Real> left = from[own.at(k)], right = flip ? from[own.at(k) ^ flip] : left;
                                sum += sums.even[k] * overlap_re(left, right) + sums.odd[k] * overlap_im(left, right);
                            }
                        });
    room[threadIdx.x] = sum;
    __syncthreads();
    for (int half = static_cast<int>(blockDim.x) / 2; half; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) partials[blockIdx.y * rows + blockIdx.x] = room[0];
}

// bra = sum_k weights[sample, k] O_k ket; a block for each chunk of a sample.
template <class Real>
__global__ void __launch_bounds__(256, 1)
apply_observables(const Complex<Real>* __restrict__ ket, Complex<Real>* bra, int n, const int* __restrict__ terms, int num_terms, const int* __restrict__ controls,
                  const double* __restrict__ coefficients, const double* __restrict__ weights, int observables, int chunks) {
    const StagedTerms<Real> staged(shared_memory);
    const long long sample = blockIdx.x / chunks;
    const ThreadRows own(n, static_cast<int>(blockIdx.x % chunks), chunks);
    const Complex<Real>* from = ket + (sample << n);
    Complex<Real>* to = bra + (sample << n);
    Complex<Real> results[thread_rows] = {};
    for_each_flip<Real>(own, staged, terms, controls, coefficients, weights + sample * observables, num_terms, [&](unsigned flip, const FlipSums<Real>& sums) {
#pragma unroll
        for (int k = 0; k < thread_rows; ++k) {
            if (k >= own.count) continue;
            const Complex<Real> partner = from[own.at(k) ^ flip];
            results[k].re += sums.even[k] * partner.re + sums.odd[k] * partner.im;
            results[k].im += sums.even[k] * partner.im - sums.odd[k] * partner.re;
        }
    });
#pragma unroll
    for (int k = 0; k < thread_rows; ++k)
        if (k < own.count) to[own.at(k)] = results[k];
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
