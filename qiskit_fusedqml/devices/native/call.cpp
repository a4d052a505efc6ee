#include "call.hpp"

#include <algorithm>
#include <string>

#include "gf2.hpp"
#include "pool.hpp"

namespace fusedqml {
namespace {

constexpr size_t most_kept_tables = size_t(1) << 25;
constexpr int64_t parallel_entries = 16384;  // that one thread makes sooner than it wakes another
constexpr int64_t cheap_entries = 2000;  // for each entry so many operations on an amplitude: making the tables is half a percent

int64_t entries_of(const Kernels& kernels, const Table& table) {
    return static_cast<int64_t>(kernels.table_bytes(table)) / (2 * kernels.real_bytes);
}

void require(const char* what, int64_t needed, int64_t given) {
    if (given < needed)
        throw InvalidInputError("The tape needs " + std::to_string(needed) + " " + what + ", got " +
                                    std::to_string(given) + ".");
}

void check(const Requirements& needs, const CoefficientArrays& given) {
    require("pairs", needs.pairs, given.num_pairs);
    require("batched pairs", needs.batched_pairs, given.num_batched_pairs);
    require("matrices", needs.matrices, given.num_matrices);
    require("batched matrices", needs.batched_matrices, given.num_batched_matrices);
    require("angles", needs.angles, given.num_angles);
    require("batched angles", needs.batched_angles, given.num_batched_angles);
    require("scales", needs.scales, given.num_scales);
    require("dense matrices", static_cast<int64_t>(needs.dense.size()), static_cast<int64_t>(given.dense.size()));
    for (size_t i = 0; i < needs.dense.size(); ++i)
        if (needs.dense[i] && needs.dense[i] != given.dense_qubits[i])
            throw InvalidInputError("Dense matrix " + std::to_string(i) + " acts on " +
                                        std::to_string(given.dense_qubits[i]) + " qubits, the tape expects " +
                                        std::to_string(needs.dense[i]) + ".");
}

// from: [row][sample][parts], to: [coefficient][group][row in coefficient][part][lane]; lanes without a sample are 0.
template <class T, int parts> Memory spread_over_lanes(const State& state, const double* from, int64_t rows, int rows_each) {
    const int64_t width = state.kernels->width, samples = int64_t(1) << state.sample_bits;
    Memory memory(size_t(rows * state.groups * parts * width) * sizeof(T), false);
    T* to = static_cast<T*>(memory.get());
    for (int64_t first = 0; first < rows; first += rows_each)
        for (int64_t group = 0; group < state.groups; ++group)
            for (int64_t row = first; row < first + rows_each; ++row)
                for (int part = 0; part < parts; ++part, to += width) {
                    const double* values = from + (row * state.batch + group * samples) * parts + part;
                    const int64_t count = state.samples_of(group);
                    for (int64_t sample = 0; sample < count; ++sample) to[sample] = static_cast<T>(values[sample * parts]);
                    std::fill(to + count, to + samples, T(0));
                    for (int64_t lane = samples; lane < width; ++lane) to[lane] = to[lane - samples];
                }
    return memory;
}

template <class T> Memory lane_signs(const State& state) {
    const int width = state.kernels->width;
    Memory memory((size_t(1) << state.lane_bits) * static_cast<size_t>(width) * sizeof(T));
    T* sign = static_cast<T*>(memory.get());
    for (int mask = 0; mask < 1 << state.lane_bits; ++mask)
        for (int lane = 0; lane < width; ++lane)
            *sign++ = gf2::parity(static_cast<uint64_t>(mask & lane >> state.sample_bits)) ? T(-1) : T(1);
    return memory;
}

template <class T>
Memory convert_dense(const CoefficientArrays& from, bool adjoint, std::vector<const void*>& pointers) {
    if (sizeof(T) == sizeof(double) && !adjoint) {  // they are what they are given as
        pointers.assign(from.dense.begin(), from.dense.end());
        return Memory();
    }
    size_t total = 0;
    for (const int k : from.dense_qubits) total += size_t(2) << 2 * k;
    Memory memory(total * sizeof(T), false);
    T* to = static_cast<T*>(memory.get());
    for (size_t m = 0; m < from.dense.size(); ++m) {
        const size_t size = size_t(1) << from.dense_qubits[m];
        pointers.push_back(to);
        for (size_t i = 0; i < size; ++i)
            for (size_t j = 0; j < size; ++j) {
                const double* entry = from.dense[m] + 2 * (adjoint ? j * size + i : i * size + j);
                *to++ = static_cast<T>(entry[0]);
                *to++ = static_cast<T>(adjoint ? -entry[1] : entry[1]);
            }
    }
    return memory;
}

}  // namespace

PreparedCall::PreparedCall(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State* bra,
                           bool per_sample, int threads)
    : ket_(ket) {
    check(tape.requirements, coefficients);
    call.tape = &tape.view;
    call.lane_bits = ket.lane_bits;
    call.sample_bits = ket.sample_bits;
    call.batch = ket.batch;
    call.groups = ket.groups;
    call.num_rows = ket.num_rows;
    call.ket = ket.memory.get();
    call.bra = bra ? bra->memory.get() : nullptr;
    call.per_sample = per_sample;
    call.pairs = coefficients.pairs;
    call.matrices = coefficients.matrices;
    call.angles = coefficients.angles;
    call.batched_angles = coefficients.batched_angles;
    call.scales = coefficients.scales;
    if (ket.kernels->real_bytes == 4) prepare<float>(tape, coefficients);
    else prepare<double>(tape, coefficients);
    find_tables(tape, coefficients, threads);
}

template <class T> void PreparedCall::prepare(const CompiledTape& tape, const CoefficientArrays& coefficients) {
    signs_ = lane_signs<T>(ket_);
    call.lane_signs = signs_.get();
    dense_ = convert_dense<T>(coefficients, call.bra != nullptr, dense_pointers_);
    call.dense = dense_pointers_.data();
    if (call.bra && !tape.requirements.undoes_batched) return;
    pairs_ = spread_over_lanes<T, 1>(ket_, coefficients.batched_pairs, 2 * tape.requirements.batched_pairs, 2);
    call.batched_pairs = pairs_.get();
    matrices_ = spread_over_lanes<T, 2>(ket_, coefficients.batched_matrices, 4 * tape.requirements.batched_matrices, 4);
    call.batched_matrices = matrices_.get();
}

void PreparedCall::find_tables(const CompiledTape& tape, const CoefficientArrays& coefficients, int threads) {
    tables_ = tape.tables.get();
    if (!tables_ || tables_->kernels != ket_.kernels || tables_->serial != coefficients.serial) {
        const std::shared_ptr<TableSet> fresh = build_tables(tape.view, threads);
        fresh->serial = coefficients.serial;
        tables_ = fresh;
        tape.tables.put(fresh->memory.size() <= most_kept_tables && !cheap_tables(tape.view) ? fresh : nullptr);
    }
    call.tables = tables_->tables.data();
}

// Whether tables take next to no time beside a sweep, so that they are made anew for the backward pass: a deep circuit's take much memory.
bool PreparedCall::cheap_tables(const TapeView& tape) const {
    int64_t entries = 0, operations = 0;
    for (int id = 0; id < tape.num_tables; ++id)
        if (!tape.tables[id]->batched) entries += entries_of(*ket_.kernels, *tape.tables[id]);
    for (int b = 0; b < tape.num_blocks; ++b) operations += tape.blocks[b].num_ops;
    return entries * cheap_entries < operations * ket_.num_rows * ket_.groups * ket_.kernels->width;
}

std::shared_ptr<TableSet> PreparedCall::build_tables(const TapeView& tape, int threads) {
    const Kernels& kernels = *ket_.kernels;
    const int count = tape.num_tables;
    std::vector<size_t> offsets;
    size_t total = 0, work = 0;
    int64_t entries = 0;
    for (int id = 0; id < count; ++id) {
        const Table& table = *tape.tables[id];
        offsets.push_back(total);
        if (table.batched) continue;
        total += kernels.table_bytes(table);
        work = std::max(work, kernels.table_work(table));
        entries += entries_of(kernels, table);
    }
    auto set = std::make_shared<TableSet>();
    set->kernels = &kernels;
    set->memory = Memory(total, false);
    for (size_t id = 0; id < offsets.size(); ++id)
        set->tables.push_back(tape.tables[id]->batched ? nullptr : static_cast<char*>(set->memory.get()) + offsets[id]);
    const int parts = entries < parallel_entries ? 1 : std::min(4 * threads, std::max(count, 1));
    run_parts(parts, threads, [&](int part) {
        const Memory angles(work * sizeof(double), false);
        for (int id = part; id < count; id += parts) {
            void* out = set->tables[static_cast<size_t>(id)];
            if (out) kernels.shared_table(call, *tape.tables[id], out, static_cast<double*>(angles.get()));
        }
    });
    return set;
}

}  // namespace fusedqml
