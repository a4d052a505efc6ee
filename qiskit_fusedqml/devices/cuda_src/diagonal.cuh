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

// A shared table; `with_common`: times what all registers share. Words: 0, 0, 0, 0, and the numbers of its entries among those of all tables.
template <bool undo, bool with_common, class Real, int W, bool warp>
__device__ __forceinline__ void table_times(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* tables, Complex<Real> common,
                                            Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    const Addresses<Real, W, warp, 1> a(tile, words + 4, true);
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) {
        const Complex<Real> entry = tables[a.at(i)];
        multiply_by<undo, Real, W>(with_common ? entry * common : entry, i, ket, bra);
    }
}

// What all registers share times exp(-1j pi sum_k +-u_k), u = theta / (2 pi) for each sample. Words: 1, first coefficient, number of terms, 0, functionals.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void batched_times(const Tile<Real, W, warp>& tile, const int* words, Complex<Real> common, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    constexpr int part = W > 2 ? 1 << (W - 1) : 1 << W;  // half of the registers at a time leaves room for sines
#pragma unroll
    for (int first = 0; first < 1 << W; first += part) {
        Real sums[part] = {};
        for (int k = 0; k < words[2]; ++k) {
            const Real angle = tile.number(words[1], true, k);
            const unsigned odd = tile.pattern(static_cast<unsigned>(words[4 + k])) >> first;
#pragma unroll
            for (int i = 0; i < part; ++i) sums[i] += odd >> i & 1 ? -angle : angle;
        }
#pragma unroll
        for (int i = 0; i < part; ++i) {
            Complex<Real> entry;
            sine_cosine_pi(-sums[i], &entry.im, &entry.re);
            multiply_by<undo, Real, W>(entry * common, first + i, ket, bra);
        }
    }
}

// Words: index of the scale K (-1: none, or it is in a table), number of tables whose entries all registers share, number of other factors; the numbers of
// the former's entries; the factors. Each of these is a multiple of four words.
template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void diagonal(const Tile<Real, W, warp>& tile, const int* words, const Complex<Real>* tables, Complex<Real> (&ket)[1 << W],
                                         Complex<Real> (&bra)[1 << W]) {
    const int table_words = tile.address_words() + 3 & ~3, *at = words + 3;
    Complex<Real> common = {words[0] < 0 ? Real(1) : tile.numbers[words[0]], 0};
    bool pending = words[0] >= 0 || words[1];
    for (int k = 0; k < words[1]; ++k, at += table_words) {
        const Addresses<Real, W, warp, 1> a(tile, at, true);
        common = common * tables[a.base[0]];
    }
    for (int k = 0; k < words[2]; ++k) {
        if (at[0] == 1) {
            batched_times<undo>(tile, at, common, ket, bra);
            at += 4 + (at[2] + 3 & ~3);
        } else {
            pending ? table_times<undo, true>(tile, at, tables, common, ket, bra) : table_times<undo, false>(tile, at, tables, common, ket, bra);
            at += 4 + table_words;
        }
        common = {1, 0};
        pending = false;
    }
    if (!pending) return;
#pragma unroll
    for (int i = 0; i < 1 << W; ++i) multiply_by<undo, Real, W>(common, i, ket, bra);
}

// <(-1)**f> of many functionals at once: Walsh-Hadamard sums over registers, then over lanes, where lane k ends up with the sum whose signs are
// parity(k & lane), from which each lane takes a functional's. Words: first slot, number of functionals; for as many of them at a time as there are lanes,
// bit i set where one has the register bits i; the functionals.
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
    const int lanes = 1 << tile.lane_bits, count = words[1];
    const int *masks = words + 2, *functionals = masks + (count + lanes - 1 >> tile.lane_bits);
    const unsigned beyond = tile.position() & ~(static_cast<unsigned>(lanes - 1) << W);
    Real signs[5];  // a sum over lanes is an instruction each beside its shuffle
#pragma unroll
    for (int k = 0; k < 5; ++k) signs[k] = kept(tile.lane() >> k & 1 ? Real(-1) : Real(1));
    for (int first = 0; first < count; first += lanes) {
        const int k = first + tile.lane();
        const unsigned patterns = static_cast<unsigned>(*masks++), functional = k < count ? static_cast<unsigned>(functionals[k]) : 0u;
        const int home = static_cast<int>(threadIdx.x & 31u & ~static_cast<unsigned>(lanes - 1)) | static_cast<int>(functional >> W & static_cast<unsigned>(lanes - 1));
        Real value = 0;
#pragma unroll
        for (int i = 0; i < size; ++i) {
            if (!(patterns >> i & 1)) continue;
            Real sum = sums[i];
#pragma unroll
            for (int k = 0; k < 5; ++k)
                if (1 << k < lanes) sum = fma(signs[k], sum, tile.from_lane(sum, 1 << k));
            const Real found = __shfl_sync(whole_warp, sum, home);
            if ((functional & (size - 1)) == i) value = found;
        }
        if (k < count) tile.keep(parity(functional & beyond) ? -value : value, words[0] + k);
    }
}

}  // namespace fusedqml
