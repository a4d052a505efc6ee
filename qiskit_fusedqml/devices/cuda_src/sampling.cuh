// Shots: random numbers, running sums of probabilities, and the outcomes at which they pass a random number.
namespace fusedqml {

// Counter-based random numbers, Philox-4x64 with 10 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), in
// the order in which NumPy's bit generator of that name gives them: the numbers 4 k to 4 k + 3 come from the counter k + 1.
__device__ __forceinline__ void philox(unsigned long long counter, unsigned long long key0, unsigned long long key1, unsigned long long (&words)[4]) {
    words[0] = counter;
    words[1] = words[2] = words[3] = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long m0 = 0xd2e7470ee14c6c93ull, m1 = 0xca5a826395121157ull, old1 = words[1], old3 = words[3];
        const unsigned long long high0 = __umul64hi(m0, words[0]), low0 = m0 * words[0], high1 = __umul64hi(m1, words[2]), low1 = m1 * words[2];
        words[0] = high1 ^ old1 ^ key0;
        words[1] = low1;
        words[2] = high0 ^ old3 ^ key1;
        words[3] = low0;
        key0 += 0x9e3779b97f4a7c15ull;
        key1 += 0xbb67ae8584caa73bull;
    }
}

// Running sums of `length` numbers for each block, in place. One thread adds them, one after the other: only so do they never fall, and stay the same
// where nothing is added.
__global__ void __launch_bounds__(256) running_sums(double* values, long long length) {
    double* room = reinterpret_cast<double*>(shared_memory);
    double* row = values + static_cast<long long>(blockIdx.x) * length;
    const int own = static_cast<int>(threadIdx.x), size = static_cast<int>(blockDim.x);
    double sum = 0;
    for (long long first = 0; first < length; first += size) {
        const bool inside = first + own < length;
        room[own] = inside ? row[first + own] : 0;
        __syncthreads();
        if (own == 0)
            for (int k = 0; k < size; ++k) room[k] = sum += room[k];
        __syncthreads();
        if (inside) row[first + own] = room[own];
    }
}

// First position whose running sum is above `point`; where rounding has moved the point to the end, the first that reaches the end.
__device__ __forceinline__ long long above(const double* sums, long long length, double point) {
    const double last = sums[length - 1];
    const bool beyond = !(point < last);
    long long low = 0, high = length - 1;
    while (low < high) {
        const long long middle = (low + high) / 2;
        if (beyond ? sums[middle] >= last : sums[middle] > point) high = middle;
        else low = middle + 1;
    }
    return low;
}

// The same among the numbers themselves, of which few enough are left.
__device__ __forceinline__ int above_among(const double* numbers, int count, double point) {
    double sum = 0;
    int last = 0;
    for (int k = 0; k < count; ++k) {
        if (numbers[k] > 0) last = k;
        sum += numbers[k];
        if (sum > point) return k;
    }
    return last;
}

// outcomes[row][shot], four shots a thread: where the running sum of probabilities passes a uniform random part of their total. samples: the state of each
// row; keys: two words a row, so that its shots are the same whatever other rows there are; sums: running sums of the totals of chunks of
// 2**chunk_bits outcomes, `chunks` of them for each state.
__global__ void draw_outcomes(const double* __restrict__ probabilities, const double* __restrict__ sums, int chunk_bits, long long chunks,
                              const int* __restrict__ samples, const unsigned long long* __restrict__ keys, long long shots, long long total, long long* outcomes) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x, groups = (shots + 3) / 4;
    if (k >= total) return;
    const long long row = k / groups, group = k % groups, sample = samples[row];
    const double* own = sums + sample * chunks;
    unsigned long long words[4];
    philox(static_cast<unsigned long long>(group) + 1, keys[2 * row], keys[2 * row + 1], words);
    for (int w = 0; w < 4 && 4 * group + w < shots; ++w) {
        const double point = static_cast<double>(words[w] >> 11) * (1.0 / 9007199254740992.0) * own[chunks - 1];
        const long long chunk = above(own, chunks, point), first = chunk << chunk_bits;
        const double* numbers = probabilities + (sample * chunks << chunk_bits) + first;
        outcomes[row * shots + 4 * group + w] = first + above_among(numbers, 1 << chunk_bits, point - (chunk ? own[chunk - 1] : 0));
    }
}

}  // namespace fusedqml
