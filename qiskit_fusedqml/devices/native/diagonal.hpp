// Diagonals: phases from tables, and the overlaps with many Z strings at once by a pruned Walsh-Hadamard transform.
#pragma once
#include <type_traits>

#include "unitary.hpp"

namespace fusedqml {
namespace {

constexpr int micro_rows = 1 << micro_bits;
constexpr int chunk_rows = 1 << chunk_bits;

// A table's entries for the rows of one tile, `micro_rows` at a time.
template <class S> struct TableCursor {
    using T = typename S::T;
    using Vec = typename S::Vec;
    const Table* table;
    const T* data;
    uint32_t entry;                // number of the first row's entry
    int sample_bits;

    TableCursor() = default;
    TableCursor(const Tile<S>& tile, const Table& t) : table(&t), entry(0), sample_bits(tile.call.sample_bits) {
        data = t.batched ? reinterpret_cast<const T*>(static_cast<const char*>(tile.scratch.tables) +
                                                      tile.scratch.table_offsets[t.id])
                         : static_cast<const T*>(tile.call.tables[t.id]);
        for (int i = 0; i < t.num_outer; ++i)
            if (tile.odd(t.outer[i].outer)) entry ^= t.outer[i].vector;
    }
    FQ_INLINE void advance(uint64_t i) { entry ^= table->steps[trailing_zeros(i)]; }
    FQ_INLINE Complex<S> shared(int row) const {
        const T* at = data + 2 * size_t(entry ^ table->low[row]);
        return {S::splat(at[0]), S::splat(at[1])};
    }
    FQ_INLINE Complex<S> per_lane(int row) const {
        const uint32_t number = entry ^ table->low[row];
        const uint32_t kept = number & ((uint32_t(1) << table->index_bits) - 1);
        const Vec* at = reinterpret_cast<const Vec*>(data) + 2 * size_t(kept);
        if (!table->permuted) return {at[0], at[1]};
        const uint32_t lanes = number >> table->index_bits << sample_bits;
        return {S::permute(at[0], lanes), S::permute(at[1], lanes)};
    }
};

constexpr int max_cursors = 64;

// The phases of successive rows: of one or two tables, all shared or all per lane, or the product of any tables.
template <class S, bool per_lane> struct OneTable {
    TableCursor<S> cursor;
    OneTable(const Tile<S>& tile, const Diagonal& op) : cursor(tile, op.tables[0]) {}
    FQ_INLINE void prepare(int) {}
    FQ_INLINE Complex<S> phase(int row) const { return per_lane ? cursor.per_lane(row) : cursor.shared(row); }
    FQ_INLINE void advance(uint64_t i) { cursor.advance(i); }
};

template <class S, bool per_lane> struct TwoTables {
    OneTable<S, per_lane> first, second;
    TwoTables(const Tile<S>& tile, const Diagonal& op) : first(tile, op), second(tile, op) {
        second.cursor = TableCursor<S>(tile, op.tables[1]);
    }
    FQ_INLINE void prepare(int) {}
    FQ_INLINE Complex<S> phase(int row) const { return first.phase(row) * second.phase(row); }
    FQ_INLINE void advance(uint64_t i) {
        first.advance(i);
        second.advance(i);
    }
};

template <class S> struct AnyTables {
    int count;
    TableCursor<S> cursors[max_cursors];
    Complex<S> phases[micro_rows];
    AnyTables(const Tile<S>& tile, const Diagonal& op) : count(op.num_tables) {
        for (int k = 0; k < count; ++k) cursors[k] = TableCursor<S>(tile, op.tables[k]);
    }
    FQ_INLINE void prepare(int rows) {
        for (int k = 0; k < count; ++k) {
            const TableCursor<S> cursor = cursors[k];
            for (int row = 0; row < rows; ++row) {
                const Complex<S> entry = cursor.table->per_lane ? cursor.per_lane(row) : cursor.shared(row);
                phases[row] = k ? phases[row] * entry : entry;
            }
        }
    }
    FQ_INLINE Complex<S> phase(int row) const { return phases[row]; }
    FQ_INLINE void advance(uint64_t i) {
        for (int k = 0; k < count; ++k) cursors[k].advance(i);
    }
};

// Calls body with the kind of source that fits the operation's tables, as a null pointer.
template <class S, class F> FQ_INLINE void with_source(const Diagonal& op, F body) {
    int per_lane = 0;
    for (int k = 0; k < op.num_tables; ++k) per_lane += op.tables[k].per_lane;
    const bool uniform = per_lane == 0 || per_lane == op.num_tables;
    if (!uniform || op.num_tables > 2) return body(static_cast<AnyTables<S>*>(nullptr));
    if (op.num_tables == 1 && per_lane) return body(static_cast<OneTable<S, true>*>(nullptr));
    if (op.num_tables == 1) return body(static_cast<OneTable<S, false>*>(nullptr));
    if (per_lane) return body(static_cast<TwoTables<S, true>*>(nullptr));
    body(static_cast<TwoTables<S, false>*>(nullptr));
}

// Multiplies the rows of a tile by their phases.
template <class S, class Source>
void multiply_rows(const Tile<S>& tile, const Diagonal& op, typename S::Vec* data) {
    Source source(tile, op);
    const uint64_t rows = uint64_t(1) << tile.block.t, step = rows < micro_rows ? rows : micro_rows;
    for (uint64_t first = 0; first < rows; first += step) {
        if (first) source.advance(first / step);
        source.prepare(int(step));
        for (uint64_t group = 0; group < uint64_t(1) << tile.stack_bits; ++group) {
            typename S::Vec* at = data + S::components * (group * rows + first);
            for (int row = 0; row < int(step); ++row) (source.phase(row) * Amplitude<S>::at(at, row)).store(at, row);
        }
    }
}

template <class S> void apply_diagonal(const Tile<S>& tile, const Diagonal& op, typename S::Vec* data) {
    with_source<S>(op, [&](auto* source) { multiply_rows<S, std::remove_pointer_t<decltype(source)>>(tile, op, data); });
}

template <class V> FQ_INLINE void butterflies(const Diagonal& op, V* values) {
    for (int i = 0; i < op.num_butterflies; ++i) {
        const Butterfly b = op.butterflies[i];
        V *low = values + b.first, *high = low + b.half;
        if (b.kind == 0) for (int k = 0; k < b.half; ++k) low[k] += high[k];
        else if (b.kind == 1) for (int k = 0; k < b.half; ++k) low[k] -= high[k];
        else for (int k = 0; k < b.half; ++k) {
            const V sum = low[k] + high[k];
            high[k] = low[k] - high[k];
            low[k] = sum;
        }
    }
}

// Sums of Im conj(bra) ket over the samples, or (PerLane) kept apart by lane, for a chunk of rows.
template <class S> struct Summed {
    alignas(64) double values[chunk_rows + S::W];  // a tile of fewer than W rows writes beyond its own
    typename S::Vec terms[micro_rows < S::W ? S::W : micro_rows];
    FQ_INLINE typename S::Vec* place(int) { return terms; }
    FQ_INLINE void take(int first, int rows) {
        for (int i = rows; i < S::W; ++i) terms[i] = typename S::Vec{};
        for (int i = 0; i < rows; i += S::W) {
            alignas(64) typename S::T sums[S::W];
            *reinterpret_cast<typename S::Vec*>(sums) = S::sums_of_rows(terms + i);
            for (int k = 0; k < S::W; ++k) values[first + i + k] = static_cast<double>(sums[k]);
        }
    }
    void finish(const Tile<S>& tile, const Diagonal& op, uint32_t high) {
        butterflies(op, values);
        for (int i = 0; i < op.num_wanted; ++i) {
            const Wanted& wanted = op.wanted[i];
            const double value = values[wanted.position];
            const bool minus = (parity(wanted.high & high) != 0) != tile.odd(wanted.sign.outer);
            tile.sums[int64_t(op.overlap + i) * S::W] += minus ? -value : value;
        }
    }
};

template <class S> struct PerLane {
    typename S::Vec values[chunk_rows];
    FQ_INLINE typename S::Vec* place(int first) { return values + first; }
    FQ_INLINE void take(int, int) {}
    void finish(const Tile<S>& tile, const Diagonal& op, uint32_t high) {
        butterflies(op, values);
        for (int i = 0; i < op.num_wanted; ++i) {
            const Wanted& wanted = op.wanted[i];
            typename S::Vec value = values[wanted.position];
            if ((parity(wanted.high & high) != 0) != tile.odd(wanted.sign.outer)) value = -value;
            if (wanted.sign.lanes) value *= tile.lane_sign(wanted.sign.lanes);
            flush<S>(tile.sums + int64_t(op.overlap + i) * S::W, value);
        }
    }
};

// Multiplies some rows by their phases and sets the overlaps' terms, or adds to them.
template <class S, class Source, bool measure, bool more>
FQ_INLINE void undo_some(const Source& source, int rows, typename S::Vec* ket, typename S::Vec* bra, typename S::Vec* terms) {
    for (int row = 0; row < rows; ++row) {
        const Complex<S> phase = source.phase(row).conj();
        const Amplitude<S> k = Amplitude<S>::at(ket, row), b = Amplitude<S>::at(bra, row);
        if constexpr (measure && more) add_im<S>(terms[row], b, k);
        else if constexpr (measure) terms[row] = overlap_im(b, k);
        (phase * k).store(ket, row);
        (phase * b).store(bra, row);
    }
}

template <class S, class Source, class Sums, bool measure>
void undo_rows(const Tile<S>& tile, const Diagonal& op) {
    using Vec = typename S::Vec;
    Source source(tile, op);
    Sums sums;
    const uint64_t rows = uint64_t(1) << tile.block.t, step = rows < micro_rows ? rows : micro_rows;
    const uint64_t chunk = rows < chunk_rows ? rows : chunk_rows;
    for (uint64_t first = 0; first < rows; first += step) {
        if (first) source.advance(first / step);
        source.prepare(int(step));
        Vec *ket = tile.ket + S::components * first, *bra = tile.bra + S::components * first;
        Vec* const terms = sums.place(int(first % chunk));
        undo_some<S, Source, measure, false>(source, int(step), ket, bra, terms);
        for (uint64_t group = 1; group < uint64_t(1) << tile.stack_bits; ++group)
            undo_some<S, Source, measure, true>(source, int(step), ket + S::components * group * rows, bra + S::components * group * rows, terms);
        if (!measure) continue;
        sums.take(int(first % chunk), int(step));
        if ((first + step) % chunk == 0) sums.finish(tile, op, uint32_t(first / chunk));
    }
}

// Overlaps of real states are 0.
template <class S, class Source> void undo_with(const Tile<S>& tile, const Diagonal& op) {
    if constexpr (S::components == 2) {
        if (op.num_wanted && (tile.call.per_sample || tile.call.lane_bits)) return undo_rows<S, Source, PerLane<S>, true>(tile, op);
        if (op.num_wanted) return undo_rows<S, Source, Summed<S>, true>(tile, op);
    }
    undo_rows<S, Source, PerLane<S>, false>(tile, op);
}

template <class S> void undo_diagonal(const Tile<S>& tile, const Diagonal& op) {
    with_source<S>(op, [&](auto* source) { undo_with<S, std::remove_pointer_t<decltype(source)>>(tile, op); });
}

}  // namespace
}  // namespace fusedqml
