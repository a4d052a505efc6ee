// Products of one-qubit states, as an encoding leaves them: known by 3 numbers a qubit until the whole vector is needed.
#pragma once
#include "pauli_compile.hpp"
#include "pauli_run.hpp"
#include "pauli_state.hpp"

namespace fusedqml {

struct PauliProduct {
    std::vector<double> letters;   // [qubit][sample][I, X, Y, Z]: expectation values
    bool is_zero = true;           // |0...0>
};

// The product |0...0>.
std::shared_ptr<PauliProduct> zero_product(int num_qubits, int64_t batch);
// Applies the tape to products, if it acts on single qubits in the frame they are given in; false if not.
bool apply_to_product(const CompiledPauliTape& tape, const PauliNumbers& numbers, const PauliState& ket);
// Writes a product's vectors, if the state is one.
void write_product(const PauliState& state, int threads);
// As `get_products` and `set_combinations` of products.
void get_products_with_product(const PauliState& bras, const PauliState& kets, const PauliProduct& product, double* values, int threads);
void set_combinations_of_product(const PauliState& kets, const PauliProduct& product, const double* weights, const PauliState& state, int threads);

}  // namespace fusedqml
