#include "pauli_sequences.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fusedqml {
namespace {

constexpr int64_t channel_axis = 3;
constexpr int planes[3][2] = {{1, 2}, {2, 0}, {0, 1}};  // rows that a rotation about X, Y, Z turns into one another

// Rows X, Y, Z and columns I, X, Y, Z of a transfer matrix.
struct AffineMap {
    double entry[3][4] = {{0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
};

// A factor at some angles.
struct Factor {
    const int* plane;              // nullptr for channels
    double cosine, sine;
    const double* map;

    // The factor times a map: first the map, then the factor.
    AffineMap after(const AffineMap& before) const {
        AffineMap product = before;
        if (plane) {
            for (int b = 0; b < 4; ++b) {
                const double first = before.entry[plane[0]][b], second = before.entry[plane[1]][b];
                product.entry[plane[0]][b] = cosine * first - sine * second;
                product.entry[plane[1]][b] = sine * first + cosine * second;
            }
            return product;
        }
        for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 4; ++b) {
                double sum = b == 0 ? map[4 * a] : 0;
                for (int c = 0; c < 3; ++c) sum += map[4 * a + 1 + c] * before.entry[c][b];
                product.entry[a][b] = sum;
            }
        return product;
    }
    // Of derivatives by the entries of "later factors, this factor": those of "later factors" are given. Row I is of no interest.
    void pull(double inner[3][4]) const {
        if (plane) {
            for (int b = 0; b < 4; ++b) {
                const double first = inner[plane[0]][b], second = inner[plane[1]][b];
                inner[plane[0]][b] = cosine * first + sine * second;
                inner[plane[1]][b] = cosine * second - sine * first;
            }
            return;
        }
        for (int b = 0; b < 4; ++b) {
            const double column[3] = {inner[0][b], inner[1][b], inner[2][b]};
            for (int a = 0; a < 3; ++a)
                inner[a][b] = map[1 + a] * column[0] + map[5 + a] * column[1] + map[9 + a] * column[2];
        }
    }
};

Factor factor_at(const PauliSequences& sequences, int64_t position, const double* angles) {
    const int64_t axis = sequences.axes[position], slot = sequences.slots[position];
    if (axis == channel_axis) return {nullptr, 1, 0, sequences.maps + 12 * slot};
    const double angle = sequences.constants[position] + (slot < 0 ? 0 : sequences.weights[position] * angles[slot]);
    return {planes[axis], std::cos(angle), std::sin(angle), nullptr};
}

// Of a row of `inner` and the one of letter `letter` of the map before.
double product(const double row[4], const AffineMap& before, int letter) {
    const double* other = before.entry[letter];
    return row[0] * other[0] + row[1] * other[1] + row[2] * other[2] + row[3] * other[3];
}

}  // namespace

void bind_sequences(const PauliSequences& sequences, const double* angles, int64_t num_angles, int64_t batch, bool batched, double* maps) {
    for (int64_t number = 0; number < sequences.count; ++number)
        for (int64_t sample = 0; sample < batch; ++sample) {
            AffineMap map;
            for (int64_t k = sequences.starts[number]; k < sequences.starts[number + 1]; ++k)
                map = factor_at(sequences, k, angles + (batched ? sample * num_angles : 0)).after(map);
            for (int i = 0; i < 12; ++i) maps[(number * 12 + i) * batch + sample] = map.entry[i / 4][i % 4];
        }
}

void pull_sequences(const PauliSequences& sequences, const double* angles, int64_t num_angles, int64_t leading, bool batched,
                    const double* overlaps, double* by_angle, double* by_map) {
    std::vector<Factor> factors;
    std::vector<AffineMap> befores;
    for (int64_t number = 0; number < sequences.count; ++number)
        for (int64_t sample = 0; sample < leading; ++sample) {
            const int64_t first = sequences.starts[number], count = sequences.starts[number + 1] - first;
            if (batched || sample == 0) {
                factors.clear();
                befores.assign(1, AffineMap());
                for (int64_t k = 0; k < count; ++k) {
                    factors.push_back(factor_at(sequences, first + k, angles + (batched ? sample * num_angles : 0)));
                    befores.push_back(factors.back().after(befores.back()));
                }
            }
            double inner[3][4];
            std::copy_n(overlaps + (sample * sequences.count + number) * 12, 12, &inner[0][0]);
            for (int64_t k = count - 1; k >= 0; --k) {
                const Factor& factor = factors[static_cast<size_t>(k)];
                const AffineMap& before = befores[static_cast<size_t>(k)];
                const int64_t slot = sequences.slots[first + k];
                if (!factor.plane) {
                    double* to = by_map + (sample * sequences.num_maps + slot) * 12;
                    for (int a = 0; a < 3; ++a) {
                        to[4 * a] += inner[a][0];
                        for (int b = 0; b < 3; ++b) to[4 * a + 1 + b] += product(inner[a], before, b);
                    }
                } else if (slot >= 0) {
                    const int p = factor.plane[0], q = factor.plane[1];
                    const double along = product(inner[p], before, p) + product(inner[q], before, q);
                    const double across = product(inner[q], before, p) - product(inner[p], before, q);
                    by_angle[sample * num_angles + slot] += sequences.weights[first + k] * (factor.cosine * across - factor.sine * along);
                }
                factor.pull(inner);
            }
        }
}

}  // namespace fusedqml
