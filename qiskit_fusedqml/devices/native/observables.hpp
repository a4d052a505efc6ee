// Observables: sums of controlled Pauli strings on rows, grouped by the bits they flip.
#pragma once
#include <mutex>
#include <vector>

#include "compile.hpp"
#include "state.hpp"

namespace fusedqml {

struct TermSource {
    double coefficient;
    uint64_t x, z;                 // z with its constant as bit n
    int power;
    int observable;
    std::vector<uint64_t> controls;
};

// The strings of one observable that flip the same bits: a real diagonal d(r), times 1j if imaginary.
class RealDiagonal {
public:
    RealDiagonal(int observable, bool imaginary) : observable(observable), imaginary(imaginary) {}
    // `block_bits`: low row bits covered by one evaluation.
    void add(Arena& arena, const TermSource& term, int n, int block_bits);
    // After the last term.
    void finish(const Kernels& kernels, int block_bits);
    // d at the 2**block_bits rows whose high bits, and the constant bit, are those of `high`.
    void evaluate(const Kernels& kernels, uint64_t high, int block_bits, double* values) const;
    int observable;
    bool imaginary;

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
};

// Strings that flip the bits of x, for all observables.
struct Flip {
    uint64_t x;
    std::vector<RealDiagonal> diagonals;
    std::vector<int32_t> imaginary;
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
    // bra = sum_k cotangents[:, k] O_k ket; cotangents: (B, n_obs)
    void apply(const State& ket, const State& bra, const double* cotangents, int threads);

private:
    // Diagonals of some blocks of rows in the form the sweeps read.
    struct Tables {
        int width, real_bytes, lane_bits;
        size_t block_bytes;        // of one diagonal
        Memory memory;             // [block][diagonal]
    };
    struct Share {                 // what one part does
        int64_t first_group, last_group, first_block, last_block;
    };
    Tables make_tables(const State& state, int64_t first_block, int64_t num_blocks) const;
    const Tables* cached(const State& state);
    std::vector<Share> shares(const State& state, int threads) const;
    Pass make_pass(const State& ket, const Flip& flip, int64_t block, const Tables& tables, int64_t place,
                   std::vector<const void*>& pointers) const;
    bool skipped(const State& ket, const Flip& flip, int64_t block) const;
    template <class Body> void for_blocks(const State& state, const Tables* whole, const Share& share, const Body& body);
    void add_up(const State& ket, int64_t group, const double* sums, double* values) const;
    Memory spread_cotangents(const State& ket, const double* cotangents) const;
    int64_t num_blocks() const { return int64_t(1) << (n_ - block_bits_); }

    const Kernels* kernels_;
    int n_, num_observables_, block_bits_;
    size_t num_diagonals_ = 0;
    bool is_real_ = true;
    Arena arena_;
    std::vector<Flip> flips_;
    std::mutex mutex_;
    bool used_ = false;
    std::vector<std::unique_ptr<Tables>> cache_;  // of small states, by layout
};

}  // namespace fusedqml
