#include "state.hpp"

#include <cstring>
#include <new>

#include "gf2.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fusedqml {

constexpr size_t huge_page = size_t(1) << 21;

Memory::Memory(size_t bytes, bool zeroed) : size_(bytes) {
    const size_t alignment = bytes >= huge_page ? huge_page : 64;
    void* data = nullptr;
    if (posix_memalign(&data, alignment, bytes ? bytes : 64)) throw std::bad_alloc();
#if defined(__linux__)
    if (bytes >= huge_page) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    data_.reset(data);
    if (zeroed) std::memset(data, 0, bytes);
}

void choose_lanes(int width, int64_t batch, int spread, int& lane_bits, int& sample_bits) {
    const int all = gf2::highest(static_cast<uint64_t>(width));
    int needed = 0;
    while (needed < all && (int64_t(1) << needed) < batch) ++needed;
    lane_bits = all - needed < spread ? all - needed : spread;
    sample_bits = all - lane_bits;
}

State::State(const Kernels* k, int n, int64_t b, int spread) : kernels(k), num_qubits(n), batch(b) {
    choose_lanes(k->width, b, spread, lane_bits, sample_bits);
    groups = (b + (int64_t(1) << sample_bits) - 1) >> sample_bits;
    num_rows = int64_t(1) << (n - lane_bits);
    memory = Memory(size_t(groups) * group_size() * size_t(k->real_bytes));
}

State::State(const State& other)
    : kernels(other.kernels), num_qubits(other.num_qubits), lane_bits(other.lane_bits), sample_bits(other.sample_bits),
      batch(other.batch), groups(other.groups), num_rows(other.num_rows), memory(other.bytes()) {
    std::memcpy(memory.get(), other.memory.get(), other.bytes());
}

}  // namespace fusedqml
