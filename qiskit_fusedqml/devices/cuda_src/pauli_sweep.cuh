// Sweeps over Pauli vectors: each block takes a tile of one sample's vector into shared memory, runs operations on it and puts it back.
namespace fusedqml {

// Where a block's tile is. The tile is given as its vectors and their pivots; tiles of a vector differ by what has zeros at the pivots.
struct PauliTile {
    PauliRows rows;
    long long sample, start;
    unsigned size;

    __device__ __forceinline__ PauliTile(unsigned* memory, const int* tile, int bits, int dimension) {
        const unsigned cosets = 1u << (bits - dimension), base = put_apart(blockIdx.x & (cosets - 1), tile + dimension, dimension);
        sample = blockIdx.x >> (bits - dimension);
        start = sample << bits;
        size = 1u << dimension;
        const int split = (dimension + 1) / 2;
        rows = {memory, memory + (1u << split), split};
        const unsigned lower = 1u << split, words = lower + (1u << (dimension - split));
        for (unsigned k = threadIdx.x; k < words; k += blockDim.x) {
            unsigned row = k < lower ? base : 0;
            const int first = k < lower ? 0 : split, count = k < lower ? split : dimension - split;
            for (int j = 0; j < count; ++j) row ^= static_cast<unsigned>(tile[first + j]) & spread(k < lower ? k : k - lower, j);
            memory[k] = row;
        }
        __syncthreads();
    }
    template <class Real> __device__ __forceinline__ void load(const Real* from, Real* to) const {
        for (unsigned k = threadIdx.x; k < size; k += blockDim.x) to[k] = from[start + rows(k)];
    }
    template <class Real> __device__ __forceinline__ void store(const Real* from, Real* to) const {
        for (unsigned k = threadIdx.x; k < size; k += blockDim.x) to[start + rows(k)] = from[k];
    }
};

// Operations first, first + step, ... on one vector: kets forward, or with `transposed` bras back.
template <class Real>
__global__ void __launch_bounds__(256, 1)
pauli_apply(Real* state, const int* __restrict__ tile_vectors, int bits, int dimension, const int* __restrict__ records, int first, int step, int count, int transposed,
            const double* __restrict__ numbers, long long shared, long long batch) {
    unsigned* row_words = reinterpret_cast<unsigned*>(shared_memory);
    Real* vector = reinterpret_cast<Real*>(shared_memory + sizeof(unsigned) * pauli_row_words + PauliAhead<Real>::bytes);
    const PauliTile tile(row_words, tile_vectors, bits, dimension);
    tile.load(state, vector);
    const PauliCoefficients coefficients{numbers, shared, batch, tile.sample};
    PauliAhead<Real> ahead(shared_memory + sizeof(unsigned) * pauli_row_words, records, coefficients, first, step, count);
    for (int k = 0; k < count; ++k) {
        const PauliRecord& record = ahead.record(k);
        ahead.load(k);
        switch (record.kind) {
            case pauli_affine: affine_sweep(record, tile.rows, tile.size, vector, PauliAffine<Real>(ahead.own(k)), transposed); break;
            case pauli_pair: pair_sweep(record, tile.rows, tile.size, vector, ahead.own(k), transposed); break;
            case pauli_turn: turn_sweep(record, tile.rows, tile.size, vector, ahead.own(k), transposed); break;
            default: transfer_sweep(record, tile.rows, tile.size, vector, coefficients.of<Real>(record, record.number), transposed);
        }
        ahead.store(k);
        __syncthreads();
    }
    tile.store(vector, state);
}

// The same on kets and bras, with overlaps partials[slot - first_slot][part]: kets undone and bras pulled back, or, `joint`, kets forward and bras undone.
template <class Real>
__global__ void __launch_bounds__(256, 1)
pauli_measure(Real* kets, Real* bras, const int* __restrict__ tile_vectors, int bits, int dimension, const int* __restrict__ records, int first, int step, int count,
              int joint, const double* __restrict__ numbers, long long shared, long long batch, double* partials, int first_slot) {
    double* room = reinterpret_cast<double*>(shared_memory);
    unsigned* row_words = reinterpret_cast<unsigned*>(room + 2 * (pauli_threads / 32) * pauli_sums);
    unsigned char* operations = reinterpret_cast<unsigned char*>(row_words + pauli_row_words);
    Real* ket = reinterpret_cast<Real*>(operations + PauliAhead<Real>::bytes);
    Real* bra = ket + (1u << dimension);
    const PauliTile tile(row_words, tile_vectors, bits, dimension);
    PauliSums sums{room, partials, blockIdx.x, gridDim.x, first_slot, 0};
    tile.load(kets, ket);
    tile.load(bras, bra);
    const PauliCoefficients coefficients{numbers, shared, batch, tile.sample};
    PauliAhead<Real> ahead(operations, records, coefficients, first, step, count);
    for (int k = 0; k < count; ++k) {
        const PauliRecord& record = ahead.record(k);
        const Real *own = ahead.own(k), *inverse = ahead.inverse(k);
        ahead.load(k);
        int left = 0;  // sums that the block's threads have
        if (record.kind == pauli_affine) {
            measure_affine(record, tile.rows, tile.size, ket, bra, PauliAffine<Real>(own), PauliAffine<Real>(inverse), joint, sums);
            left = 12;
        } else if (record.kind == pauli_pair) {
            measure_pair(record, tile.rows, tile.size, ket, bra, own, inverse, joint, sums);
            left = pauli_sums;
        } else if (record.kind == pauli_turn) {
            measure_turn(record, tile.rows, tile.size, ket, bra, own, joint, sums);
            left = 1;
        } else {
            transfer_sweep(record, tile.rows, tile.size, joint ? bra : ket, coefficients.of<Real>(record, record.inverse), joint);
            if (record.slot >= 0) measure_letters(record, tile.rows, tile.size, ket, bra, sums);
            __syncthreads();
            transfer_sweep(record, tile.rows, tile.size, joint ? ket : bra, coefficients.of<Real>(record, record.number), !joint);
        }
        ahead.store(k);
        __syncthreads();
        if (record.slot >= 0) sums.collect(record.slot, left);
    }
    tile.store(ket, kets);
    tile.store(bra, bras);
}

}  // namespace fusedqml
