// Operations on Pauli vectors, on one tile in shared memory: planner/pauli_vector/tape.py has the mathematics, gpu/pauli_tapes.py writes the records.
namespace fusedqml {

constexpr int pauli_numbers = pauli_sums;

// An operation on a tile. Flips are entries of the tile: x and z of each qubit, or x of a turn. Functionals are on rows: x and z of each qubit, or
// side and z of a turn, and then its x. The entries without the pivots are one of each orbit.
struct PauliRecord {
    int kind, batched, number, inverse, slot, bits, y_of_string;
    int pivots[6], flips[6];
    unsigned functionals[6];
};
static_assert(sizeof(PauliRecord) == pauli_words * sizeof(int));

// The coefficients of an operation for one sample.
template <class Real> struct PauliNumbers {
    const double* from;
    long long step;
    __device__ __forceinline__ Real operator[](int k) const { return static_cast<Real>(from[k * step]); }
};

// The coefficients of one call: shared ones, then those [..][sample].
struct PauliCoefficients {
    const double* numbers;
    long long shared, batch, sample;
    template <class Real> __device__ __forceinline__ PauliNumbers<Real> of(const PauliRecord& record, int number) const {
        if (record.batched) return {numbers + shared + number * batch + sample, batch};
        return {numbers + number, 1};
    }
};

// Operations come into shared memory before their turn, records two operations ahead and the numbers of all but transfer matrices one ahead: what is
// loaded while one operation runs is put there before the barrier behind it. A block has 64 threads at least.
template <class Real> struct PauliAhead {
    int* ring;      // of four records
    Real* held;     // [2][own, inverse]
    const int* records;
    PauliCoefficients coefficients;
    int first, step, count, word;
    Real number;

    static constexpr int bytes = 4 * pauli_words * sizeof(int) + 4 * pauli_numbers * sizeof(Real);

    __device__ __forceinline__ PauliAhead(unsigned char* memory, const int* records, const PauliCoefficients& coefficients, int first, int step, int count)
        : ring(reinterpret_cast<int*>(memory)), held(reinterpret_cast<Real*>(ring + 4 * pauli_words)), records(records), coefficients(coefficients), first(first), step(step),
          count(count), word(0), number(0) {
        for (int k = -2; k < 0; ++k) {
            load(k);
            store(k);
            __syncthreads();
        }
    }
    __device__ __forceinline__ const PauliRecord& record(int k) const { return *reinterpret_cast<const PauliRecord*>(ring + (k & 3) * pauli_words); }
    __device__ __forceinline__ const Real* own(int k) const { return held + (k & 1) * 2 * pauli_numbers; }
    __device__ __forceinline__ const Real* inverse(int k) const { return own(k) + pauli_numbers; }

    // While operation k runs, and before the barrier behind it.
    __device__ __forceinline__ void load(int k) {
        const int t = static_cast<int>(threadIdx.x);
        if (t < pauli_words && k + 2 < count) word = records[(first + (k + 2) * step) * pauli_words + t];
        if (t >= 2 * pauli_numbers || k + 1 < 0 || k + 1 >= count) return;
        const PauliRecord& next = record(k + 1);
        const int size = next.kind == pauli_affine ? 12 : next.kind == pauli_pair ? 18 : next.kind == pauli_turn ? 2 : 0;
        const int place = t % pauli_numbers;
        if (place < size) number = coefficients.of<Real>(next, t < pauli_numbers ? next.number : next.inverse)[place];
    }
    __device__ __forceinline__ void store(int k) const {
        const int t = static_cast<int>(threadIdx.x);
        if (t < pauli_words) ring[(k + 2 & 3) * pauli_words + t] = word;
        if (t < 2 * pauli_numbers) held[(k + 1 & 1) * 2 * pauli_numbers + t] = number;
    }
};

// The rows of a tile's entries, by the lower and upper bits of an entry.
struct PauliRows {
    const unsigned *lower, *upper;
    int split;
    __device__ __forceinline__ unsigned operator()(unsigned entry) const { return lower[entry & ((1u << split) - 1)] ^ upper[entry >> split]; }
};

__device__ __forceinline__ unsigned odd_y(unsigned row) { return parity(row & row >> 1 & 0x55555555u); }

// `number` with zeros put in at the pivots, which ascend.
__device__ __forceinline__ unsigned put_apart(unsigned number, const int* pivots, int count) {
    for (int k = 0; k < count; ++k) number = number >> pivots[k] << pivots[k] << 1 | (number & ((1u << pivots[k]) - 1));
    return number;
}

// The entry of an orbit with I on all qubits of an operation, and whether the number of Y on the others is odd.
struct PauliOrbit {
    unsigned origin, odd;
    __device__ __forceinline__ PauliOrbit(const PauliRecord& record, const PauliRows& rows, unsigned number, int bits) {
        origin = put_apart(number, record.pivots, bits);
        const unsigned row = rows(origin);
        odd = odd_y(row);
        for (int k = 0; k < bits; k += 2) {
            const unsigned x = parity(record.functionals[k] & row), z = parity(record.functionals[k + 1] & row);
            odd ^= x & z;
            origin ^= (0u - x & static_cast<unsigned>(record.flips[k])) ^ (0u - z & static_cast<unsigned>(record.flips[k + 1]));
        }
    }
};

// What turns I into a letter of qubit `k`.
__device__ __forceinline__ unsigned letter_flip(const PauliRecord& record, int k, unsigned letter) {
    const unsigned x = letter == 1 || letter == 2, z = letter >= 2;
    return (0u - x & static_cast<unsigned>(record.flips[2 * k])) ^ (0u - z & static_cast<unsigned>(record.flips[2 * k + 1]));
}

// Sums of a block's threads, in a fixed order: threads of a warp, then warps. Two rooms take turns, so that one barrier between two operations is enough.
struct PauliSums {
    double* room;       // [2][warp][sum]
    double* partials;   // [slot][part]
    long long part, parts;
    int first_slot, turn;

    template <int count, class Real> __device__ __forceinline__ void leave(const Real (&sums)[count]) {
        turn ^= 1;
        for (int k = 0; k < count; ++k) {
            double sum = static_cast<double>(sums[k]);
            for (int lane = 16; lane; lane /= 2) sum += __shfl_xor_sync(whole_warp, sum, lane);
            if ((threadIdx.x & 31u) == 0) room[(turn * (pauli_threads / 32) + static_cast<int>(threadIdx.x >> 5)) * pauli_sums + k] = sum;
        }
    }
    // After a barrier.
    __device__ __forceinline__ void collect(int slot, int count) const {
        const int k = static_cast<int>(threadIdx.x);
        if (k >= count) return;
        double sum = 0;
        for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) sum += room[(turn * (pauli_threads / 32) + warp) * pauli_sums + k];
        place(slot + k) = sum;
    }
    __device__ __forceinline__ double& place(int slot) const { return partials[(slot - first_slot) * parts + part]; }
};

// Affine maps on the four letters of an orbit, in which the sign of Y has been taken care of.

template <class Real> struct PauliAffine {
    Real at[12];
    __device__ __forceinline__ explicit PauliAffine(const Real* numbers) {
#pragma unroll
        for (int k = 0; k < 12; ++k) at[k] = numbers[k];
    }
    __device__ __forceinline__ void apply(Real (&v)[4]) const {
        const Real i = v[0], x = v[1], y = v[2], z = v[3];
#pragma unroll
        for (int a = 0; a < 3; ++a) v[a + 1] = at[4 * a] * i + at[4 * a + 1] * x + at[4 * a + 2] * y + at[4 * a + 3] * z;
    }
    __device__ __forceinline__ void apply_transposed(Real (&v)[4]) const {
        const Real x = v[1], y = v[2], z = v[3];
        v[0] += at[0] * x + at[4] * y + at[8] * z;
#pragma unroll
        for (int b = 1; b < 4; ++b) v[b] = at[b] * x + at[4 + b] * y + at[8 + b] * z;
    }
};

template <class Real>
__device__ __forceinline__ void move_affine(const PauliRecord& record, const PauliOrbit& orbit, Real* vector, Real (&v)[4], bool store) {
#pragma unroll
    for (int a = 0; a < 4; ++a) {
        Real& place = vector[orbit.origin ^ letter_flip(record, 0, a)];
        if (a == 2 && orbit.odd && store) v[a] = -v[a];
        if (store) place = v[a];
        else v[a] = a == 2 && orbit.odd ? -place : place;
    }
}

template <class Real>
__device__ __forceinline__ void affine_sweep(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* vector, const PauliAffine<Real>& map, bool transposed) {
    for (unsigned u = threadIdx.x; u < size >> 2; u += blockDim.x) {
        const PauliOrbit orbit(record, rows, u, 2);
        Real v[4];
        move_affine(record, orbit, vector, v, false);
        if (transposed) map.apply_transposed(v);
        else map.apply(v);
        move_affine(record, orbit, vector, v, true);
    }
}

template <class Real>
__device__ __forceinline__ void measure_affine(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* ket, Real* bra, const PauliAffine<Real>& map,
                                               const PauliAffine<Real>& inverse, bool joint, PauliSums& sums) {
    Real found[12] = {};
    for (unsigned u = threadIdx.x; u < size >> 2; u += blockDim.x) {
        const PauliOrbit orbit(record, rows, u, 2);
        Real k[4], b[4];
        move_affine(record, orbit, ket, k, false);
        move_affine(record, orbit, bra, b, false);
        if (joint) inverse.apply_transposed(b);
        else inverse.apply(k);
#pragma unroll
        for (int i = 0; i < 12; ++i) found[i] += b[1 + i / 4] * k[i % 4];
        if (joint) map.apply(k);
        else map.apply_transposed(b);
        move_affine(record, orbit, ket, k, true);
        move_affine(record, orbit, bra, b, true);
    }
    if (record.slot >= 0) sums.leave(found);
}

// Diagonals and gains on the 16 letters of an orbit, the first qubit's fastest.

template <class Real> __device__ __forceinline__ void scale_pair(const Real* numbers, Real (&v)[16]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) v[i] *= numbers[i];
}

// Z += gain I, or transposed I += gain Z, of the first or the second qubit.
template <class Real> __device__ __forceinline__ void add_gain(Real gain, bool second, bool transposed, Real (&v)[16]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        Real& low = second ? v[i] : v[4 * i];
        Real& high = second ? v[12 + i] : v[4 * i + 3];
        if (transposed) low += gain * high;
        else high += gain * low;
    }
}

template <class Real> __device__ __forceinline__ void apply_pair(const Real* numbers, bool transposed, Real (&v)[16]) {
    if (!transposed) scale_pair(numbers, v);
    add_gain(numbers[16], false, transposed, v);
    add_gain(numbers[17], true, transposed, v);
    if (transposed) scale_pair(numbers, v);
}

template <class Real> __device__ __forceinline__ void undo_pair(const Real* numbers, bool transposed, Real (&v)[16]) {
    if (transposed) scale_pair(numbers, v);
    add_gain(-numbers[17], true, transposed, v);
    add_gain(-numbers[16], false, transposed, v);
    if (!transposed) scale_pair(numbers, v);
}

template <class Real>
__device__ __forceinline__ void move_pair(const PauliRecord& record, const PauliOrbit& orbit, Real* vector, Real (&v)[16], bool store) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        Real& place = vector[orbit.origin ^ letter_flip(record, 0, i & 3) ^ letter_flip(record, 1, i >> 2)];
        if (store) place = v[i];
        else v[i] = place;
    }
}

template <class Real>
__device__ __forceinline__ void pair_sweep(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* vector, const Real* numbers, bool transposed) {
    for (unsigned u = threadIdx.x; u < size >> 4; u += blockDim.x) {
        const PauliOrbit orbit(record, rows, u, 4);
        Real v[16];
        move_pair(record, orbit, vector, v, false);
        apply_pair(numbers, transposed, v);
        move_pair(record, orbit, vector, v, true);
    }
}

// The derivatives of <bra, G_1 G_0 S ket> by S and the gains; the bra is pulled back on its way.
template <class Real>
__device__ __forceinline__ void measure_pair(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* ket, Real* bra, const Real* numbers,
                                             const Real* inverse, bool joint, PauliSums& sums) {
    Real found[pauli_sums] = {};
    const Real first = numbers[16], second = numbers[17];
    for (unsigned u = threadIdx.x; u < size >> 4; u += blockDim.x) {
        const PauliOrbit orbit(record, rows, u, 4);
        Real k[16], b[16];
        move_pair(record, orbit, ket, k, false);
        move_pair(record, orbit, bra, b, false);
        if (joint) {
            undo_pair(inverse, true, b);
            move_pair(record, orbit, bra, b, true);
        } else {
            undo_pair(inverse, false, k);
            move_pair(record, orbit, ket, k, true);
        }
#pragma unroll
        for (int a = 0; a < 4; ++a) found[17] += b[12 + a] * (numbers[a] * k[a] + (a == 3 ? first * numbers[0] * k[0] : Real(0)));
        add_gain(second, true, true, b);
#pragma unroll
        for (int a = 0; a < 4; ++a) found[16] += b[4 * a + 3] * (numbers[4 * a] * k[4 * a]);
        add_gain(first, false, true, b);
#pragma unroll
        for (int i = 0; i < 16; ++i) found[i] += b[i] * k[i];
        if (joint) {
            apply_pair(numbers, false, k);
            move_pair(record, orbit, ket, k, true);
        } else {
            scale_pair(numbers, b);
            move_pair(record, orbit, bra, b, true);
        }
    }
    if (record.slot >= 0) sums.leave(found);
}

// The two strings of an orbit of a rotation, and their signs; without effect on those that commute with it.
struct PauliCouple {
    unsigned left, right;
    bool turns, left_negative, right_negative;
    __device__ __forceinline__ PauliCouple(const PauliRecord& record, const PauliRows& rows, unsigned number) {
        left = put_apart(number, record.pivots, 1);
        right = left ^ static_cast<unsigned>(record.flips[0]);
        const unsigned row = rows(left), other = row ^ record.functionals[2];
        turns = parity(record.functionals[0] & row);
        left_negative = parity(record.functionals[1] & row) ^ (odd_y(row) | static_cast<unsigned>(record.y_of_string));
        right_negative = parity(record.functionals[1] & other) ^ (odd_y(other) | static_cast<unsigned>(record.y_of_string));
    }
    template <class Real> __device__ __forceinline__ void rotate(Real* vector, Real cosine, Real sine) const {
        const Real l = vector[left], r = vector[right];
        vector[left] = cosine * l + (left_negative ? -sine : sine) * r;
        vector[right] = cosine * r + (right_negative ? -sine : sine) * l;
    }
    template <class Real> __device__ __forceinline__ Real overlap(const Real* bra, const Real* ket) const {
        const Real l = bra[left] * ket[right], r = bra[right] * ket[left];
        return (left_negative ? -l : l) + (right_negative ? -r : r);
    }
};

template <class Real>
__device__ __forceinline__ void turn_sweep(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* vector, const Real* numbers, bool back) {
    const Real cosine = numbers[0], sine = back ? -numbers[1] : numbers[1];
    for (unsigned u = threadIdx.x; u < size >> 1; u += blockDim.x) {
        const PauliCouple couple(record, rows, u);
        if (couple.turns) couple.rotate(vector, cosine, sine);
    }
}

template <class Real>
__device__ __forceinline__ void measure_turn(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* ket, Real* bra, const Real* numbers,
                                             bool joint, PauliSums& sums) {
    const Real cosine = numbers[0], sine = joint ? numbers[1] : -numbers[1];
    Real found[1] = {};
    for (unsigned u = threadIdx.x; u < size >> 1; u += blockDim.x) {
        const PauliCouple couple(record, rows, u);
        if (!couple.turns) continue;
        if (!joint) found[0] += couple.overlap(bra, ket);
        couple.rotate(ket, cosine, sine);
        couple.rotate(bra, cosine, sine);
        if (joint) found[0] += couple.overlap(bra, ket);
    }
    if (record.slot >= 0) sums.leave(found);
}

// Transfer matrices; threads compute new entries by fours before any is written.

// The k-th letters' flip and the sign of their string where the number of Y elsewhere is odd or not.
__device__ __forceinline__ unsigned string_flip(const PauliRecord& record, unsigned letters, unsigned odd, bool& negative) {
    unsigned flip = 0, num_y = odd;
    for (int k = 0; 2 * k < record.bits; ++k) {
        const unsigned letter = letters >> 2 * k & 3u;
        flip ^= letter_flip(record, k, letter);
        num_y += letter == 2;
    }
    negative = num_y & 2u;
    return flip;
}

template <class Real>
__device__ __forceinline__ void transfer_sweep(const PauliRecord& record, const PauliRows& rows, unsigned size, Real* vector, const PauliNumbers<Real>& numbers,
                                               bool transposed) {
    constexpr int mine = 4;
    const unsigned letters = 1u << record.bits;
    for (unsigned start = 0; start < size; start += mine * blockDim.x) {  // whole orbits: blockDim is a multiple of 32
        Real results[mine];
        unsigned places[mine];
#pragma unroll
        for (int j = 0; j < mine; ++j) {
            const unsigned k = start + j * blockDim.x + threadIdx.x;
            places[j] = size;
            if (k >= size) continue;
            const PauliOrbit orbit(record, rows, k >> record.bits, record.bits);
            const unsigned a = k & (letters - 1);
            Real sum = 0;
            bool negative;
            for (unsigned b = 0; b < letters; ++b) {
                const Real value = vector[orbit.origin ^ string_flip(record, b, orbit.odd, negative)];
                sum += numbers[static_cast<int>(transposed ? b * letters + a : a * letters + b)] * (negative ? -value : value);
            }
            places[j] = orbit.origin ^ string_flip(record, a, orbit.odd, negative);
            results[j] = negative ? -sum : sum;
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < mine; ++j)
            if (places[j] < size) vector[places[j]] = results[j];
        __syncthreads();
    }
}

template <class Real>
__device__ __forceinline__ void measure_letters(const PauliRecord& record, const PauliRows& rows, unsigned size, const Real* ket, const Real* bra, const PauliSums& sums) {
    const unsigned letters = 1u << record.bits;
    for (unsigned number = threadIdx.x; number < letters * letters; number += blockDim.x) {
        const unsigned a = number >> record.bits, b = number & (letters - 1);
        double sum = 0;
        for (unsigned u = 0; u < size >> record.bits; ++u) {
            const PauliOrbit orbit(record, rows, u, record.bits);
            bool left, right;
            const Real l = bra[orbit.origin ^ string_flip(record, a, orbit.odd, left)], r = ket[orbit.origin ^ string_flip(record, b, orbit.odd, right)];
            sum += static_cast<double>(left != right ? -l * r : l * r);
        }
        sums.place(record.slot + static_cast<int>(number)) = sum;
    }
}

}  // namespace fusedqml
