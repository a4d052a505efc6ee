// B states of n qubits, samples in SIMD lanes.
#pragma once
#include <cstdint>
#include <memory>

#include "kernels.hpp"

namespace fusedqml {

// Memory aligned to cache lines; OutOfMemoryError if there is none. What is freed is kept for the next of its size, up to a
// limit: the system takes longer to provide fresh pages than a sweep takes over a small state.
class Memory {
public:
    Memory() = default;
    explicit Memory(size_t bytes, bool zeroed = true);
    void* get() const { return data_.get(); }
    size_t size() const { return size_; }

private:
    struct Release {
        size_t capacity;
        void operator()(void* data) const;
    };
    std::unique_ptr<void, Release> data_{nullptr, Release{0}};
    size_t size_ = 0;
};

// [group][row][re | im][lane], lane = sample of the group | lowest v row bits << s; real states [group][row][lane].
struct State {
    // Memory for states, not yet set. `spread`: row bits that go into lanes, as far as there are lanes; samples take the others.
    // OutOfMemoryError if there is no memory, or if more than `limit` bytes are needed.
    State(const Kernels* kernels, int num_qubits, int64_t batch, int spread, size_t limit = SIZE_MAX);
    State(const State& other);

    const Kernels* kernels;
    int num_qubits, lane_bits, sample_bits;
    int64_t batch, groups, num_rows;
    Memory memory;
    mutable bool is_zero = false;  // known to be |0...0>, as `set_zero_state` left it

    size_t bytes() const { return memory.size(); }
    bool is_real() const { return kernels->components == 1; }
    // A real state becomes a complex one, for operations that are not real. OutOfMemoryError if there is no memory.
    void make_complex();
    size_t row_size() const { return size_t(kernels->components) * size_t(kernels->width); }  // in real numbers
    // Position of a row's real part of sample 0 among the group's real numbers; the imaginary part is W further on.
    size_t place(uint64_t row) const {
        const uint64_t low = (uint64_t(1) << lane_bits) - 1;
        return size_t(row >> lane_bits) * row_size() + (size_t(row & low) << sample_bits);
    }
    size_t group_size() const { return size_t(num_rows) * row_size(); }
    int64_t samples_of(int64_t group) const {
        const int64_t left = batch - (group << sample_bits), room = int64_t(1) << sample_bits;
        return left < room ? left : room;
    }
    // Puts numbers of a group's samples, `stride` apart among those of all samples, into the group's lanes; lanes without a sample stay.
    template <class T> void spread(int64_t group, const double* numbers, int64_t stride, T* lanes) const {
        const int64_t samples = int64_t(1) << sample_bits, count = samples_of(group);
        numbers += group * samples * stride;
        for (int64_t copy = 0; copy < kernels->width; copy += samples, lanes += samples)
            for (int64_t sample = 0; sample < count; ++sample) lanes[sample] = static_cast<T>(numbers[sample * stride]);
    }
    template <class T> T* group_data(int64_t group) const {
        return static_cast<T*>(memory.get()) + size_t(group) * group_size();
    }
};

// v and s for a batch on vectors of W lanes: row bits only in lanes that the batch leaves empty.
void choose_lanes(int width, int64_t batch, int spread, int& lane_bits, int& sample_bits);

}  // namespace fusedqml
