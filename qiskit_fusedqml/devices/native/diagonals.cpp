#include "diagonals.hpp"

#include <algorithm>

namespace fusedqml {
namespace {

// Coordinates of a table's index in which the differences between lanes are permutations of the lanes: an index is split into
// the part `row`, which numbers the table's rows, and a lane whose own difference from lane 0 is the rest.
class Coordinates {
public:
    Coordinates(const std::vector<Functional>& basis, int v) : d_(static_cast<int>(basis.size())) {
        for (int i = 0; i < v; ++i) {
            uint64_t difference = 0;
            for (int j = 0; j < d_; ++j) difference |= uint64_t(basis[static_cast<size_t>(j)].lanes >> i & 1) << j;
            lane_differences.push_back(difference);
            const uint64_t tagged = echelon_.reduced(difference << lane_room | uint64_t(1) << i);
            if (tagged >> lane_room) echelon_.add(tagged);
        }
        for (int j = 0; j < d_; ++j)
            if (!(echelon_.pivots() >> lane_room >> j & 1)) row_bits.push_back(j);
    }
    uint32_t entry(uint64_t index) const {
        const uint64_t tagged = echelon_.reduced(index << lane_room);
        uint32_t row = 0;
        for (size_t k = 0; k < row_bits.size(); ++k)
            row |= static_cast<uint32_t>(tagged >> lane_room >> row_bits[k] & 1) << k;
        const uint64_t lane = tagged & ((uint64_t(1) << lane_room) - 1);
        return row | static_cast<uint32_t>(lane) << row_bits.size();
    }
    bool lanes_differ() const { return !echelon_.vectors().empty(); }
    std::vector<uint64_t> lane_differences;
    std::vector<int> row_bits;

private:
    static constexpr int lane_room = max_lane_bits;
    int d_;
    gf2::Echelon echelon_;
};

std::vector<Term> compile_terms(const FactorSource& source, const Coordinates& coordinates) {
    const size_t d = source.basis.size();
    std::vector<Term> terms;
    for (const uint64_t mask : source.terms) {
        Term term{0, 0, static_cast<int32_t>(mask >> d & 1)};
        for (size_t k = 0; k < coordinates.row_bits.size(); ++k)
            term.mask |= static_cast<uint32_t>(mask >> coordinates.row_bits[k] & 1) << k;
        for (size_t i = 0; i < coordinates.lane_differences.size(); ++i)
            term.lanes |= static_cast<uint32_t>(gf2::parity(mask & coordinates.lane_differences[i])) << i;
        terms.push_back(term);
    }
    return terms;
}

Table compile_table(Arena& arena, const Frame& frame, const FactorSource& source, int id) {
    std::vector<Functional> basis;
    for (const uint64_t functional : source.basis) basis.push_back(frame.split(functional));
    const Coordinates coordinates(basis, frame.v);
    const int t = static_cast<int>(frame.basis.size());
    std::vector<uint32_t> low{0}, steps;
    std::vector<Shift> outer;
    uint32_t total = 0, seen = 0;
    for (int k = 0; k < t; ++k) {
        uint64_t index = 0;
        for (size_t j = 0; j < basis.size(); ++j) index |= uint64_t(basis[j].local >> k & 1) << j;
        const uint32_t entry = coordinates.entry(index);
        seen |= entry;
        if (k < micro_bits) {
            const size_t size = low.size();
            for (size_t i = 0; i < size; ++i) low.push_back(low[i] ^ entry);
        } else {
            steps.push_back(total ^= entry);
        }
    }
    steps.push_back(0);
    for (size_t j = 0; j < basis.size(); ++j)
        if (basis[j].outer) {
            outer.push_back({basis[j].outer, coordinates.entry(uint64_t(1) << j)});
            seen |= outer.back().vector;
        }
    const std::vector<Term> terms = compile_terms(source, coordinates);
    Table table{};
    table.id = id;
    table.index_bits = static_cast<int32_t>(coordinates.row_bits.size());
    table.per_lane = source.batched || coordinates.lanes_differ();
    table.permuted = seen >> table.index_bits != 0;
    table.batched = source.batched;
    table.first = source.first;
    table.num_terms = static_cast<int32_t>(terms.size());
    table.scale = -1;
    table.terms = arena.keep(terms);
    table.low = arena.keep(low);
    table.steps = arena.keep(steps);
    table.num_outer = static_cast<int32_t>(outer.size());
    table.outer = arena.keep(outer);
    return table;
}

// Butterflies that leave the transform at `mask` in position `positions[mask]`, for the masks wanted only.
class Pruning {
public:
    explicit Pruning(std::vector<uint32_t> masks, int bits) : masks_(std::move(masks)), positions_(masks_.size()) {
        std::vector<size_t> all(masks_.size());
        for (size_t i = 0; i < all.size(); ++i) all[i] = i;
        split(0, bits, all);
    }
    std::vector<Butterfly> butterflies;
    uint16_t position(size_t i) const { return positions_[i]; }

private:
    void split(int first, int bits, const std::vector<size_t>& members) {
        if (members.empty()) return;
        if (bits == 0) {
            for (const size_t i : members) positions_[i] = static_cast<uint16_t>(first);
            return;
        }
        const int half = 1 << (bits - 1);
        std::vector<size_t> even, odd;
        for (const size_t i : members) (masks_[i] & static_cast<uint32_t>(half) ? odd : even).push_back(i);
        const int kind = odd.empty() ? 0 : even.empty() ? 1 : 2;
        butterflies.push_back({static_cast<uint16_t>(first), static_cast<uint16_t>(half), static_cast<uint16_t>(kind)});
        split(first, bits - 1, even);
        split(kind == 2 ? first + half : first, bits - 1, odd);
    }
    std::vector<uint32_t> masks_;
    std::vector<uint16_t> positions_;
};

}  // namespace

Diagonal compile_diagonal(Arena& arena, const Frame& frame, const DiagonalSource& source, int first_id) {
    std::vector<Table> tables;
    for (const FactorSource& factor : source.factors)
        tables.push_back(compile_table(arena, frame, factor, first_id + static_cast<int>(tables.size())));
    if (tables.empty()) tables.push_back(compile_table(arena, frame, FactorSource{}, first_id));  // K alone
    tables[0].scale = source.scale;

    const int bits = std::min(static_cast<int>(frame.basis.size()), chunk_bits);
    std::vector<uint32_t> masks;
    for (const uint64_t functional : source.functionals)
        masks.push_back(frame.split(functional).local & ((uint32_t(1) << bits) - 1));
    const Pruning pruning(masks, bits);
    std::vector<Wanted> wanted;
    for (size_t i = 0; i < masks.size(); ++i) {
        const Functional f = frame.split(source.functionals[i]);
        wanted.push_back({pruning.position(i), f.local >> bits, f.sign()});
    }
    Diagonal result{};
    result.num_tables = static_cast<int32_t>(tables.size());
    result.overlap = source.overlap;
    result.num_wanted = source.overlap >= 0 ? static_cast<int32_t>(wanted.size()) : 0;
    result.num_butterflies = static_cast<int32_t>(pruning.butterflies.size());
    result.tables = arena.keep(tables);
    result.wanted = arena.keep(wanted);
    result.butterflies = arena.keep(pruning.butterflies);
    return result;
}

}  // namespace fusedqml
