#include "state.hpp"

#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "gf2.hpp"
#include "portability.hpp"

namespace fusedqml {

namespace {

constexpr size_t huge_page = size_t(1) << 21;
constexpr size_t smallest_kept = size_t(1) << 14, largest_kept = size_t(1) << 25, all_kept = size_t(1) << 26;

// Freed memory, the oldest first; it is let go to make room. A lock that another thread holds is not waited for: it may have been held
// when this process was forked.
class Shelf {
public:
    void* take(size_t capacity) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) return nullptr;
        for (auto item = items_.end(); item != items_.begin();)
            if ((--item)->first == capacity) {
                void* data = item->second;
                items_.erase(item);
                total_ -= capacity;
                return data;
            }
        return nullptr;
    }
    bool put(void* data, size_t capacity) {
        if (capacity < smallest_kept || capacity > largest_kept) return false;
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) return false;
        auto oldest = items_.begin();
        for (; total_ + capacity > all_kept; ++oldest) {
            total_ -= oldest->first;
            free_aligned(oldest->second);
        }
        items_.erase(items_.begin(), oldest);
        items_.emplace_back(capacity, data);
        total_ += capacity;
        return true;
    }

private:
    std::mutex mutex_;
    std::vector<std::pair<size_t, void*>> items_;
    size_t total_ = 0;
};

Shelf& shelf() {
    static Shelf* const one = new Shelf;  // never destroyed: memory may be freed at exit
    return *one;
}

// Sizes are rounded up to few different ones.
size_t capacity_for(size_t bytes) {
    size_t step = 64;
    while (step * 8 < bytes) step *= 2;
    return (bytes + step - 1) / step * step;
}

}  // namespace

Memory::Memory(size_t bytes, bool zeroed) : size_(bytes) {
    const size_t capacity = capacity_for(bytes ? bytes : 1);
    void* data = shelf().take(capacity);
    if (!data) {
        data = allocate_aligned(capacity, capacity >= huge_page ? huge_page : 64);
        if (!data) throw OutOfMemoryError(double(bytes));
        if (capacity >= huge_page) prefer_huge_pages(data, capacity);
    }
    data_ = {data, Release{capacity}};
    if (zeroed) std::memset(data, 0, bytes);
}

void Memory::Release::operator()(void* data) const {
    if (!shelf().put(data, capacity)) free_aligned(data);
}

void choose_lanes(int width, int64_t batch, int spread, int& lane_bits, int& sample_bits) {
    const int all = gf2::highest(static_cast<uint64_t>(width));
    int needed = 0;
    while (needed < all && (int64_t(1) << needed) < batch) ++needed;
    lane_bits = all - needed < spread ? all - needed : spread;
    sample_bits = all - lane_bits;
}

State::State(const Kernels* k, int n, int64_t b, int spread, size_t limit)
    : kernels(k), num_qubits(n), batch(b) {
    const int all = gf2::highest(static_cast<uint64_t>(k->width));
    lane_bits = spread < all ? spread : all;
    sample_bits = all - lane_bits;
    groups = (b + (int64_t(1) << sample_bits) - 1) >> sample_bits;
    num_rows = int64_t(1) << (n - lane_bits);
    const size_t row_bytes = row_size() * size_t(k->real_bytes), most = limit / row_bytes;  // stored rows
    if (size_t(groups) > most >> (n - lane_bits))
        throw OutOfMemoryError(std::ldexp(double(groups) * double(row_bytes), n - lane_bits));
    memory = Memory(size_t(groups) * group_size() * size_t(k->real_bytes), false);
}

State::State(const State& other)
    : kernels(other.kernels), num_qubits(other.num_qubits), lane_bits(other.lane_bits), sample_bits(other.sample_bits),
      batch(other.batch), groups(other.groups), num_rows(other.num_rows), memory(other.bytes(), false) {
    std::memcpy(memory.get(), other.memory.get(), other.bytes());
}

void State::make_complex() {
    if (!is_real()) return;
    const size_t vector_bytes = row_size() * size_t(kernels->real_bytes), count = memory.size() / vector_bytes;
    Memory both(2 * memory.size(), false);
    const char* from = static_cast<const char*>(memory.get());
    char* to = static_cast<char*>(both.get());
    for (size_t row = 0; row < count; ++row, from += vector_bytes, to += 2 * vector_bytes) {
        std::memcpy(to, from, vector_bytes);
        std::memset(to + vector_bytes, 0, vector_bytes);
    }
    memory = std::move(both);
    kernels = complex_kernels(*kernels);
}

}  // namespace fusedqml
