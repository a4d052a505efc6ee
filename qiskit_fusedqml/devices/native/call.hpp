// A call's coefficients in the form the sweeps read.
#pragma once
#include "run.hpp"

namespace fusedqml {

// Owns everything a `Call` points to.
class PreparedCall {
public:
    PreparedCall(const CompiledTape& tape, const CoefficientArrays& coefficients, const State& ket, const State* bra,
                 bool per_sample, int threads);
    PreparedCall(const PreparedCall&) = delete;
    Call call{};

private:
    template <class T> void prepare(const CompiledTape& tape, const CoefficientArrays& coefficients);
    void build_tables(const TapeView& tape, int threads);
    const State& ket_;
    Memory pairs_, matrices_, dense_, signs_, tables_;
    std::vector<const void*> dense_pointers_;
    std::vector<void*> table_pointers_;
};

}  // namespace fusedqml
