#include "pauli_run.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "gf2.hpp"
#include "pauli_product.hpp"
#include "pool.hpp"
#include "workspace.hpp"

namespace fusedqml {
namespace {

constexpr int64_t small_work = 8000;   // vector rows times operations that one thread does sooner than it wakes another
constexpr int64_t most_groups = 8;     // with more of them the tiles of a group stay together
constexpr int64_t chunks = 16;         // parts of the work where there are fewer groups
constexpr int64_t most_parts = 32;     // and where there are more

void require(const char* what, int64_t needed, int64_t given) {
    if (given < needed)
        throw InvalidInputError("The tape needs " + std::to_string(needed) + " " + what + ", got " + std::to_string(given) + ".");
}

void check(const PauliRequirements& needs, const PauliNumbers& given) {
    require("affine maps", needs.affine, given.num_affine);
    require("batched affine maps", needs.batched_affine, given.num_batched_affine);
    require("pairs", needs.pairs, given.num_pairs);
    require("turns", needs.turns, given.num_turns);
    require("batched turns", needs.batched_turns, given.num_batched_turns);
    require("transfer matrices", static_cast<int64_t>(needs.letters.size()), static_cast<int64_t>(given.letters.size()));
    for (size_t i = 0; i < needs.letters.size(); ++i)
        if (needs.letters[i] && needs.letters[i] != given.letters[i])
            throw InvalidInputError("Transfer matrix " + std::to_string(i) + " has " + std::to_string(given.letters[i]) +
                                        " rows, the tape expects " + std::to_string(needs.letters[i]) + ".");
}

// A call's coefficients in the form the sweeps read.
class PreparedPauliCall {
public:
    PreparedPauliCall(const CompiledPauliTape& tape, const PauliNumbers& numbers, Way way, const PauliState* ket, const PauliState* bra)
        : state_(ket ? *ket : *bra) {
        call.tape = &tape.view;
        call.way = way;
        call.lane_bits = state_.lane_bits;
        call.sample_bits = state_.sample_bits;
        call.batch = state_.batch;
        call.groups = state_.groups;
        call.num_rows = state_.num_rows;
        call.ket = ket ? ket->memory.get() : nullptr;
        call.bra = bra ? bra->memory.get() : nullptr;
        call.affine = numbers.affine;
        call.inverse_affine = numbers.inverse_affine;
        call.pairs = numbers.pairs;
        call.inverse_pairs = numbers.inverse_pairs;
        call.turns = numbers.turns;
        call.transfers = numbers.transfers.data();
        call.inverse_transfers = numbers.inverse_transfers.data();
        if (state_.kernels->real_bytes == 4) prepare<float>(tape.requirements, numbers);
        else prepare<double>(tape.requirements, numbers);
    }
    PreparedPauliCall(const PreparedPauliCall&) = delete;
    PauliCall call{};

private:
    // from: [number][part][sample], to: [number][group][part][lane]; lanes without a sample are 0.
    template <class T> Memory spread(const double* from, int64_t count, int parts) const {
        const int64_t width = state_.kernels->width, samples = int64_t(1) << state_.sample_bits, batch = state_.batch;
        Memory memory(size_t(count * state_.groups * parts * width) * sizeof(T), false);
        T* to = static_cast<T*>(memory.get());
        for (int64_t number = 0; number < count; ++number)
            for (int64_t group = 0; group < state_.groups; ++group)
                for (int part = 0; part < parts; ++part, to += width) {
                    const int64_t first = group * samples, here = std::min(samples, batch - first);
                    const double* values = from + (number * parts + part) * batch + first;
                    for (int64_t sample = 0; sample < here; ++sample) to[sample] = static_cast<T>(values[sample]);
                    std::fill(to + here, to + samples, T(0));
                    for (int64_t lane = samples; lane < width; ++lane) to[lane] = to[lane - samples];
                }
        return memory;
    }
    template <class T> void prepare(const PauliRequirements& needs, const PauliNumbers& numbers) {
        const int width = state_.kernels->width;
        signs_ = Memory((size_t(1) << state_.lane_bits) * static_cast<size_t>(width) * sizeof(T), false);
        T* sign = static_cast<T*>(signs_.get());
        for (int mask = 0; mask < 1 << state_.lane_bits; ++mask)
            for (int lane = 0; lane < width; ++lane)
                *sign++ = gf2::parity(static_cast<uint64_t>(mask & lane >> state_.sample_bits)) ? T(-1) : T(1);
        call.lane_signs = signs_.get();
        if (needs.batched_affine) {
            affine_ = spread<T>(numbers.batched_affine, needs.batched_affine, 12);
            call.batched_affine = affine_.get();
        }
        if (needs.batched_affine && (call.way == Way::backward || call.way == Way::joint)) {
            inverse_affine_ = spread<T>(numbers.inverse_batched_affine, needs.batched_affine, 12);
            call.inverse_batched_affine = inverse_affine_.get();
        }
        if (needs.batched_turns) {
            turns_ = spread<T>(numbers.batched_turns, needs.batched_turns, 2);
            call.batched_turns = turns_.get();
        }
    }

    const PauliState& state_;
    Memory affine_, inverse_affine_, turns_, signs_;
};

// One sweep: blocks one after the other. The work of a block is cut into parts, of groups or of tiles, by what does not depend on
// the number of threads, and so is the order in which sums are added.
class PauliSweep {
public:
    PauliSweep(const CompiledPauliTape& tape, const PauliNumbers& numbers, Way way, const PauliState* ket, const PauliState* bra,
               bool per_sample, int threads, const Interrupted& interrupted)
        : tape_(tape.view), state_(ket ? *ket : *bra), kernels_(*state_.kernels), interrupted_(interrupted),
          prepared_(tape, numbers, way, ket, bra), way_(way), per_sample_(per_sample), threads_(std::max(threads, 1)) {
        buffer_ = (size_t(1) << tape.tile_bits) * static_cast<size_t>(kernels_.width * kernels_.real_bytes);
        lanes_ = static_cast<size_t>(tape_.num_overlaps * kernels_.width);
        int64_t work = 0;
        for (int b = 0; b < tape_.num_blocks; ++b) work += tape_.blocks[b].num_ops * state_.num_rows;
        if (state_.groups < most_groups && work >= small_work) chunks_ = (chunks + state_.groups - 1) / state_.groups;
        if (work * state_.groups < small_work) threads_ = 1;
        by_group_ = threads_ == 1 || chunks_ == 1 || state_.groups % threads_ == 0;
        parts_ = static_cast<int>(chunks_ > 1 || per_sample_ ? state_.groups : std::min(state_.groups, most_parts));
    }

    bool run(double* overlaps) {
        const bool measures = way_ == Way::backward || way_ == Way::joint;
        if (measures) sums_ = Memory(static_cast<size_t>(parts_ * chunks_) * lanes_ * sizeof(double));
        if (by_group_) run_by_group();
        else run_by_tile();
        if (measures && !stopped_) collect(overlaps);
        return !stopped_;
    }

private:
    double* sums(int64_t part, int64_t chunk) const {
        double* all = static_cast<double*>(sums_.get());
        return all ? all + static_cast<size_t>(part * chunks_ + chunk) * lanes_ : nullptr;
    }
    const PauliBlock& block(int position) const { return tape_.blocks[goes_back(way_) ? tape_.num_blocks - 1 - position : position]; }
    bool skipped(const PauliBlock& block) const { return way_ == Way::backward && block.num_undone == 0; }
    void run_chunk(const PauliBlock& block, int64_t group, int64_t part, int64_t chunk) const {
        const int64_t tiles = int64_t(1) << block.num_outer;
        Workspace& workspace = Workspace::here();
        kernels_.pauli.sweep(prepared_.call, block, {group, tiles * chunk / chunks_, tiles * (chunk + 1) / chunks_},
                             workspace.get(0, buffer_), workspace.get(1, buffer_), sums(part, chunk));
    }

    void run_by_group() {
        const std::thread::id caller = std::this_thread::get_id();
        run_parts(parts_, threads_, [&](int part) {
            const bool asks = std::this_thread::get_id() == caller;
            const int64_t last = state_.groups * (part + 1) / parts_;
            for (int64_t group = state_.groups * part / parts_; group < last; ++group)
                for (int b = 0; b < tape_.num_blocks && !stop(asks); ++b)
                    for (int64_t chunk = 0; chunk < chunks_ && !skipped(block(b)); ++chunk) run_chunk(block(b), group, part, chunk);
            Workspace::here().trim();
        });
    }

    void run_by_tile() {
        for (int b = 0; b < tape_.num_blocks && !stop(true); ++b) {
            if (skipped(block(b))) continue;
            run_parts(static_cast<int>(parts_ * chunks_), threads_, [&](int part) {
                run_chunk(block(b), part / chunks_, part / chunks_, part % chunks_);
                Workspace::here().trim();
            });
        }
    }

    bool stop(bool asks) {
        if (asks && interrupted_()) stopped_ = true;
        return stopped_;
    }

    void collect(double* overlaps) const {
        const int64_t count = tape_.num_overlaps, width = kernels_.width;
        std::vector<double> lanes(lanes_);
        const auto add = [&](int64_t part) {
            for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
                const double* from = sums(part, chunk);
                for (size_t i = 0; i < lanes_; ++i) lanes[i] += from[i];
            }
        };
        if (!per_sample_) {
            for (int64_t part = 0; part < parts_; ++part) add(part);
            for (int64_t k = 0; k < count; ++k)
                for (int64_t lane = 0; lane < width; ++lane) overlaps[k] += lanes[static_cast<size_t>(k * width + lane)];
            return;
        }
        for (int64_t group = 0; group < state_.groups; ++group) {
            std::fill(lanes.begin(), lanes.end(), 0.0);
            add(group);
            const int64_t samples = int64_t(1) << state_.sample_bits, first = group * samples;
            for (int64_t sample = 0; sample < std::min(samples, state_.batch - first); ++sample)
                for (int64_t k = 0; k < count; ++k)
                    for (int64_t lane = sample; lane < width; lane += samples)
                        overlaps[(first + sample) * count + k] += lanes[static_cast<size_t>(k * width + lane)];
        }
    }

    const PauliTapeView& tape_;
    const PauliState& state_;
    const Kernels& kernels_;
    const Interrupted& interrupted_;
    PreparedPauliCall prepared_;
    Way way_;
    bool per_sample_, by_group_ = true;
    int threads_, parts_ = 1;
    int64_t chunks_ = 1;
    size_t lanes_ = 0, buffer_ = 0;
    Memory sums_;
    std::atomic<bool> stopped_{false};
};

}  // namespace

bool run_pauli(const CompiledPauliTape& tape, const PauliNumbers& numbers, Way way, const PauliState* ket, const PauliState* bra,
               bool per_sample, double* overlaps, int threads, const Interrupted& interrupted) {
    check(tape.requirements, numbers);
    if (way == Way::forward && apply_to_product(tape, numbers, *ket)) return true;
    if (ket) write_product(*ket, threads);
    if (bra) write_product(*bra, threads);
    return PauliSweep(tape, numbers, way, ket, bra, per_sample, threads, interrupted).run(overlaps);
}

}  // namespace fusedqml
