// Observables: sums of controlled Pauli strings on rows, grouped by the bits they flip.
#pragma once
#include <mutex>
#include <vector>

#include "compile.hpp"
#include "gf2.hpp"
#include "state.hpp"

namespace fusedqml {

struct TermSource {
    double coefficient;
    uint64_t x, z;                 // z with its constant as bit n
    int power;
    int observable;
    std::vector<uint64_t> controls;
};

// The strings of one observable that flip the same bits: a real diagonal d(r). Its values at a block, the 2**block_bits rows with the same high
// bits, depend on few functionals of these: blocks are of one kind where all of them agree.
class RealDiagonal {
public:
    explicit RealDiagonal(int observable) : observable(observable) {}
    // `block_bits`: low row bits covered by one evaluation.
    void add(Arena& arena, const TermSource& term, int n, int block_bits);
    // After the last term.
    void finish(const Kernels& kernels, int n, int block_bits);
    // d at the rows of a block whose high bits, and the constant bit, are those of `high`; false if it is 0 there.
    bool evaluate(const Kernels& kernels, uint64_t high, int block_bits, double* values) const;
    int kind_bits() const { return static_cast<int>(functionals_.vectors().size()); }
    // The kind of a block of which only this bit is 1; that of another is the XOR over its bits.
    uint32_t kind_of_bit(int bit) const;
    // High bits of a block of this kind.
    uint64_t block_of(uint32_t kind) const;
    int observable;

private:
    struct String {
        double coefficient;
        uint32_t low;
    };
    struct Strings {               // whose signs depend in the same way on the high bits
        uint64_t outer;
        std::vector<String> strings;
        std::vector<double> sum;   // over the strings by low bits, if there are few such sets
    };
    struct Controlled {
        double coefficient;
        uint64_t outer;
        uint32_t half;
        Rows rows;
    };
    void add_strings(const TermSource& term, double coefficient, int block_bits);
    void add_controlled(Arena& arena, const TermSource& term, double coefficient, int n, int block_bits);
    void add_controlled_values(uint64_t high, double* values) const;
    std::vector<Strings> sets_;
    std::vector<Controlled> controlled_;
    gf2::Echelon functionals_;     // of the high bits, without the constant
    double negligible_ = 0;        // what rounding leaves of values that cancel
};

// Strings that flip the bits of x, for all observables; times 1j if imaginary, with an odd number of Y.
struct Flip {
    uint64_t x;
    bool imaginary;
    std::vector<RealDiagonal> diagonals;
    size_t first;                  // number of the first diagonal
};

class Observables {
public:
    Observables(const Kernels* kernels, int num_qubits, int num_observables, const std::vector<TermSource>& terms);
    int num_qubits() const { return n_; }
    int num_observables() const { return num_observables_; }
    bool is_real() const { return is_real_; }  // no string has an odd number of Y
    // values: (B, n_obs)
    void expectation(const State& ket, double* values, int threads);
    // bra = sum_k cotangents[:, k] O_k ket; cotangents: (B, n_obs). products: Re <ket|bra> (B,), or nullptr.
    void apply(const State& ket, const State& bra, const double* cotangents, int threads, double* products = nullptr);

private:
    // Flips that pass through rows together: one, or several of one observable that flip the same lanes.
    struct Batch {
        bool is_joint() const { return count > 1; }
        size_t first, count;
        uint64_t lanes;            // row bits
        int pair_bit;              // highest bit of a flip that leads to another stored row, else -1
    };
    // For one layout of states.
    struct Layout {
        int width, real_bytes, lane_bits, sample_bits;
        size_t block_bytes;        // of one diagonal
        std::vector<Batch> batches;
        std::vector<int64_t> first;     // by diagonal: number of its first kind, -1 where its values are made for each block
        std::vector<const void*> kept;  // values by kind, all kinds of a diagonal after another's; nullptr where they are 0
        size_t num_made = 0;            // diagonals of which none are kept
        bool is_final = true;           // later calls would keep no more
        Memory memory;
    };
    class Values;
    struct Share {                 // what one part does
        int64_t first_group, last_group, first_block, last_block;
    };
    bool pass_together(const Batch& batch, const Flip& flip, uint64_t lanes, int pair_bit) const;
    Layout make_layout(const State& state, size_t room, bool is_first) const;
    size_t choose_kept(Layout& layout, size_t room, bool is_first) const;
    void keep_values(Layout& layout, size_t bytes) const;
    bool store(const Layout& layout, const Batch& batch, const RealDiagonal& diagonal, uint64_t high, double* values, void* out) const;
    std::shared_ptr<const Layout> layout_for(const State& state);
    std::vector<Share> shares(const State& state, int threads) const;
    template <class Body> void for_passes(const State& ket, const Layout& layout, const Share& share, const Body& body) const;
    void add_up(const State& ket, const Layout& layout, int64_t group, const double* sums, double* values) const;
    Memory spread_cotangents(const State& ket, const double* cotangents) const;
    int64_t num_blocks() const { return int64_t(1) << (n_ - block_bits_); }

    const Kernels* kernels_;
    int n_, num_observables_, block_bits_;
    size_t num_diagonals_ = 0;
    std::vector<int> kind_bits_;                  // by diagonal
    std::vector<std::vector<uint32_t>> kinds_;    // by bit of the block and diagonal
    bool is_real_ = true;
    Arena arena_;
    std::vector<Flip> flips_;
    std::mutex mutex_;
    std::vector<std::shared_ptr<const Layout>> layouts_;
};

}  // namespace fusedqml
