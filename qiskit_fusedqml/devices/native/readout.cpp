#include "readout.hpp"

#include <algorithm>
#include <cstring>

#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr int64_t small_work = 100000;  // amplitudes that one thread does sooner than it wakes another
constexpr size_t small_clearing = size_t(1) << 18;  // bytes

void clear(const State& state, int threads) {
    const size_t bytes = state.bytes();
    const int parts = bytes < small_clearing ? 1 : threads;
    run_parts(parts, threads, [&](int part) {
        const size_t share = static_cast<size_t>(part), all = static_cast<size_t>(parts);
        const size_t first = bytes * share / all, last = bytes * (share + 1) / all;
        std::memset(static_cast<char*>(state.memory.get()) + first, 0, last - first);
    });
}

template <class T> void set_zero(const State& state) {
    for (int64_t group = 0; group < state.groups; ++group)
        std::fill_n(state.group_data<T>(group), state.samples_of(group), T(1));
}

template <class T> void set_all(const State& state, const double* amplitudes, bool per_sample) {
    const uint64_t rows = uint64_t(1) << state.num_qubits;
    const int width = state.kernels->width;
    for (int64_t group = 0; group < state.groups; ++group)
        for (int64_t sample = 0; sample < state.samples_of(group); ++sample) {
            T* data = state.group_data<T>(group) + sample;
            const size_t number = static_cast<size_t>((group << state.sample_bits) + sample);
            const double* from = amplitudes + (per_sample ? number * 2 * rows : 0);
            for (uint64_t row = 0; row < rows; ++row) {
                data[state.place(row)] = static_cast<T>(from[2 * row]);
                if (!state.is_real()) data[state.place(row) + static_cast<size_t>(width)] = static_cast<T>(from[2 * row + 1]);
            }
        }
}

int parts_for(const State& state, int threads) {
    return state.num_rows * state.groups * state.kernels->width < small_work ? 1 : std::max(threads, 1);
}

constexpr int near_bits = 5;  // 2**5 numbers, and 2**5 rows, are a few cache lines each

uint64_t combined(const std::vector<uint64_t>& vectors, uint64_t which) {
    uint64_t result = 0;
    for (size_t q = 0; q < vectors.size(); ++q)
        if (which >> q & 1) result ^= vectors[q];
    return result;
}

// Vectors over GF(2) and what they are made of, reduced by each other.
class Echelon {
public:
    // Takes a vector in unless it depends on those that are there; `origin` becomes the combination that is left of it.
    bool add(uint64_t vector, uint64_t& origin) {
        for (const Entry& entry : entries_)
            if (vector & entry.pivot) vector ^= entry.vector, origin ^= entry.origin;
        if (!vector) return false;
        entries_.push_back({vector & -vector, vector, origin});
        return true;
    }

private:
    struct Entry {
        uint64_t pivot, vector, origin;
    };
    std::vector<Entry> entries_;
};

// The numbers with columns.size() bits, each with its row: row(i) = XOR of columns[q] over the set bits q of i, ^ offset.
class Walk {
public:
    // They come in an order in which 2**10 in a row lie in a few stretches of 2**near numbers and in a few of 2**near rows, so
    // that whole cache lines are used on both sides.
    explicit Walk(const std::vector<uint64_t>& columns, int near = near_bits) {
        const int bits = static_cast<int>(columns.size());
        std::vector<uint64_t> wanted;
        for (int q = 0; q < std::min(near, bits); ++q) wanted.push_back(uint64_t(1) << q);
        Echelon far;  // combinations of columns by what they do to far rows
        for (int q = 0; q < bits; ++q) {
            uint64_t origin = uint64_t(1) << q;
            if (!far.add(columns[static_cast<size_t>(q)] >> near, origin)) wanted.push_back(origin);
        }
        for (int q = 0; q < bits; ++q) wanted.push_back(uint64_t(1) << q);
        Echelon chosen;
        for (const uint64_t number : wanted) {
            uint64_t unused = 0;
            if (!chosen.add(number, unused)) continue;
            numbers_.push_back(number);
            rows_.push_back(combined(columns, number));
        }
        uint64_t number = 0, row = 0;
        for (size_t q = 0; q < numbers_.size(); ++q) steps_.push_back({number ^= numbers_[q], row ^= rows_[q]});
        steps_.push_back({0, 0});
    }
    // Calls body(number, row) for positions first .. last - 1 of that order.
    template <class Body> void operator()(uint64_t offset, uint64_t first, uint64_t last, const Body& body) const {
        uint64_t number = combined(numbers_, first), row = offset ^ combined(rows_, first);
        for (uint64_t position = first; position < last;) {
            body(number, row);
            const Step& step = steps_[static_cast<size_t>(__builtin_ctzll(++position))];
            number ^= step.number;
            row ^= step.row;
        }
    }

private:
    struct Step {
        uint64_t number, row;
    };
    std::vector<uint64_t> numbers_, rows_;
    std::vector<Step> steps_;
};

template <class T> void copy_amplitudes(const State& state, const RowFrame& frame, T* out, int threads) {
    const uint64_t rows = uint64_t(1) << state.num_qubits;
    const size_t width = static_cast<size_t>(state.kernels->width);
    const bool is_real = state.is_real();
    const Walk walk(frame.columns);
    const int parts = parts_for(state, threads);
    run_parts(parts, threads, [&](int part) {
        const uint64_t share = static_cast<uint64_t>(part), all = static_cast<uint64_t>(parts);
        for (int64_t group = 0; group < state.groups; ++group) {
            const T* data = state.group_data<T>(group);
            const size_t samples = static_cast<size_t>(state.samples_of(group));
            T* to = out + (static_cast<size_t>(group) << state.sample_bits) * 2 * rows;
            walk(frame.offset, rows * share / all, rows * (share + 1) / all, [&](uint64_t number, uint64_t row) {
                const T* from = data + state.place(row);
                for (size_t sample = 0; sample < samples; ++sample) {
                    to[2 * (sample * rows + number)] = from[sample];
                    to[2 * (sample * rows + number) + 1] = is_real ? T(0) : from[sample + width];
                }
            });
        }
    });
}

// Outcomes are summed one after the other over the rows that share them: no accumulators are shared.
template <class T>
void add_probabilities(const State& state, const RowFrame& frame, const std::vector<int>& qubits, double* out, int threads) {
    std::vector<uint64_t> kept, summed;
    for (const int q : qubits) kept.push_back(frame.columns[static_cast<size_t>(q)]);
    for (int q = 0; q < state.num_qubits; ++q)
        if (std::find(qubits.begin(), qubits.end(), q) == qubits.end()) summed.push_back(frame.columns[static_cast<size_t>(q)]);
    const uint64_t outcomes = uint64_t(1) << kept.size(), others = uint64_t(1) << summed.size();
    const size_t width = static_cast<size_t>(state.kernels->width);
    const bool is_real = state.is_real();
    const Walk walk_kept(kept), walk_summed(summed, 0);
    const int parts = parts_for(state, threads);
    run_parts(parts, threads, [&](int part) {
        const uint64_t share = static_cast<uint64_t>(part), all = static_cast<uint64_t>(parts);
        std::vector<double> sums(width);
        for (int64_t group = 0; group < state.groups; ++group) {
            const T* data = state.group_data<T>(group);
            const size_t samples = static_cast<size_t>(state.samples_of(group));
            double* to = out + (static_cast<size_t>(group) << state.sample_bits) * outcomes;
            walk_kept(frame.offset, outcomes * share / all, outcomes * (share + 1) / all, [&](uint64_t number, uint64_t row) {
                if (samples == 1) {  // the sum stays in a register
                    double sum = 0;
                    walk_summed(row, 0, others, [&](uint64_t, uint64_t place) {
                        const T* from = data + state.place(place);
                        const double re = from[0], im = is_real ? 0.0 : from[width];
                        sum += re * re + im * im;
                    });
                    to[number] = sum;
                    return;
                }
                std::fill(sums.begin(), sums.end(), 0.0);
                walk_summed(row, 0, others, [&](uint64_t, uint64_t place) {
                    const T* from = data + state.place(place);
                    for (size_t sample = 0; sample < samples; ++sample) {
                        const double re = from[sample], im = is_real ? 0.0 : from[sample + width];
                        sums[sample] += re * re + im * im;
                    }
                });
                for (size_t sample = 0; sample < samples; ++sample) to[sample * outcomes + number] = sums[sample];
            });
        }
    });
}

bool single(const State& state) { return state.kernels->real_bytes == 4; }

}  // namespace

void set_zero_state(const State& state, int threads) {
    state.is_zero = true;
    clear(state, threads);
    if (single(state)) set_zero<float>(state);
    else set_zero<double>(state);
}

void set_amplitudes(const State& state, const double* amplitudes, bool per_sample, int threads) {
    state.is_zero = false;
    clear(state, threads);
    if (single(state)) set_all<float>(state, amplitudes, per_sample);
    else set_all<double>(state, amplitudes, per_sample);
}

void get_amplitudes(const State& state, const RowFrame& frame, void* out, int threads) {
    if (single(state)) copy_amplitudes(state, frame, static_cast<float*>(out), threads);
    else copy_amplitudes(state, frame, static_cast<double*>(out), threads);
}

void get_probabilities(const State& state, const RowFrame& frame, const std::vector<int>& qubits, double* out, int threads) {
    if (single(state)) add_probabilities<float>(state, frame, qubits, out, threads);
    else add_probabilities<double>(state, frame, qubits, out, threads);
}

}  // namespace fusedqml
