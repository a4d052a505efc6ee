#include "observables.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr int most_block_bits = 10;   // rows whose diagonals are evaluated at a time
constexpr int many_block_bits = 7;    // and with many flips, so that the bra's rows stay in the L1 cache from flip to flip
constexpr size_t many_flips = 4;
constexpr size_t most_together = 8;
constexpr size_t most_kept = size_t(64) << 20;  // bytes of all layouts
constexpr size_t kept_at_once = size_t(1) << 18;  // of more bytes, those that differ from block to block are kept from the second use on
constexpr int64_t small_work = 2000;  // stored rows times flips that one thread does sooner than it wakes another

int choose_block_bits(int num_qubits, const std::vector<TermSource>& terms) {
    std::vector<uint64_t> flips;
    for (const TermSource& term : terms) flips.push_back(term.x);
    std::sort(flips.begin(), flips.end());
    const auto count = static_cast<size_t>(std::unique(flips.begin(), flips.end()) - flips.begin());
    return std::min(num_qubits, count > many_flips ? many_block_bits : most_block_bits);
}

// Row bits 0 to 3, which may be in lanes, from the last to the first: flips of the same lanes follow each other, however many lanes there are.
uint64_t lane_order(uint64_t x) { return (x & 1) << 3 | (x & 2) << 1 | (x & 4) >> 1 | (x & 8) >> 3; }

// Values at the rows of a block, one a row, or one a lane of each stored row: that of the lane itself, or of the one `flip` leads to.
template <class T> void copy_values(const double* values, size_t count, int lane_bits, int sample_bits, uint64_t flip, T* out) {
    const size_t copies = lane_bits ? size_t(1) << sample_bits : 1;
    for (size_t row = 0; row < count; ++row)
        for (size_t copy = 0; copy < copies; ++copy) *out++ = static_cast<T>(values[row ^ flip]);
}

// Adds the lanes of a group to numbers of its samples.
void add_lanes(const State& state, int64_t group, double weight, const double* lanes, double* to, int64_t stride) {
    const int64_t samples = int64_t(1) << state.sample_bits, count = state.samples_of(group);
    to += group * samples * stride;
    for (int64_t copy = 0; copy < state.kernels->width; copy += samples)
        for (int64_t sample = 0; sample < count; ++sample) to[sample * stride] += weight * lanes[copy + sample];
}

}  // namespace

Observables::Observables(const Kernels* kernels, int num_qubits, int num_observables, const std::vector<TermSource>& terms)
    : kernels_(kernels), n_(num_qubits), num_observables_(num_observables), block_bits_(choose_block_bits(num_qubits, terms)) {
    std::map<std::pair<uint64_t, bool>, size_t> places;
    for (const TermSource& term : terms) {
        if (term.observable < 0 || term.observable >= num_observables) throw InvalidInputError("A term of no observable.");
        const bool imaginary = term.power & 1;
        if (imaginary) is_real_ = false;
        const auto [place, is_new] = places.try_emplace({term.x, imaginary}, flips_.size());
        if (is_new) flips_.push_back({term.x, imaginary, {}, 0});
        std::vector<RealDiagonal>& diagonals = flips_[place->second].diagonals;
        // terms come by observable
        if (diagonals.empty() || diagonals.back().observable != term.observable) diagonals.emplace_back(term.observable);
        diagonals.back().add(arena_, term, n_, block_bits_);
    }
    // Flips that lead from a block to the same one follow each other, so that they find its rows in the L1 cache, and among these the ones that
    // may pass together.
    const auto order = [&](const Flip& flip) {
        const uint64_t block = flip.x >> block_bits_;
        const int observable = flip.diagonals.size() == 1 ? flip.diagonals[0].observable : -1;
        return std::make_tuple(block, observable, flip.imaginary, block || !flip.x ? 0 : gf2::highest(flip.x), lane_order(flip.x));
    };
    std::stable_sort(flips_.begin(), flips_.end(), [&](const Flip& a, const Flip& b) { return order(a) < order(b); });
    kinds_.resize(static_cast<size_t>(n_ - block_bits_));
    for (Flip& flip : flips_) {
        flip.first = num_diagonals_;
        num_diagonals_ += flip.diagonals.size();
        for (RealDiagonal& diagonal : flip.diagonals) {
            diagonal.finish(*kernels_, n_, block_bits_);
            for (size_t bit = 0; bit < kinds_.size(); ++bit) kinds_[bit].push_back(diagonal.kind_of_bit(block_bits_ + static_cast<int>(bit)));
            kind_bits_.push_back(diagonal.kind_bits());
        }
    }
}

bool Observables::pass_together(const Batch& batch, const Flip& flip, uint64_t lanes, int pair_bit) const {
    const Flip& first = flips_[batch.first];
    return batch.count < most_together && first.diagonals.size() == 1 && flip.diagonals.size() == 1 &&
           first.diagonals[0].observable == flip.diagonals[0].observable && first.imaginary == flip.imaginary && batch.lanes == lanes &&
           batch.pair_bit == pair_bit;
}

Observables::Layout Observables::make_layout(const State& state, size_t room, bool is_first) const {
    const size_t real = static_cast<size_t>(state.kernels->real_bytes), copies = state.lane_bits ? size_t(1) << state.sample_bits : 1;
    Layout layout{state.kernels->width, state.kernels->real_bytes, state.lane_bits, state.sample_bits, 0, {}, {}, {}, 0, true, {}};
    layout.block_bytes = (((real * copies) << block_bits_) + 63) & ~size_t(63);
    for (size_t i = 0; i < flips_.size(); ++i) {
        const uint64_t x = flips_[i].x, lanes = x & ((uint64_t(1) << state.lane_bits) - 1);
        const int pair_bit = x >> state.lane_bits ? gf2::highest(x) : -1;
        if (!layout.batches.empty() && pass_together(layout.batches.back(), flips_[i], lanes, pair_bit)) ++layout.batches.back().count;
        else layout.batches.push_back({i, 1, lanes, pair_bit});
    }
    keep_values(layout, choose_kept(layout, room, is_first));
    return layout;
}

// The values of a diagonal at a block, as the sweeps read them; false if they are 0 and may be left out.
bool Observables::store(const Layout& layout, const Batch& batch, const RealDiagonal& diagonal, uint64_t high, double* values,
                        void* out) const {
    const bool not_zero = diagonal.evaluate(*kernels_, high | uint64_t(1) << n_, block_bits_, values);
    if (!not_zero && flips_[batch.first].diagonals.size() == 1) return false;
    const size_t count = size_t(1) << block_bits_;
    const uint64_t flip = batch.is_joint() ? batch.lanes : 0;
    if (layout.real_bytes == 4) copy_values(values, count, layout.lane_bits, layout.sample_bits, flip, static_cast<float*>(out));
    else copy_values(values, count, layout.lane_bits, layout.sample_bits, flip, static_cast<double*>(out));
    return true;
}

// Sets which diagonals' values are kept, those of few kinds before others, and returns their bytes, at most `room`.
size_t Observables::choose_kept(Layout& layout, size_t room, bool is_first) const {
    std::vector<size_t> order(num_diagonals_);
    std::iota(order.begin(), order.end(), size_t(0));
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return kind_bits_[a] < kind_bits_[b]; });
    layout.first.assign(num_diagonals_, -1);
    layout.num_made = num_diagonals_;
    size_t bytes = 0;
    for (const size_t d : order) {
        const size_t more = layout.block_bytes << kind_bits_[d];
        if (bytes + more > room) break;
        if (is_first && kind_bits_[d] == n_ - block_bits_ && bytes + more > kept_at_once) {
            layout.is_final = false;
            break;
        }
        layout.first[d] = 0;
        --layout.num_made;
        bytes += more;
    }
    return bytes;
}

void Observables::keep_values(Layout& layout, size_t bytes) const {
    layout.memory = Memory(bytes, false);
    char* out = static_cast<char*>(layout.memory.get());
    const Memory scratch(sizeof(double) << block_bits_, false);
    size_t d = 0;
    for (const Batch& batch : layout.batches)
        for (size_t i = batch.first; i < batch.first + batch.count; ++i)
            for (const RealDiagonal& diagonal : flips_[i].diagonals) {
                int64_t& first = layout.first[d++];
                if (first < 0) continue;
                first = static_cast<int64_t>(layout.kept.size());
                for (uint32_t kind = 0; kind >> diagonal.kind_bits() == 0; ++kind) {
                    const bool stored = store(layout, batch, diagonal, diagonal.block_of(kind), static_cast<double*>(scratch.get()), out);
                    layout.kept.push_back(stored ? out : nullptr);
                    if (stored) out += layout.block_bytes;
                }
            }
}

std::shared_ptr<const Observables::Layout> Observables::layout_for(const State& state) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = std::find_if(layouts_.begin(), layouts_.end(), [&](const auto& layout) {
        return layout->width == state.kernels->width && layout->real_bytes == state.kernels->real_bytes && layout->lane_bits == state.lane_bits;
    });
    const bool is_first = found == layouts_.end();
    if (!is_first && (*found)->is_final) return *found;
    size_t room = most_kept;
    for (auto other = layouts_.begin(); other != layouts_.end(); ++other)
        if (other != found) room -= (*other)->memory.size();
    auto layout = std::make_shared<const Layout>(make_layout(state, room, is_first));
    if (is_first) layouts_.push_back(layout);  // there are few: two widths, up to four row bits in the lanes
    else *found = layout;
    return layout;
}

// Pointers to all diagonals' values at one block: kept ones, and those made for it.
class Observables::Values {
public:
    Values(const Observables& observables, const Layout& layout)
        : all_(observables), layout_(layout), kinds_(observables.num_diagonals_), pointers_(observables.num_diagonals_) {
        if (!layout.num_made) return;
        memory_ = Memory(layout.num_made * layout.block_bytes, false);
        scratch_ = Memory(sizeof(double) << all_.block_bits_, false);
    }
    const void* const* at(int64_t block) {
        if (block == block_) return pointers_.data();
        block_ = block;
        find();
        if (layout_.num_made) make();
        return pointers_.data();
    }

private:
    void find() {
        std::fill(kinds_.begin(), kinds_.end(), 0);
        for (uint64_t left = static_cast<uint64_t>(block_); left; left &= left - 1) {
            const std::vector<uint32_t>& changed = all_.kinds_[static_cast<size_t>(__builtin_ctzll(left))];
            for (size_t d = 0; d < kinds_.size(); ++d) kinds_[d] ^= changed[d];
        }
        for (size_t d = 0; d < kinds_.size(); ++d)
            if (layout_.first[d] >= 0) pointers_[d] = layout_.kept[static_cast<size_t>(layout_.first[d]) + kinds_[d]];
    }
    void make() {
        const uint64_t high = static_cast<uint64_t>(block_) << all_.block_bits_;
        char* out = static_cast<char*>(memory_.get());
        size_t d = 0;
        for (const Batch& batch : layout_.batches)
            for (size_t i = batch.first; i < batch.first + batch.count; ++i)
                for (const RealDiagonal& diagonal : all_.flips_[i].diagonals) {
                    const size_t number = d++;
                    if (layout_.first[number] >= 0) continue;
                    const bool stored = all_.store(layout_, batch, diagonal, high, static_cast<double*>(scratch_.get()), out);
                    pointers_[number] = stored ? out : nullptr;
                    out += layout_.block_bytes;
                }
    }
    const Observables& all_;
    const Layout& layout_;
    int64_t block_ = -1;
    std::vector<uint32_t> kinds_;
    std::vector<const void*> pointers_;
    Memory memory_, scratch_;
};

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

// Calls body(group, block, pass, batch) for each pass, and with batch nullptr after the last one of a block. A block's rows of
// one group stay in the L1 cache from flip to flip, but values that are made for a block serve all groups.
template <class Body>
void Observables::for_passes(const State& ket, const Layout& layout, const Share& share, const Body& body) const {
    Values values(*this, layout);
    const auto run = [&](int64_t group, int64_t block) {
        const void* const* diagonals = values.at(block);
        Pass pass{};
        pass.ket = ket.group_data<char>(group * ket.kernels->real_bytes);
        pass.num_rows = int64_t(1) << (block_bits_ - ket.lane_bits);
        pass.first_row = block * pass.num_rows;
        pass.per_lane = ket.lane_bits > 0;
        for (const Batch& batch : layout.batches) {
            const Flip& flip = flips_[batch.first];
            uint32_t rows[most_together];
            const void* used[most_together];
            pass.num_flips = 0;
            pass.is_joint = batch.is_joint();
            for (size_t i = batch.first; i < batch.first + batch.count; ++i) {
                if (!diagonals[flips_[i].first]) continue;
                used[pass.num_flips] = diagonals[flips_[i].first];
                rows[pass.num_flips++] = static_cast<uint32_t>(flips_[i].x >> ket.lane_bits);
            }
            if (!pass.num_flips) continue;
            const bool is_one = flip.diagonals.size() == 1;
            pass.diagonals = is_one ? used : diagonals + flip.first;
            pass.count = is_one ? pass.num_flips : static_cast<int32_t>(flip.diagonals.size());
            pass.flip_rows = rows;
            pass.flip_lanes = static_cast<uint32_t>(batch.lanes << ket.sample_bits);
            pass.imaginary = flip.imaginary;
            pass.half_bit = -1;
            body(group, block, pass, &batch);
        }
        body(group, block, pass, static_cast<const Batch*>(nullptr));
    };
    if (!layout.num_made)
        for (int64_t group = share.first_group; group < share.last_group; ++group)
            for (int64_t block = share.first_block; block < share.last_block; ++block) run(group, block);
    else
        for (int64_t block = share.first_block; block < share.last_block; ++block)
            for (int64_t group = share.first_group; group < share.last_group; ++group) run(group, block);
}

void Observables::expectation(const State& ket, double* values, int threads) {
    const std::vector<Share> parts = shares(ket, threads);
    const size_t width = static_cast<size_t>(ket.kernels->width), group_sums = num_diagonals_ * width;
    const std::shared_ptr<const Layout> kept_layout = layout_for(ket);
    const Layout& layout = *kept_layout;
    std::vector<Memory> sums(parts.size());
    run_parts(static_cast<int>(parts.size()), threads, [&](int part) {
        const Share& share = parts[static_cast<size_t>(part)];
        const size_t groups = static_cast<size_t>(share.last_group - share.first_group);
        sums[static_cast<size_t>(part)] = Memory(groups * group_sums * sizeof(double));
        double* to = static_cast<double*>(sums[static_cast<size_t>(part)].get());
        for_passes(ket, layout, share, [&](int64_t group, int64_t block, Pass& pass, const Batch* batch) {
            if (!batch) return;
            // a pair of rows r, r ^ x is visited once: where the highest bit of x is 0
            if (batch->pair_bit >= block_bits_ && (block >> (batch->pair_bit - block_bits_) & 1)) return;
            if (batch->pair_bit >= 0 && batch->pair_bit < block_bits_) pass.half_bit = batch->pair_bit - ket.lane_bits;
            const size_t place = static_cast<size_t>(group - share.first_group) * group_sums + flips_[batch->first].first * width;
            ket.kernels->expectation(pass, to + place);
        });
    });
    std::fill(values, values + ket.batch * num_observables_, 0.0);
    for (size_t part = 0; part < parts.size(); ++part) {
        const double* from = static_cast<const double*>(sums[part].get());
        for (int64_t group = parts[part].first_group; group < parts[part].last_group; ++group, from += group_sums)
            add_up(ket, layout, group, from, values);
    }
}

void Observables::add_up(const State& ket, const Layout& layout, int64_t group, const double* sums, double* values) const {
    for (const Batch& batch : layout.batches) {
        const double weight = batch.pair_bit < 0 ? 1.0 : 2.0;  // pairs visited once
        const Flip& flip = flips_[batch.first];                // sums of several flips are the first one's
        const double* from = sums + flip.first * static_cast<size_t>(ket.kernels->width);
        for (const RealDiagonal& diagonal : flip.diagonals) {
            add_lanes(ket, group, weight, from, values + diagonal.observable, num_observables_);
            from += ket.kernels->width;
        }
    }
}

// [group][diagonal][lane]
Memory Observables::spread_cotangents(const State& ket, const double* cotangents) const {
    const int64_t width = ket.kernels->width;
    Memory memory(static_cast<size_t>(ket.groups * width * ket.kernels->real_bytes) * num_diagonals_);
    const auto spread = [&](auto* to) {
        for (int64_t group = 0; group < ket.groups; ++group)
            for (const Flip& flip : flips_)
                for (const RealDiagonal& diagonal : flip.diagonals) {
                    ket.spread(group, cotangents + diagonal.observable, num_observables_, to);
                    to += width;
                }
    };
    if (ket.kernels->real_bytes == 4) spread(static_cast<float*>(memory.get()));
    else spread(static_cast<double*>(memory.get()));
    return memory;
}

void Observables::apply(const State& ket, const State& bra, const double* cotangents, int threads, double* products) {
    const std::vector<Share> parts = shares(ket, threads);
    const Memory factors = spread_cotangents(ket, cotangents);
    const size_t width = static_cast<size_t>(ket.kernels->width), vector_bytes = width * static_cast<size_t>(ket.kernels->real_bytes);
    const size_t group_bytes = static_cast<size_t>(bra.group_size()) * static_cast<size_t>(ket.kernels->real_bytes);
    const std::shared_ptr<const Layout> kept_layout = layout_for(ket);
    const Layout& layout = *kept_layout;
    const Memory sums(products ? parts.size() * static_cast<size_t>(ket.groups) * width * sizeof(double) : 0);
    double* all_sums = static_cast<double*>(sums.get());
    run_parts(static_cast<int>(parts.size()), threads, [&](int part) {
        bool first = true;
        for_passes(ket, layout, parts[static_cast<size_t>(part)], [&](int64_t group, int64_t block, Pass& pass, const Batch* batch) {
            pass.bra = bra.group_data<char>(group * ket.kernels->real_bytes);
            pass.first = first;
            first = !batch;
            if (batch) {
                const size_t place = static_cast<size_t>(group) * num_diagonals_ + flips_[batch->first].first;
                pass.factors = static_cast<const char*>(factors.get()) + place * vector_bytes;
                ket.kernels->apply(pass);
            } else {
                const size_t bytes = group_bytes >> (n_ - block_bits_);
                if (pass.first) std::memset(static_cast<char*>(pass.bra) + static_cast<size_t>(block) * bytes, 0, bytes);
                const size_t place = static_cast<size_t>(part) * static_cast<size_t>(ket.groups) + static_cast<size_t>(group);
                if (products) ket.kernels->inner_product(pass, all_sums + place * width);
            }
        });
    });
    if (!products) return;
    std::fill(products, products + ket.batch, 0.0);
    for (size_t part = 0; part < parts.size(); ++part)
        for (int64_t group = 0; group < ket.groups; ++group, all_sums += width) add_lanes(ket, group, 1.0, all_sums, products, 1);
}

}  // namespace fusedqml
