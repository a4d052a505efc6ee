#include "pauli_state.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "errors.hpp"
#include "gf2.hpp"
#include "pauli_frame.hpp"
#include "pauli_product.hpp"
#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr int64_t chunk_rows = 1024;  // that a thread takes at a time
constexpr int64_t small_size = 1 << 15;
constexpr size_t small_bytes = 1 << 20;  // that one thread sets to 0 sooner than it wakes another

// Calls body(first row, last row) for chunks of the 4**n rows.
template <class F> void for_rows(const PauliState& state, int threads, F body) {
    const int64_t rows = int64_t(1) << 2 * state.num_qubits, chunks = std::max<int64_t>(rows / chunk_rows, 1);
    run_parts(static_cast<int>(chunks), rows * state.batch < small_size ? 1 : threads,
              [&](int chunk) { body(rows * chunk / chunks, rows * (chunk + 1) / chunks); });
}

template <class F> void with_type(const PauliState& state, F body) {
    if (state.kernels->real_bytes == 4) body(state.data<float>());
    else body(state.data<double>());
}

// Adds bra[row] times the lanes of the row, `lane_rows` rows a stored vector, to sums[lane].
template <class T>
void add_products(const double* bra, int64_t count, int64_t lane_rows, int sample_bits, const T* ket, int64_t width, double* sums) {
    for (int64_t row = 0; row < count; row += lane_rows, bra += lane_rows, ket += width) {
        if (lane_rows == 1)
            for (int64_t lane = 0; lane < width; ++lane) sums[lane] += *bra * static_cast<double>(ket[lane]);
        else
            for (int64_t lane = 0; lane < width; ++lane) sums[lane] += bra[lane >> sample_bits] * static_cast<double>(ket[lane]);
    }
}

}  // namespace

PauliState::PauliState(const Kernels* k, int n, int64_t b, size_t limit) : kernels(k), num_qubits(n), batch(b) {
    choose_lanes(k->width, b, std::max(2 * n - most_tile_bits_of_an_operation, 0), lane_bits, sample_bits);
    groups = (b + (int64_t(1) << sample_bits) - 1) >> sample_bits;
    num_rows = int64_t(1) << (2 * n - lane_bits);
    const size_t row_bytes = size_t(k->width) * size_t(k->real_bytes), most = limit / row_bytes;  // stored rows
    if (size_t(groups) > most >> (2 * n - lane_bits))
        throw OutOfMemoryError(std::ldexp(double(groups) * double(row_bytes), 2 * n - lane_bits));
    memory = Memory(size_t(groups) * group_size() * size_t(k->real_bytes), false);
}

PauliState::PauliState(const PauliState& other)
    : kernels(other.kernels), num_qubits(other.num_qubits), lane_bits(other.lane_bits), sample_bits(other.sample_bits),
      batch(other.batch), groups(other.groups), num_rows(other.num_rows), memory(other.bytes(), false) {
    const std::lock_guard<std::mutex> lock(other.mutex);
    if (other.product) product = std::make_shared<PauliProduct>(*other.product);
    else std::memcpy(memory.get(), other.memory.get(), other.bytes());
}

void set_zero_vector(const PauliState& state) { state.product = zero_product(state.num_qubits, state.batch); }

void set_vectors(const PauliState& state, const double* values, bool per_sample, int threads) {
    with_type(state, [&](auto* data) {
        using T = std::remove_reference_t<decltype(*data)>;
        if (state.batch % (int64_t(1) << state.sample_bits)) std::memset(data, 0, state.bytes());
        for_rows(state, threads, [&](int64_t first, int64_t last) {
            for (int64_t sample = 0; sample < state.batch; ++sample) {
                const double* from = values + (per_sample ? sample << 2 * state.num_qubits : 0);
                for (int64_t row = first; row < last; ++row)
                    data[state.place(sample, static_cast<uint64_t>(row))] = static_cast<T>(from[row]);
            }
        });
    });
}

void get_vectors(const PauliState& state, double* values, int threads) {
    write_product(state, threads);
    with_type(state, [&](auto* data) {
        for_rows(state, threads, [&](int64_t first, int64_t last) {
            for (int64_t sample = 0; sample < state.batch; ++sample)
                for (int64_t row = first; row < last; ++row)
                    values[(sample << 2 * state.num_qubits) + row] = static_cast<double>(data[state.place(sample, static_cast<uint64_t>(row))]);
        });
    });
}

void get_rows(const PauliState& state, const int64_t* rows, int64_t count, double* values) {
    write_product(state, 1);
    with_type(state, [&](auto* data) {
        for (int64_t sample = 0; sample < state.batch; ++sample)
            for (int64_t i = 0; i < count; ++i) *values++ = static_cast<double>(data[state.place(sample, static_cast<uint64_t>(rows[i]))]);
    });
}

void get_sums(const PauliState& state, const PauliSums& sums, double* values) {
    write_product(state, 1);
    with_type(state, [&](auto* data) {
        for (int64_t sample = 0; sample < state.batch; ++sample)
            for (int64_t k = 0; k < sums.count; ++k) {
                double sum = 0;
                for (int64_t i = sums.starts[k]; i < sums.starts[k + 1]; ++i)
                    sum += sums.weights[i] * static_cast<double>(data[state.place(sample, static_cast<uint64_t>(sums.rows[i]))]);
                *values++ = sum;
            }
    });
}

void set_sums(const PauliState& state, const PauliSums& sums, const double* weights, int threads) {
    with_type(state, [&](auto* data) {
        using T = std::remove_reference_t<decltype(*data)>;
        const size_t size = state.bytes(), parts = size < small_bytes ? 1 : size_t(std::max(threads, 1));
        run_parts(static_cast<int>(parts), threads, [&](int part) {
            const size_t first = size * size_t(part) / parts, last = size * size_t(part + 1) / parts;
            std::memset(static_cast<char*>(state.memory.get()) + first, 0, last - first);
        });
        for (int64_t sample = 0; sample < state.batch; ++sample)
            for (int64_t k = weights ? 0 : sample; k < (weights ? sums.count : sample + 1); ++k) {
                const double weight = weights ? weights[sample * sums.count + k] : 1.0;
                for (int64_t i = sums.starts[k]; i < sums.starts[k + 1]; ++i)
                    data[state.place(sample, static_cast<uint64_t>(sums.rows[i]))] += static_cast<T>(weight * sums.weights[i]);
            }
    });
}

void get_products(const PauliState& bras, const PauliState& kets, double* values, int threads) {
    write_product(bras, threads);
    if (const auto product = kets.current_product()) return get_products_with_product(bras, kets, *product, values, threads);
    const int64_t rows = int64_t(1) << 2 * bras.num_qubits, width = kets.kernels->width;
    const int64_t samples = int64_t(1) << kets.sample_bits, lane_rows = int64_t(1) << kets.lane_bits;
    // a part is a bra and a group of kets, of which the lanes that belong to one sample are added up
    run_parts(static_cast<int>(bras.batch * kets.groups), rows * bras.batch * kets.batch < small_size ? 1 : threads, [&](int part) {
        const int64_t k = part / kets.groups, group = part % kets.groups, first = group * samples;
        std::vector<double> sums(static_cast<size_t>(width)), bra(static_cast<size_t>(std::min(rows, chunk_rows)));
        with_type(kets, [&](auto* data) {
            auto* of_bras = bras.data<std::remove_reference_t<decltype(*data)>>();
            const auto* ket = data + static_cast<size_t>(group) * kets.group_size();
            for (int64_t start = 0; start < rows; start += chunk_rows) {
                const int64_t count = std::min(rows - start, chunk_rows);
                for (int64_t i = 0; i < count; ++i) bra[i] = static_cast<double>(of_bras[bras.place(k, static_cast<uint64_t>(start + i))]);
                add_products(bra.data(), count, lane_rows, kets.sample_bits, ket, width, sums.data());
                ket += count / lane_rows * width;
            }
        });
        for (int64_t sample = 0; sample < std::min(samples, kets.batch - first); ++sample) {
            double sum = 0;
            for (int64_t lane = sample; lane < width; lane += samples) sum += sums[lane];
            values[(first + sample) * bras.batch + k] = sum;
        }
    });
}

void set_combinations(const PauliState& kets, const double* weights, const PauliState& state, int threads) {
    if (const auto product = kets.current_product()) return set_combinations_of_product(kets, *product, weights, state, threads);
    with_type(kets, [&](auto* from) {
        using T = std::remove_reference_t<decltype(*from)>;
        T* to = state.data<T>();
        if (state.batch % (int64_t(1) << state.sample_bits)) std::memset(to, 0, state.bytes());
        for_rows(state, threads, [&](int64_t first, int64_t last) {
            for (int64_t row = first; row < last; ++row)
                for (int64_t k = 0; k < state.batch; ++k) {
                    double sum = 0;
                    for (int64_t b = 0; b < kets.batch; ++b)
                        sum += weights[b * state.batch + k] * static_cast<double>(from[kets.place(b, static_cast<uint64_t>(row))]);
                    to[state.place(k, static_cast<uint64_t>(row))] = static_cast<T>(sum);
                }
        });
    });
}

}  // namespace fusedqml
