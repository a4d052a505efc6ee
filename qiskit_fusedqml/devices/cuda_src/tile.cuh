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
    __device__ __forceinline__ int entries() const { return static_cast<int>(warp ? 1u << (t - W) : 32u + (1u << (t - W - 5))); }  // of lanes and warps
    __device__ __forceinline__ int address_words() const {  // on each side
        const int rest = (n - t) % 5;
        return 4 + entries() + 32 * ((n - t) / 5) + (rest ? 1 << rest : 0);
    }
    // A pair of coefficients: one word of memory, or in a batch two that are far apart.
    __device__ __forceinline__ Complex<Real> pair(int index, bool batched) const {
        if (batched) {
#ifndef FUSEDQML_EMULATION
            asm volatile("");  // a branch, so that these addresses are found only where they are needed
#endif
            const Real* at = numbers + shared_numbers + static_cast<long long>(index) * batch + sample();
            return {at[0], at[batch]};
        }
        return *reinterpret_cast<const Complex<Real>*>(numbers + index);
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

// What a place's bits are linear in, for the thread's places, on one side or on two at once. Words: for each side, the vector of each register bit,
// and zeros up to four; then [entry][side] the XOR of the vectors of the bits of each lane's number, of each warp's number in the block, and of the
// tile's number, of which five bits at a time have a table.
template <class Real, int W, bool warp, int sides> struct Addresses {
    unsigned base[sides], steps[sides][W];

    __device__ __forceinline__ Addresses(const Tile<Real, W, warp>& tile, const int* words, bool with_tile) {
#pragma unroll
        for (int side = 0; side < sides; ++side) {
            base[side] = 0;
            const Words<4> vectors = read<4>(words + 4 * side);
#pragma unroll
            for (int k = 0; k < W; ++k) steps[side][k] = static_cast<unsigned>(vectors.at[k]);
        }
        const unsigned thread = tile.thread();
        const int* entries = to_global(words + 4 * sides);
        add(entries, warp ? thread : thread & 31u);
        if (!warp) add(entries + 32 * sides, thread >> 5);
        if (!with_tile || tile.n == tile.t) return;
        entries += sides * tile.entries();
        unsigned outer = static_cast<unsigned>(tile.row()) & ((1u << (tile.n - tile.t)) - 1);
#pragma unroll 1
        for (int k = tile.n - tile.t; k > 0; k -= 5, outer >>= 5, entries += 32 * sides) add(entries, outer & 31u);
    }
    __device__ __forceinline__ void add(const int* entries, unsigned k) {
        const Words<sides> entry = read<sides>(entries + sides * k);
#pragma unroll
        for (int side = 0; side < sides; ++side) base[side] ^= static_cast<unsigned>(entry.at[side]);
    }
    // Of register i.
    __device__ __forceinline__ unsigned at(int i, int side = 0) const {
        unsigned address = base[side];
#pragma unroll
        for (int k = 0; k < W; ++k)
            if (i >> k & 1) address ^= steps[side][k];
        return address;
    }
};

// Writes the amplitudes to a room, or reads them, and as many `others` to or from another one: what is an address of both is found once.
template <bool writes, bool both, class Real, int W, bool warp>
__device__ __forceinline__ void move(Complex<Real> (&v)[1 << W], Complex<Real>* room, Complex<Real> (&others)[1 << W], Complex<Real>* second,
                                     const Addresses<Real, W, warp, 2>& a, int side) {
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) {
        const unsigned bytes = a.at(i, side);
        Complex<Real>& at = *reinterpret_cast<Complex<Real>*>(reinterpret_cast<unsigned char*>(room) + bytes);
        Complex<Real>& other = *reinterpret_cast<Complex<Real>*>(reinterpret_cast<unsigned char*>(second) + bytes);
        if (writes) {
            at = v[i];
            if (both) other = others[i];
        } else {
            v[i] = at;
            if (both) others[i] = other;
        }
    }
}

// From one window to the next (undo: back again). Words: the first slot and the number of overlaps of the window on the right, 0, then
// addresses in bytes on the left and on the right.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void exchange(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    constexpr int from = undo, to = !undo;
    Addresses<Real, W, warp, 2> a(tile, words + 3, false);
    if (warp) {
        a.base[0] ^= tile.skew * static_cast<unsigned>(sizeof(Complex<Real>));
        a.base[1] ^= tile.skew * static_cast<unsigned>(sizeof(Complex<Real>));
    }
    Complex<Real>* room = warp ? tile.buffer : reinterpret_cast<Complex<Real>*>(shared_memory);
    if (undo && tile.second) {
        move<true, true>(ket, room, bra, room + tile.second, a, from);
        tile.sync();
        move<false, true>(ket, room, bra, room + tile.second, a, to);
    } else {
        move<true, false>(ket, room, bra, room, a, from);
        tile.sync();
        move<false, false>(ket, room, bra, room, a, to);
        if (undo) {
            tile.sync();
            move<true, false>(bra, room, ket, room, a, from);
            tile.sync();
            move<false, false>(bra, room, ket, room, a, to);
        }
    }
    if (undo) tile.flush(words[0], words[1]);
    tile.sync();
}

// The amplitudes of a window in slow memory. Words: their indices.
template <class Real, int W, bool warp>
__device__ __forceinline__ void load(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* state, Complex<Real> (&v)[1 << W]) {
    const Addresses<Real, W, warp, 1> a(tile, words, true);
    const Complex<Real>* from = to_global(state + (static_cast<long long>(tile.sample()) << tile.n));
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) v[i] = from[a.at(i)];
}

template <class Real, int W, bool warp>
__device__ __forceinline__ void store(const Tile<Real, W, warp>& tile, const int* words, Complex<Real>* state, const Complex<Real> (&v)[1 << W]) {
    if (!tile.active) return;
    const Addresses<Real, W, warp, 1> a(tile, words, true);
    Complex<Real>* to = to_global(state + (static_cast<long long>(tile.sample()) << tile.n));
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) to[a.at(i)] = v[i];
}

}  // namespace fusedqml
