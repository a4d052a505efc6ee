// Functionals and affine sets of rows inside a tile.
#pragma once
#include <vector>

#include "compile.hpp"
#include "gf2.hpp"

namespace fusedqml {

// A functional's parts, see tape.hpp.
struct Functional {
    uint32_t local = 0, lanes = 0;
    uint64_t outer = 0;
    Functional operator^(const Functional& o) const { return {local ^ o.local, lanes ^ o.lanes, outer ^ o.outer}; }
    Parity sign() const { return {outer, lanes}; }
};

constexpr int stacked_row_bits = 6;  // rows of a stack: ket and bra fill half of the fastest cache with the widest vectors

// Completes the steps of a walk over rows of a tile of t local bits, as `Rows` has them.
void extend_walk(std::vector<uint32_t>& steps, int t);

// How a tile's rows are numbered.
struct TileFrame {
    int n = 0, v = 0;
    gf2::Echelon declared;         // the tile as the tape names it; the basis may span more
    std::vector<uint64_t> basis;   // of the tile, reduced echelon, ascending
    std::vector<int> pivots;
    std::vector<int> lane_bits;    // row bit of each lane bit
    std::vector<int> outer_bits;

    // log2 of the number of groups that a tile may hold at a time.
    int stack_bits() const {
        const int t = static_cast<int>(basis.size());
        if (v || !outer_bits.empty() || t >= stacked_row_bits) return 0;
        return stacked_row_bits - t < max_stack_bits ? stacked_row_bits - t : max_stack_bits;
    }
    Functional split(uint64_t functional) const {
        Functional result;
        for (size_t k = 0; k < basis.size(); ++k)
            result.local |= static_cast<uint32_t>(gf2::parity(functional & basis[k])) << k;
        for (size_t i = 0; i < lane_bits.size(); ++i)
            result.lanes |= static_cast<uint32_t>(functional >> lane_bits[i] & 1) << i;
        for (const int bit : outer_bits) result.outer |= functional & (uint64_t(1) << bit);
        result.outer |= functional & (uint64_t(1) << n);
        return result;
    }
    uint32_t local(uint64_t vector) const {
        if (declared.reduced(vector)) throw InvalidInputError("A flip vector lies outside its block's tile.");
        uint32_t u = 0;
        for (size_t k = 0; k < basis.size(); ++k) u |= static_cast<uint32_t>(vector >> pivots[k] & 1) << k;
        return u;
    }
};

// The rows on which a set of controls holds.
class Selection {
public:
    Selection(const TileFrame& frame, const std::vector<uint64_t>& controls);
    // The functional's equal on the selected rows that has no local part on the controls' pivots.
    Functional reduced(Functional f) const;
    // A local vector on which f (reduced) is 1 and every control 0.
    uint32_t dual(const Functional& f) const;
    // The walk over the selected rows on which also the given local masks are 0.
    Rows rows(Arena& arena, std::vector<uint64_t> masks) const;

private:
    const TileFrame& frame_;
    std::vector<Functional> conditions_;
    std::vector<int> pivots_;
    std::vector<uint64_t> tests_;
    std::vector<Parity> lane_tests_;
};

}  // namespace fusedqml
