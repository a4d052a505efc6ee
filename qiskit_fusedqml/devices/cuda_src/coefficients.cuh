// Coefficients from values and gradients from overlaps, where both are in the device's memory: reference_coefficients.py has the mathematics,
// gpu/coefficients.py the launches. Always in double precision; sums have a fixed order.
namespace fusedqml {

// What is known of a map before there are values. Batched is what differs from sample to sample.
//
// Rows "constant + sum weight * source" of a sparse matrix give the angles of the gates of all sequences, then of batched pairs, batched terms, shared pairs
// and shared terms. A source k >= 0 is shared: a parameter, the value of an expression or an Euler angle; ~k is batched: a column of the sample's values, or
// the value of an expression.
// sequence_start and axis: of each sequence, of each gate: turned sequences, shared matrices, batched matrices. order: the scaling operations,
// 4 * number + kind, stretch by stretch; plain: the pairs that are not among them.
struct CoefficientMap : MapMembers {
    __device__ __forceinline__ int num_shared_expressions() const { return num_expressions + 3 * num_sequences; }
};

static_assert(sizeof(CoefficientMap) == map_bytes);

// The numbers of one call. numbers: [shared terms, pairs, scales, matrices][batched pairs, matrices, terms], the batched ones [..][sample];
// memory: [behind, phases, shared expressions, shared sines][batched sines, expressions], likewise.
struct Values {
    const CoefficientMap& r;
    long long batch;
    const double *shared_values, *batched_values;
    double *numbers, *memory;

    __device__ __forceinline__ double* pairs() const { return numbers + r.num_angles; }
    __device__ __forceinline__ double* scales() const { return pairs() + 2 * r.num_pairs; }
    __device__ __forceinline__ double* matrices() const { return scales() + r.num_scales; }
    __device__ __forceinline__ double* batched_pairs() const { return matrices() + 8 * r.num_matrices; }
    __device__ __forceinline__ double* batched_matrices() const { return batched_pairs() + 2 * r.num_batched_pairs * batch; }
    __device__ __forceinline__ double* batched_terms() const { return batched_matrices() + 8 * r.num_batched_matrices * batch; }
    // what a ket and a bra are multiplied by behind each scaling operation
    __device__ __forceinline__ double* behind() const { return memory; }
    __device__ __forceinline__ double* phases() const { return memory + r.num_scalings; }
    __device__ __forceinline__ double* shared_expressions() const { return phases() + 2 * r.num_sequences; }
    __device__ __forceinline__ double* euler(int sequence) const { return shared_expressions() + r.num_expressions + 3 * sequence; }
    // cosine of half a gate's angle, and `sine_step` further its sine
    __device__ __forceinline__ double* half_angle(int gate, long long sample) const {
        double* shared = shared_expressions() + r.num_shared_expressions();
        if (gate < r.num_shared_gates) return shared + 2 * gate;
        return shared + 2 * r.num_shared_gates + 2 * (gate - r.num_shared_gates) * batch + sample;
    }
    __device__ __forceinline__ long long sine_step(int gate) const { return gate < r.num_shared_gates ? 1 : batch; }
    __device__ __forceinline__ double* batched_expressions() const { return half_angle(r.num_gates, 0); }

    __device__ __forceinline__ double at(int source, long long sample) const {
        if (source >= 0) return source < r.num_parameters ? shared_values[source] : shared_expressions()[source - r.num_parameters];
        const int number = ~source;
        return number < r.num_columns ? batched_values[sample * r.num_columns + number] : batched_expressions()[(number - r.num_columns) * batch + sample];
    }

    __device__ __forceinline__ double angle(int number, long long sample) const {
        double sum = r.constant[number];
        for (int k = r.start[number]; k < r.start[number + 1]; ++k) sum += r.weight[k] * at(r.source[k], sample);
        return sum;
    }

    // Of an overlap: it was measured on a ket and a bra that the operations undone before have scaled.
    __device__ __forceinline__ double factor(int overlap) const {
        const int position = r.position[overlap];
        return position < r.num_scalings ? overlap_factor(behind()[position]) : 1;
    }
};

// theta / (2 pi), reduced to |u| <= 1.
__device__ __forceinline__ double turns_of(double angle) {
    constexpr double pi = 3.14159265358979323846;
    if (fabs(angle) <= 64) return angle / (2 * pi) - 2 * rint(angle / (4 * pi));  // loses nothing
    double sine, cosine;
    sincos(angle / 2, &sine, &cosine);
    return atan2(sine, cosine) / pi;
}

// The product of a sequence, from its angles; notes their sines.
__device__ __forceinline__ void multiply_sequence(const Values& v, int sequence, long long sample, double (&q)[4]) {
    q[0] = 1;
    q[1] = q[2] = q[3] = 0;
    for (int gate = v.r.sequence_start[sequence]; gate < v.r.sequence_start[sequence + 1]; ++gate) {
        double s, c;
        sincos(0.5 * v.angle(gate, sample), &s, &c);
        double* half_angle = v.half_angle(gate, sample);
        half_angle[0] = c;
        half_angle[v.sine_step(gate)] = s;
        multiply_about(v.r.axis[gate], q, c, s);
    }
}

// Entries of a matrix, real and imaginary parts, `step` apart.
__device__ __forceinline__ void put_matrix(const double (&q)[4], double* to, long long step) {
#pragma unroll
    for (int k = 0; k < 8; ++k) to[k * step] = matrix_number(q, k);
}

__device__ __forceinline__ void put_euler(const Values& v, int sequence, const double (&q)[4]) {
    const Euler found = euler_angles(q);
    double *euler = v.euler(sequence), *phase = v.phases() + 2 * sequence;
    euler[0] = found.alpha;
    euler[1] = found.beta;
    euler[2] = found.gamma;
    phase[0] = found.phase_re;
    phase[1] = found.phase_im;
}

// All that depends on the values alone: a thread for each turned sequence and shared matrix, then for each batched matrix, pair and term of each sample.
__global__ void bind_values(const CoefficientMap map, long long batch, const double* shared_values, const double* batched_values, double* numbers, double* memory) {
    const Values v = {map, batch, shared_values, batched_values, numbers, memory};
    long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int shared = v.r.num_sequences + v.r.num_matrices;
    double q[4];
    if (k < shared) {
        const int sequence = static_cast<int>(k);
        multiply_sequence(v, sequence, 0, q);
        if (sequence < v.r.num_sequences) put_euler(v, sequence, q);
        else put_matrix(q, v.matrices() + 8 * (sequence - v.r.num_sequences), 1);
        return;
    }
    k -= shared;
    int number = static_cast<int>(k / batch);
    const long long sample = k % batch;
    if (number < v.r.num_batched_matrices) {
        multiply_sequence(v, shared + number, sample, q);
        return put_matrix(q, v.batched_matrices() + 8 * number * batch + sample, batch);
    }
    number -= v.r.num_batched_matrices;
    const int place = v.r.num_gates + number;
    if (number < v.r.num_batched_pairs) {
        double* pair = v.batched_pairs() + 2 * number * batch + sample;
        sincos(0.5 * v.angle(place, sample), pair + batch, pair);
    } else if (number < v.r.num_batched_pairs + v.r.num_batched_angles) {
        v.batched_terms()[(number - v.r.num_batched_pairs) * batch + sample] = turns_of(v.angle(place, sample));
    }
}

__device__ __forceinline__ double* put_pair(const Values& v, int pair) {
    double* to = v.pairs() + 2 * pair;
    sincos(0.5 * v.angle(v.r.num_gates + v.r.num_batched_pairs + v.r.num_batched_angles + pair, 0), to + 1, to);
    return to;
}

// A stretch of scaling operations. Of each factored pair the larger number is taken out; the carrier puts the product back.
__device__ __forceinline__ void bind_stretch(const Values& v, int start, int stop) {
    double product = 1;
    double *carrier = nullptr, *scale = nullptr;
    int carried_at = start;
    for (int k = start; k < stop; ++k) {
        const int number = v.r.order[k] >> 2;
        switch (v.r.order[k] & 3) {
            case carrier_scale:
                scale = v.scales() + number;
                carried_at = k;
                break;
            case carrier_pair:
                carrier = put_pair(v, number);
                carried_at = k;
                break;
            default: {
                double* pair = put_pair(v, number);
                const double taken = take_out(pair[0], pair[1]);
                v.behind()[k] = 1 / taken;
                product *= taken;
            }
        }
    }
    v.behind()[carried_at] = product;
    if (scale) *scale = product;
    if (carrier) {
        carrier[0] *= product;
        carrier[1] *= product;
    }
    double behind = 1;
    for (int k = stop; k-- > start;) v.behind()[k] = behind *= v.behind()[k];
}

// What may depend on Euler angles: a thread for each stretch, for each other shared pair, and for each shared term.
__global__ void bind_shared(const CoefficientMap map, long long batch, const double* shared_values, const double* batched_values, double* numbers, double* memory) {
    const Values v = {map, batch, shared_values, batched_values, numbers, memory};
    int k = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (k < v.r.num_stretches) return bind_stretch(v, v.r.stretch_start[k], v.r.stretch_start[k + 1]);
    k -= v.r.num_stretches;
    if (k < v.r.num_plain) {
        put_pair(v, v.r.plain[k]);
        return;
    }
    k -= v.r.num_plain;
    if (k < v.r.num_angles) v.numbers[k] = turns_of(v.angle(v.r.num_gates + v.r.num_batched_pairs + v.r.num_batched_angles + v.r.num_pairs + k, 0));
}

__global__ void set_zero(double* to, long long count) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < count) to[k] = 0;
}

// Sums over the samples of [sample][column], 32 columns a block.
__global__ void __launch_bounds__(256) add_columns(const double* __restrict__ values, long long samples, int columns, double* sums) {
    double* room = reinterpret_cast<double*>(shared_memory);
    const int column = static_cast<int>(blockIdx.x * 32 + (threadIdx.x & 31u));
    double sum = 0;
    if (column < columns)
        for (long long sample = threadIdx.x >> 5; sample < samples; sample += blockDim.x >> 5) sum += values[sample * columns + column];
    room[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half >= 32; half /= 2) {
        if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x < 32 && column < columns) sums[column] = room[threadIdx.x];
}

// Gradients of a sequence's gates, `step` apart, from h at its end.
__device__ __forceinline__ void pull_gates(const Values& v, int sequence, long long sample, double (&h)[3], double* gates, long long step) {
    const int start = v.r.sequence_start[sequence];
    for (int gate = v.r.sequence_start[sequence + 1]; gate-- > start;) {
        const double* half_angle = v.half_angle(gate, sample);
        double c, s;
        double_angle(half_angle[0], half_angle[v.sine_step(gate)], c, s);
        gates[(gate - start) * step] = turn_back(v.r.axis[gate], c, s, h);
    }
}

__device__ __forceinline__ double scaled(const Values& v, const double* overlaps, int overlap) {
    return overlap < 0 ? 0 : overlaps[overlap] * v.factor(overlap);
}

// h at the end of a turned sequence. Its overlaps were measured before RZ(alpha); where the rotation is steep, <X> follows from <Z> before and after it.
__device__ __forceinline__ void turned_overlaps(const Values& v, int sequence, const double* overlaps, double (&h)[3]) {
    double g[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) g[k] = v.r.sequence_signs[4 * sequence + k] * scaled(v, overlaps, v.r.sequence_overlaps[4 * sequence + k]);
    const double *pair = v.pairs() + 2 * v.r.sequence_pairs[sequence], a = pair[0], b = pair[1];
    if (v.r.sequence_overlaps[4 * sequence + 3] >= 0 && steep * fabs(2 * a * b) >= a * a + b * b) g[0] = x_from_z(a, b, g[3], g[2]);
#pragma unroll
    for (int k = 0; k < 3; ++k) h[k] = g[k];
    turn_back(v.phases()[2 * sequence], v.phases()[2 * sequence + 1], h[1], h[0]);  // on through RZ(alpha)
}

// Gradients of the gates of all sequences whose overlaps are wanted, gates [shared gate][shared sample] and batched_gates [batched gate][sample]. shared: overlaps
// (shared_samples, S); batched: (batch, S), or null where the batched ones are not wanted.
__global__ void pull_sequences(const CoefficientMap map, long long batch, double* numbers, double* memory, const double* shared, long long shared_samples,
                          const double* batched, double* gates, double* batched_gates) {
    const Values v = {map, batch, nullptr, nullptr, numbers, memory};
    long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long long both = v.r.num_sequences + v.r.num_matrices;
    const bool is_batched = k >= both * shared_samples;
    if (is_batched) k -= both * shared_samples;
    const long long step = is_batched ? batch : shared_samples, sample = k % step;
    const int sequence = static_cast<int>(k / step + (is_batched ? both : 0));
    if (sequence >= both + (batched ? v.r.num_batched_matrices : 0)) return;
    const double* overlaps = (is_batched ? batched : shared) + sample * v.r.num_overlaps;
    double h[3];
    if (sequence < v.r.num_sequences) {
        if (v.r.sequence_overlaps[4 * sequence] < 0) return;
        turned_overlaps(v, sequence, overlaps, h);
    } else {
        const int* wanted = v.r.matrix_overlaps + 3 * (sequence - v.r.num_sequences);
        if (wanted[0] < 0) return;
#pragma unroll
        for (int k3 = 0; k3 < 3; ++k3) h[k3] = scaled(v, overlaps, wanted[k3]);
    }
    const int gate = v.r.sequence_start[sequence];
    double* to = (is_batched ? batched_gates + (gate - v.r.num_shared_gates) * batch : gates + gate * shared_samples) + sample;
    pull_gates(v, sequence, sample, h, to, step);
}

// results[sample * width + target] (+)= sum over a target's entries of weight * item. Items are the overlaps (samples, overlaps), scaled, then `others`
// [item][sample]. A team of `team` threads, a power of two up to 32, adds each.
__global__ void pull_values(const CoefficientMap map, double* memory, const double* overlaps, int num_overlaps, const double* others, const int* start,
                            const int* items, const double* weights, int targets, long long samples, int team, int width, int accumulate, double* results) {
    const Values v = {map, 1, nullptr, nullptr, nullptr, memory};
    const long long output = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / team;
    const int member = static_cast<int>(threadIdx.x) % team;
    const bool real = output < targets * samples;
    const int target = real ? static_cast<int>(output % targets) : 0;
    const long long sample = real ? output / targets : 0;
    double sum = 0;
    if (real)
        for (int k = start[target] + member; k < start[target + 1]; k += team) {
            const int item = items[k];
            sum += weights[k] * (item < num_overlaps ? scaled(v, overlaps + sample * num_overlaps, item) : others[(item - num_overlaps) * samples + sample]);
        }
    for (int other = team / 2; other; other /= 2) sum += __shfl_xor_sync(whole_warp, sum, other);
    if (!real || member) return;
    double* to = results + sample * width + target;
    *to = accumulate ? *to + sum : sum;
}

}  // namespace fusedqml
