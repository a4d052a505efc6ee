// From angles to tape coefficients and from overlaps back to angle gradients; see devices/reference_coefficients.py for the mathematics.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "../cuda_src/binding.cuh"
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
struct SinesCosines {
    std::vector<double> cosine, sine;

    explicit SinesCosines(std::vector<double> angles);
    // Of twice the angle.
    void twice(size_t k, double& c, double& s) const {
        double_angle(cosine[k], sine[k], c, s);
    }
};

// Sequences of gates about X, Y and Z (axis 0 to 2) in time order; the angle of a gate is "constant + source", or its constant (-1).
struct RotationSequences {
    std::vector<int64_t> start, axis, source;
    std::vector<double> constant;

    int64_t size() const { return static_cast<int64_t>(start.size()) - 1; }
    // Of half the angles of all gates: [gate][sample], as the sources are [source][sample].
    SinesCosines halves(const double* sources, int64_t batch) const;
    // The product of a sequence for one sample.
    void multiply(int64_t sequence, const SinesCosines& halves, int64_t batch, int64_t sample, double (&quaternion)[4]) const;
    // Adds the gradients of a sequence's gates, `stride` apart, h being (<X>, <Y>, <Z>) at the end of the sequence.
    void pull(int64_t sequence, const SinesCosines& halves, int64_t batch, int64_t sample, double (&h)[3], double* gradients, int64_t stride) const;
};

// Angles from the values a caller has: those all samples share, and those of each sample (batched).
struct AngleTables {
    int64_t num_shared = 0, num_batched = 0;
    Linear shared;                 // shared angles, from shared values
    Linear from_shared;            // batched angles: what shared values contribute, constants included,
    Linear from_batched;           // and what batched values add

    // The shared angles and, [angle][sample], the batched ones; false if one of them is not finite.
    bool evaluate(const double* shared_values, const double* batched_values, int64_t batch, double* shared_angles, double* batched_angles) const;
};

struct CoefficientTables {
    int64_t num_angles = 0, num_batched = 0, num_overlaps = 0, num_scales = 0;
    Linear pairs, batched_pairs, terms, batched_terms;
    std::vector<int64_t> kinds;                          // of the shared pairs: plain, factored, carrier
    std::vector<int64_t> pair_overlaps, batched_pair_overlaps, term_overlaps, batched_term_overlaps;
    RotationSequences sequences, matrices, batched_matrices;
    std::vector<int64_t> matrix_overlaps, batched_matrix_overlaps;              // <X>, <Y>, <Z> of each
    std::vector<int64_t> sequence_overlaps;              // <X>, <Y>, <Z> of each sequence, and <Z> before its rotation
    std::vector<double> sequence_signs;                 // four of each sequence
    std::vector<int64_t> sequence_pairs;                // the pair of each sequence's rotation
    std::vector<int64_t> factored, stretch_start, carrier_pair, carrier_diag, scale_order, overlap_position;
};

// Coefficients together with what the backward pass needs.
struct Bound {
    std::shared_ptr<const Coefficients> coefficients;
    std::vector<double> factors;   // of each overlap (S,)
    std::vector<double> phases;    // exp(1j alpha) of each sequence (E, 2)
    SinesCosines sequences, matrices, batched_matrices;
};

class CoefficientMap {
  public:
    CoefficientMap(std::shared_ptr<const CoefficientTables> tables, std::shared_ptr<const DenseMatrices> dense, AngleTables angles)
        : tables_(std::move(tables)), dense_(std::move(dense)), t(*tables_), angles_(std::move(angles)) {}
    // The same map from other values.
    CoefficientMap over(AngleTables angles) const { return CoefficientMap(tables_, dense_, std::move(angles)); }
    const CoefficientTables& tables() const { return t; }
    const AngleTables& angles() const { return angles_; }

    // From shared (F,) and batched (B, F') values; nullptr if an angle is not finite.
    std::unique_ptr<Bound> bind(const double* shared_values, const double* batched_values, int64_t batch) const;
    // Gradients of shared values, (B, F) if `per_sample` and else (F,) in all, and of batched ones (B, F') from overlaps (B, S). Without
    // `batched` the overlaps are (1, S), sums over the batch, and batched angles are left out. The results start as zeros.
    void pull(const Bound& bound, int64_t batch, const double* overlaps, bool per_sample, double* shared, double* batched) const;

  private:
    void bind_shared(std::vector<double>& sources, const CoefficientTargets& to, Bound& bound) const;
    void bind_batched(const std::vector<double>& angles, int64_t batch, const CoefficientTargets& to, Bound& bound) const;
    void scale_pairs(const double* cosines, const double* sines, double* pairs, double* scales, double* factors) const;
    void pull_batched(const Bound& bound, int64_t first, int64_t count, const double* overlaps, std::vector<double>& gradients) const;

    std::shared_ptr<const CoefficientTables> tables_;
    std::shared_ptr<const DenseMatrices> dense_;
    const CoefficientTables& t;
    AngleTables angles_;
};

}  // namespace fusedqml
