// From a tape as flat integers (written by cpu.py) to the form the sweeps read.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "errors.hpp"
#include "state.hpp"
#include "tape.hpp"

namespace fusedqml {

// What a call's coefficients must provide at least.
struct Requirements {
    int64_t pairs = 0, batched_pairs = 0, matrices = 0, batched_matrices = 0, angles = 0, batched_angles = 0, scales = 0;
    std::vector<int> dense;        // k by index, 0 where unused
    bool undoes_batched = false;   // whether the backward sweep needs coefficients that differ from sample to sample
};

// Memory for the many small arrays of a compiled tape, freed together.
class Arena {
public:
    template <class T> T* allocate(size_t count) {
        return static_cast<T*>(bytes(sizeof(T) * (count ? count : 1)));
    }
    template <class T> const T* keep(const std::vector<T>& values) {
        T* copy = allocate<T>(values.size());
        for (size_t i = 0; i < values.size(); ++i) copy[i] = values[i];
        return copy;
    }
    template <class T> const T* keep_one(const T& value) {
        T* copy = allocate<T>(1);
        *copy = value;
        return copy;
    }

private:
    void* bytes(size_t size) {
        size = (size + 15) & ~size_t(15);
        if (size > left_) {
            left_ = size > chunk_size ? size : chunk_size;
            chunks_.emplace_back(new char[left_]);
            next_ = chunks_.back().get();
        }
        void* result = next_;
        next_ += size;
        left_ -= size;
        return result;
    }
    static constexpr size_t chunk_size = size_t(1) << 16;
    std::vector<std::unique_ptr<char[]>> chunks_;
    char* next_ = nullptr;
    size_t left_ = 0;
};

// Reads the flat integers one by one.
class Reader {
public:
    Reader(const int64_t* data, size_t size) : data_(data), end_(data + size) {}
    int64_t next() {
        if (data_ == end_) throw InvalidInputError("The tape's description ends too early.");
        return *data_++;
    }
    int64_t next(int64_t low, int64_t high) {
        const int64_t value = next();
        if (value < low || value > high) throw InvalidInputError("The tape's description holds a number out of range.");
        return value;
    }
    bool flag() { return next(0, 1) != 0; }
    std::vector<uint64_t> masks(int64_t count, int bits) {
        std::vector<uint64_t> result;
        for (int64_t i = 0; i < count; ++i) result.push_back(static_cast<uint64_t>(next(0, (int64_t(1) << bits) - 1)));
        return result;
    }
    uint64_t mask(int bits) { return static_cast<uint64_t>(next(0, (int64_t(1) << bits) - 1)); }
    bool done() const { return data_ == end_; }

private:
    const int64_t* data_;
    const int64_t* end_;
};

// Shared tables of diagonals and what they were made from.
struct TableSet {
    Memory memory;
    std::vector<void*> tables;     // by id; nullptr for batched ones
    uint64_t serial;               // of the coefficients
    const Kernels* kernels;
};

// The last tables built for a tape: a backward call finds those of the forward call.
class TableShelf {
public:
    std::shared_ptr<const TableSet> get() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return set_;
    }
    void put(std::shared_ptr<const TableSet> set) {
        const std::lock_guard<std::mutex> lock(mutex_);
        set_ = std::move(set);
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<const TableSet> set_;
};

struct CompiledTape {
    Arena arena;
    TapeView view{};
    Requirements requirements;
    int lane_qubits = 0;
    bool is_real = true;           // no operation is of a kind that is always complex
    mutable TableShelf tables;
};

// `lane_bits` row bits are held in the SIMD lanes; up to `group` rotations are applied in one pass.
std::unique_ptr<CompiledTape> compile_tape(const std::vector<int64_t>& source, int lane_bits, int group);

}  // namespace fusedqml
