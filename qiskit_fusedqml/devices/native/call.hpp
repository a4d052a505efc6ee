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
    void find_tables(const CompiledTape& tape, const CoefficientArrays& coefficients, int threads);
    bool cheap_tables(const TapeView& tape) const;
    std::shared_ptr<TableSet> build_tables(const TapeView& tape, int threads);
    const State& ket_;
    Memory pairs_, matrices_, dense_, signs_;
    std::vector<const void*> dense_pointers_;
    std::shared_ptr<const TableSet> tables_;
};

}  // namespace fusedqml
