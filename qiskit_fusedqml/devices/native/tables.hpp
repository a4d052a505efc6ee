// Tables of phases: products of those of single angles, or a Walsh-Hadamard transform of the angles, then sine and cosine.
#pragma once
#include "kernels.hpp"
#include "phases.hpp"

namespace fusedqml {
namespace {

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

constexpr int smallest_product = 3;  // log2 of the cells for which products may pay

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
    void build(int64_t group, T* out, double* work) const {
        if (table.num_terms <= PhaseProducts<D, 1>::max_terms && table.index_bits >= smallest_product) {
            if (table.batched ? batched_products(group, out, work) : shared_products(out, work)) return;
        }
        by_transform(group, out, work);
    }
    double scale() const { return table.scale >= 0 ? call.scales[table.scale] : 1.0; }

    // Cells are the lanes of a row.
    bool batched_products(int64_t group, T* out, double* work) const {
        constexpr int count = S::W / D::W;
        using Products = PhaseProducts<D, count>;
        Products products;
        for (int term = 0; term < table.num_terms; ++term) {
            const Term& t = table.terms[term];
            alignas(64) double half[S::W];
            for (int lane = 0; lane < S::W; ++lane) {
                const int64_t sample = (group << call.sample_bits) + (lane & ((1 << call.sample_bits) - 1));
                const double angle = half_angle(term, sample);
                half[lane] = t.sign != parity(t.lanes & uint32_t(lane >> call.sample_bits)) ? -angle : angle;
            }
            products.add(t.mask, reinterpret_cast<const typename D::Vec*>(half));
        }
        if (!products.pay(table.index_bits)) return false;
        auto* cells = reinterpret_cast<typename Products::Cell*>(work);
        products.build(table.index_bits, scale(), cells, cells + rows());
        for (size_t row = 0; row < rows(); ++row, out += 2 * S::W) {
            const double *re = reinterpret_cast<const double*>(cells[row].re), *im = reinterpret_cast<const double*>(cells[row].im);
            for (int lane = 0; lane < S::W; ++lane) out[lane] = static_cast<T>(re[lane]);
            for (int lane = 0; lane < S::W; ++lane) out[lane + S::W] = static_cast<T>(im[lane]);
        }
        return true;
    }

    // Cells are successive entries; an entry's number is followed by the row bits that are held in the lanes.
    bool shared_products(T* out, double* work) const {
        using Products = PhaseProducts<D, 1>;
        const int v = table.per_lane ? call.lane_bits : 0, bits = table.index_bits + v - D::log_width;
        if (bits < smallest_product) return false;
        Products products;
        for (int term = 0; term < table.num_terms; ++term) {
            const Term& t = table.terms[term];
            const uint32_t mask = t.mask << v | (table.per_lane ? t.lanes : 0);
            const double angle = t.sign ? -half_angle(term, 0) : half_angle(term, 0);
            typename D::Vec half;
            FQ_UNROLL
            for (int i = 0; i < D::W; ++i) half[i] = parity(mask & uint32_t(i)) ? -angle : angle;
            products.add(mask >> D::log_width, &half);
        }
        if (!products.pay(bits)) return false;
        auto* cells = reinterpret_cast<typename Products::Cell*>(work);
        products.build(bits, scale(), cells, cells + (size_t(1) << bits));
        const size_t count = size_t(1) << bits;
        if (!table.per_lane) store_interleaved(cells, count, out);
        else if (!call.sample_bits) store_lanes(cells, count, out);
        else store_spread(cells, count, out);
        return true;
    }
    using OneCell = PhaseCell<D, 1>;
    static void store_interleaved(const OneCell* cells, size_t count, T* out) {
        for (size_t cell = 0; cell < count; ++cell, out += 2 * D::W) {
            const double *re = reinterpret_cast<const double*>(cells[cell].re), *im = reinterpret_cast<const double*>(cells[cell].im);
            for (int i = 0; i < D::W; ++i) {
                out[2 * i] = static_cast<T>(re[i]);
                out[2 * i + 1] = static_cast<T>(im[i]);
            }
        }
    }
    // An entry for each lane.
    static void store_lanes(const OneCell* cells, size_t count, T* out) {
        constexpr size_t each = S::W / D::W;
        for (size_t cell = 0; cell < count; ++cell) {
            const double *re = reinterpret_cast<const double*>(cells[cell].re), *im = reinterpret_cast<const double*>(cells[cell].im);
            T* to = out + cell / each * 2 * S::W + cell % each * D::W;
            for (int i = 0; i < D::W; ++i) to[i] = static_cast<T>(re[i]);
            for (int i = 0; i < D::W; ++i) to[S::W + i] = static_cast<T>(im[i]);
        }
    }
    // Entries in the lanes of all samples; those of a row are in one cell, as there are half as many as lanes at most.
    void store_spread(const OneCell* cells, size_t count, T* out) const {
        const int s = call.sample_bits, v = call.lane_bits;
        for (size_t entry = 0; entry < count * D::W; entry += size_t(1) << v, out += 2 * S::W) {
            const OneCell& cell = cells[entry / D::W];
            const double *re = reinterpret_cast<const double*>(cell.re) + entry % D::W,
                         *im = reinterpret_cast<const double*>(cell.im) + entry % D::W;
            for (int lane = 0; lane < S::W; ++lane) out[lane] = static_cast<T>(re[lane >> s]);
            for (int lane = 0; lane < S::W; ++lane) out[lane + S::W] = static_cast<T>(im[lane >> s]);
        }
    }

    void by_transform(int64_t group, T* out, double* angles) const {
        place_angles(group, angles);
        walsh_hadamard<D>(angles, lanes(), rows() * lanes());
        const size_t count = rows() * lanes();
        const double scale = this->scale();
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
    return ((table.per_lane ? size_t(S::W) : 1) << (table.index_bits + 2)) + 64;  // two tables of complex numbers
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
