// The choice of a kernel for a group of rotations, and the signs and factors of their overlaps.
#pragma once
#include "turns.hpp"
#include "unitary.hpp"

namespace fusedqml {
namespace {

template <class S>
using TurnKernel = void (*)(typename S::Vec*, const uint32_t*, uint64_t, const Planes<S>&, uint32_t);
template <class S>
using TurnBackKernel = uint32_t (*)(typename S::Vec*, typename S::Vec*, const uint32_t*, const Planes<S>&, uint64_t, uint64_t,
                                    uint32_t, TurnSums<S>&);

template <class S, int N, bool imaginary> TurnKernel<S> turn_kernel(const Planes<S>& planes) {
    if (planes.plain) return turn_rows<S, N, -1, imaginary>;
    if constexpr (!imaginary) {
        if (planes.cotangents == 1) return turn_rows<S, N, 1, imaginary>;
        if constexpr (N >= 2) { if (planes.cotangents == 2) return turn_rows<S, N, 2, imaginary>; }
        if constexpr (N >= 3) { if (planes.cotangents == 3) return turn_rows<S, N, 3, imaginary>; }
        if constexpr (N >= 4) { if (planes.cotangents == 4) return turn_rows<S, N, 4, imaginary>; }
    }
    return turn_rows<S, N, 0, imaginary>;
}

template <class S, int N, bool imaginary, int overlaps> TurnBackKernel<S> turn_back_kernel(const Planes<S>& planes) {
    if (planes.plain) return turn_rows_back<S, N, -1, imaginary, overlaps>;
    if constexpr (!imaginary) {
        if (planes.cotangents == 1) return turn_rows_back<S, N, 1, imaginary, overlaps>;
        if constexpr (N >= 2) { if (planes.cotangents == 2) return turn_rows_back<S, N, 2, imaginary, overlaps>; }
        if constexpr (N >= 3) { if (planes.cotangents == 3) return turn_rows_back<S, N, 3, imaginary, overlaps>; }
        if constexpr (N >= 4) { if (planes.cotangents == 4) return turn_rows_back<S, N, 4, imaginary, overlaps>; }
    }
    return turn_rows_back<S, N, 0, imaginary, overlaps>;
}

template <class S, bool imaginary> TurnKernel<S> turn_kernel_of(const Planes<S>& planes) {
    if constexpr (S::group >= 4) { if (planes.count == 4) return turn_kernel<S, 4, imaginary>(planes); }
    if constexpr (S::group >= 3) { if (planes.count == 3) return turn_kernel<S, 3, imaginary>(planes); }
    return planes.count == 2 ? turn_kernel<S, 2, imaginary>(planes) : turn_kernel<S, 1, imaginary>(planes);
}

template <class S, bool imaginary, int overlaps> TurnBackKernel<S> turn_back_kernel_of(const Planes<S>& planes) {
    if constexpr (S::group >= 4) { if (planes.count == 4) return turn_back_kernel<S, 4, imaginary, overlaps>(planes); }
    if constexpr (S::group >= 3) { if (planes.count == 3) return turn_back_kernel<S, 3, imaginary, overlaps>(planes); }
    return planes.count == 2 ? turn_back_kernel<S, 2, imaginary, overlaps>(planes)
                             : turn_back_kernel<S, 1, imaginary, overlaps>(planes);
}

template <class S> TurnBackKernel<S> real_back_kernel(const Planes<S>& planes, [[maybe_unused]] int overlaps) {
    if constexpr (S::components == 2) { if (overlaps == 2) return turn_back_kernel_of<S, false, 2>(planes); }
    return turn_back_kernel_of<S, false, 1>(planes);
}

// The kernel for rotations of one kind; there are none about X or Z of real states.
template <class S> TurnKernel<S> turn_kernel_for(const Turns& turns, const Planes<S>& planes) {
    if constexpr (S::components == 2) { if (turns.imaginary) return turn_kernel_of<S, true>(planes); }
    return turn_kernel_of<S, false>(planes);
}

template <class S> TurnBackKernel<S> turn_back_kernel_for(const Turns& turns, const Planes<S>& planes, int overlaps) {
    if constexpr (S::components == 2) { if (turns.imaginary) return turn_back_kernel_of<S, true, 1>(planes); }
    return real_back_kernel(planes, overlaps);
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
        const TurnKernel<S> kernel = turn_kernel_for(turns, part);
        const uint64_t count = tile.count(turns.rows);
        kernel(data, turns.rows.steps, count, part, start ^ part.start);
        if (!turns.half) return;
        const Planes<S> other = other_half(part, turns.half);
        kernel(data, turns.rows.steps, count, other, start ^ other.start);
    });
    return planes.flipped_lanes;
}

// Rotations, independent of those before, on a product state that so far spans `count` rows, walked with `steps`.
template <class S> void spread_product(const Tile<S>& tile, const Turn& turn, [[maybe_unused]] bool imaginary, const uint32_t* steps, uint64_t count) {
    typename S::Vec a, b;
    tile.pair(turn.coefficient, turn.batched, a, b);
    if (tile.odd(turn.sign.outer)) b = -b;
    uint32_t row = 0;
    for (uint64_t i = 0;;) {
        const Amplitude<S> value = Amplitude<S>::at(tile.ket, row);
        if constexpr (S::components == 1) Amplitude<S>{b * value.re}.store(tile.ket, row ^ turn.x);
        else if (imaginary) Amplitude<S>{b * value.im, -b * value.re}.store(tile.ket, row ^ turn.x);
        else (b * value).store(tile.ket, row ^ turn.x);
        (a * value).store(tile.ket, row);
        if (++i == count) return;
        row ^= steps[trailing_zeros(i)];
    }
}

// The first operations of a block on |0...0>, whose only amplitude is in the tile's first row.
template <class S> void make_product(const Tile<S>& tile) {
    uint32_t steps[32], total = 0;
    int count = 0;
    const auto spread = [&](const Turns& turns) {
        for (int i = 0; i < turns.count; ++i) {
            spread_product(tile, turns.turns[i], turns.imaginary, steps, uint64_t(1) << count);
            steps[count++] = total ^= turns.turns[i].x;
        }
    };
    for (int i = 0; i < tile.block.num_head; ++i) {
        const Op& op = tile.block.ops[i];
        if (op.kind == Kind::turns) {
            spread(*static_cast<const Turns*>(op.detail));
        } else {
            spread(static_cast<const TurnPair*>(op.detail)->first);
            spread(static_cast<const TurnPair*>(op.detail)->second);
        }
    }
}

// Adds sums to the overlaps. An overlap is wanted right after its rotation, with those that follow undone: each of them
// multiplies ket and bra by a matrix whose square is (a**2 + b**2).
template <class S>
void add_turn_overlaps(const Tile<S>& tile, const Turns& turns, const Planes<S>& planes, const TurnSums<S>& sums, int overlaps,
                       typename S::Vec sign) {
    typename S::Vec squares[S::group], factor = sign;
    int place[S::group] = {};
    for (int i = 0; i < planes.count; ++i) {
        const auto index = planes.turn[i] - turns.turns;
        place[index] = i;
        squares[index] = planes.a[i] * planes.a[i] + planes.b[i] * planes.b[i];
    }
    for (int index = planes.count - 1; index >= 0; --index) {
        const Turn& turn = turns.turns[index];
        auto first = turn.sign.lanes ? factor * tile.lane_sign(turn.sign.lanes) : factor;
        if (!turns.imaginary || tile.odd(turn.sign.outer)) first = -first;  // real ones: inverse, so the rows traded places
        tile.add(turn.overlap, sums.total[place[index]][0], first);
        if constexpr (S::components == 2) { if (overlaps == 2) tile.add(turn.overlap + 1, sums.total[place[index]][1], factor); }
        factor *= squares[index];
    }
}

// Measures and undoes rotations on the rows that begin at `row`, and adds their overlaps times `sign`.
template <class S>
void measure_and_undo(const Tile<S>& tile, const Turns& turns, const Planes<S>& planes, TurnBackKernel<S> kernel, int overlaps,
                      uint32_t row, typename S::Vec sign) {
    TurnSums<S> sums;
    const uint64_t count = tile.count(turns.rows);
    for (uint64_t first = 0; first < count; first += flush_interval) {
        const uint64_t last = count - first < flush_interval ? count : first + flush_interval;
        row = kernel(tile.ket, tile.bra, turns.rows.steps, planes, first, last, row, sums);
        sums.flush_all(planes.count, overlaps == 2);
    }
    add_turn_overlaps(tile, turns, planes, sums, overlaps, sign);
}

// How many overlaps of each rotation of a group are to be measured: with 2, X too, which is 0 of real states.
template <class S> int wanted_overlaps(const Tile<S>& tile, const Turns& turns) {
    if (turns.turns[0].num_overlaps < 2) return turns.turns[0].num_overlaps;
    if (S::components == 1) return 1;
    for (int i = 0; i < turns.count; ++i) {
        const Turn& turn = turns.turns[i];
        if (turn.batched || !turn.x_optional) return 2;
        const double a = tile.call.pairs[2 * turn.coefficient], b = tile.call.pairs[2 * turn.coefficient + 1];
        if (!steep(a, b)) return 2;
    }
    return 1;
}

template <class S> void undo_turns(const Tile<S>& tile, const Turns& turns) {
    const int overlaps = wanted_overlaps(tile, turns);
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
        const TurnBackKernel<S> kernel = turn_back_kernel_for(turns, part, overlaps);
        measure_and_undo(tile, turns, part, kernel, overlaps, start ^ part.start, sign);
        if (!turns.half) return;
        const Planes<S> other = other_half(part, turns.half);
        measure_and_undo(tile, turns, other, kernel, overlaps, start ^ other.start, -sign);
    });
}

// One group of a pair.
template <class S> struct PairMember {
    Planes<S> planes;
    const Turns& turns;
    const uint32_t* steps;
    uint64_t count;
    PairMember(const Tile<S>& tile, const Turns& t, const uint32_t* other, int other_count, bool inverse)
        : turns(t), steps(other), count(uint64_t(1) << other_count) {
        load_planes(tile, turns, inverse, planes);
    }
};

template <class S> uint32_t apply_pair(const Tile<S>& tile, const TurnPair& pair, typename S::Vec* data, bool inverse) {
    const PairMember<S> first(tile, pair.first, pair.first_steps, pair.second.count, inverse);
    const PairMember<S> second(tile, pair.second, pair.second_steps, pair.first.count, inverse);
    const TurnKernel<S> one = turn_kernel_of<S, false>(first.planes), two = turn_kernel_of<S, false>(second.planes);
    const uint64_t count = tile.count(pair.rows);
    uint32_t row = 0;
    for (uint64_t i = 0; i < count;) {
        one(data, first.steps, first.count, first.planes, row ^ first.planes.start);
        two(data, second.steps, second.count, second.planes, row ^ second.planes.start);
        row ^= pair.rows.steps[trailing_zeros(++i)];
    }
    return first.planes.flipped_lanes ^ second.planes.flipped_lanes;
}

template <class S> void undo_pair(const Tile<S>& tile, const TurnPair& pair) {
    if (!pair.first.turns[0].num_overlaps) {
        apply_pair(tile, pair, tile.ket, true);
        tile.flipped_lanes ^= apply_pair(tile, pair, tile.bra, true);
        return;
    }
    const PairMember<S> first(tile, pair.first, pair.first_steps, pair.second.count, true);
    const PairMember<S> second(tile, pair.second, pair.second_steps, pair.first.count, true);
    const int of_one = wanted_overlaps(tile, pair.first), of_two = wanted_overlaps(tile, pair.second);
    const TurnBackKernel<S> one = real_back_kernel(first.planes, of_one), two = real_back_kernel(second.planes, of_two);
    TurnSums<S> one_sums, two_sums;
    const uint64_t count = tile.count(pair.rows);
    uint32_t row = 0;
    for (uint64_t i = 0; i < count;) {
        two(tile.ket, tile.bra, second.steps, second.planes, 0, second.count, row ^ second.planes.start, two_sums);
        one(tile.ket, tile.bra, first.steps, first.planes, 0, first.count, row ^ first.planes.start, one_sums);
        row ^= pair.rows.steps[trailing_zeros(++i)];
        if (i % (flush_interval >> S::group) && i < count) continue;
        one_sums.flush_all(first.planes.count, of_one == 2);
        two_sums.flush_all(second.planes.count, of_two == 2);
    }
    tile.flipped_lanes ^= second.planes.flipped_lanes;
    add_turn_overlaps(tile, pair.second, second.planes, two_sums, of_two, S::splat(1));
    tile.flipped_lanes ^= first.planes.flipped_lanes;
    add_turn_overlaps(tile, pair.first, first.planes, one_sums, of_one, S::splat(1));
}

}  // namespace
}  // namespace fusedqml
