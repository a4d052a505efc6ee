// Linear algebra over GF(2) on bit masks.
#pragma once
#include <cstdint>
#include <vector>

namespace fusedqml::gf2 {

inline int parity(uint64_t mask) { return __builtin_parityll(mask); }
inline int highest(uint64_t mask) { return 63 - __builtin_clzll(mask); }

// Vectors in reduced echelon form: each has its highest bit, its pivot, to itself. Ascending by pivot.
class Echelon {
public:
    // False if the vector depends on those already there.
    bool add(uint64_t vector) {
        vector = reduced(vector);
        if (!vector) return false;
        const uint64_t pivot = uint64_t(1) << highest(vector);
        size_t place = 0;
        for (; place < vectors_.size() && vectors_[place] < pivot; ++place) {}
        for (uint64_t& other : vectors_)
            if (other & pivot) other ^= vector;
        vectors_.insert(vectors_.begin() + static_cast<std::ptrdiff_t>(place), vector);
        pivots_ |= pivot;
        return true;
    }
    uint64_t reduced(uint64_t vector) const {
        for (const uint64_t other : vectors_)
            if (vector >> highest(other) & 1) vector ^= other;
        return vector;
    }
    const std::vector<uint64_t>& vectors() const { return vectors_; }
    uint64_t pivots() const { return pivots_; }

private:
    std::vector<uint64_t> vectors_;
    uint64_t pivots_ = 0;
};

}  // namespace fusedqml::gf2
