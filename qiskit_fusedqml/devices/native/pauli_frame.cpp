#include "pauli_frame.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"

namespace fusedqml {
namespace {

// A vector of the span that is orthogonal to all of it, or 0.
uint64_t radical(const std::vector<uint64_t>& basis) {
    // Elimination on the rows of the form's matrix; each remembers the vector it stands for.
    std::vector<std::pair<uint64_t, uint64_t>> rows;
    for (const uint64_t vector : basis) {
        uint64_t row = 0, own = vector;
        for (size_t k = 0; k < basis.size(); ++k) row |= uint64_t(form(vector, basis[k])) << k;
        for (const auto& [other, its] : rows)
            if (row >> gf2::highest(other) & 1) row ^= other, own ^= its;
        if (!row) return own;
        for (auto& [other, its] : rows)
            if (other >> gf2::highest(row) & 1) other ^= row, its ^= own;
        rows.emplace_back(row, own);
    }
    return 0;
}

}  // namespace

PauliTileFrame::PauliTileFrame(const std::vector<uint64_t>& vectors, const std::vector<uint64_t>& larger) {
    gf2::Echelon echelon;
    for (const uint64_t vector : vectors) echelon.add(vector);
    for (uint64_t alone = radical(echelon.vectors()); alone; alone = radical(echelon.vectors()))
        echelon.add(*std::find_if(larger.begin(), larger.end(), [alone](uint64_t vector) { return form(alone, vector); }));
    basis_ = echelon.vectors();
    pivots_ = echelon.pivots();
    invert();
}

void PauliTileFrame::invert() {
    const size_t t = basis_.size();
    std::vector<uint64_t> left(t), right(t);
    for (size_t i = 0; i < t; ++i) {
        right[i] = uint64_t(1) << i;
        for (size_t j = 0; j < t; ++j) left[i] |= uint64_t(form(basis_[i], basis_[j])) << j;
    }
    for (size_t i = 0; i < t; ++i) {
        size_t pivot = i;
        while (!(left[pivot] >> i & 1)) ++pivot;
        std::swap(left[i], left[pivot]);
        std::swap(right[i], right[pivot]);
        for (size_t j = 0; j < t; ++j)
            if (j != i && left[j] >> i & 1) left[j] ^= left[i], right[j] ^= right[i];
    }
    for (const uint64_t row : right) inverse_.push_back(static_cast<uint32_t>(row));
}

uint32_t PauliTileFrame::functional(uint64_t vector) const {
    uint32_t mask = 0;
    for (size_t k = 0; k < basis_.size(); ++k) mask |= uint32_t(form(vector, basis_[k])) << k;
    return mask;
}

uint32_t PauliTileFrame::projection(uint64_t vector) const {
    const uint32_t products = functional(vector);
    uint32_t local = 0;
    for (size_t k = 0; k < inverse_.size(); ++k) local |= uint32_t(gf2::parity(inverse_[k] & products)) << k;
    return local;
}

uint64_t PauliTileFrame::row(uint64_t local) const {
    uint64_t row = 0;
    for (size_t k = 0; k < basis_.size(); ++k)
        if (local >> k & 1) row ^= basis_[k];
    return row;
}

uint32_t PauliTileFrame::local(uint64_t vector) const {
    uint32_t local = 0;
    for (size_t k = 0; k < basis_.size(); ++k)
        local |= static_cast<uint32_t>(vector >> gf2::highest(basis_[k]) & 1) << k;
    if (row(local) != vector) throw InvalidInputError("An operation has a vector outside its block's tile.");
    return local;
}

}  // namespace fusedqml
