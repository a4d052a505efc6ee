// A tile held by a group of threads: each has 2**W amplitudes of the ket, and of the bra, in registers.
//
// An amplitude's place is an n-bit number: the lowest W bits number the registers of a thread, the next t - W the threads
// of the group, the rest the tile. A *window* is a linear map from places to rows; operations flip register bits only.
// Functionals arrive restated on places, with bit n as their constant. `exchange` goes from one window to another
// through shared memory; its addresses, linear in the place too, are chosen on the host so that no two lanes meet in a bank.
namespace fusedqml {

template <class Real, int W, bool warp> struct Tile {
    static constexpr int size = 1 << W;
    int n, t;
    int first_sample;            // of the launch
    int lane_bits;               // the lanes that share a group in this warp
    int batch;
    bool active;                 // false for groups beyond the batch: they take part and leave no trace
    const Real* numbers;
    int shared_numbers;          // those beyond differ from sample to sample
    Complex<Real>* buffer;       // room for one tile
    int second;                  // distance to room for another, or 0
    unsigned skew;               // keeps the groups of one warp apart in the banks
    Real* sums;                  // [warp][capacity]: this window's overlaps, warp by warp
    int capacity;
    Real* partials;              // [slot][row]
    int samples;                 // of the launch

    // What follows from the launch's numbers, or those of thread and block, is not kept in registers, which are scarce.
    __device__ __forceinline__ int rows() const { return samples << (n - t); }
    __device__ __forceinline__ unsigned thread() const {  // within the group
        return warp ? thread_number() & ((1u << (t - W)) - 1) : thread_number();
    }
    __device__ __forceinline__ int row() const {  // of the group, among all samples and tiles
        const unsigned block = block_number();
        return static_cast<int>(warp ? block * (blockDim.x >> (t - W)) + (thread_number() >> (t - W)) : block);
    }
    __device__ __forceinline__ int sample() const { return first_sample + (active ? row() >> (n - t) : 0); }
    __device__ __forceinline__ unsigned position() const {  // the thread's place with bit n set; register bits 0
        const unsigned outer = static_cast<unsigned>(row()) & ((1u << (n - t)) - 1);
        return 1u << n | (outer << (t - W) | thread()) << W;
    }
    __device__ __forceinline__ int lane() const { return static_cast<int>(thread_number()) & ((1 << lane_bits) - 1); }
    __device__ __forceinline__ void sync() const {
        if (warp) __syncwarp();
        else __syncthreads();
    }
    __device__ __forceinline__ Real number(int index, bool batched, int k) const {
        return batched ? numbers[shared_numbers + static_cast<long long>(index + k) * batch + sample()] : numbers[index + k];
    }
    // The functional at each register, as bits of a word.
    __device__ __forceinline__ unsigned pattern(unsigned functional) const {
        constexpr unsigned bits[5] = {0xaaaaaaaau, 0xccccccccu, 0xf0f0f0f0u, 0xff00ff00u, 0xffff0000u};
        unsigned word = 0u - parity(functional & position());
#pragma unroll
        for (int k = 0; k < W; ++k) word ^= bits[k] & spread(functional, k);
        return word;
    }
    // Keeps a warp's (or a group's) sum; the caller is one lane.
    __device__ __forceinline__ void keep(Real value, int slot) const {
        if (!warp) sums[static_cast<int>(threadIdx.x >> 5) * capacity + slot] = value;
        else if (active) partials[static_cast<long long>(slot) * rows() + row()] = value;
    }
    // Adds up what the warps of the block have kept since the last time. Between two syncs.
    __device__ __forceinline__ void flush(int first, int count) const {
        if (warp) return;
        const int warps = static_cast<int>(blockDim.x + 31) >> 5;
        for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x)) {
            Real sum = 0;
            for (int w = 0; w < warps; ++w) sum += sums[w * capacity + k];
            partials[static_cast<long long>(first + k) * rows() + row()] = sum;
        }
    }
    __device__ __forceinline__ Real from_lane(Real value, int other) const {
        return __shfl_xor_sync(whole_warp, value, other);
    }
    // Adds V values over the lanes, with V - 1 shuffles until each lane has one; keeps those whose bit in `valid` is set, in the slots
    // `slot` + ((`first` + their rank) ^ `twist`).
    template <int V> __device__ __forceinline__ void add_up(Real (&values)[V], int slot, unsigned valid, int first = 0, int twist = 0) const {
        constexpr int steps = V == 1 ? 0 : V == 2 ? 1 : V == 4 ? 2 : 3;
        if (lane_bits < steps) {
#pragma unroll
            for (int k = 0; k < V; ++k) {
                for (int other = 1 << lane_bits >> 1; other; other >>= 1) values[k] += from_lane(values[k], other);
                if (lane() == 0 && valid >> k & 1) keep(values[k], slot + ((first + __popc(valid & ((1u << k) - 1))) ^ twist));
            }
            return;
        }
        int other = 1 << lane_bits >> 1;
#pragma unroll
        for (int half = V / 2; half; half >>= 1, other >>= 1) {
            const bool upper = lane() & other;
#pragma unroll
            for (int k = 0; k < half; ++k) {
                const Real mine = upper ? values[k + half] : values[k], theirs = upper ? values[k] : values[k + half];
                values[k] = mine + from_lane(theirs, other);
            }
        }
        for (; other; other >>= 1) values[0] += from_lane(values[0], other);
        const int rest = lane_bits - steps, k = lane() >> rest;
        if (!(lane() & ((1 << rest) - 1)) && valid >> k & 1) keep(values[0], slot + ((first + __popc(valid & ((1u << k) - 1))) ^ twist));
    }
};

// XOR of the vectors of the thread's place and of each of its registers: vectors[k] belongs to bit k of the place.
template <int W> struct Addresses {
    unsigned base, steps[W];

    __device__ __forceinline__ Addresses(const int* vectors, unsigned thread, int bits) : base(0) {
        for (int k = 0; k < bits; ++k) base ^= static_cast<unsigned>(vectors[W + k]) & spread(thread, k);
#pragma unroll
        for (int k = 0; k < W; ++k) steps[k] = static_cast<unsigned>(vectors[k]);
    }
    __device__ __forceinline__ unsigned at(int i) const {
        unsigned address = base;
#pragma unroll
        for (int k = 0; k < W; ++k)
            if (i >> k & 1) address ^= steps[k];
        return address;
    }
    // The halves of every word change places.
    __device__ __forceinline__ void swap() {
        base = base << 16 | base >> 16;
#pragma unroll
        for (int k = 0; k < W; ++k) steps[k] = steps[k] << 16 | steps[k] >> 16;
    }
};

template <class Real, int W> __device__ __forceinline__ void put(const Complex<Real> (&v)[1 << W], Complex<Real>* room, const Addresses<W>& a) {
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) room[a.at(i) & 0xffffu] = v[i];
}

template <class Real, int W> __device__ __forceinline__ void get(Complex<Real> (&v)[1 << W], const Complex<Real>* room, const Addresses<W>& a) {
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) v[i] = room[a.at(i) >> 16];
}

// From one window to the next (undo: back again). Words: the first slot and the number of overlaps of the window on the right, then
// for each place bit an address on either side, the left one in the lower half.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void exchange(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    Addresses<W> a(words + 2, tile.thread(), tile.t - W);
    if (undo) a.swap();
    a.base ^= tile.skew | tile.skew << 16;
    put<Real, W>(ket, tile.buffer, a);
    if (undo) {
        if (!tile.second) {
            tile.sync();
            get<Real, W>(ket, tile.buffer, a);
            tile.sync();
        }
        put<Real, W>(bra, tile.buffer + tile.second, a);
    }
    tile.sync();
    if (!undo || tile.second) get<Real, W>(ket, tile.buffer, a);
    if (undo) {
        get<Real, W>(bra, tile.buffer + tile.second, a);
        tile.flush(words[0], words[1]);
    }
    tile.sync();
}

// The rows of a window in slow memory. Words: a row for each place bit.
template <class Real, int W, bool warp>
__device__ __forceinline__ void load(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* state, Complex<Real> (&v)[1 << W]) {
    const Addresses<W> a(words, tile.position() >> W, tile.n - W);
    const Complex<Real>* from = state + (static_cast<long long>(tile.sample()) << tile.n);
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) v[i] = from[a.at(i)];
}

template <class Real, int W, bool warp>
__device__ __forceinline__ void store(const Tile<Real, W, warp>& tile, const int* words, Complex<Real>* state, const Complex<Real> (&v)[1 << W]) {
    if (!tile.active) return;
    const Addresses<W> a(words, tile.position() >> W, tile.n - W);
    Complex<Real>* to = state + (static_cast<long long>(tile.sample()) << tile.n);
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) to[a.at(i)] = v[i];
}

}  // namespace fusedqml
