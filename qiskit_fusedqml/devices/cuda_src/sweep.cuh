// A sweep: a list of records applied to every tile of every sample, in one launch.
//
// With `warp`, each group of 2**(t - W) lanes holds one small state and warps work alone; else a block holds one tile, which may be a
// whole state. Nothing is saved: `undo` uncomputes ket and bra together and leaves the overlaps in `partials`.
namespace fusedqml {

template <bool undo, class Real, int W, bool warp>
__device__ __forceinline__ void on_bit(const Tile<Real, W, warp>& tile, int kind, int bit, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    if (bit == 0) kind == unitary_record ? unitary<undo, 0>(tile, words, ket, bra) : pauli<undo, 0>(tile, words, ket, bra);
    if constexpr (W > 1)
        if (bit == 1) kind == unitary_record ? unitary<undo, 1>(tile, words, ket, bra) : pauli<undo, 1>(tile, words, ket, bra);
    if constexpr (W > 2)
        if (bit == 2) kind == unitary_record ? unitary<undo, 2>(tile, words, ket, bra) : pauli<undo, 2>(tile, words, ket, bra);
    if constexpr (W > 3)
        if (bit == 3) kind == unitary_record ? unitary<undo, 3>(tile, words, ket, bra) : pauli<undo, 3>(tile, words, ket, bra);
}

template <bool undo, bool measured, class Real, int W, bool warp>
__device__ __forceinline__ void apply_dense(const Tile<Real, W, warp>& tile, int inner, const int* words, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    if (inner == 1) dense<undo, measured, 1>(tile, words, ket, bra);
    if constexpr (W > 1)
        if (inner == 2) dense<undo, measured, 2>(tile, words, ket, bra);
    if constexpr (W > 2 && warp)
        if (inner == 3) dense<undo, measured, 3>(tile, words, ket, bra);
}

constexpr int plain_turn = turn_record | 1 << 4;

// A record: its kind in the lowest 4 bits, a register bit (or the number of a matrix's register bits) above, then its own words.
template <bool undo, bool measured, class Real, int W, bool warp>
__device__ __forceinline__ void apply(const Tile<Real, W, warp>& tile, int head, const int* words, const Complex<Real>* tables, Complex<Real> (&ket)[1 << W],
                                      Complex<Real> (&bra)[1 << W]) {
    const int kind = head & 15, bit = head >> 4;
    switch (kind) {
        case exchange_record: return exchange<undo>(tile, words, ket, bra);
        case turn_record: return turns<undo>(tile, words, ket, bra);
        case unitary_record:
        case pauli_record: return on_bit<undo>(tile, kind, bit, words, ket, bra);
        case phase_record: return phase<undo>(tile, words, ket, bra);
        case diagonal_record: return diagonal<undo>(tile, words, tables, ket, bra);
        case dense_record: return apply_dense<undo, measured>(tile, bit, words, ket, bra);
        case measure_record:
            if (undo) measure_diagonal(tile, words, ket, bra);
            return;
        case flush_record:
            if (!undo) return;
            tile.sync();
            tile.flush(words[0], words[1]);
            tile.sync();
            return;
    }
}

// What differs from one replay of a graph of sweeps to the next. Its launches are the same for all parts of a batch of the same size.
template <class Real> struct Part {
    Complex<Real>*ket, *bra;
    double* totals;
    long long first_sample;
};
static_assert(sizeof(Part<float>) == part_bytes && sizeof(Part<double>) == part_bytes);

template <class Real>
__global__ void set_part(Part<Real>* part, Complex<Real>* ket, Complex<Real>* bra, double* totals, long long first_sample) {
    part->ket = ket;
    part->bra = bra;
    part->totals = totals;
    part->first_sample = first_sample;
}

template <bool warp, bool measured> constexpr int block_threads = warp ? warp_block : measured ? small_block : largest_block;

// To a multiprocessor; 0 leaves it open. Then the compiler spills nothing of the largest blocks in the backward pass where with 1 it does; it would squeeze
// all others into fewer registers.
template <bool warp, bool undo, bool measured> constexpr int least_blocks = warp || measured || !undo || largest_block <= small_block;

// words: the records; order: for each of `steps` where in `words` a record begins, its first word, and where the exchange begins that a plain layer of RY is
// followed by, or -1; load_rows, store_rows: the first and the last window's rows; samples `first_sample` to `first_sample + samples` of `batch`; numbers:
// coefficients; capacity: overlaps kept between flushes; partials: [slot][row] sums of each tile, row = sample * tiles + tile. With a `part`, that says where the
// states are and which sample is first; it is volatile so that its pointers are read where they are needed and take no registers in between.
template <class Real> struct SweepArguments : SweepMembers<Real> {
    __device__ __forceinline__ Complex<Real>* ket_state() const {
        if (this->part) return this->part->ket;
        return this->ket;
    }
    __device__ __forceinline__ Complex<Real>* bra_state() const {
        if (this->part) return this->part->bra;
        return this->bra;
    }
};
static_assert(sizeof(SweepArguments<float>) == sweep_bytes && sizeof(SweepArguments<double>) == sweep_bytes);

template <bool undo, bool measured, class Real, int W, bool warp>
__device__ __forceinline__ void apply_records(const Tile<Real, W, warp>& tile, const int* __restrict__ words, const int* __restrict__ order, int steps,
                                              const Complex<Real>* __restrict__ tables, Complex<Real> (&ket)[1 << W], Complex<Real> (&bra)[1 << W]) {
    for (const int* end = order + 4 * steps; order != end; order += 4) {
        order = to_global(order);
        const Words<4> step = read<4>(order);
        const int* record = to_global(words + static_cast<unsigned>(step.at[0]));
        if (step.at[1] == plain_turn) {
            plain_turns<undo>(tile, record + 1, ket, bra);
            // in one stretch of code, amplitudes need not go back into the registers that they came from
            if (step.at[2] >= 0) exchange<undo>(tile, to_global(words + static_cast<unsigned>(step.at[2])) + 1, ket, bra);
        } else {
            apply<undo, measured>(tile, step.at[1], record + 1, tables, ket, bra);
        }
    }
}

// measured: overlaps of matrices are wanted, which takes more registers than the threads of the largest blocks have, so that blocks are smaller.
template <class Real, int W, bool warp, bool undo, bool measured>
__global__ void __launch_bounds__(block_threads<warp, measured>, least_blocks<warp, undo, measured>)
sweep(SweepArguments<Real> s) {
    Tile<Real, W, warp> tile;
    const int group_bits = s.t - W, tile_bits = s.n - s.t, bank_bits = sizeof(Real) == 4 ? 4 : 3;
    const int group = warp ? static_cast<int>(threadIdx.x) >> group_bits : 0;
    tile.n = s.n;
    tile.t = s.t;
    tile.lane_bits = warp && group_bits < 5 ? group_bits : 5;
    tile.active = !warp || tile.row() >> tile_bits < s.samples;
    tile.samples = s.samples;
    tile.first_sample = s.part ? static_cast<int>(s.part->first_sample) : s.first_sample;
    tile.batch = s.batch;
    tile.numbers = s.numbers;
    tile.shared_numbers = s.shared_numbers;
    tile.buffer = reinterpret_cast<Complex<Real>*>(shared_memory) + (group << s.t);
    tile.second = s.second;
    const unsigned free_banks = group_bits < bank_bits && s.t >= bank_bits ? (1u << bank_bits) - 1 : 0u;
    tile.skew = warp ? (static_cast<unsigned>(group) << group_bits) & free_banks : 0u;
    tile.sums = reinterpret_cast<Real*>(reinterpret_cast<Complex<Real>*>(shared_memory) + (1 << s.t) + s.second);
    tile.capacity = s.capacity;
    tile.partials = s.partials;

    Complex<Real> ket[1 << W], bra[1 << W];
    load(tile, s.load_rows, s.ket_state(), ket);
    if (undo) load(tile, s.load_rows, s.bra_state(), bra);
    apply_records<undo, measured>(tile, s.words, s.order, s.steps, s.tables, ket, bra);
    store(tile, s.store_rows, s.ket_state(), ket);
    if (undo) store(tile, s.store_rows, s.bra_state(), bra);
}

}  // namespace fusedqml
