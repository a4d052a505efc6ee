// From angles to tape coefficients and from overlaps back to angle gradients; see qiskit_fusedqml/coefficients.py for the mathematics.
#pragma once
#include <cstdint>
#include <vector>

namespace fusedqml {

// Rows "constant + sum weight * source".
struct Linear {
    std::vector<int64_t> start;    // of each row in index and weight, one past the end
    std::vector<int64_t> index;
    std::vector<double> weight, constant;

    int64_t rows() const { return static_cast<int64_t>(constant.size()); }
    double evaluate(int64_t row, const double* sources) const;
    void pull(int64_t row, double gradient, double* sources) const;
};

// Cosines and sines of many angles.
struct Waves {
    std::vector<double> cosine, sine;

    explicit Waves(std::vector<double> angles);
};

// Runs of gates about X, Y and Z (axis 0 to 2) in time order; the angle of a gate is "constant + source", or its constant (-1).
struct Runs {
    std::vector<int64_t> start, axis, source;
    std::vector<double> constant;

    int64_t size() const { return static_cast<int64_t>(start.size()) - 1; }
    // Of the angles of all gates, times a factor.
    Waves waves(const double* sources, double factor) const;
    // The product of a run, from its gates at half their angles.
    void multiply(int64_t run, const Waves& halves, double quaternion[4]) const;
    // Adds the gradients of a run's gates, h being (<X>, <Y>, <Z>) at the end of the run.
    void pull(int64_t run, const Waves& gates, double h[3], double* gradients) const;
};

struct RecipeTables {
    int64_t num_angles = 0, num_batched = 0, num_overlaps = 0, num_scales = 0;
    Linear pairs, batched_pairs, terms, batched_terms;
    std::vector<int64_t> kinds;                          // of the shared pairs: plain, factored, carrier
    std::vector<int64_t> pair_overlaps, batched_pair_overlaps, term_overlaps, batched_term_overlaps;
    Runs runs, blends, batched_blends;
    std::vector<int64_t> run_overlaps, blend_overlaps, batched_blend_overlaps;  // three each
    std::vector<double> run_signs;
    std::vector<int64_t> factored, stretch_start, carrier_pair, carrier_diag, scale_order, overlap_position;
};

class Recipe {
  public:
    explicit Recipe(RecipeTables tables) : t(std::move(tables)) {}
    const RecipeTables& tables() const { return t; }

    // Shared coefficients from angles (A,): pairs (R, 2), matrices (U, 2, 2, re|im), diagonal angles (D,), scales, the factor of
    // each overlap (S,), and alpha of each run (E,).
    void bind_shared(const double* angles, double* pairs, double* matrices, double* diagonal, double* scales, double* factors,
                     double* alpha) const;
    // Batched coefficients from angles (B, A'): pairs (R', 2, B), matrices (U', 2, 2, B, re|im), diagonal angles (D', B).
    void bind_batched(int64_t batch, const double* angles, double* pairs, double* matrices, double* diagonal) const;
    // Gradients of the shared angles (rows, A) from overlaps (rows, S).
    void pull_shared(int64_t rows, const double* overlaps, const double* angles, const double* factors, const double* alpha,
                     double* gradients) const;
    // Gradients of the batched angles (B, A') from overlaps (B, S).
    void pull_batched(int64_t batch, const double* overlaps, const double* angles, const double* factors, double* gradients) const;

  private:
    void scale_pairs(const double* cosines, const double* sines, double* pairs, double* scales, double* factors) const;
    RecipeTables t;
};

}  // namespace fusedqml
