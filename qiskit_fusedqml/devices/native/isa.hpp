// The sweeps of one instruction set. Included once per instruction set, in a file compiled for it.
#pragma once
#include "observe.hpp"
#include "pauli_dots.hpp"
#include "pauli_sweep.hpp"
#include "sweep.hpp"

namespace fusedqml {
namespace {

// `width` lanes; up to `rotations` rotations in one pass, as many as the registers hold.
template <class Real, int width, int rotations> struct Isa : Simd<Real, width> {
    static constexpr int group = rotations;
};

template <class S> constexpr Kernels kernels_of(const char* name) {
    return {name,
            S::W,
            sizeof(typename S::T),
            S::group,
            table_bytes<S>,
            table_work<S>,
            shared_table<S>,
            batched_tables<S>,
            forward<S>,
            backward<S>,
            expectation<S>,
            apply_observables<S>,
            transform<S>,
            sine_cosines<S>,
            {pauli_sweep<S>, dots<S>, combination<S>}};
}

}  // namespace
}  // namespace fusedqml
