#include "observables.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "gf2.hpp"
#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr int most_block_bits = 10;   // rows whose diagonals are evaluated at a time
constexpr int many_block_bits = 7;    // and with many flips, so that the bra's rows stay in the L1 cache from flip to flip
constexpr size_t many_flips = 4;
constexpr size_t most_cached = size_t(16) << 20;
constexpr size_t most_layouts = 4;
constexpr size_t kept_at_once = size_t(1) << 18;  // larger tables are kept from the second use on: many observables are used once
constexpr int64_t small_work = 2000;  // stored rows times flips that one thread does sooner than it wakes another

int choose_block_bits(int num_qubits, const std::vector<TermSource>& terms) {
    std::vector<uint64_t> flips;
    for (const TermSource& term : terms) flips.push_back(term.x);
    std::sort(flips.begin(), flips.end());
    const auto count = static_cast<size_t>(std::unique(flips.begin(), flips.end()) - flips.begin());
    return std::min(num_qubits, count > many_flips ? many_block_bits : most_block_bits);
}

// A diagonal's values at the rows of a block, one a row, or one a lane of each stored row.
template <class T> void store_values(const State& state, const double* values, size_t count, T* out) {
    const size_t copies = state.lane_bits ? size_t(1) << state.sample_bits : 1;
    for (size_t row = 0; row < count; ++row)
        for (size_t copy = 0; copy < copies; ++copy) *out++ = static_cast<T>(values[row]);
}

}  // namespace

Observables::Observables(const Kernels* kernels, int num_qubits, int num_observables, const std::vector<TermSource>& terms)
    : kernels_(kernels), n_(num_qubits), num_observables_(num_observables), block_bits_(choose_block_bits(num_qubits, terms)) {
    for (const TermSource& term : terms) {
        if (term.observable < 0 || term.observable >= num_observables) throw InvalidInputError("A term of no observable.");
        auto flip = std::find_if(flips_.begin(), flips_.end(), [&](const Flip& f) { return f.x == term.x; });
        if (flip == flips_.end()) flip = flips_.insert(flips_.end(), Flip{term.x, {}, {}, 0});
        const bool imaginary = term.power & 1;
        if (imaginary) is_real_ = false;
        auto diagonal = std::find_if(flip->diagonals.begin(), flip->diagonals.end(), [&](const RealDiagonal& d) {
            return d.observable == term.observable && d.imaginary == imaginary;
        });
        if (diagonal == flip->diagonals.end()) {
            flip->imaginary.push_back(imaginary);
            diagonal = flip->diagonals.insert(flip->diagonals.end(), RealDiagonal(term.observable, imaginary));
        }
        diagonal->add(arena_, term, n_, block_bits_);
    }
    // flips that lead from a block to the same one follow each other, so that they find its rows in the L1 cache
    std::stable_sort(flips_.begin(), flips_.end(),
                     [&](const Flip& a, const Flip& b) { return a.x >> block_bits_ < b.x >> block_bits_; });
    for (Flip& flip : flips_) {
        flip.first = num_diagonals_;
        num_diagonals_ += flip.diagonals.size();
        for (RealDiagonal& diagonal : flip.diagonals) diagonal.finish(*kernels_, block_bits_);
    }
}

Observables::Tables Observables::make_tables(const State& state, int64_t first_block, int64_t num_blocks) const {
    const size_t count = size_t(1) << block_bits_, real = static_cast<size_t>(state.kernels->real_bytes);
    Tables tables{state.kernels->width, state.kernels->real_bytes, state.lane_bits, 0, {}};
    tables.block_bytes = ((count * real << (state.lane_bits ? state.sample_bits : 0)) + 63) & ~size_t(63);
    tables.memory = Memory(static_cast<size_t>(num_blocks) * num_diagonals_ * tables.block_bytes, false);
    char* out = static_cast<char*>(tables.memory.get());
    const Memory scratch(count * sizeof(double), false);
    double* values = static_cast<double*>(scratch.get());
    for (int64_t block = first_block; block < first_block + num_blocks; ++block) {
        const uint64_t high = static_cast<uint64_t>(block) << block_bits_ | uint64_t(1) << n_;
        for (const Flip& flip : flips_)
            for (const RealDiagonal& diagonal : flip.diagonals) {
                diagonal.evaluate(*kernels_, high, block_bits_, values);
                if (real == 4) store_values(state, values, count, reinterpret_cast<float*>(out));
                else store_values(state, values, count, reinterpret_cast<double*>(out));
                out += tables.block_bytes;
            }
    }
    return tables;
}

const Observables::Tables* Observables::cached(const State& state) {
    const int copies = state.lane_bits ? 1 << state.sample_bits : 1;
    const size_t bytes = num_diagonals_ * static_cast<size_t>(state.kernels->real_bytes * copies) << n_;
    if (bytes > most_cached) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > kept_at_once && !std::exchange(used_, true)) return nullptr;
    for (const auto& tables : cache_)
        if (tables->width == state.kernels->width && tables->real_bytes == state.kernels->real_bytes &&
            tables->lane_bits == state.lane_bits)
            return tables.get();
    if (cache_.size() == most_layouts) return nullptr;
    cache_.push_back(std::make_unique<Tables>(make_tables(state, 0, num_blocks())));
    return cache_.back().get();
}

// Parts share the groups if there are enough, else the rows.
std::vector<Observables::Share> Observables::shares(const State& state, int threads) const {
    const int64_t work = state.num_rows * state.groups * static_cast<int64_t>(flips_.size());
    const int64_t parts = work < small_work ? 1 : std::max(threads, 1);
    std::vector<Share> result;
    for (int64_t part = 0; part < parts; ++part) {
        if (state.groups >= parts)
            result.push_back({state.groups * part / parts, state.groups * (part + 1) / parts, 0, num_blocks()});
        else
            result.push_back({0, state.groups, num_blocks() * part / parts, num_blocks() * (part + 1) / parts});
    }
    return result;
}

// A pair of rows r, r ^ x is visited once: where the highest bit of x, if it is not in the lanes, is 0.
bool Observables::skipped(const State& ket, const Flip& flip, int64_t block) const {
    if (!(flip.x >> ket.lane_bits)) return false;
    const int bit = gf2::highest(flip.x);
    return bit >= block_bits_ && (block >> (bit - block_bits_) & 1);
}

Pass Observables::make_pass(const State& ket, const Flip& flip, int64_t block, const Tables& tables, int64_t place,
                            std::vector<const void*>& pointers) const {
    pointers.clear();
    const char* values = static_cast<const char*>(tables.memory.get());
    for (size_t k = 0; k < flip.diagonals.size(); ++k)
        pointers.push_back(values + (static_cast<size_t>(place) * num_diagonals_ + flip.first + k) * tables.block_bytes);
    Pass pass{};
    pass.num_rows = int64_t(1) << (block_bits_ - ket.lane_bits);
    pass.first_row = block * pass.num_rows;
    pass.flip_row = static_cast<uint32_t>(flip.x >> ket.lane_bits);
    pass.flip_lanes = static_cast<uint32_t>((flip.x & ((uint64_t(1) << ket.lane_bits) - 1)) << ket.sample_bits);
    pass.half_bit = -1;
    pass.per_lane = ket.lane_bits > 0;
    pass.count = static_cast<int32_t>(flip.diagonals.size());
    pass.imaginary = flip.imaginary.data();
    pass.diagonals = pointers.data();
    return pass;
}

// Calls body(block, tables, the block's place in the tables, groups): of several blocks, a block's rows of one group stay in the L1 cache from
// flip to flip, but tables that are made for a block serve all groups.
template <class Body>
void Observables::for_blocks(const State& state, const Tables* whole, const Share& share, const Body& body) {
    if (whole && share.last_block - share.first_block > 1)
        for (int64_t group = share.first_group; group < share.last_group; ++group)
            for (int64_t block = share.first_block; block < share.last_block; ++block) body(block, *whole, block, group, group + 1);
    else
        for (int64_t block = share.first_block; block < share.last_block; ++block) {
            if (whole) body(block, *whole, block, share.first_group, share.last_group);
            else body(block, make_tables(state, block, 1), 0, share.first_group, share.last_group);
        }
}

void Observables::expectation(const State& ket, double* values, int threads) {
    const std::vector<Share> parts = shares(ket, threads);
    const size_t group_sums = num_diagonals_ * static_cast<size_t>(ket.kernels->width);
    const Tables* whole = cached(ket);
    std::vector<Memory> sums(parts.size());
    run_parts(static_cast<int>(parts.size()), threads, [&](int part) {
        const Share& share = parts[static_cast<size_t>(part)];
        const size_t groups = static_cast<size_t>(share.last_group - share.first_group);
        sums[static_cast<size_t>(part)] = Memory(groups * group_sums * sizeof(double));
        double* to = static_cast<double*>(sums[static_cast<size_t>(part)].get());
        std::vector<const void*> pointers;
        for_blocks(ket, whole, share, [&](int64_t block, const Tables& tables, int64_t place, int64_t first, int64_t last) {
            for (const Flip& flip : flips_) {
                if (skipped(ket, flip, block)) continue;
                Pass pass = make_pass(ket, flip, block, tables, place, pointers);
                if (flip.x >> ket.lane_bits && gf2::highest(flip.x) < block_bits_)
                    pass.half_bit = gf2::highest(flip.x) - ket.lane_bits;
                for (int64_t group = first; group < last; ++group) {
                    pass.ket = ket.group_data<char>(group * ket.kernels->real_bytes);
                    ket.kernels->expectation(pass, to + static_cast<size_t>(group - share.first_group) * group_sums +
                                                       flip.first * static_cast<size_t>(ket.kernels->width));
                }
            }
        });
    });
    std::fill(values, values + ket.batch * num_observables_, 0.0);
    for (size_t part = 0; part < parts.size(); ++part) {
        const double* from = static_cast<const double*>(sums[part].get());
        for (int64_t group = parts[part].first_group; group < parts[part].last_group; ++group, from += group_sums)
            add_up(ket, group, from, values);
    }
}

void Observables::add_up(const State& ket, int64_t group, const double* sums, double* values) const {
    const int64_t samples = int64_t(1) << ket.sample_bits, count = ket.samples_of(group);
    for (const Flip& flip : flips_) {
        const double weight = flip.x >> ket.lane_bits ? 2.0 : 1.0;  // pairs visited once
        for (const RealDiagonal& diagonal : flip.diagonals) {
            double* to = values + group * samples * num_observables_ + diagonal.observable;
            for (int64_t copy = 0; copy < ket.kernels->width; copy += samples)
                for (int64_t sample = 0; sample < count; ++sample) to[sample * num_observables_] += weight * sums[copy + sample];
            sums += ket.kernels->width;
        }
    }
}

// [group][diagonal][lane]
Memory Observables::spread_cotangents(const State& ket, const double* cotangents) const {
    const int64_t width = ket.kernels->width, samples = int64_t(1) << ket.sample_bits;
    Memory memory(static_cast<size_t>(ket.groups * width * ket.kernels->real_bytes) * num_diagonals_);
    const auto spread = [&](auto* to) {
        for (int64_t group = 0; group < ket.groups; ++group)
            for (const Flip& flip : flips_)
                for (const RealDiagonal& diagonal : flip.diagonals) {
                    const double* from = cotangents + group * samples * num_observables_ + diagonal.observable;
                    const int64_t count = ket.samples_of(group);
                    for (int64_t copy = 0; copy < width; copy += samples, to += samples)
                        for (int64_t sample = 0; sample < count; ++sample)
                            to[sample] = static_cast<std::decay_t<decltype(*to)>>(from[sample * num_observables_]);
                }
    };
    if (ket.kernels->real_bytes == 4) spread(static_cast<float*>(memory.get()));
    else spread(static_cast<double*>(memory.get()));
    return memory;
}

void Observables::apply(const State& ket, const State& bra, const double* cotangents, int threads) {
    if (flips_.empty()) std::memset(bra.memory.get(), 0, bra.bytes());
    const std::vector<Share> parts = shares(ket, threads);
    const Memory factors = spread_cotangents(ket, cotangents);
    const Tables* whole = cached(ket);
    const size_t vector_bytes = static_cast<size_t>(ket.kernels->width * ket.kernels->real_bytes);
    run_parts(static_cast<int>(parts.size()), threads, [&](int part) {
        const Share& share = parts[static_cast<size_t>(part)];
        std::vector<const void*> pointers;
        for_blocks(ket, whole, share, [&](int64_t block, const Tables& tables, int64_t place, int64_t first, int64_t last) {
            for (const Flip& flip : flips_) {
                Pass pass = make_pass(ket, flip, block, tables, place, pointers);
                pass.first = &flip == flips_.data();
                for (int64_t group = first; group < last; ++group) {
                    pass.ket = ket.group_data<char>(group * ket.kernels->real_bytes);
                    pass.bra = bra.group_data<char>(group * ket.kernels->real_bytes);
                    pass.factors = static_cast<const char*>(factors.get()) +
                                   (static_cast<size_t>(group) * num_diagonals_ + flip.first) * vector_bytes;
                    ket.kernels->apply(pass);
                }
            }
        });
    });
}

}  // namespace fusedqml
