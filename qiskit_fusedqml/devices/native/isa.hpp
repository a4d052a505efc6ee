// The sweeps of one instruction set. Included once per instruction set, in a file compiled for it.
#pragma once
#include "observe.hpp"
#include "pauli_dots.hpp"
#include "pauli_sweep.hpp"
#include "sweep.hpp"

namespace fusedqml {
namespace {

// `width` lanes; up to `rotations` rotations in one pass, as many as the registers hold; `numbers` an amplitude.
template <class Real, int width, int rotations, int numbers = 2> struct Isa : Simd<Real, width> {
    static constexpr int group = rotations, components = numbers;
};

// What does not depend on the kind of amplitudes is C's.
template <class S, class C = S> constexpr Kernels kernels_of(const char* name) {
    return {name,
            S::W,
            sizeof(typename S::T),
            S::group,
            S::components,
            table_bytes<C>,
            table_work<C>,
            shared_table<C>,
            batched_tables<C>,
            forward<S>,
            backward<S>,
            expectation<S>,
            apply_observables<S>,
            inner_product<S>,
            transform<C>,
            sine_cosines<C>,
            {pauli_sweep<C>, dots<C>, combination<C>}};
}

// For real states, whose rows take half of the registers: one rotation more in a pass.
template <class C> constexpr Kernels real_kernels_of(const char* name) {
    return kernels_of<Isa<typename C::T, C::W, C::group + 1, 1>, C>(name);
}

}  // namespace
}  // namespace fusedqml
