// Compilation of diagonals: tables with XOR-linear numbering, and pruned transforms for their overlaps.
#pragma once
#include "rows.hpp"

namespace fusedqml {

struct FactorSource {
    std::vector<uint64_t> basis, terms;
    int first = 0;
    bool batched = false;
};

struct DiagonalSource {
    std::vector<FactorSource> factors;
    int scale = -1, overlap = -1;
    std::vector<uint64_t> functionals;
};

// `first_id`: number of the tape's next table.
Diagonal compile_diagonal(Arena& arena, const TileFrame& frame, const DiagonalSource& source, int first_id);

}  // namespace fusedqml
