// The choice of a kernel for a group of rotations, and the signs and factors of their overlaps.
#pragma once
#include "turns.hpp"

namespace fusedqml {
namespace {

template <class S> using TurnKernel = void (*)(typename S::Vec*, const Rows&, const Planes<S>&, uint32_t);
template <class S>
using TurnBackKernel = uint32_t (*)(typename S::Vec*, typename S::Vec*, const uint32_t*, const Planes<S>&, uint64_t, uint64_t,
                                    uint32_t, TurnSums<S>&);

template <class S, int N, bool imaginary> TurnKernel<S> turn_kernel(const Planes<S>& planes) {
    if (planes.plain) return turn_rows<S, N, -1, imaginary>;
    if constexpr (!imaginary) {
        if (planes.cotangents == 1) return turn_rows<S, N, 1, imaginary>;
        if constexpr (N >= 2) { if (planes.cotangents == 2) return turn_rows<S, N, 2, imaginary>; }
        if constexpr (N >= 3) { if (planes.cotangents == 3) return turn_rows<S, N, 3, imaginary>; }
    }
    return turn_rows<S, N, 0, imaginary>;
}

template <class S, int N, bool imaginary, int overlaps> TurnBackKernel<S> turn_back_kernel(const Planes<S>& planes) {
    if (planes.plain) return turn_rows_back<S, N, -1, imaginary, overlaps>;
    if constexpr (!imaginary) {
        if (planes.cotangents == 1) return turn_rows_back<S, N, 1, imaginary, overlaps>;
        if constexpr (N >= 2) { if (planes.cotangents == 2) return turn_rows_back<S, N, 2, imaginary, overlaps>; }
        if constexpr (N >= 3) { if (planes.cotangents == 3) return turn_rows_back<S, N, 3, imaginary, overlaps>; }
    }
    return turn_rows_back<S, N, 0, imaginary, overlaps>;
}

template <class S, bool imaginary> TurnKernel<S> turn_kernel_of(const Planes<S>& planes) {
    if constexpr (S::group >= 3) { if (planes.count == 3) return turn_kernel<S, 3, imaginary>(planes); }
    return planes.count == 2 ? turn_kernel<S, 2, imaginary>(planes) : turn_kernel<S, 1, imaginary>(planes);
}

template <class S, bool imaginary, int overlaps> TurnBackKernel<S> turn_back_kernel_of(const Planes<S>& planes) {
    if constexpr (S::group >= 3) { if (planes.count == 3) return turn_back_kernel<S, 3, imaginary, overlaps>(planes); }
    return planes.count == 2 ? turn_back_kernel<S, 2, imaginary, overlaps>(planes)
                             : turn_back_kernel<S, 1, imaginary, overlaps>(planes);
}

// The planes with the lanes that take no part left as they are.
template <class S> Planes<S> masked(const Tile<S>& tile, const Planes<S>& planes, uint32_t lanes) {
    Planes<S> result = planes;
    const auto mask = tile.lane_mask(lanes);
    result.plain = true;
    result.cotangents = 0;
    for (int i = 0; i < planes.count; ++i) {
        result.a[i] = S::select(mask, planes.a[i], S::splat(1));
        result.b[i] = S::select(mask, planes.b[i], S::splat(0));
    }
    return result;
}

template <class S> Planes<S> other_half(const Planes<S>& planes, uint32_t half) {
    Planes<S> result = planes;
    result.start ^= half;
    for (int i = 0; i < planes.count; ++i) result.b[i] = -planes.b[i];
    return result;
}

// Returns the lanes whose sign is left out, see Tile.
template <class S> uint32_t apply_turns(const Tile<S>& tile, const Turns& turns, typename S::Vec* data, bool inverse) {
    Planes<S> planes;
    load_planes(tile, turns, inverse, planes);
    for_parts(tile, turns.rows, [&](uint32_t start, uint32_t lanes, bool all) {
        const Planes<S> part = all ? planes : masked(tile, planes, lanes);
        const TurnKernel<S> kernel = turns.imaginary ? turn_kernel_of<S, true>(part) : turn_kernel_of<S, false>(part);
        kernel(data, turns.rows, part, start ^ part.start);
        if (!turns.half) return;
        const Planes<S> other = other_half(part, turns.half);
        kernel(data, turns.rows, other, start ^ other.start);
    });
    return planes.flipped_lanes;
}

// Adds sums to the overlaps. An overlap is wanted right after its rotation, with those that follow undone: each of them
// multiplies ket and bra by a matrix whose square is (a**2 + b**2).
template <class S>
void add_turn_overlaps(const Tile<S>& tile, const Turns& turns, const Planes<S>& planes, double (*sums)[2][S::W],
                       typename S::Vec sign) {
    typename S::Vec squares[max_turns], factor = sign;
    int place[max_turns] = {};
    for (int i = 0; i < planes.count; ++i) {
        const auto index = planes.turn[i] - turns.turns;
        place[index] = i;
        squares[index] = planes.a[i] * planes.a[i] + planes.b[i] * planes.b[i];
    }
    for (int index = planes.count - 1; index >= 0; --index) {
        const Turn& turn = turns.turns[index];
        auto first = turn.sign.lanes ? factor * tile.lane_sign(turn.sign.lanes) : factor;
        if (!turns.imaginary || tile.odd(turn.sign.outer)) first = -first;  // real ones: inverse, so the rows traded places
        tile.add(turn.overlap, sums[place[index]][0], first);
        if (turn.num_overlaps == 2) tile.add(turn.overlap + 1, sums[place[index]][1], factor);
        factor *= squares[index];
    }
}

// Measures and undoes rotations on the rows that begin at `row`, and adds their overlaps times `sign`.
template <class S>
void measure_and_undo(const Tile<S>& tile, const Turns& turns, const Planes<S>& planes, TurnBackKernel<S> kernel, uint32_t row,
                      typename S::Vec sign) {
    alignas(64) double sums[max_turns][2][S::W] = {};
    const uint64_t count = uint64_t(1) << turns.rows.dim;
    for (uint64_t first = 0; first < count; first += flush_interval) {
        TurnSums<S> part;
        const uint64_t last = count - first < flush_interval ? count : first + flush_interval;
        row = kernel(tile.ket, tile.bra, turns.rows.steps, planes, first, last, row, part);
        for (int k = 0; k < planes.count; ++k) {
            flush<S>(sums[k][0], part.of[k][0]);
            if (turns.turns[0].num_overlaps == 2) flush<S>(sums[k][1], part.of[k][1]);
        }
    }
    add_turn_overlaps(tile, turns, planes, sums, sign);
}

template <class S> void undo_turns(const Tile<S>& tile, const Turns& turns) {
    const int overlaps = turns.turns[0].num_overlaps;
    if (!overlaps) {
        apply_turns(tile, turns, tile.ket, true);
        tile.flipped_lanes ^= apply_turns(tile, turns, tile.bra, true);
        return;
    }
    Planes<S> planes;
    load_planes(tile, turns, true, planes);
    tile.flipped_lanes ^= planes.flipped_lanes;
    for_parts(tile, turns.rows, [&](uint32_t start, uint32_t lanes, bool all) {
        const Planes<S> part = all ? planes : masked(tile, planes, lanes);
        auto sign = S::splat(1);
        if (!all) sign = S::select(tile.lane_mask(lanes), sign, S::splat(0));
        const TurnBackKernel<S> kernel = turns.imaginary ? turn_back_kernel_of<S, true, 1>(part)
                                         : overlaps == 2 ? turn_back_kernel_of<S, false, 2>(part)
                                                         : turn_back_kernel_of<S, false, 1>(part);
        measure_and_undo(tile, turns, part, kernel, start ^ part.start, sign);
        if (!turns.half) return;
        const Planes<S> other = other_half(part, turns.half);
        measure_and_undo(tile, turns, other, kernel, start ^ other.start, -sign);
    });
}

}  // namespace
}  // namespace fusedqml
