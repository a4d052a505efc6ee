#include "elements.hpp"

#include <algorithm>
#include <cmath>

namespace fusedqml::planner {

namespace {
constexpr double pi = 3.14159265358979323846;
constexpr double epsilon = 1e-14;
}  // namespace

Bits combination(const std::vector<Bits>& vectors, Bits mask) {
    Bits result = 0;
    while (mask) result ^= vectors[pop_lowest(mask)];
    return result;
}

std::pair<Bits, Bits> Span::reduced(Bits vector) const {
    Bits mask = 0;
    while (vector) {
        const auto& pivot = pivots_[bit_length(vector)];
        if (!pivot.first) break;
        vector ^= pivot.first;
        mask ^= pivot.second;
    }
    return {vector, mask};
}

bool Span::add(Bits vector) {
    const auto [rest, mask] = reduced(vector);
    if (!rest) return false;
    pivots_[bit_length(rest)] = {rest, mask | Bits(1) << dimension};
    ++dimension;
    return true;
}

bool Span::coordinates(Bits vector, Bits& mask) const {
    const auto [rest, found] = reduced(vector);
    mask = found;
    return !rest;
}

bool Span::fits(const Bits* vectors, size_t number, int limit) const {
    if (dimension + static_cast<int>(number) <= limit) return true;
    Span grown = *this;
    for (size_t k = 0; k < number; ++k) grown.add(vectors[k]);
    return grown.dimension <= limit;
}

std::vector<Bits> Span::basis() const {
    std::vector<Bits> result;
    for (const auto& [pivot, mask] : pivots_) {  // ascending, as each has another highest bit
        if (!pivot) continue;
        Bits vector = pivot;
        for (const Bits other : result)
            if (vector >> (bit_length(other) - 1) & 1) vector ^= other;
        result.push_back(vector);
    }
    return result;
}

Bits Frame::vector(Bits mask) const { return combination(columns, mask); }

Bits Frame::functional(Bits mask) const { return combination(duals, mask); }

std::vector<Bits> Frame::controls(Bits mask, Bits value) const {
    std::vector<Bits> found;
    while (mask) {
        const int q = pop_lowest(mask);
        found.push_back(value >> q & 1 ? duals[q] : duals[q] ^ one());
    }
    return found;
}

void Frame::flip(Bits targets, int control, bool value) {
    const Bits moved = vector(targets);
    if (control < 0) {
        offset ^= moved;
        while (targets) duals[pop_lowest(targets)] ^= one();
        return;
    }
    columns[control] ^= moved;
    const Bits added = duals[control] ^ (value ? 0 : one());
    while (targets) duals[pop_lowest(targets)] ^= added;
    if (!value) offset ^= moved;
}

bool Angle::is_zero() const {
    return slots.empty() && euler.empty() && std::abs(std::remainder(constant, 4 * pi)) < epsilon;
}

}  // namespace fusedqml::planner
