// Products and combinations of vectors of doubles.
#pragma once
#include "simd.hpp"

namespace fusedqml {
namespace {

// Vectors of doubles of the instruction set, whatever the precision of the sweeps.
template <class S> using Doubles = Simd<double, S::W * static_cast<int>(sizeof(typename S::T)) / 8>;

// Unaligned memory.
template <class D> FQ_INLINE typename D::Vec load(const double* from) {
    typename D::Vec value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

// sums[b] = <row, vectors[b]> of `count` vectors of `size` numbers.
template <class S> void dots(const double* row, const double* vectors, int64_t count, int64_t size, double* sums) {
    using D = Doubles<S>;
    for (int64_t b = 0; b < count; ++b) {
        const double* vector = vectors + b * size;
        typename D::Vec even = {}, odd = {};
        int64_t i = 0;
        for (; i + 2 * D::W <= size; i += 2 * D::W) {
            even += load<D>(row + i) * load<D>(vector + i);
            odd += load<D>(row + i + D::W) * load<D>(vector + i + D::W);
        }
        even += odd;
        double sum = 0;
        for (int lane = 0; lane < D::W; ++lane) sum += even[lane];
        for (; i < size; ++i) sum += row[i] * vector[i];
        sums[b] = sum;
    }
}

// row = sum_b factors[b] vectors[b].
template <class S> void combination(const double* vectors, const double* factors, int64_t count, int64_t size, double* row) {
    using D = Doubles<S>;
    int64_t i = 0;
    for (; i + 2 * D::W <= size; i += 2 * D::W) {
        typename D::Vec first = {}, second = {};
        for (int64_t b = 0; b < count; ++b) {
            const typename D::Vec factor = D::splat(factors[b]);
            first += factor * load<D>(vectors + b * size + i);
            second += factor * load<D>(vectors + b * size + i + D::W);
        }
        __builtin_memcpy(row + i, &first, sizeof(first));
        __builtin_memcpy(row + i + D::W, &second, sizeof(second));
    }
    for (; i < size; ++i) {
        row[i] = 0;
        for (int64_t b = 0; b < count; ++b) row[i] += factors[b] * vectors[b * size + i];
    }
}

}  // namespace
}  // namespace fusedqml
