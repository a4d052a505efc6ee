#include "run.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "call.hpp"
#include "gf2.hpp"
#include "pool.hpp"
#include "workspace.hpp"

namespace fusedqml {
namespace {

constexpr int64_t small_work = 4000;   // vector rows times operations that one thread does sooner than it wakes another
constexpr int shares = 4;              // parts a thread, so that a thread that is late or slow takes fewer
constexpr size_t share_bytes = size_t(1) << 18;  // unless their sums take more memory than this

int64_t tiles_of(const Block& block) { return int64_t(1) << block.num_outer; }

// What scratch memory the blocks of a tape need.
struct Needs {
    size_t tile = 0, tables = 0, work = 0, dense = 0;
    std::vector<size_t> offsets;   // of batched tables in their block's (or, built on the fly, their operation's) memory
    std::vector<char> block_tables;  // whether a block's batched tables are built before the block
};

Needs scratch_needs(const TapeView& tape, const Kernels& kernels) {
    Needs needs;
    needs.offsets.resize(static_cast<size_t>(tape.num_tables));
    for (int b = 0; b < tape.num_blocks; ++b) {
        const Block& block = tape.blocks[b];
        size_t offset = 0;
        if (!block.in_place)
            needs.tile = std::max(needs.tile, static_cast<size_t>(kernels.components * kernels.width * kernels.real_bytes) << block.t);
        for (int i = 0; i < block.num_ops; ++i) {
            if (block.ops[i].kind == Kind::dense) {
                const int k = static_cast<const DenseMatrix*>(block.ops[i].detail)->k;
                needs.dense = std::max(needs.dense, dense_bytes(k, static_cast<size_t>(kernels.width * kernels.real_bytes)));
            }
            if (block.ops[i].kind != Kind::diagonal) continue;
            if (!block.num_outer) offset = 0;
            const Diagonal& op = *static_cast<const Diagonal*>(block.ops[i].detail);
            for (int k = 0; k < op.num_tables; ++k) {
                if (!op.tables[k].batched) continue;
                needs.offsets[static_cast<size_t>(op.tables[k].id)] = offset;
                offset += kernels.table_bytes(op.tables[k]);
                needs.work = std::max(needs.work, kernels.table_work(op.tables[k]));
            }
            needs.tables = std::max(needs.tables, offset);
        }
        needs.block_tables.push_back(offset > 0 && block.num_outer > 0);
    }
    return needs;
}

// How many threads have something to do: each takes groups of samples, or tiles where these are more.
int useful_threads(const TapeView& tape, const State& ket, int threads) {
    int64_t work = 0, most = std::max<int64_t>(ket.groups, 1);
    for (int b = 0; b < tape.num_blocks; ++b) {
        work += tape.blocks[b].num_ops * ket.num_rows * ket.groups;
        most = std::max(most, tiles_of(tape.blocks[b]));
    }
    return work < small_work ? 1 : static_cast<int>(std::min<int64_t>(most, std::max(threads, 1)));
}

// One call: blocks one after the other, groups and tiles divided among parts.
class Sweep {
public:
    Sweep(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State* bra, bool per_sample,
          int threads, const Interrupted& interrupted)
        : tape_(tape.view), ket_(ket), bra_(bra), kernels_(*ket.kernels), interrupted_(interrupted),
          prepared_(tape, coefficients, ket, bra, per_sample, useful_threads(tape.view, ket, threads)),
          needs_(scratch_needs(tape.view, *ket.kernels)), threads_(useful_threads(tape.view, ket, threads)) {
        from_zero_ = ket.is_zero && !bra;
        ket.is_zero = false;
        if (bra) bra->is_zero = false;
        lanes_ = static_cast<size_t>(tape_.num_overlaps * kernels_.width);
        by_group_ = ket.groups >= threads_;
        separate_ = per_sample && !by_group_ ? ket.groups : 1;
        const bool few_sums = static_cast<size_t>(separate_) * lanes_ * sizeof(double) <= share_bytes;
        int64_t most = ket.groups;
        if (!by_group_) for (int b = 0; b < tape_.num_blocks; ++b) most = std::max(most, tiles_of(tape_.blocks[b]));
        parts_ = static_cast<int>(std::min<int64_t>(most, threads_ > 1 && few_sums ? shares * threads_ : threads_));
        if (!bra) return;
        sums_ = Memory(static_cast<size_t>(parts_ * separate_) * lanes_ * sizeof(double));
    }

    bool run(double* overlaps) {
        if (by_group_) run_by_group(overlaps);
        else run_by_tile();
        if (bra_ && !stopped_) collect(overlaps);
        return !stopped_;
    }

private:
    double* sums(int part, int64_t separate) const {
        return static_cast<double*>(sums_.get()) + static_cast<size_t>(part * separate_ + separate) * lanes_;
    }
    // Blocks in the direction of the call.
    const Block& block(int position) const { return tape_.blocks[bra_ ? tape_.num_blocks - 1 - position : position]; }
    bool has_block_tables(int position) const {
        return needs_.block_tables[static_cast<size_t>(bra_ ? tape_.num_blocks - 1 - position : position)];
    }
    bool skipped(const Block& block) const { return bra_ ? block.num_undone == 0 : block.num_ops == 0; }

    Scratch scratch() const {
        Workspace& workspace = Workspace::here();
        Scratch result{};
        result.ket = workspace.get(0, needs_.tile);
        result.bra = workspace.get(1, bra_ ? needs_.tile : 0);
        result.tables = workspace.get(2, needs_.tables);
        result.work = static_cast<double*>(workspace.get(3, needs_.work * sizeof(double)));
        result.dense = workspace.get(4, needs_.dense);
        result.table_offsets = needs_.offsets.data();
        return result;
    }
    void run_tiles(const Block& block, const Tiles& tiles, const Scratch& scratch, double* sums) const {
        if (bra_) kernels_.backward(prepared_.call, block, tiles, scratch, sums);
        else kernels_.forward(prepared_.call, block, tiles, scratch);
    }
    bool from_zero(int position) const { return from_zero_ && position == 0; }
    // log2 of the number of groups that go through the tape together.
    int stack_bits(int64_t groups) const {
        int bits = prepared_.call.per_sample ? 0 : max_stack_bits;
        for (int b = 0; b < tape_.num_blocks; ++b) bits = std::min(bits, int(tape_.blocks[b].stack_bits));
        while (int64_t(1) << bits > groups) --bits;
        return bits;
    }

    void run_by_group(double* overlaps) {
        const std::thread::id caller = std::this_thread::get_id();
        run_parts(parts_, threads_, [&](int part) {
            const Scratch scratch = this->scratch();
            const bool asks = std::this_thread::get_id() == caller;
            const int64_t first = ket_.groups * part / parts_, last = ket_.groups * (part + 1) / parts_;
            for (int64_t group = first, stack; group < last; group += int64_t(1) << stack) {
                stack = stack_bits(last - group);
                for (int b = 0; b < tape_.num_blocks && !stop(asks); ++b) {
                    if (skipped(block(b))) continue;
                    if (has_block_tables(b))
                        kernels_.batched_tables(prepared_.call, block(b), group, 0, block(b).num_ops, scratch);
                    const Tiles tiles{group, static_cast<int32_t>(stack), from_zero(b), 0, tiles_of(block(b))};
                    run_tiles(block(b), tiles, scratch, bra_ ? sums(part, 0) : nullptr);
                }
                if (bra_ && prepared_.call.per_sample) {
                    write_samples(group, part, 0, overlaps, true);
                    std::memset(sums(part, 0), 0, lanes_ * sizeof(double));
                }
            }
            Workspace::here().trim();
        });
    }

    void run_by_tile() {
        const Memory tables(needs_.tables, false);
        for (int b = 0; b < tape_.num_blocks && !stop(true); ++b) {
            if (skipped(block(b))) continue;
            for (int64_t group = 0; group < ket_.groups; ++group) run_block(b, group, tables.get());
        }
    }

    void run_block(int position, int64_t group, void* shared_tables) {
        const Block& block = this->block(position);
        const bool ready = has_block_tables(position);
        if (ready)
            run_parts(parts_, threads_, [&](int part) {
                Scratch scratch = this->scratch();
                scratch.tables = shared_tables;
                for (int i = part; i < block.num_ops; i += parts_)
                    kernels_.batched_tables(prepared_.call, block, group, i, i + 1, scratch);
            });
        const int64_t count = tiles_of(block);
        const int parts = static_cast<int>(std::min<int64_t>(parts_, count));
        run_parts(parts, threads_, [&](int part) {
            Scratch scratch = this->scratch();
            if (ready) scratch.tables = shared_tables;
            double* to = bra_ ? sums(part, prepared_.call.per_sample ? group : 0) : nullptr;
            const Tiles tiles{group, 0, from_zero(position), count * part / parts, count * (part + 1) / parts};
            run_tiles(block, tiles, scratch, to);
            Workspace::here().trim();
        });
    }

    bool stop(bool asks) {
        if (asks && interrupted_()) stopped_ = true;
        return stopped_;
    }

    // Sums of one part for one group, by sample.
    void write_samples(int64_t group, int part, int64_t separate, double* overlaps, bool replace) const {
        const double* from = sums(part, separate);
        const int64_t samples = ket_.samples_of(group), count = tape_.num_overlaps;
        for (int64_t sample = 0; sample < samples; ++sample) {
            double* to = overlaps + ((group << ket_.sample_bits) + sample) * count;
            for (int64_t k = 0; k < count; ++k) {
                double sum = 0;
                for (int64_t lane = sample; lane < kernels_.width; lane += int64_t(1) << ket_.sample_bits)
                    sum += from[k * kernels_.width + lane];
                to[k] = replace ? sum : to[k] + sum;
            }
        }
    }

    void collect(double* overlaps) const {
        if (prepared_.call.per_sample) {
            for (int64_t group = 0; !by_group_ && group < ket_.groups; ++group)
                for (int part = 0; part < parts_; ++part) write_samples(group, part, group, overlaps, part == 0);
            return;
        }
        for (int64_t k = 0; k < tape_.num_overlaps; ++k) {
            double sum = 0;
            for (int part = 0; part < parts_; ++part)
                for (int lane = 0; lane < kernels_.width; ++lane) sum += sums(part, 0)[k * kernels_.width + lane];
            overlaps[k] = sum;
        }
    }

    const TapeView& tape_;
    const State& ket_;
    const State* bra_;
    const Kernels& kernels_;
    const Interrupted& interrupted_;
    PreparedCall prepared_;
    Needs needs_;
    int threads_, parts_ = 1;
    bool by_group_ = true, from_zero_ = false;
    int64_t separate_ = 1;
    size_t lanes_ = 0;
    Memory sums_;
    std::atomic<bool> stopped_{false};
};

}  // namespace

bool run_forward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, int threads,
                 const Interrupted& interrupted) {
    return Sweep(tape, coefficients, ket, nullptr, false, threads, interrupted).run(nullptr);
}

bool run_backward(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State& bra,
                  bool per_sample, double* overlaps, int threads, const Interrupted& interrupted) {
    return Sweep(tape, coefficients, ket, &bra, per_sample, threads, interrupted).run(overlaps);
}

}  // namespace fusedqml
