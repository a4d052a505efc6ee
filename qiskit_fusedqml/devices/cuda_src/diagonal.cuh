// Diagonals: phases from tables or, where the angles differ from sample to sample, from their sum; Z-string overlaps by Walsh sums.
namespace fusedqml {

// Multiplies register i of the ket, and backwards of the bra, by an entry or its conjugate.
template <bool undo, class Real, int W>
__device__ __forceinline__ void multiply_by(Complex<Real> entry, int i, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    if (undo) {
        entry.im = -entry.im;
        bra[i] = entry * bra[i];
    }
    ket[i] = entry * ket[i];
}

// The entry of a table at an address in bytes among all tables: one word, added to an address that all threads share.
template <class Real> __device__ __forceinline__ Complex<Real> entry_at(const Complex<Real>* tables, unsigned address) {
    return *reinterpret_cast<const Complex<Real>*>(reinterpret_cast<const unsigned char*>(tables) + address);
}

// A shared table, or two whose entries multiply first; the scale is in them. Words: 0, and the addresses of the entries in bytes; or 2, both first entries,
// and addresses in units of entries, those of the first table in the lower halves: one word for two takes fewer registers.
template <bool undo, bool two, class Real, int W, bool warp>
__device__ __forceinline__ void tables_times(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* tables, Complex<Real> (&ket)[1 << W],
                                             Complex<Real> (&bra)[1 << W]) {
    const Complex<Real>*first = tables + (two ? words[1] : 0), *second = tables + (two ? words[2] : 0);
    const Addresses<Real, W, warp> a(tile, words + (two ? 3 : 1), true);
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) {
        const unsigned at = a.at(i);
        Complex<Real> entry = two ? first[at & 0xffffu] : entry_at(tables, at);
        if (two) entry = entry * second[at >> 16];
        multiply_by<undo, Real, W>(entry, i, ket, bra);
    }
}

// exp(-1j pi sum_k +-u_k), u = theta / (2 pi) for each sample. Words: 1, first coefficient, number of terms, functionals.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void batched_times(const Tile<Real, W, warp>& tile, const int* words, Real scale, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    constexpr int part = W > 2 ? 1 << (W - 1) : 1 << W;  // half of the registers at a time leaves room for sines
#pragma unroll
    for (int first = 0; first < 1 << W; first += part) {
        Real sums[part] = {};
        for (int k = 0; k < words[2]; ++k) {
            const Real angle = tile.number(words[1], true, k);
            const unsigned odd = tile.pattern(static_cast<unsigned>(words[3 + k])) >> first;
#pragma unroll
            for (int i = 0; i < part; ++i) sums[i] += odd >> i & 1 ? -angle : angle;
        }
#pragma unroll
        for (int i = 0; i < part; ++i) {
            Complex<Real> entry;
            sine_cosine_pi(-sums[i], &entry.im, &entry.re);
            multiply_by<undo, Real, W>({scale * entry.re, scale * entry.im}, first + i, ket, bra);
        }
    }
}

// Words: index of the scale K (-1: none, or it is in a table), number of factors (of two tables at once, one), the factors.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void diagonal(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* tables, Complex<Real> (&ket)[1 << W],
                                         Complex<Real> (&bra)[1 << W]) {
    Real scale = words[0] < 0 ? Real(1) : tile.numbers[words[0]];
    const int factors = words[1];
    const int* factor = words + 2;
    for (int f = 0; f < factors; ++f, scale = 1) {
        if (factor[0] == 1) {
            batched_times<undo>(tile, factor, scale, ket, bra);
            factor += 3 + factor[2];
        } else if (factor[0] == 2) {
            tables_times<undo, true>(tile, factor, tables, ket, bra);
            factor += 3 + tile.address_words();
        } else {
            tables_times<undo, false>(tile, factor, tables, ket, bra);
            factor += 1 + tile.address_words();
        }
    }
    if (factors || scale == 1) return;
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) multiply_by<undo, Real, W>({scale, 0}, i, ket, bra);
}

// <(-1)**f> of many functionals at once: Walsh-Hadamard sums over registers, then over lanes, where lane k ends up with the sum whose signs are
// parity(k & lane). Words: first slot, 2**W + 1 bounds, then the functionals ordered by their register bits.
template <class Real, int W, bool warp>
__device__ __forceinline__ void measure_diagonal(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real> (&ket)[1 << W], const Complex<Real> (&bra)[1 << W]) {
    constexpr int size = 1 << W;
    Real sums[size];
#pragma unroll
    for (int i = 0; i < size; ++i) sums[i] = overlap_im(bra[i], ket[i]);
#pragma unroll
    for (int half = 1; half < size; half <<= 1) {
#pragma unroll
        for (int i = 0; i < size; ++i) {
            if (i & half) continue;
            const Real x = sums[i], y = sums[i | half];
            sums[i] = x + y;
            sums[i | half] = x - y;
        }
    }
    const int lanes = 1 << tile.lane_bits;
    const int* functionals = words + 2 + size;
    const unsigned beyond = tile.position() & ~(static_cast<unsigned>(lanes - 1) << W);
#pragma unroll
    for (int i = 0; i < size; ++i) {
        const int start = words[1 + i], stop = words[2 + i];
        if (start == stop) continue;
        Real sum = sums[i];
        for (int other = 1; other < lanes; other <<= 1) {
            const Real theirs = tile.from_lane(sum, other);
            sum = tile.lane() & other ? theirs - sum : sum + theirs;
        }
        for (int first = start; first < stop; first += lanes) {
            const int k = first + tile.lane();
            const unsigned functional = k < stop ? static_cast<unsigned>(functionals[k]) : 0u;
            const int home = static_cast<int>(threadIdx.x & 31u & ~static_cast<unsigned>(lanes - 1)) | static_cast<int>(functional >> W & static_cast<unsigned>(lanes - 1));
            const Real value = __shfl_sync(whole_warp, sum, home);
            if (k < stop) tile.keep(parity(functional & beyond) ? -value : value, words[0] + k);
        }
    }
}

}  // namespace fusedqml
