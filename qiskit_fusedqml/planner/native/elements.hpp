// What planning orders and groups: planner/elements.py, frame.py and gf2.py in compiled code.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace fusedqml::planner {

// Vectors have n bits, functionals n + 1, masks of qubits n: n <= max_qubits.
using Bits = uint64_t;
constexpr int max_qubits = 62;

inline int parity(Bits bits) { return __builtin_parityll(bits); }
inline int count(Bits bits) { return __builtin_popcountll(bits); }
inline int bit_length(Bits bits) { return bits ? 64 - __builtin_clzll(bits) : 0; }

// Takes the lowest qubit out of a mask.
inline int pop_lowest(Bits& mask) {
    const int q = __builtin_ctzll(mask);
    mask &= mask - 1;
    return q;
}

// A Pauli string of an element: flips x, signs z.
struct Generator {
    Bits x, z;
};

inline bool anticommute(const Generator& a, const Generator& b) { return parity((a.x & b.z) ^ (a.z & b.x)); }

// The span of vectors added one by one (gf2.Span).
class Span {
public:
    int dimension = 0;

    bool add(Bits vector);
    bool fits(const Bits* vectors, size_t number, int limit) const;
    // Whether a vector is a sum of vectors added, and the mask of these.
    bool coordinates(Bits vector, Bits& mask) const;
    std::vector<Bits> basis() const;

private:
    std::pair<Bits, Bits> reduced(Bits vector) const;
    // by highest bit: a vector with that bit (0: none), and the mask of the vectors added that sum to it
    std::array<std::pair<Bits, Bits>, 65> pivots_{};
};

// XOR of the vectors whose positions are set in the mask.
Bits combination(const std::vector<Bits>& vectors, Bits mask);

struct Frame {
    std::vector<Bits> columns, duals;
    Bits offset = 0;

    Bits vector(Bits mask) const;
    Bits functional(Bits mask) const;
    std::vector<Bits> controls(Bits mask, Bits value) const;
    void flip(Bits targets, int control, bool value);

private:
    Bits one() const { return Bits(1) << columns.size(); }
};

struct SequenceGate {
    int64_t axis, slot;
    double constant;
};

struct Sequence {
    std::vector<SequenceGate> gates;
    bool batched = false, is_matrix = false;
};

struct Angle {
    double constant = 0.0;
    std::vector<std::pair<int64_t, double>> slots;
    std::vector<std::pair<int64_t, int>> euler;

    bool is_zero() const;
};

constexpr size_t max_expanded_terms = 128;

enum class Kind { z_rotation, pauli, u2, dense, diagonal };

// An element of any kind; fields that a kind does not have stay as they are here.
struct Element {
    Kind kind;
    Bits x = 0, z = 0;    // flip vector and sign functional; z is a Z rotation's functional
    int64_t side = -1;    // the functional of a virtual qubit
    int power = 0;
    bool batched = false;
    int64_t sequence = -1;
    int64_t dense = -1;
    Angle angle{};
    std::vector<Bits> controls{};
    std::vector<Bits> flips{}, sides{};  // of a dense matrix; a diagonal's functionals are its sides
    std::vector<Bits> masks{};
    std::vector<double> angles{};
    std::vector<Generator> generators{};

    bool is_large() const { return masks.size() > max_expanded_terms; }  // of diagonals: an operation of its own
    bool is_diagonal() const { return kind == Kind::z_rotation || kind == Kind::diagonal; }
    const Bits* flips_begin() const { return kind == Kind::dense ? flips.data() : &x; }
    size_t num_flips() const { return kind == Kind::dense ? flips.size() : (!is_diagonal() && x ? 1 : 0); }
};

struct Elements {
    std::vector<Element> elements;
    std::vector<Sequence> sequences;
};

}  // namespace fusedqml::planner
