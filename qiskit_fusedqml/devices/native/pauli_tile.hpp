// What operations on a tile of Pauli vectors share.
#pragma once
#include "pauli_tape.hpp"
#include "tile.hpp"

namespace fusedqml {
namespace {

template <class S> struct PauliTile {
    using T = typename S::T;
    using Vec = typename S::Vec;

    const PauliCall& call;
    int64_t group;
    uint64_t outer;
    Vec* ket;                      // [local row][lane]
    Vec* bra;
    double* sums;
    bool odd;                      // y of the outer row, where lanes hold samples only
    Vec sign;                      // (-1)**y of the outer row and the lane, where they hold row bits; else 1

    bool has_row_lanes() const { return call.lane_bits > 0; }
    // The vectors of a batched coefficient of `count` numbers.
    const Vec* batched(const void* all, int64_t number, int64_t count) const {
        return static_cast<const Vec*>(all) + (number * call.groups + group) * count;
    }
};

// An operation's numbers on one tile, and its sums there.
template <class S> struct PreparedOp {
    using T = typename S::T;
    using Vec = typename S::Vec;

    bool in_lanes;                 // numbers differ from lane to lane
    bool unital;                   // of affine maps: I is not mapped into X, Y and Z
    T numbers[2][18];              // of the ket's map and of the bra's
    Vec vectors[2][12];
    Vec sums[18];
};

// Numbers in vectors, or the same for all lanes.
template <class S, bool in_lanes> struct Spread {
    const std::conditional_t<in_lanes, typename S::Vec, typename S::T>* from;
    FQ_INLINE typename S::Vec operator[](int i) const {
        if constexpr (in_lanes) return from[i];
        else return S::splat(from[i]);
    }
};

}  // namespace
}  // namespace fusedqml
