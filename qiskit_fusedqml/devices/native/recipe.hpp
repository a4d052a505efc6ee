// From angles to tape coefficients and from overlaps back to angle gradients; see qiskit_fusedqml/coefficients.py for the mathematics.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "coefficients.hpp"

namespace fusedqml {

bool all_finite(const double* values, int64_t count);

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
    // Of twice the angle.
    void twice(size_t k, double& c, double& s) const {
        c = cosine[k] * cosine[k] - sine[k] * sine[k];
        s = 2.0 * cosine[k] * sine[k];
    }
};

// Runs of gates about X, Y and Z (axis 0 to 2) in time order; the angle of a gate is "constant + source", or its constant (-1).
struct Runs {
    std::vector<int64_t> start, axis, source;
    std::vector<double> constant;

    int64_t size() const { return static_cast<int64_t>(start.size()) - 1; }
    // Of half the angles of all gates: [gate][sample], as the sources are [source][sample].
    Waves halves(const double* sources, int64_t batch) const;
    // The product of a run for one sample.
    void multiply(int64_t run, const Waves& halves, int64_t batch, int64_t sample, double quaternion[4]) const;
    // Adds the gradients of a run's gates, `stride` apart, h being (<X>, <Y>, <Z>) at the end of the run.
    void pull(int64_t run, const Waves& halves, int64_t batch, int64_t sample, double h[3], double* gradients, int64_t stride) const;
};

// Angles from the values a caller has: those all samples share (base), and one row of others a sample.
struct AngleTables {
    int64_t num_base = 0, num_row = 0;
    Linear shared;                 // shared angles, from the base
    Linear batched_base;           // batched angles: what the base contributes, constants included,
    Linear batched_row;            // and what the row adds
};

struct RecipeTables {
    int64_t num_angles = 0, num_batched = 0, num_overlaps = 0, num_scales = 0;
    Linear pairs, batched_pairs, terms, batched_terms;
    std::vector<int64_t> kinds;                          // of the shared pairs: plain, factored, carrier
    std::vector<int64_t> pair_overlaps, batched_pair_overlaps, term_overlaps, batched_term_overlaps;
    Runs runs, blends, batched_blends;
    std::vector<int64_t> blend_overlaps, batched_blend_overlaps;                // <X>, <Y>, <Z> of each
    std::vector<int64_t> run_overlaps;                   // <X>, <Y>, <Z> of each run, and <Z> before its rotation
    std::vector<double> run_signs;                       // four of each run
    std::vector<int64_t> run_pairs;                      // the pair of each run's rotation
    std::vector<int64_t> factored, stretch_start, carrier_pair, carrier_diag, scale_order, overlap_position;
};

// Coefficients together with what the way back needs.
struct Bound {
    std::shared_ptr<const Coefficients> coefficients;
    std::vector<double> factors;   // of each overlap (S,)
    std::vector<double> phases;    // exp(1j alpha) of each run (E, 2)
    Waves runs, blends, batched_blends;
};

class Recipe {
  public:
    Recipe(std::shared_ptr<const RecipeTables> tables, std::shared_ptr<const DenseMatrices> dense, AngleTables angles)
        : tables_(std::move(tables)), dense_(std::move(dense)), t(*tables_), angles_(std::move(angles)) {}
    // The same recipe from other values.
    Recipe over(AngleTables angles) const { return Recipe(tables_, dense_, std::move(angles)); }
    const RecipeTables& tables() const { return t; }
    const AngleTables& angles() const { return angles_; }

    // From the base (F,) and rows (B, F') of values; nullptr if an angle is not finite.
    std::unique_ptr<Bound> bind(const double* base, const double* rows, int64_t batch) const;
    // Gradients of the base, (B, F) if `per_row` and else (F,) in all, and of the rows (B, F') from overlaps (B, S). Without `rows` the
    // overlaps are (1, S), sums over the batch, and batched angles are left out. The results start as zeros.
    void pull(const Bound& bound, int64_t batch, const double* overlaps, bool per_row, double* base, double* rows) const;

  private:
    void bind_shared(std::vector<double>& sources, const CoefficientTargets& to, Bound& bound) const;
    void bind_batched(const std::vector<double>& angles, int64_t batch, const CoefficientTargets& to, Bound& bound) const;
    void scale_pairs(const double* cosines, const double* sines, double* pairs, double* scales, double* factors) const;
    void pull_batched(const Bound& bound, int64_t first, int64_t count, const double* overlaps, std::vector<double>& gradients) const;

    std::shared_ptr<const RecipeTables> tables_;
    std::shared_ptr<const DenseMatrices> dense_;
    const RecipeTables& t;
    AngleTables angles_;
};

}  // namespace fusedqml
