// Tables of phases: a Walsh-Hadamard transform of the angles, then sine and cosine.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace fusedqml {
namespace {

// Taylor coefficients: on [-pi/4, pi/4] the first one left out is below 1e-19.
constexpr double sine_terms[] = {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0,
                                 -1.0 / 1307674368000.0, 1.0 / 355687428096000.0};
constexpr double cosine_terms[] = {-1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600.0,
                                   -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
constexpr double largest_reduced = 1e5;

// sin and cos of |x| <= largest_reduced, to about one unit in the last place.
template <class D> struct SineCosine {
    using Vec = typename D::Vec;
    using IntVec = typename D::IntVec;

    static FQ_INLINE void compute(Vec x, Vec& sine, Vec& cosine) {
        // x = k pi/2 + r. pi/2 in three parts; k times the first two is exact, they have 33 bits each.
        const Vec magic = D::splat(6755399441055744.0);  // 1.5 * 2**52: adding it rounds to an integer in the low bits
        const Vec shifted = x * 0.63661977236758134308 + magic;
        const Vec k = shifted - magic;
        const Vec part = (x - k * 0x1.921fb544p+0) - k * 0x1.0b4611a6p-34;
        const Vec r = part - k * 0x1.3198a2e037073p-69;
        const Vec tail = (part - r) - k * 0x1.3198a2e037073p-69;
        const Vec r2 = r * r;
        Vec s = D::splat(sine_terms[7]), c = D::splat(cosine_terms[7]);
        FQ_UNROLL
        for (int i = 6; i >= 0; --i) {
            s = s * r2 + sine_terms[i];
            c = c * r2 + cosine_terms[i];
        }
        s = r + (r * r2 * s + tail);
        c = 1.0 + (r2 * c - r * tail);
        const IntVec quadrant = (IntVec)shifted;
        const IntVec odd = -(quadrant & 1);
        sine = D::select(odd, c, s);
        cosine = D::select(odd, s, c);
        const IntVec sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
        sine = (Vec)((IntVec)sine ^ sine_sign);
        cosine = (Vec)((IntVec)cosine ^ cosine_sign);
    }
};

inline bool all_reducible(const double* angles, size_t count) {
    bool fine = true;
    for (size_t i = 0; i < count; ++i) fine &= __builtin_fabs(angles[i]) <= largest_reduced;
    return fine;
}

// Sine and cosine of W numbers, by the library if one of them is large.
template <class D> FQ_INLINE void sine_cosine(const double* x, double* sine, double* cosine) {
    using Vec = typename D::Vec;
    if (all_reducible(x, D::W)) {
        SineCosine<D>::compute(*reinterpret_cast<const Vec*>(x), *reinterpret_cast<Vec*>(sine),
                               *reinterpret_cast<Vec*>(cosine));
        return;
    }
    for (int i = 0; i < D::W; ++i) {
        sine[i] = __builtin_sin(x[i]);
        cosine[i] = __builtin_cos(x[i]);
    }
}

template <class S> void sine_cosines(const double* x, int64_t count, double* sine, double* cosine) {
    using D = Simd<double, S::W * sizeof(typename S::T) / sizeof(double)>;
    alignas(64) double angle[D::W], s[D::W], c[D::W];
    const auto some = [&](int64_t first, size_t bytes) {
        __builtin_memcpy(angle, x + first, bytes);
        sine_cosine<D>(angle, s, c);
        __builtin_memcpy(sine + first, s, bytes);
        __builtin_memcpy(cosine + first, c, bytes);
    };
    int64_t first = 0;
    for (; first + D::W <= count; first += D::W) some(first, sizeof angle);
    if (first == count) return;
    for (double& lane : angle) lane = 0.0;
    some(first, static_cast<size_t>(count - first) * sizeof(double));
}

// Stages of the transform within a register.
template <class D, int bit = 0> FQ_INLINE void transform_within(typename D::Vec& x) {
    if constexpr (bit < D::log_width) {
        typename D::Vec sign;
        FQ_UNROLL
        for (int lane = 0; lane < D::W; ++lane) sign[lane] = lane >> bit & 1 ? -1.0 : 1.0;
        x = D::template flip<bit>(x) + sign * x;
        transform_within<D, bit + 1>(x);
    }
}

// Walsh-Hadamard transform of rows of `width` numbers, `count` in all, aligned.
template <class D> void walsh_hadamard(double* values, size_t width, size_t count) {
    size_t half = width;
    if (width == 1 && count >= size_t(D::W)) {
        for (size_t i = 0; i < count; i += D::W) transform_within<D>(*reinterpret_cast<typename D::Vec*>(values + i));
        half = D::W;
    }
    for (; half < count; half *= 2)
        for (size_t first = 0; first < count; first += 2 * half)
            for (size_t i = first; i < first + half; ++i) {
                const double sum = values[i] + values[i + half];
                values[i + half] = values[i] - values[i + half];
                values[i] = sum;
            }
}

template <class S> void transform(double* values, size_t count) {
    walsh_hadamard<Simd<double, S::W * sizeof(typename S::T) / sizeof(double)>>(values, 1, count);
}

template <class S> struct TableBuilder {
    using T = typename S::T;
    using D = Simd<double, S::W * sizeof(T) / sizeof(double)>;  // as many doubles as fit a register
    const Call& call;
    const Table& table;

    size_t lanes() const { return table.per_lane ? S::W : 1; }
    size_t rows() const { return size_t(1) << table.index_bits; }
    double half_angle(int term, int64_t sample) const {
        const int64_t index = table.first + term;
        if (!table.batched) return 0.5 * call.angles[index];
        return sample < call.batch ? 0.5 * call.batched_angles[index * call.batch + sample] : 0.0;
    }
    void place_angles(int64_t group, double* angles) const {
        const size_t width = lanes();
        for (size_t i = 0; i < rows() * width; ++i) angles[i] = 0.0;
        for (int term = 0; term < table.num_terms; ++term) {
            const Term& t = table.terms[term];
            for (size_t lane = 0; lane < width; ++lane) {
                const int64_t sample = (group << call.sample_bits) + int64_t(lane & ((size_t(1) << call.sample_bits) - 1));
                const bool minus = t.sign != parity(t.lanes & (lane >> call.sample_bits));
                const double angle = half_angle(term, sample);
                angles[t.mask * width + lane] += minus ? -angle : angle;
            }
        }
    }
    // Entries of one table row in all lanes, or of successive rows.
    FQ_INLINE void store(size_t first, size_t count, double scale, const double* sine, const double* cosine, T* out) const {
        if (table.per_lane) {
            T* to = out + first / S::W * 2 * S::W + first % S::W;
            for (int k = 0; k < D::W; ++k) to[k] = static_cast<T>(scale * cosine[k]);
            for (int k = 0; k < D::W; ++k) to[k + S::W] = static_cast<T>(-scale * sine[k]);
            return;
        }
        for (size_t k = 0; k < count; ++k) {
            out[2 * (first + k)] = static_cast<T>(scale * cosine[k]);
            out[2 * (first + k) + 1] = static_cast<T>(-scale * sine[k]);
        }
    }
    void build(int64_t group, T* out, double* angles) const {
        place_angles(group, angles);
        walsh_hadamard<D>(angles, lanes(), rows() * lanes());
        const size_t count = rows() * lanes();
        const double scale = table.scale >= 0 ? call.scales[table.scale] : 1.0;
        for (size_t i = count; i % D::W; ++i) angles[i] = 0.0;
        for (size_t i = 0; i < count; i += D::W) {
            alignas(64) double sine[D::W], cosine[D::W];
            sine_cosine<D>(angles + i, sine, cosine);
            if (count - i >= size_t(D::W)) store(i, D::W, scale, sine, cosine, out);
            else store(i, count - i, scale, sine, cosine, out);
        }
    }
};

template <class S> size_t table_bytes(const Table& table) {
    const size_t lanes = table.per_lane ? S::W : 1;
    return ((sizeof(typename S::T) * 2 * lanes << table.index_bits) + 63) & ~size_t(63);
}

template <class S> size_t table_work(const Table& table) {
    return ((table.per_lane ? S::W : 1) << table.index_bits) + 8;
}

template <class S> void shared_table(const Call& call, const Table& table, void* out, double* work) {
    TableBuilder<S>{call, table}.build(0, static_cast<typename S::T*>(out), work);
}

// The batched tables of a block's operations first_op .. last_op - 1 for one group.
template <class S>
void batched_tables(const Call& call, const Block& block, int64_t group, int first_op, int last_op, const Scratch& scratch) {
    for (int i = first_op; i < last_op; ++i) {
        if (block.ops[i].kind != Kind::diagonal) continue;
        const Diagonal& op = *static_cast<const Diagonal*>(block.ops[i].detail);
        for (int k = 0; k < op.num_tables; ++k) {
            const Table& table = op.tables[k];
            if (!table.batched) continue;
            void* out = static_cast<char*>(scratch.tables) + scratch.table_offsets[table.id];
            TableBuilder<S>{call, table}.build(group, static_cast<typename S::T*>(out), scratch.work);
        }
    }
}

}  // namespace
}  // namespace fusedqml
