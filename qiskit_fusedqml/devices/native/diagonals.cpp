#include "diagonals.hpp"

#include <algorithm>

namespace fusedqml {
namespace {

// Coordinates of a table's index. The differences between lanes become permutations of the lanes; the other coordinates number
// the table's rows, those first in which successive rows of a tile differ, so that the table is read from front to back.
class Coordinates {
public:
    Coordinates(const std::vector<Functional>& basis, const TileFrame& frame) : basis_(basis) {
        for (int i = 0; i < frame.v; ++i) {
            uint64_t difference = 0;
            for (size_t j = 0; j < basis.size(); ++j) difference |= uint64_t(basis[j].lanes >> i & 1) << j;
            lane_differences.push_back(difference);
            lanes_differ |= add(difference, uint64_t(1) << (first_lane_tag + i));
        }
        for (size_t k = 0; k < frame.basis.size(); ++k) add_row(local_image(k));
        for (size_t j = 0; j < basis.size(); ++j) add_row(uint64_t(1) << j);
    }
    // Index of a local unit vector.
    uint64_t local_image(size_t k) const {
        uint64_t index = 0;
        for (size_t j = 0; j < basis_.size(); ++j) index |= uint64_t(basis_[j].local >> k & 1) << j;
        return index;
    }
    uint32_t entry(uint64_t index) const {
        const uint64_t tags = echelon_.reduced(index << tag_bits);
        const uint64_t row = tags & ((uint64_t(1) << first_lane_tag) - 1), lanes = tags >> first_lane_tag;
        return static_cast<uint32_t>(row | lanes << rows.size());
    }
    std::vector<uint64_t> lane_differences;
    bool lanes_differ = false;
    std::vector<uint64_t> rows;    // index of each row coordinate's unit

private:
    // An index vector is followed by tags that say which coordinates it is made of.
    static constexpr int first_lane_tag = 28, tag_bits = 32;
    bool add(uint64_t index, uint64_t tag) {
        const uint64_t vector = echelon_.reduced(index << tag_bits | tag);
        return vector >> tag_bits && echelon_.add(vector);
    }
    void add_row(uint64_t index) {
        if (add(index, uint64_t(1) << rows.size())) rows.push_back(index);
    }
    const std::vector<Functional>& basis_;
    gf2::Echelon echelon_;
};

std::vector<Term> compile_terms(const FactorSource& source, const Coordinates& coordinates) {
    const size_t d = source.basis.size();
    std::vector<Term> terms;
    for (const uint64_t mask : source.terms) {
        Term term{0, 0, static_cast<int32_t>(mask >> d & 1)};
        for (size_t k = 0; k < coordinates.rows.size(); ++k)
            term.mask |= static_cast<uint32_t>(gf2::parity(mask & coordinates.rows[k])) << k;
        for (size_t i = 0; i < coordinates.lane_differences.size(); ++i)
            term.lanes |= static_cast<uint32_t>(gf2::parity(mask & coordinates.lane_differences[i])) << i;
        terms.push_back(term);
    }
    return terms;
}

Table compile_table(Arena& arena, const TileFrame& frame, const FactorSource& source, int id) {
    std::vector<Functional> basis;
    for (const uint64_t functional : source.basis) basis.push_back(frame.split(functional));
    const Coordinates coordinates(basis, frame);
    const int t = static_cast<int>(frame.basis.size());
    std::vector<uint32_t> low{0}, steps;
    std::vector<Shift> outer;
    uint32_t total = 0, seen = 0;
    for (int k = 0; k < t; ++k) {
        const uint32_t entry = coordinates.entry(coordinates.local_image(static_cast<size_t>(k)));
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
    table.index_bits = static_cast<int32_t>(coordinates.rows.size());
    table.per_lane = source.batched || coordinates.lanes_differ;
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

Diagonal compile_diagonal(Arena& arena, const TileFrame& frame, const DiagonalSource& source, int first_id) {
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
