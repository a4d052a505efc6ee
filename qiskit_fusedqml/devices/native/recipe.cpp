#include "recipe.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace fusedqml {
namespace {

constexpr int64_t factored_kind = 1;

// SU(2) matrix w - 1j (x X + y Y + z Z), entry (row, column), as real and imaginary part.
void matrix_entry(const double q[4], int entry, double& re, double& im) {
    switch (entry) {
        case 0: re = q[0]; im = -q[3]; break;
        case 1: re = -q[2]; im = -q[1]; break;
        case 2: re = q[2]; im = -q[1]; break;
        default: re = q[0]; im = q[3]; break;
    }
}

double overlap(const double* overlaps, const double* factors, int64_t index) {
    return index < 0 ? 0.0 : overlaps[index] * factors[index];
}

}  // namespace

double Linear::evaluate(int64_t row, const double* sources) const {
    double value = constant[row];
    for (int64_t k = start[row]; k < start[row + 1]; ++k) value += weight[k] * sources[index[k]];
    return value;
}

void Linear::pull(int64_t row, double gradient, double* sources) const {
    for (int64_t k = start[row]; k < start[row + 1]; ++k) sources[index[k]] += weight[k] * gradient;
}

Waves::Waves(std::vector<double> angles) : cosine(std::move(angles)), sine(cosine.size()) {
    find_kernels(nullptr, sizeof(double), false)->sine_cosine(cosine.data(), static_cast<int64_t>(cosine.size()), sine.data(), cosine.data());
}

Waves Runs::waves(const double* sources, double factor) const {
    std::vector<double> angles(constant.size());
    for (size_t k = 0; k < angles.size(); ++k) angles[k] = factor * (constant[k] + (source[k] < 0 ? 0.0 : sources[source[k]]));
    return Waves(std::move(angles));
}

void Runs::multiply(int64_t run, const Waves& halves, double q[4]) const {
    q[0] = 1.0;
    q[1] = q[2] = q[3] = 0.0;
    for (int64_t k = start[run]; k < start[run + 1]; ++k) {
        const double c = halves.cosine[k], s = halves.sine[k];
        // Hamilton product of c + s e_a with q; a, b, d is a right-handed triple
        const int a = 1 + static_cast<int>(axis[k]), b = a % 3 + 1, d = b % 3 + 1;
        const double w = c * q[0] - s * q[a], qa = c * q[a] + s * q[0];
        const double qb = c * q[b] - s * q[d], qd = c * q[d] + s * q[b];
        q[0] = w;
        q[a] = qa;
        q[b] = qb;
        q[d] = qd;
    }
}

void Runs::pull(int64_t run, const Waves& gates, double h[3], double* gradients) const {
    for (int64_t k = start[run + 1]; k-- > start[run];) {
        const int a = static_cast<int>(axis[k]), b = (a + 1) % 3, d = (b + 1) % 3;
        if (source[k] >= 0) gradients[source[k]] += h[a];
        // through the gate: the components across its axis turn back by its angle
        const double c = gates.cosine[k], s = gates.sine[k], hb = h[b];
        h[b] = c * hb + s * h[d];
        h[d] = c * h[d] - s * hb;
    }
}

void Recipe::bind_shared(const double* angles, double* pairs, double* matrices, double* diagonal, double* scales, double* factors,
                         double* alpha) const {
    const int64_t num_runs = t.runs.size();
    std::vector<double> sources(angles, angles + t.num_angles);
    sources.resize(static_cast<size_t>(t.num_angles + 3 * num_runs));
    const Waves halves = t.runs.waves(angles, 0.5);
    for (int64_t e = 0; e < num_runs; ++e) {
        double q[4];
        t.runs.multiply(e, halves, q);
        const double total = std::atan2(q[3], q[0]), difference = std::atan2(-q[1], q[2]);
        double* euler = &sources[static_cast<size_t>(t.num_angles + 3 * e)];
        euler[0] = alpha[e] = total + difference;
        euler[1] = 2.0 * std::atan2(std::hypot(q[1], q[2]), std::hypot(q[0], q[3]));
        euler[2] = total - difference;
    }
    std::vector<double> pair_halves(static_cast<size_t>(t.pairs.rows()));
    for (int64_t p = 0; p < t.pairs.rows(); ++p) pair_halves[p] = 0.5 * t.pairs.evaluate(p, sources.data());
    const Waves pair_waves(std::move(pair_halves));
    scale_pairs(pair_waves.cosine.data(), pair_waves.sine.data(), pairs, scales, factors);
    for (int64_t k = 0; k < t.terms.rows(); ++k) diagonal[k] = t.terms.evaluate(k, sources.data());
    const Waves blend_halves = t.blends.waves(angles, 0.5);
    for (int64_t u = 0; u < t.blends.size(); ++u) {
        double q[4];
        t.blends.multiply(u, blend_halves, q);
        for (int entry = 0; entry < 4; ++entry, matrices += 2) matrix_entry(q, entry, matrices[0], matrices[1]);
    }
}

void Recipe::scale_pairs(const double* cosines, const double* sines, double* pairs, double* scales, double* factors) const {
    const int64_t count = t.pairs.rows();
    std::vector<double> own(static_cast<size_t>(count + t.num_scales), 1.0);  // what each operation multiplies the state by
    std::vector<double> taken(static_cast<size_t>(count), 1.0);              // the factor taken out of each rotation
    for (int64_t p = 0; p < count; ++p) {
        double a = cosines[p], b = sines[p];
        if (t.kinds[p] == factored_kind) {
            const bool tangent = std::fabs(a) >= std::fabs(b);
            taken[p] = tangent ? a : b;
            own[p] = 1.0 / taken[p];
            // exactly 1: it tells a device which half of the work it can leave out
            if (tangent) b /= a, a = 1.0;
            else a /= b, b = 1.0;
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
    for (int64_t s = 0; s < t.num_overlaps; ++s) factors[s] = 1.0 / (behind[t.overlap_position[s]] * behind[t.overlap_position[s]]);
}

void Recipe::bind_batched(int64_t batch, const double* angles, double* pairs, double* matrices, double* diagonal) const {
    const int64_t num_pairs = t.batched_pairs.rows(), num_terms = t.batched_terms.rows();
    for (int64_t p = 0; p < num_pairs; ++p) {
        double* halves = pairs + 2 * p * batch;
        for (int64_t sample = 0; sample < batch; ++sample)
            halves[sample] = 0.5 * t.batched_pairs.evaluate(p, angles + sample * t.num_batched);
        find_kernels(nullptr, sizeof(double), false)->sine_cosine(halves, batch, halves + batch, halves);
    }
    for (int64_t sample = 0; sample < batch; ++sample, angles += t.num_batched) {
        const Waves halves = t.batched_blends.waves(angles, 0.5);
        for (int64_t k = 0; k < num_terms; ++k) diagonal[k * batch + sample] = t.batched_terms.evaluate(k, angles);
        for (int64_t u = 0; u < t.batched_blends.size(); ++u) {
            double q[4];
            t.batched_blends.multiply(u, halves, q);
            for (int entry = 0; entry < 4; ++entry) {
                double* to = matrices + 2 * ((4 * u + entry) * batch + sample);
                matrix_entry(q, entry, to[0], to[1]);
            }
        }
    }
}

void Recipe::pull_shared(int64_t rows, const double* overlaps, const double* angles, const double* factors, const double* alpha,
                         double* gradients) const {
    // sources: the angles, then the Euler angles of the runs, whose gradients come from the runs' own overlaps instead
    std::vector<double> sources(static_cast<size_t>(t.num_angles + 3 * t.runs.size()));
    const Waves gates = t.runs.waves(angles, 1.0), blend_gates = t.blends.waves(angles, 1.0);
    for (int64_t row = 0; row < rows; ++row, overlaps += t.num_overlaps, gradients += t.num_angles) {
        std::fill(sources.begin(), sources.end(), 0.0);
        for (int64_t p = 0; p < t.pairs.rows(); ++p)
            if (t.pair_overlaps[p] >= 0) t.pairs.pull(p, overlap(overlaps, factors, t.pair_overlaps[p]), sources.data());
        for (int64_t k = 0; k < t.terms.rows(); ++k)
            if (t.term_overlaps[k] >= 0) t.terms.pull(k, overlap(overlaps, factors, t.term_overlaps[k]), sources.data());
        std::copy_n(sources.begin(), t.num_angles, gradients);
        for (int64_t e = 0; e < t.runs.size(); ++e) {
            if (t.run_overlaps[3 * e] < 0) continue;
            double g[3];
            for (int a = 0; a < 3; ++a) g[a] = t.run_signs[3 * e + a] * overlap(overlaps, factors, t.run_overlaps[3 * e + a]);
            // measured before RZ(alpha): carried to the end of the run
            const double c = std::cos(alpha[e]), s = std::sin(alpha[e]);
            double h[3] = {c * g[0] - s * g[1], c * g[1] + s * g[0], g[2]};
            t.runs.pull(e, gates, h, gradients);
        }
        for (int64_t u = 0; u < t.blends.size(); ++u) {
            if (t.blend_overlaps[3 * u] < 0) continue;
            double h[3];
            for (int a = 0; a < 3; ++a) h[a] = overlap(overlaps, factors, t.blend_overlaps[3 * u + a]);
            t.blends.pull(u, blend_gates, h, gradients);
        }
    }
}

void Recipe::pull_batched(int64_t batch, const double* overlaps, const double* angles, const double* factors,
                          double* gradients) const {
    for (int64_t sample = 0; sample < batch;
         ++sample, overlaps += t.num_overlaps, gradients += t.num_batched, angles += t.num_batched) {
        std::fill(gradients, gradients + t.num_batched, 0.0);
        const Waves gates = t.batched_blends.waves(angles, 1.0);
        for (int64_t p = 0; p < t.batched_pairs.rows(); ++p)
            if (t.batched_pair_overlaps[p] >= 0)
                t.batched_pairs.pull(p, overlap(overlaps, factors, t.batched_pair_overlaps[p]), gradients);
        for (int64_t k = 0; k < t.batched_terms.rows(); ++k)
            if (t.batched_term_overlaps[k] >= 0)
                t.batched_terms.pull(k, overlap(overlaps, factors, t.batched_term_overlaps[k]), gradients);
        for (int64_t u = 0; u < t.batched_blends.size(); ++u) {
            if (t.batched_blend_overlaps[3 * u] < 0) continue;
            double h[3];
            for (int a = 0; a < 3; ++a) h[a] = overlap(overlaps, factors, t.batched_blend_overlaps[3 * u + a]);
            t.batched_blends.pull(u, gates, h, gradients);
        }
    }
}

}  // namespace fusedqml
