// States as parts of larger ones: amplitudes to and from buffers, and sums of states.
#pragma once
#include <vector>

#include "state.hpp"

namespace fusedqml {

// Rows in an order of their own: row(i) = XOR of vectors[j] over the set bits j of i, ^ offset, for i = first .. last - 1.
struct RowOrder {
    std::vector<uint64_t> vectors;
    uint64_t offset, first, last;
};

// buffer: [group][i][re | im][sample of the group], reals of the state's precision
void pack(const State& state, const RowOrder& rows, void* buffer, int threads);
void unpack(const State& state, const RowOrder& rows, void* buffer, int threads);
// all amplitudes become 0
void clear(const State& state, int threads);
// each sample's amplitudes times its factor (B,)
void scale(const State& state, const double* factors, int threads);
// state += other
void add(const State& state, const State& other, int threads);

}  // namespace fusedqml
