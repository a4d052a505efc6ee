// Pauli vectors as wholes: start values, observables, inner products, linear combinations. A vector has 2**bits entries.
namespace fusedqml {

// Every sample's vector from one source (stride 0) or its own; without a source `value` where a row has none of the bits of the mask, else 0.
template <class Real>
__global__ void pauli_set(Real* state, const Real* __restrict__ source, long long stride, int bits, int mask, int value, long long total) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const long long row = k & ((1ll << bits) - 1);
    state[k] = source ? source[(k >> bits) * stride + row] : static_cast<Real>(row & mask ? 0 : value);
}

// values[sample][observable] of observables with entries starts[observable] to the next.
template <class Real>
__global__ void pauli_values(const Real* __restrict__ state, int bits, const int* __restrict__ starts, const int* __restrict__ rows, const double* __restrict__ weights,
                             int observables, long long total, double* values) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const Real* from = state + (k / observables << bits);
    const int observable = static_cast<int>(k % observables);
    double sum = 0;
    for (int j = starts[observable]; j < starts[observable + 1]; ++j) sum += weights[j] * static_cast<double>(from[rows[j]]);
    values[k] = sum;
}

// Adds sum_k cotangents[sample, k] O_k at the rows that occur, in order of rows: row number j has the entries starts[j] to the next, each of an observable
// and with a weight. Without cotangents, sample k has O_k.
template <class Real>
__global__ void pauli_bra(Real* state, int bits, const int* __restrict__ rows, const int* __restrict__ starts, const int* __restrict__ observable,
                          const double* __restrict__ weights, const double* __restrict__ cotangents, int observables, int num_rows, long long total) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const long long sample = k / num_rows;
    const int number = static_cast<int>(k % num_rows);
    double sum = 0;
    for (int j = starts[number]; j < starts[number + 1]; ++j) {
        const int own = observable[j];
        if (cotangents) sum += cotangents[sample * observables + own] * weights[j];
        else if (own == sample) sum += weights[j];
    }
    state[(sample << bits) + rows[number]] = static_cast<Real>(sum);
}

// partials[bra][ket * chunks + chunk]: one block each.
template <class Real>
__global__ void __launch_bounds__(256)
pauli_products(const Real* __restrict__ bras, const Real* __restrict__ kets, int bits, int chunks, double* partials) {
    double* room = reinterpret_cast<double*>(shared_memory);
    const long long ket = blockIdx.x / chunks, share = (1ll << bits) / chunks, first = blockIdx.x % chunks * share;
    const Real *left = bras + (static_cast<long long>(blockIdx.y) << bits), *right = kets + (ket << bits);
    double sum = 0;
    for (long long row = first + threadIdx.x; row < first + share; row += blockDim.x) sum += static_cast<double>(left[row]) * static_cast<double>(right[row]);
    room[threadIdx.x] = sum;
    __syncthreads();
    for (int half = static_cast<int>(blockDim.x) / 2; half; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) partials[blockIdx.y * static_cast<long long>(gridDim.x) + blockIdx.x] = room[0];
}

// made[k] = sum_b weights[b, k] kets[b].
template <class Real>
__global__ void pauli_combine(const Real* __restrict__ kets, Real* made, int bits, int batch, const double* __restrict__ weights, int count, long long total) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const long long row = k & ((1ll << bits) - 1);
    const double* own = weights + (k >> bits);
    double sum = 0;
    for (long long b = 0; b < batch; ++b) sum += own[b * count] * static_cast<double>(kets[(b << bits) + row]);
    made[k] = static_cast<Real>(sum);
}

// entries[sample][number] of some rows.
template <class Real>
__global__ void pauli_rows(const Real* __restrict__ state, int bits, const int* __restrict__ rows, int count, long long total, double* entries) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    entries[k] = static_cast<double>(state[(k / count << bits) + rows[k % count]]);
}

}  // namespace fusedqml
