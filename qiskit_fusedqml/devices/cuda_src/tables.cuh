// What goes before a sweep and after it: its coefficients, the tables of its shared diagonals, and the sums of its partial overlaps.
namespace fusedqml {

// One block row for each table: records of 5 words [first entry, d, number of terms, where they begin, index of a scale or -1]; a term is a mask over the d bits of
// the entry's number, with bit d as its constant, and the place of its angle. Entries are K exp(-1j/2 sum_k +-theta_k), from u = theta / (2 pi), always in double precision.
template <class Real>
__global__ void fill_tables(const int* __restrict__ records, const int* __restrict__ terms, const double* __restrict__ angles, const Real* __restrict__ numbers,
                            Complex<Real>* tables) {
    const int* record = records + 5 * blockIdx.y;
    const int entries = 1 << record[1];
    const double scale = record[4] < 0 ? 1 : static_cast<double>(numbers[record[4]]);
    for (int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); e < entries; e += static_cast<int>(gridDim.x * blockDim.x)) {
        double sum = 0;
        for (int k = 0; k < record[2]; ++k) {
            const int* term = terms + record[3] + 2 * k;
            const double angle = angles[term[1]];
            sum += parity(static_cast<unsigned>(term[0]) & static_cast<unsigned>(e | entries)) ? -angle : angle;
        }
        double sine, cosine;
        sine_cosine_pi(-sum, &sine, &cosine);
        tables[record[0] + e] = {static_cast<Real>(scale * cosine), static_cast<Real>(scale * sine)};
    }
}

// The numbers in the order of a tape. Pieces [first number, where it comes from, count]; ~k is place k among the constant dense matrices.
template <class Real>
__global__ void pack_numbers(const double* __restrict__ from, const double* __restrict__ dense, const long long* __restrict__ pieces, int num_pieces,
                             long long total, Real* to) {
    const long long k = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= total) return;
    int piece = 0;
    while (piece + 1 < num_pieces && k >= pieces[3 * (piece + 1)]) ++piece;
    const long long source = pieces[3 * piece + 1], place = k - pieces[3 * piece];
    to[k] = static_cast<Real>(source < 0 ? dense[~source + place] : from[source + place]);
}

// totals[group * width + places[slot]] (+)= sum of the `segment` numbers partials[slot][group * segment ...], for every slot and group. A team of `team`
// threads, a power of two up to the block's 256, adds each in an order that depends on nothing else. With a `part` of a batch, that says where the
// totals are.
template <class Value>
__global__ void __launch_bounds__(256)
add_segments(const Value* __restrict__ partials, int slots, long long rows, long long segment, const int* __restrict__ places, int width, int accumulate, int team,
             const Part<Value>* part, double* totals) {
    double* room = reinterpret_cast<double*>(shared_memory);
    const long long groups = rows / segment;
    const long long output = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / team;
    const int member = static_cast<int>(threadIdx.x) % team;
    const bool real = output < slots * groups;
    const long long slot = real ? output / groups : 0, group = real ? output % groups : 0;
    const Value* from = partials + slot * rows + group * segment;
    double sum = 0;
    if (real)
        for (long long k = member; k < segment; k += team) sum += from[k];
    room[threadIdx.x] = sum;
    __syncthreads();
    for (int half = team / 2; half; half /= 2) {
        if (member < half) room[threadIdx.x] += room[threadIdx.x + half];
        __syncthreads();
    }
    if (!real || member) return;
    double* total = (part ? part->totals : totals) + group * width + places[slot];
    *total = accumulate ? *total + room[threadIdx.x] : room[threadIdx.x];
}

}  // namespace fusedqml
