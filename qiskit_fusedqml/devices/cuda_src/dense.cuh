// Dense matrices on up to 6 qubits. The lowest D of them, 2 where the threads have bits enough, are register bits 0 to D - 1, the rest the lowest
// thread bits.
// Words: k, first coefficient, slot (-1: no overlaps), k functionals without their own bits: where one is odd, its index bit is flipped.
namespace fusedqml {

template <class Real, int W, bool warp> struct DenseIndex {
    int size, high;       // 2**k, and a mask of the thread's bits that belong to the matrix
    unsigned flip;

    __device__ __forceinline__ DenseIndex(const Tile<Real, W, warp>& tile, const int* words, int inner) : size(1 << words[0]), high((1 << (words[0] - inner)) - 1), flip(0) {
        for (int k = 0; k < words[0]; ++k) flip |= parity(static_cast<unsigned>(words[3 + k]) & tile.position()) << k;
    }
};

// Where register `i` of the thread's neighbour lies in the buffer.
template <class Real, int W, bool warp> __device__ __forceinline__ int dense_address(const Tile<Real, W, warp>& tile, unsigned thread, int i) {
    return static_cast<int>(thread | static_cast<unsigned>(i) << (tile.t - W));
}

template <class Real, int W, bool warp> __device__ __forceinline__ void dense_put(const Tile<Real, W, warp>& tile, const Complex<Real> (&v)[1 << W]) {
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) tile.buffer[dense_address(tile, tile.thread(), i)] = v[i];
    tile.sync();
}

// The matrix, or its adjoint, times the state in the buffer.
template <bool undo, int D, class Real, int W, bool warp>
__device__ __forceinline__ void dense_multiply(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&v)[1 << W]) {
    const DenseIndex<Real, W, warp> index(tile, words, D);
    const Real* matrix = tile.numbers + words[1];
    const unsigned high = tile.thread() & static_cast<unsigned>(index.high);
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) v[i] = {0, 0};
    for (int j = 0; j < index.size; ++j) {
        const int column = j ^ static_cast<int>(index.flip);
        const unsigned thread = (tile.thread() ^ high) | static_cast<unsigned>(j) >> D;
        Complex<Real> values[1 << (W - D)];
#pragma unroll
        for (int o = 0; o < 1 << (W - D); ++o) values[o] = tile.buffer[dense_address(tile, thread, o << D | (j & ((1 << D) - 1)))];
#pragma unroll
        for (int d = 0; d < 1 << D; ++d) {
            const int row = static_cast<int>((high << D | static_cast<unsigned>(d)) ^ index.flip);
            const Real* at = matrix + 2 * (undo ? column * index.size + row : row * index.size + column);
            const Complex<Real> entry = {at[0], undo ? -at[1] : at[1]};
#pragma unroll
            for (int o = 0; o < 1 << (W - D); ++o) add_product(v[o << D | d], entry, values[o]);
        }
    }
    tile.sync();
}

// M[i, j] = sum ket[i] conj(bra[j]), with the bra in the buffer. Slots: [upper bits of i][j][lower bits of i][re, im].
template <int D, class Real, int W, bool warp>
__device__ __forceinline__ void dense_measure(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real> (&ket)[1 << W]) {
    constexpr int values = 2 << D, most = sizeof(Real) == 4 ? 8 : 4, part = values < most ? values : most;  // registers are scarce
    const DenseIndex<Real, W, warp> index(tile, words, D);
    const unsigned high = tile.thread() & static_cast<unsigned>(index.high);
    const int flip = static_cast<int>(index.flip);
    for (int k = 0; k < (index.high + 1) * index.size; ++k) {
        const int j = k & (index.size - 1) ^ flip;
        const bool mine = static_cast<int>(high) == ((k >> words[0]) ^ flip >> D);
        const unsigned thread = (tile.thread() ^ high) | static_cast<unsigned>(j) >> D;
        const int slot = words[2] + k * values;
#pragma unroll
        for (int first = 0; first < values; first += part) {
            Real sums[part];
#pragma unroll
            for (int d = 0; d < part / 2; ++d) {
                Complex<Real> sum = {0, 0};
#pragma unroll
                for (int o = 0; o < 1 << (W - D); ++o)
                    add_product(sum, ket[o << D | (first / 2 + d)], conj(tile.buffer[dense_address(tile, thread, o << D | (j & ((1 << D) - 1)))]));
                sums[2 * d] = mine ? sum.re : Real(0);
                sums[2 * d + 1] = mine ? sum.im : Real(0);
            }
            tile.template add_up<part>(sums, warp ? slot : 0, (1u << part) - 1, first, (flip & ((1 << D) - 1)) << 1);
        }
        if (!warp) {
            tile.sync();
            tile.flush(slot, values);
            tile.sync();
        }
    }
}

template <bool undo, bool measured, int D, class Real, int W, bool warp>
__device__ __forceinline__ void dense(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    if (undo) {
        dense_put(tile, bra);
        if constexpr (measured || warp)
            if (words[2] >= 0) dense_measure<D>(tile, words, ket);
        dense_multiply<undo, D>(tile, words, bra);
    }
    dense_put(tile, ket);
    dense_multiply<undo, D>(tile, words, ket);
}

}  // namespace fusedqml
