#include "coefficient_map.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.hpp"

namespace fusedqml {
namespace {

constexpr int64_t factored_kind = 1;
constexpr int together = 16;       // samples handled at once in the backward pass: two cache lines of what is [..][sample]

double overlap(const double* overlaps, const double* factors, int64_t index) {
    return index < 0 ? 0.0 : overlaps[index] * factors[index];
}

}  // namespace

bool all_finite(const double* values, int64_t count) {
    // an exponent of ones only, and one more, carry into the sign's place; whole vectors of integers are looked at
    constexpr uint64_t exponent = uint64_t(0x7ff) << 52, one = uint64_t(1) << 52;
    uint64_t seen = 0;
    for (int64_t k = 0; k < count; ++k) {
        uint64_t bits;
        std::memcpy(&bits, values + k, sizeof bits);
        seen |= (bits & exponent) + one;
    }
    return !(seen >> 63);
}

double Linear::evaluate(int64_t row, const double* sources) const {
    double value = constant[row];
    for (int64_t k = start[row]; k < start[row + 1]; ++k) value += weight[k] * sources[index[k]];
    return value;
}

void Linear::pull(int64_t row, double gradient, double* sources) const {
    for (int64_t k = start[row]; k < start[row + 1]; ++k) sources[index[k]] += weight[k] * gradient;
}

SinesCosines::SinesCosines(std::vector<double> angles) : cosine(std::move(angles)), sine(cosine.size()) {
    find_kernels(nullptr, sizeof(double), false)->sine_cosine(cosine.data(), static_cast<int64_t>(cosine.size()), sine.data(), cosine.data());
}

SinesCosines RotationSequences::halves(const double* sources, int64_t batch) const {
    std::vector<double> angles(constant.size() * static_cast<size_t>(batch));
    double* to = angles.data();
    for (size_t k = 0; k < constant.size(); ++k, to += batch) {
        if (source[k] < 0) std::fill(to, to + batch, 0.5 * constant[k]);
        else
            for (int64_t sample = 0; sample < batch; ++sample) to[sample] = 0.5 * (constant[k] + sources[source[k] * batch + sample]);
    }
    return SinesCosines(std::move(angles));
}

void RotationSequences::multiply(int64_t sequence, const SinesCosines& halves, int64_t batch, int64_t sample, double (&q)[4]) const {
    q[0] = 1.0;
    q[1] = q[2] = q[3] = 0.0;
    for (int64_t k = start[sequence]; k < start[sequence + 1]; ++k) {
        multiply_about(static_cast<int>(axis[k]), q, halves.cosine[k * batch + sample], halves.sine[k * batch + sample]);
    }
}

void RotationSequences::pull(int64_t sequence, const SinesCosines& halves, int64_t batch, int64_t sample, double (&h)[3], double* gradients,
                int64_t stride) const {
    for (int64_t k = start[sequence + 1]; k-- > start[sequence];) {
        double c, s;
        halves.twice(static_cast<size_t>(k * batch + sample), c, s);
        const double along = turn_back(static_cast<int>(axis[k]), c, s, h);
        if (source[k] >= 0) gradients[source[k] * stride] += along;
    }
}

namespace {

// to = constant + sum weight * source of one row, for `count` samples whose values of a source are `stride` apart. `source(k)`: the first.
template <class Source>
void evaluate_samples(const Linear& linear, int64_t row, double constant, double factor, const Source& source, int64_t stride, int64_t count,
                      double* to) {
    const int64_t first = linear.start[row], last = linear.start[row + 1];
    if (first == last) std::fill(to, to + count, constant);
    for (int64_t k = first; k < last; ++k) {
        const double weight = factor * linear.weight[k];
        const double* from = source(linear.index[k]);
        if (k == first)
            for (int64_t sample = 0; sample < count; ++sample) to[sample] = constant + weight * from[sample * stride];
        else
            for (int64_t sample = 0; sample < count; ++sample) to[sample] += weight * from[sample * stride];
    }
}

}  // namespace

bool AngleTables::evaluate(const double* shared_values, const double* batched_values, int64_t batch, double* shared_angles,
                           double* batched_angles) const {
    for (int64_t k = 0; k < shared.rows(); ++k) shared_angles[k] = shared.evaluate(k, shared_values);
    constexpr int64_t block = 256;  // samples whose values stay in cache
    for (int64_t first = 0; first < batch; first += block)
        for (int64_t angle = 0; angle < from_batched.rows(); ++angle)
            evaluate_samples(from_batched, angle, from_shared.evaluate(angle, shared_values), 1.0,
                             [&](int64_t value) { return batched_values + first * num_batched + value; }, num_batched,
                             std::min(block, batch - first), batched_angles + angle * batch + first);
    return all_finite(shared_angles, shared.rows()) && all_finite(batched_angles, from_shared.rows() * batch);
}

std::unique_ptr<Bound> CoefficientMap::bind(const double* shared_values, const double* batched_values, int64_t batch) const {
    std::vector<double> shared(static_cast<size_t>(t.num_angles + 3 * t.sequences.size()));
    std::vector<double> batched(static_cast<size_t>(t.num_batched * batch));
    if (!angles_.evaluate(shared_values, batched_values, batch, shared.data(), batched.data())) return nullptr;
    const CoefficientCounts counts{t.pairs.rows(), t.batched_pairs.rows(), t.matrices.size(), t.batched_matrices.size(),
                                   t.terms.rows(), t.batched_terms.rows(), t.num_scales, batch};
    auto coefficients = std::make_shared<Coefficients>(counts, dense_);
    auto bound = std::make_unique<Bound>(Bound{coefficients, std::vector<double>(static_cast<size_t>(t.num_overlaps)),
                                               std::vector<double>(static_cast<size_t>(2 * t.sequences.size())),
                                               t.sequences.halves(shared.data(), 1), t.matrices.halves(shared.data(), 1),
                                               t.batched_matrices.halves(batched.data(), batch)});
    bind_shared(shared, coefficients->targets(), *bound);
    bind_batched(batched, batch, coefficients->targets(), *bound);
    return bound;
}

// sources: the angles, and room for the Euler angles of the sequences, which are found here
void CoefficientMap::bind_shared(std::vector<double>& sources, const CoefficientTargets& to, Bound& bound) const {
    for (int64_t e = 0; e < t.sequences.size(); ++e) {
        double q[4];
        t.sequences.multiply(e, bound.sequences, 1, 0, q);
        const Euler found = euler_angles(q);
        double* euler = &sources[static_cast<size_t>(t.num_angles + 3 * e)];
        euler[0] = found.alpha, euler[1] = found.beta, euler[2] = found.gamma;
        bound.phases[2 * e] = found.phase_re, bound.phases[2 * e + 1] = found.phase_im;
    }
    std::vector<double> pair_halves(static_cast<size_t>(t.pairs.rows()));
    for (int64_t p = 0; p < t.pairs.rows(); ++p) pair_halves[p] = 0.5 * t.pairs.evaluate(p, sources.data());
    const SinesCosines pair_sines(std::move(pair_halves));
    scale_pairs(pair_sines.cosine.data(), pair_sines.sine.data(), to.pairs, to.scales, bound.factors.data());
    for (int64_t k = 0; k < t.terms.rows(); ++k) to.angles[k] = t.terms.evaluate(k, sources.data());
    double* matrix = to.matrices;
    for (int64_t u = 0; u < t.matrices.size(); ++u) {
        double q[4];
        t.matrices.multiply(u, bound.matrices, 1, 0, q);
        for (int k = 0; k < 8; ++k) *matrix++ = matrix_number(q, k);
    }
}

void CoefficientMap::scale_pairs(const double* cosines, const double* sines, double* pairs, double* scales, double* factors) const {
    const int64_t count = t.pairs.rows();
    std::vector<double> own(static_cast<size_t>(count + t.num_scales), 1.0);  // what each operation multiplies the state by
    std::vector<double> taken(static_cast<size_t>(count), 1.0);              // the factor taken out of each rotation
    for (int64_t p = 0; p < count; ++p) {
        double a = cosines[p], b = sines[p];
        if (t.kinds[p] == factored_kind) {
            taken[p] = take_out(a, b);
            own[p] = 1.0 / taken[p];
        }
        pairs[2 * p] = a;
        pairs[2 * p + 1] = b;
    }
    const int64_t stretches = static_cast<int64_t>(t.stretch_start.size());
    for (int64_t k = 0; k < stretches; ++k) {
        const int64_t stop = k + 1 < stretches ? t.stretch_start[k + 1] : static_cast<int64_t>(t.factored.size());
        double product = 1.0;
        for (int64_t j = t.stretch_start[k]; j < stop; ++j) product *= taken[t.factored[j]];
        if (const int64_t p = t.carrier_pair[k]; p >= 0) {
            pairs[2 * p] *= product;
            pairs[2 * p + 1] *= product;
            own[p] = product;
        } else {
            scales[t.carrier_diag[k]] = own[count + t.carrier_diag[k]] = product;
        }
    }
    // an overlap is measured on a ket and a bra that the operations undone before it have scaled
    std::vector<double> behind(t.scale_order.size() + 1, 1.0);
    for (size_t k = t.scale_order.size(); k-- > 0;) behind[k] = behind[k + 1] * own[t.scale_order[k]];
    for (int64_t s = 0; s < t.num_overlaps; ++s) factors[s] = overlap_factor(behind[t.overlap_position[s]]);
}

void CoefficientMap::bind_batched(const std::vector<double>& angles, int64_t batch, const CoefficientTargets& to, Bound& bound) const {
    const Kernels& kernels = *find_kernels(nullptr, sizeof(double), false);
    const auto evaluate = [&](const Linear& linear, int64_t row, double factor, double* samples) {
        evaluate_samples(linear, row, factor * linear.constant[row], factor,
                         [&](int64_t angle) { return angles.data() + angle * batch; }, 1, batch, samples);
    };
    for (int64_t p = 0; p < t.batched_pairs.rows(); ++p) {
        double* halves = to.batched_pairs + 2 * p * batch;
        evaluate(t.batched_pairs, p, 0.5, halves);
        kernels.sine_cosine(halves, batch, halves + batch, halves);
    }
    for (int64_t k = 0; k < t.batched_terms.rows(); ++k) evaluate(t.batched_terms, k, 1.0, to.batched_angles + k * batch);
    for (int64_t u = 0; u < t.batched_matrices.size(); ++u)
        for (int64_t sample = 0; sample < batch; ++sample) {
            double q[4];
            t.batched_matrices.multiply(u, bound.batched_matrices, batch, sample, q);
            for (int entry = 0; entry < 4; ++entry) {
                double* at = to.batched_matrices + 2 * ((4 * u + entry) * batch + sample);
                at[0] = matrix_number(q, 2 * entry), at[1] = matrix_number(q, 2 * entry + 1);
            }
        }
}

namespace {

// N samples that share all angles, [..][N], in the backward pass.
template <int N> class Together {
  public:
    Together(const CoefficientTables& tables, const Bound& bound)
        : t(tables), bound_(bound), overlaps_(static_cast<size_t>(N * t.num_overlaps)),
          gradients_(static_cast<size_t>(N * (t.num_angles + 3 * t.sequences.size()))) {}

    // From overlaps (count, S) to the gradients of the angles; missing samples are zeros.
    void pull(const double* overlaps, int64_t count) {
        std::fill(gradients_.begin(), gradients_.end(), 0.0);
        for (int64_t s = 0; s < t.num_overlaps; ++s)
            for (int64_t i = 0; i < N; ++i)
                overlaps_[N * s + i] = i < count ? overlaps[i * t.num_overlaps + s] * bound_.factors[s] : 0.0;
        pull_rows(t.pairs, t.pair_overlaps);
        pull_rows(t.terms, t.term_overlaps);
        pull_sequences();
        for (int64_t u = 0; u < t.matrices.size(); ++u) {
            if (t.matrix_overlaps[3 * u] < 0) continue;
            double h[3][N];
            for (int a = 0; a < 3; ++a) read(t.matrix_overlaps[3 * u + a], 1.0, h[a]);
            pull_sequence(t.matrices, u, bound_.matrices, h);
        }
    }
    double gradient(int64_t angle, int64_t sample) const { return gradients_[N * angle + sample]; }

  private:
    void read(int64_t index, double factor, double to[N]) const {
        for (int i = 0; i < N; ++i) to[i] = index < 0 ? 0.0 : factor * overlaps_[N * index + i];
    }

    void pull_rows(const Linear& linear, const std::vector<int64_t>& indices) {
        for (int64_t row = 0; row < linear.rows(); ++row) {
            if (indices[row] < 0) continue;
            const double* from = &overlaps_[N * indices[row]];
            for (int64_t k = linear.start[row]; k < linear.start[row + 1]; ++k)
                for (int i = 0; i < N; ++i) gradients_[N * linear.index[k] + i] += linear.weight[k] * from[i];
        }
    }

    void pull_sequences() {
        for (int64_t e = 0; e < t.sequences.size(); ++e) {
            if (t.sequence_overlaps[4 * e] < 0) continue;
            double g[3][N], h[3][N];
            after_rotation(e, g);
            // measured before RZ(alpha): carried to the end of the sequence
            const double c = bound_.phases[2 * e], s = bound_.phases[2 * e + 1];
            for (int i = 0; i < N; ++i) {
                for (int a = 0; a < 3; ++a) h[a][i] = g[a][i];
                turn_back(c, s, h[1][i], h[0][i]);
            }
            pull_sequence(t.sequences, e, bound_.sequences, h);
        }
    }

    // (<X>, <Y>, <Z>) after a sequence's rotation RY(beta). Where the rotation is steep, <X> has not been measured: it follows from <Z>
    // before, which is cos(beta) <Z> + sin(beta) <X>.
    void after_rotation(int64_t sequence, double g[3][N]) const {
        const int64_t* index = &t.sequence_overlaps[4 * sequence];
        const double* sign = &t.sequence_signs[4 * sequence];
        for (int a = 0; a < 3; ++a) read(index[a], sign[a], g[a]);
        const double *pair = bound_.coefficients->arrays().pairs + 2 * t.sequence_pairs[sequence], a = pair[0], b = pair[1];
        if (index[3] < 0 || !steep(a, b)) return;
        double before[N];
        read(index[3], sign[3], before);
        for (int i = 0; i < N; ++i) g[0][i] = x_from_z(a, b, before[i], g[2][i]);
    }

    // Adds the gradients of a sequence's gates, h being (<X>, <Y>, <Z>) at the end of the sequence.
    void pull_sequence(const RotationSequences& sequences, int64_t sequence, const SinesCosines& halves, double h[3][N]) {
        for (int64_t k = sequences.start[sequence + 1]; k-- > sequences.start[sequence];) {
            const int a = static_cast<int>(sequences.axis[k]), b = (a + 1) % 3, d = (b + 1) % 3;
            if (sequences.source[k] >= 0)
                for (int i = 0; i < N; ++i) gradients_[N * sequences.source[k] + i] += h[a][i];
            double c, s;
            halves.twice(static_cast<size_t>(k), c, s);
            for (int i = 0; i < N; ++i) turn_back(c, s, h[b][i], h[d][i]);
        }
    }

    const CoefficientTables& t;
    const Bound& bound_;
    std::vector<double> overlaps_, gradients_;
};

}  // namespace

// gradients: [angle][sample], of `count` samples from `first` on
void CoefficientMap::pull_batched(const Bound& bound, int64_t first, int64_t count, const double* overlaps,
                          std::vector<double>& gradients) const {
    const double* factors = bound.factors.data();
    const int64_t batch = bound.coefficients->counts().batch;
    std::fill(gradients.begin(), gradients.end(), 0.0);
    const auto pull_rows = [&](const Linear& linear, const std::vector<int64_t>& indices) {
        for (int64_t row = 0; row < linear.rows(); ++row) {
            if (indices[row] < 0) continue;
            for (int64_t k = linear.start[row]; k < linear.start[row + 1]; ++k)
                for (int64_t sample = 0; sample < count; ++sample)
                    gradients[linear.index[k] * count + sample] +=
                        linear.weight[k] * overlap(overlaps + sample * t.num_overlaps, factors, indices[row]);
        }
    };
    pull_rows(t.batched_pairs, t.batched_pair_overlaps);
    pull_rows(t.batched_terms, t.batched_term_overlaps);
    for (int64_t u = 0; u < t.batched_matrices.size(); ++u) {
        if (t.batched_matrix_overlaps[3 * u] < 0) continue;
        for (int64_t sample = 0; sample < count; ++sample) {
            double h[3];
            for (int a = 0; a < 3; ++a)
                h[a] = overlap(overlaps + sample * t.num_overlaps, factors, t.batched_matrix_overlaps[3 * u + a]);
            t.batched_matrices.pull(u, bound.batched_matrices, batch, first + sample, h, gradients.data() + sample, count);
        }
    }
}

void CoefficientMap::pull(const Bound& bound, int64_t batch, const double* overlaps, bool per_sample, double* shared, double* batched) const {
    if (per_sample) {
        Together<together> samples(t, bound);
        for (int64_t first = 0; first < batch; first += together) {
            const int64_t count = std::min<int64_t>(together, batch - first);
            samples.pull(overlaps + first * t.num_overlaps, count);
            for (int64_t i = 0; i < count; ++i)
                for (int64_t k = 0; k < t.num_angles; ++k)
                    angles_.shared.pull(k, samples.gradient(k, i), shared + (first + i) * angles_.num_shared);
        }
    } else {
        std::vector<double> sums(static_cast<size_t>(t.num_overlaps));
        for (int64_t sample = 0; sample < batch; ++sample)
            for (size_t s = 0; s < sums.size(); ++s) sums[s] += overlaps[sample * t.num_overlaps + static_cast<int64_t>(s)];
        Together<1> sum(t, bound);
        sum.pull(sums.data(), 1);
        for (int64_t k = 0; k < t.num_angles; ++k) angles_.shared.pull(k, sum.gradient(k, 0), shared);
    }
    if (!batched) return;
    std::vector<double> gradients(static_cast<size_t>(t.num_batched * together));
    for (int64_t first = 0; first < batch; first += together) {
        const int64_t count = std::min<int64_t>(together, batch - first);
        pull_batched(bound, first, count, overlaps + first * t.num_overlaps, gradients);
        for (int64_t sample = 0; sample < count; ++sample) {
            double* of_batched = batched + (first + sample) * angles_.num_batched;
            double* of_shared = per_sample ? shared + (first + sample) * angles_.num_shared : shared;
            for (int64_t k = 0; k < t.num_batched; ++k) {
                angles_.from_batched.pull(k, gradients[k * count + sample], of_batched);
                angles_.from_shared.pull(k, gradients[k * count + sample], of_shared);
            }
        }
    }
}

}  // namespace fusedqml
