#include "pauli_coefficients.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace fusedqml {
namespace {

constexpr int64_t channel_axis = 3;
constexpr int planes[3][2] = {{1, 2}, {2, 0}, {0, 1}};  // rows that a rotation about X, Y, Z turns into one another
constexpr int together = 8;        // samples handled at once

// Rows X, Y, Z and columns I, X, Y, Z of the transfer matrices of N samples.
template <int N> struct AffineMaps {
    double entry[3][4][N];

    static AffineMaps identity() {
        AffineMaps maps{};
        for (int a = 0; a < 3; ++a) std::fill_n(maps.entry[a][a + 1], N, 1.0);
        return maps;
    }
    // To be followed by a rotation.
    void rotate(const int plane[2], const double c[N], const double s[N]) {
        for (int b = 0; b < 4; ++b)
            for (int i = 0; i < N; ++i) {
                double &first = entry[plane[0]][b][i], &second = entry[plane[1]][b][i];
                const double before = first;
                first = c[i] * before - s[i] * second;
                second = s[i] * before + c[i] * second;
            }
    }
    // To be followed by a channel with the map (12,).
    void follow(const double* map) {
        for (int b = 0; b < 4; ++b)
            for (int i = 0; i < N; ++i) {
                const double x = entry[0][b][i], y = entry[1][b][i], z = entry[2][b][i];
                for (int a = 0; a < 3; ++a) entry[a][b][i] = map[4 * a + 1] * x + map[4 * a + 2] * y + map[4 * a + 3] * z + (b ? 0.0 : map[4 * a]);
            }
    }
    // Of derivatives by the entries of "later factors, this channel": those of "later factors" are given. Row I is of no interest.
    void pull(const double* map) {
        for (int b = 0; b < 4; ++b)
            for (int i = 0; i < N; ++i) {
                const double x = entry[0][b][i], y = entry[1][b][i], z = entry[2][b][i];
                for (int a = 0; a < 3; ++a) entry[a][b][i] = map[1 + a] * x + map[5 + a] * y + map[9 + a] * z;
            }
    }
    // Adds the products with row `other` of other maps.
    void product(int row, const AffineMaps& others, int other, double factor, double sums[N]) const {
        for (int b = 0; b < 4; ++b)
            for (int i = 0; i < N; ++i) sums[i] += factor * entry[row][b][i] * others.entry[other][b][i];
    }
};

// Cosine and sine of a factor for N samples, of which `count` exist; those of a factor that all share are not batched.
template <int N> struct Angles {
    double cosine[N], sine[N];

    Angles(const SinesCosines& all, int64_t factor, int64_t batch, int64_t first, int64_t count) {
        for (int i = 0; i < N; ++i) {
            const size_t k = static_cast<size_t>(batch ? factor * batch + first + (i < count ? i : 0) : factor);
            cosine[i] = all.cosine[k];
            sine[i] = all.sine[k];
        }
    }
};

// The maps of N samples up to each factor of a sequence: maps[k] is before its factor k.
template <int N>
void multiply(const PauliSequences& sequences, int64_t sequence, const SinesCosines& sines, int64_t batch, int64_t first, int64_t count,
              const double* channels, std::vector<AffineMaps<N>>& maps) {
    maps.assign(1, AffineMaps<N>::identity());
    for (int64_t k = sequences.start[sequence]; k < sequences.start[sequence + 1]; ++k) {
        maps.push_back(maps.back());
        if (sequences.axis[k] == channel_axis) {
            maps.back().follow(channels + 12 * sequences.slot[k]);
        } else {
            const Angles<N> angles(sines, k, batch, first, count);
            maps.back().rotate(planes[sequences.axis[k]], angles.cosine, angles.sine);
        }
    }
}

// The inverses of affine maps, from adjugates: they are near rotations, or not undone.
template <int N> AffineMaps<N> inverse(const AffineMaps<N>& maps) {
    AffineMaps<N> result;
    const auto& m = maps.entry;
    auto& r = result.entry;
    for (int i = 0; i < N; ++i) {
        for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) {
                const int c = (b + 1) % 3, d = (b + 2) % 3, e = (a + 1) % 3, f = (a + 2) % 3;
                r[a][b + 1][i] = m[c][e + 1][i] * m[d][f + 1][i] - m[c][f + 1][i] * m[d][e + 1][i];
            }
        const double scale = 1.0 / (m[0][1][i] * r[0][1][i] + m[0][2][i] * r[1][1][i] + m[0][3][i] * r[2][1][i]);
        for (int a = 0; a < 3; ++a) {
            for (int b = 1; b < 4; ++b) r[a][b][i] *= scale;
            r[a][0][i] = -(r[a][1][i] * m[0][0][i] + r[a][2][i] * m[1][0][i] + r[a][3][i] * m[2][0][i]);
        }
    }
    return result;
}

// Writes maps of `count` samples from `first` on to [12][sample].
template <int N> void write(const AffineMaps<N>& maps, int64_t batch, int64_t first, int64_t count, double* to) {
    for (int k = 0; k < 12; ++k)
        for (int64_t i = 0; i < count; ++i) to[k * batch + first + i] = maps.entry[k / 4][k % 4][i];
}

// The maps of all sequences [sequence][12][sample], and their inverses if `inverses` is not nullptr.
template <int N>
void bind_sequences(const PauliSequences& sequences, const SinesCosines& sines, int64_t batch, const PauliChannels& channels,
                    const std::vector<uint8_t>& held, double* maps, double* inverses) {
    std::vector<AffineMaps<N>> products;
    const int64_t samples = batch ? batch : 1;
    for (int64_t sequence = 0; sequence < sequences.size(); ++sequence)
        for (int64_t first = 0; first < samples; first += N) {
            const int64_t count = std::min<int64_t>(N, samples - first);
            multiply<N>(sequences, sequence, sines, batch, first, count, channels.maps.data(), products);
            write(products.back(), samples, first, count, maps + 12 * sequence * samples);
            if (!inverses) continue;
            const AffineMaps<N> undone = held[static_cast<size_t>(sequence)] ? AffineMaps<N>::identity() : inverse(products.back());
            write(undone, samples, first, count, inverses + 12 * sequence * samples);
        }
}

// (cos, sin) of turns: [turn][cos | sin][sample] at angles [slot][sample].
void bind_turns(const PauliTurns& turns, const double* angles, int64_t batch, double* to) {
    std::vector<double> values(static_cast<size_t>(turns.size() * batch)), sines(values.size());
    for (int64_t k = 0; k < turns.size(); ++k)
        for (int64_t i = 0; i < batch; ++i)
            values[k * batch + i] = turns.constant[k] + (turns.slot[k] < 0 ? 0.0 : turns.weight[k] * angles[turns.slot[k] * batch + i]);
    find_kernels(nullptr, sizeof(double), false)->sine_cosine(values.data(), static_cast<int64_t>(values.size()), sines.data(), values.data());
    for (int64_t k = 0; k < turns.size(); ++k, to += 2 * batch) {
        std::copy_n(values.data() + k * batch, batch, to);
        std::copy_n(sines.data() + k * batch, batch, to + batch);
    }
}

// Gradients of angles and of channels' maps, N samples side by side, from their overlaps.
template <int N> class Together {
public:
    Together(const PauliTables& tables, const PauliBound& bound, const std::vector<PauliSlope>& slopes)
        : t(tables), bound_(bound), slopes_(slopes), overlaps_(static_cast<size_t>(N * t.num_overlaps)),
          shared_(static_cast<size_t>(N * t.num_angles)), batched_(static_cast<size_t>(N * t.num_batched)),
          wanted_(bound.coefficients->channels().maps.size() / 12) {
        for (const PauliSlope& slope : slopes)
            if (slope.of_channels)
                for (const int64_t number : slope.places) wanted_[static_cast<size_t>(number)] = 1;
        if (!slopes.empty()) maps_.resize(N * bound.coefficients->channels().maps.size());
    }

    // Overlaps of `count` samples from `first` on, (count, S).
    void read(const double* overlaps, int64_t first, int64_t count) {
        first_ = first, count_ = count;
        for (int64_t s = 0; s < t.num_overlaps; ++s)
            for (int64_t i = 0; i < N; ++i) overlaps_[N * s + i] = i < count ? overlaps[i * t.num_overlaps + s] : 0.0;
        std::fill(shared_.begin(), shared_.end(), 0.0);
        std::fill(batched_.begin(), batched_.end(), 0.0);
        std::fill(maps_.begin(), maps_.end(), 0.0);
    }
    void pull_shared() {
        pull(t.affine, t.affine_overlaps, bound_.affine, 0, shared_);
        pull(t.turns, t.turn_overlaps, shared_);
    }
    void pull_batched() {
        pull(t.batched_affine, t.batched_affine_overlaps, bound_.batched_affine, bound_.coefficients->counts().batch, batched_);
        pull(t.batched_turns, t.batched_turn_overlaps, batched_);
    }
    // The parameters of channels, from what was pulled.
    void pull_slopes() {
        for (const PauliSlope& slope : slopes_) {
            const int64_t size = static_cast<int64_t>(slope.slope.size());
            for (const int64_t place : slope.places) {
                if (place < 0) continue;
                const double* from = slope.of_channels ? maps_.data() + N * 12 * place : overlaps_.data() + N * place;
                for (int64_t k = 0; k < size; ++k)
                    for (int i = 0; i < N; ++i) shared_[static_cast<size_t>(N * slope.slot + i)] += slope.slope[static_cast<size_t>(k)] * from[N * k + i];
            }
        }
    }
    // Adds the derivatives by channels' maps of all samples of `other`.
    template <int M> void add_maps(const Together<M>& other) {
        static_assert(N == 1);
        for (size_t k = 0; k < maps_.size(); ++k)
            for (size_t i = 0; i < M; ++i) maps_[k] += other.maps()[M * k + i];
    }
    double shared(int64_t angle, int64_t sample) const { return shared_[static_cast<size_t>(N * angle + sample)]; }
    double batched(int64_t angle, int64_t sample) const { return batched_[static_cast<size_t>(N * angle + sample)]; }
    const std::vector<double>& maps() const { return maps_; }

private:
    void pull(const PauliTurns& turns, const std::vector<int64_t>& places, std::vector<double>& gradients) const {
        for (int64_t k = 0; k < turns.size(); ++k)
            if (turns.slot[k] >= 0 && places[k] >= 0)
                for (int i = 0; i < N; ++i) gradients[N * turns.slot[k] + i] += turns.weight[k] * overlaps_[N * places[k] + i];
    }

    void pull(const PauliSequences& sequences, const std::vector<int64_t>& places, const SinesCosines& sines, int64_t batch,
              std::vector<double>& gradients) {
        const double* channels = bound_.coefficients->channels().maps.data();
        for (int64_t sequence = 0; sequence < sequences.size(); ++sequence) {
            if (places[sequence] < 0) continue;
            multiply<N>(sequences, sequence, sines, batch, first_, count_, channels, products_);
            AffineMaps<N> inner;
            std::copy_n(&overlaps_[N * places[sequence]], 12 * N, &inner.entry[0][0][0]);
            const int64_t start = sequences.start[sequence];
            for (int64_t k = sequences.start[sequence + 1]; k-- > start;) {
                const int64_t axis = sequences.axis[k], slot = sequences.slot[k];
                if (axis == channel_axis) {
                    if (wanted_[static_cast<size_t>(slot)]) add_map(inner, products_[static_cast<size_t>(k - start)], slot);
                    inner.pull(channels + 12 * slot);
                    continue;
                }
                // dF/dangle = J F, J the turn by a right angle in the plane: from the map after F
                const int p = planes[axis][0], q = planes[axis][1];
                const AffineMaps<N>& after = products_[static_cast<size_t>(k - start + 1)];
                if (slot >= 0) {
                    double* sums = &gradients[N * slot];
                    inner.product(q, after, p, sequences.weight[k], sums);
                    inner.product(p, after, q, -sequences.weight[k], sums);
                }
                Angles<N> angles(sines, k, batch, first_, count_);
                for (double& sine : angles.sine) sine = -sine;
                inner.rotate(planes[axis], angles.cosine, angles.sine);
            }
        }
    }

    void add_map(const AffineMaps<N>& inner, const AffineMaps<N>& before, int64_t channel) {
        double* to = maps_.data() + N * 12 * channel;
        for (int a = 0; a < 3; ++a) {
            for (int i = 0; i < N; ++i) to[N * 4 * a + i] += inner.entry[a][0][i];
            for (int b = 0; b < 3; ++b) inner.product(a, before, b, 1.0, to + N * (4 * a + 1 + b));
        }
    }

    const PauliTables& t;
    const PauliBound& bound_;
    const std::vector<PauliSlope>& slopes_;
    int64_t first_ = 0, count_ = 0;
    std::vector<double> overlaps_, shared_, batched_, maps_;  // [..][sample]
    std::vector<uint8_t> wanted_;                             // channels with derivatives
    std::vector<AffineMaps<N>> products_;
};

}  // namespace

PauliCoefficients::PauliCoefficients(const PauliCounts& counts, std::shared_ptr<const PauliChannels> channels, bool undone)
    : counts_(counts), channels_(std::move(channels)) {
    const PauliCounts& c = counts_;
    const int64_t affine = 12 * c.affine, batched = 12 * c.batched_affine * c.batch;
    const int64_t sizes[] = {affine, batched, 2 * c.turns, 2 * c.batched_turns * c.batch, undone ? affine : 0, undone ? batched : 0};
    int64_t total = 0;
    for (const int64_t size : sizes) total += size;
    memory_ = Memory(static_cast<size_t>(total) * sizeof(double), false);
    double* parts[6];
    double* next = static_cast<double*>(memory_.get());
    for (int k = 0; k < 6; next += sizes[k++]) parts[k] = next;
    targets_ = {parts[0], parts[1], parts[2], parts[3], undone ? parts[4] : nullptr, undone ? parts[5] : nullptr};
    const PauliChannels& own = *channels_;
    numbers_ = {parts[0], parts[undone ? 4 : 0], parts[1], parts[undone ? 5 : 1], own.pairs.data(), own.inverse_pairs.data(), parts[2], parts[3],
                c.affine, c.batched_affine, static_cast<int64_t>(own.pairs.size() / 18), c.turns, c.batched_turns, {}, {}, own.letters};
    for (const auto& entries : own.transfers) numbers_.transfers.push_back(entries.data());
    for (const auto& entries : own.inverse_transfers) numbers_.inverse_transfers.push_back(entries.data());
}

SinesCosines PauliSequences::sines(const double* angles, int64_t batch) const {
    std::vector<double> values(constant.size() * static_cast<size_t>(batch));
    double* to = values.data();
    for (size_t k = 0; k < constant.size(); ++k, to += batch) {
        const bool turned = axis[k] != channel_axis && slot[k] >= 0;
        for (int64_t i = 0; i < batch; ++i) to[i] = constant[k] + (turned ? weight[k] * angles[slot[k] * batch + i] : 0.0);
    }
    return SinesCosines(std::move(values));
}

void PauliCoefficientMap::shared_angles(const double* shared_values, double* angles) const {
    for (int64_t k = 0; k < t.num_angles; ++k) angles[k] = angles_.shared.evaluate(k, shared_values);
}

std::unique_ptr<PauliBound> PauliCoefficientMap::bind(const double* shared_values, const double* batched_values, int64_t batch,
                                                      std::shared_ptr<const PauliChannels> channels) const {
    std::vector<double> shared(static_cast<size_t>(t.num_angles)), batched(static_cast<size_t>(t.num_batched * batch));
    if (!angles_.evaluate(shared_values, batched_values, batch, shared.data(), batched.data())) return nullptr;
    const PauliCounts counts{t.affine.size(), t.batched_affine.size(), t.turns.size(), t.batched_turns.size(), batch};
    auto made = std::make_shared<PauliCoefficients>(counts, channels, t.num_overlaps > 0);
    const PauliTargets& to = made->targets();
    SinesCosines affine = t.affine.sines(shared.data(), 1), batched_affine = t.batched_affine.sines(batched.data(), batch);
    bind_sequences<1>(t.affine, affine, 0, *channels, channels->held, to.affine, to.inverse_affine);
    bind_sequences<together>(t.batched_affine, batched_affine, batch, *channels, channels->batched_held, to.batched_affine,
                             to.inverse_batched_affine);
    bind_turns(t.turns, shared.data(), 1, to.turns);
    bind_turns(t.batched_turns, batched.data(), batch, to.batched_turns);
    return std::make_unique<PauliBound>(PauliBound{std::move(made), std::move(shared), std::move(affine), std::move(batched_affine)});
}

void PauliCoefficientMap::pull(const PauliBound& bound, int64_t batch, const double* overlaps, bool per_sample,
                               const std::vector<PauliSlope>& slopes, double* shared, double* batched) const {
    Together<1> sum(t, bound, slopes);
    if (!per_sample) {
        std::vector<double> sums(static_cast<size_t>(t.num_overlaps));
        for (int64_t sample = 0; sample < batch; ++sample)
            for (size_t s = 0; s < sums.size(); ++s) sums[s] += overlaps[sample * t.num_overlaps + static_cast<int64_t>(s)];
        sum.read(sums.data(), 0, 1);
        sum.pull_shared();
    }
    if (batched || per_sample) {
        Together<together> samples(t, bound, slopes);
        for (int64_t first = 0; first < batch; first += together) {
            const int64_t count = std::min<int64_t>(together, batch - first);
            samples.read(overlaps + first * t.num_overlaps, first, count);
            if (batched) samples.pull_batched();
            if (per_sample) {
                samples.pull_shared();
                samples.pull_slopes();
            } else {
                sum.add_maps(samples);
            }
            for (int64_t i = 0; i < count; ++i) {
                double* of_shared = per_sample ? shared + (first + i) * angles_.num_shared : shared;
                for (int64_t k = 0; per_sample && k < t.num_angles; ++k) angles_.shared.pull(k, samples.shared(k, i), of_shared);
                for (int64_t k = 0; batched && k < t.num_batched; ++k) {
                    angles_.from_batched.pull(k, samples.batched(k, i), batched + (first + i) * angles_.num_batched);
                    angles_.from_shared.pull(k, samples.batched(k, i), of_shared);
                }
            }
        }
    }
    if (per_sample) return;
    sum.pull_slopes();
    for (int64_t k = 0; k < t.num_angles; ++k) angles_.shared.pull(k, sum.shared(k, 0), shared);
}

}  // namespace fusedqml
