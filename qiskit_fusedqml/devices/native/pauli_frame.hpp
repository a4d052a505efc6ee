// Tiles of Pauli strings: subspaces on which the form <r, s> = parity(r & swapped(s)) is not degenerate.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gf2.hpp"

namespace fusedqml {

constexpr uint64_t x_bits = 0x5555555555555555;

inline uint64_t swapped(uint64_t r) { return (r & x_bits) << 1 | (r >> 1 & x_bits); }
inline bool form(uint64_t r, uint64_t s) { return gf2::parity(r & swapped(s)); }
// Number of letters Y modulo 2.
inline bool y_parity(uint64_t r) { return gf2::parity(r & r >> 1 & x_bits); }

class PauliTileFrame {
public:
    // The smallest such tile, or nearly so, that contains the vectors given; what it lacks is taken from the basis of a larger one.
    PauliTileFrame(const std::vector<uint64_t>& vectors, const std::vector<uint64_t>& larger);

    int size() const { return static_cast<int>(basis_.size()); }
    const std::vector<uint64_t>& basis() const { return basis_; }  // in echelon form
    uint64_t pivots() const { return pivots_; }
    // The vector plus the one of the tile that makes it orthogonal to the tile.
    uint64_t orthogonal(uint64_t vector) const { return vector ^ row(projection(vector)); }
    // Local bits of the tile's part of a vector.
    uint32_t projection(uint64_t vector) const;
    // Local bits of a vector of the tile; InvalidInputError for others.
    uint32_t local(uint64_t vector) const;
    uint64_t row(uint64_t local) const;
    // The functional <vector, .> on local bits.
    uint32_t functional(uint64_t vector) const;

private:
    void invert();
    std::vector<uint64_t> basis_;
    std::vector<uint32_t> inverse_;  // rows of the inverse of the form's matrix
    uint64_t pivots_ = 0;
};

}  // namespace fusedqml
