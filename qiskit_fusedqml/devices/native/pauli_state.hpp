// Pauli vectors of B samples, samples in SIMD lanes.
#pragma once
#include <mutex>

#include "state.hpp"

namespace fusedqml {

// Row bits in lanes leave every operation, of up to 3 qubits, room for its tile.
constexpr int most_tile_bits_of_an_operation = 6;

struct PauliProduct;

// [group][row][lane], lane = sample of the group | lowest v row bits << s; rows are physical indices of 2 n bits.
struct PauliState {
    // Memory for vectors, not yet set. OutOfMemoryError if there is none, or if more than `limit` bytes are needed.
    PauliState(const Kernels* kernels, int num_qubits, int64_t batch, size_t limit = SIZE_MAX);
    PauliState(const PauliState& other);

    const Kernels* kernels;
    int num_qubits, lane_bits, sample_bits;
    int64_t batch, groups, num_rows;  // stored vector rows a group, 2**(2 n - v)
    Memory memory;
    mutable std::mutex mutex;      // held while a product is written into the memory
    mutable std::shared_ptr<PauliProduct> product;  // what the memory is to hold, or nullptr: it does

    std::shared_ptr<const PauliProduct> current_product() const {
        const std::lock_guard<std::mutex> lock(mutex);
        return product;
    }
    size_t bytes() const { return memory.size(); }
    size_t group_size() const { return size_t(num_rows) * static_cast<size_t>(kernels->width); }  // in real numbers
    // Position of a row's sample among the state's real numbers.
    size_t place(int64_t sample, uint64_t row) const {
        const uint64_t low = (uint64_t(1) << lane_bits) - 1;
        return size_t(sample >> sample_bits) * group_size() + size_t(row >> lane_bits) * static_cast<size_t>(kernels->width) +
               (size_t(row & low) << sample_bits) + (size_t(sample) & ((size_t(1) << sample_bits) - 1));
    }
    template <class T> T* data() const { return static_cast<T*>(memory.get()); }
};

// Some entries of all vectors, weighted: number k has the entries starts[k] to starts[k + 1].
struct PauliSums {
    int64_t count;
    const int64_t* starts;
    const int64_t* rows;
    const double* weights;
};

// |0...0>: 1 for the strings of I and Z.
void set_zero_vector(const PauliState& state);
// From (4**n,), or (B, 4**n) if `per_sample`.
void set_vectors(const PauliState& state, const double* values, bool per_sample, int threads);
void get_vectors(const PauliState& state, double* values, int threads);
// Some rows (B, count).
void get_rows(const PauliState& state, const int64_t* rows, int64_t count, double* values);
// (B, K) sums of entries.
void get_sums(const PauliState& state, const PauliSums& sums, double* values);
// State b becomes sum_k weights[b, k] times the vector of sum k; without weights the k-th is that of sum k.
void set_sums(const PauliState& state, const PauliSums& sums, const double* weights, int threads);
// <bra_k, ket_b>, (B, K).
void get_products(const PauliState& bras, const PauliState& kets, double* values, int threads);
// State k becomes sum_b weights[b, k] ket_b.
void set_combinations(const PauliState& kets, const double* weights, const PauliState& state, int threads);

}  // namespace fusedqml
