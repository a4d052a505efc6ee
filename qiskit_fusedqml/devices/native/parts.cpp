#include "parts.hpp"

#include <algorithm>
#include <cstring>

#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr uint64_t small_work = uint64_t(1) << 13;  // amplitudes that one thread does sooner than it wakes another
constexpr size_t small_bytes = size_t(1) << 18;

// Places of the rows' real parts, which are linear in the row's bits, too.
class Places {
public:
    Places(const State& state, const std::vector<uint64_t>& vectors, size_t skipped) {
        size_t all = 0;
        for (size_t j = skipped; j < vectors.size(); ++j) {
            places_.push_back(state.place(vectors[j]));
            steps_.push_back(all ^= places_.back());
        }
        steps_.push_back(0);
    }
    // Calls body(place) for rows first .. last - 1.
    template <class Body> void operator()(size_t offset, uint64_t first, uint64_t last, const Body& body) const {
        size_t place = offset;
        for (size_t j = 0; j < places_.size(); ++j)
            if (first >> j & 1) place ^= places_[j];
        for (uint64_t i = first; i < last;) {
            body(place);
            place ^= steps_[static_cast<size_t>(__builtin_ctzll(++i))];
        }
    }

private:
    std::vector<size_t> places_, steps_;  // steps: what changes when i counts up, by the highest bit that changes
};

// Whether the rows come in stored rows as they are: the first vectors are the bits in the lanes, the others have none.
bool in_stored_rows(const State& state, const RowOrder& rows) {
    const uint64_t lanes = uint64_t(1) << state.lane_bits, low = lanes - 1;
    if (state.batch != state.groups << state.sample_bits || (rows.offset | rows.first | rows.last) & low) return false;
    if (rows.vectors.size() < static_cast<size_t>(state.lane_bits)) return false;
    for (size_t j = 0; j < rows.vectors.size(); ++j) {
        const bool in_lanes = j < static_cast<size_t>(state.lane_bits);
        if (in_lanes ? rows.vectors[j] != uint64_t(1) << j : (rows.vectors[j] & low) != 0) return false;
    }
    return true;
}

// Calls copy(reals in the state, reals in the buffer, their number) for everything in these rows.
template <class T, class Copy> void for_rows(const State& state, const RowOrder& rows, T* buffer, int threads, const Copy& copy) {
    const bool stored = in_stored_rows(state, rows);
    const int shift = stored ? state.lane_bits : 0;
    const Places places(state, rows.vectors, static_cast<size_t>(shift));
    const uint64_t first = rows.first >> shift, count = (rows.last >> shift) - first;
    const int parts = (rows.last - rows.first) * static_cast<uint64_t>(state.batch) < small_work ? 1 : std::max(threads, 1);
    const size_t width = static_cast<size_t>(state.kernels->width), offset = state.place(rows.offset);
    run_parts(parts, threads, [&](int part) {
        const uint64_t share = static_cast<uint64_t>(part), all = static_cast<uint64_t>(parts);
        const uint64_t from = count * share / all, to = count * (share + 1) / all;
        T* start = buffer;
        for (int64_t group = 0; group < state.groups; ++group) {
            T* data = state.group_data<T>(group);
            const size_t samples = static_cast<size_t>(state.samples_of(group)), size = stored ? 2 * width : 2 * samples;
            T* to_copy = start + size * from;
            places(offset, first + from, first + to, [&](size_t place) {
                if (stored) {
                    copy(data + place, to_copy, size);
                } else if (samples == 1) {
                    copy(data + place, to_copy, 1);
                    copy(data + place + width, to_copy + 1, 1);
                } else {
                    copy(data + place, to_copy, samples);
                    copy(data + place + width, to_copy + samples, samples);
                }
                to_copy += size;
            });
            start += size * count;
        }
    });
}

template <class T> void pack_rows(const State& state, const RowOrder& rows, T* buffer, int threads) {
    for_rows<T>(state, rows, buffer, threads, [](const T* from, T* to, size_t count) { std::copy_n(from, count, to); });
}

template <class T> void unpack_rows(const State& state, const RowOrder& rows, T* buffer, int threads) {
    for_rows<T>(state, rows, buffer, threads, [](T* to, const T* from, size_t count) { std::copy_n(from, count, to); });
}

// Calls body(first, last) for shares of so many bytes.
template <class Body> void for_bytes(size_t bytes, int threads, const Body& body) {
    const size_t parts = bytes < small_bytes ? 1 : static_cast<size_t>(std::max(threads, 1)), lines = bytes / 64;
    run_parts(static_cast<int>(parts), threads, [&](int part) {
        const size_t share = static_cast<size_t>(part);
        body(lines * share / parts * 64, share + 1 == parts ? bytes : lines * (share + 1) / parts * 64);
    });
}

template <class T> void add_all(const State& state, const State& other, int threads) {
    for_bytes(state.bytes(), threads, [&](size_t first, size_t last) {
        T* to = static_cast<T*>(state.memory.get());
        const T* from = static_cast<const T*>(other.memory.get());
        for (size_t i = first / sizeof(T); i < last / sizeof(T); ++i) to[i] += from[i];
    });
}

template <class T> void scale_all(const State& state, const double* factors, int threads) {
    const size_t width = static_cast<size_t>(state.kernels->width), size = state.group_size();
    std::vector<T> lanes(static_cast<size_t>(state.groups) * width);
    for (int64_t group = 0; group < state.groups; ++group)
        state.spread(group, factors, 1, lanes.data() + static_cast<size_t>(group) * width);
    for_bytes(state.bytes(), threads, [&](size_t first, size_t last) {
        T* data = static_cast<T*>(state.memory.get());
        for (size_t i = first / sizeof(T); i < last / sizeof(T); i += width) {
            const T* factor = lanes.data() + i / size * width;
            for (size_t lane = 0; lane < width; ++lane) data[i + lane] *= factor[lane];
        }
    });
}

bool single(const State& state) { return state.kernels->real_bytes == 4; }

}  // namespace

void pack(const State& state, const RowOrder& rows, void* buffer, int threads) {
    if (single(state)) pack_rows(state, rows, static_cast<float*>(buffer), threads);
    else pack_rows(state, rows, static_cast<double*>(buffer), threads);
}

void unpack(const State& state, const RowOrder& rows, void* buffer, int threads) {
    state.is_zero = false;
    if (single(state)) unpack_rows(state, rows, static_cast<float*>(buffer), threads);
    else unpack_rows(state, rows, static_cast<double*>(buffer), threads);
}

void clear(const State& state, int threads) {
    state.is_zero = false;
    for_bytes(state.bytes(), threads, [&](size_t first, size_t last) {
        std::memset(static_cast<char*>(state.memory.get()) + first, 0, last - first);
    });
}

void scale(const State& state, const double* factors, int threads) {
    state.is_zero = false;
    if (single(state)) scale_all<float>(state, factors, threads);
    else scale_all<double>(state, factors, threads);
}

void add(const State& state, const State& other, int threads) {
    state.is_zero = false;
    if (single(state)) add_all<float>(state, other, threads);
    else add_all<double>(state, other, threads);
}

}  // namespace fusedqml
