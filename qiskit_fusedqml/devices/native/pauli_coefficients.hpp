// Coefficients of tapes for Pauli vectors: from angles, and from overlaps back to gradients. devices/pauli_vector/coefficients.py and
// sequences.py have the mathematics.
#pragma once
#include "coefficient_map.hpp"
#include "pauli_run.hpp"

namespace fusedqml {

// What depends on parameters of channels only.
struct PauliChannels {
    std::vector<double> maps;                    // [channel][12], of the channels that sequences name
    std::vector<double> pairs, inverse_pairs;    // [pair][18]
    std::vector<std::vector<double>> transfers, inverse_transfers;
    std::vector<int> letters;                    // of each transfer matrix
    std::vector<uint8_t> held, batched_held;     // of each sequence: whether it is not undone
    std::vector<double> log_kappas;              // of each operation of the tape
};

struct PauliCounts {
    int64_t affine = 0, batched_affine = 0, turns = 0, batched_turns = 0, batch = 0;
};

// Where a maker of coefficients writes them.
struct PauliTargets {
    double *affine, *batched_affine, *turns, *batched_turns, *inverse_affine, *inverse_batched_affine;
};

// The numbers of one call. They are written by their maker and never change afterwards.
class PauliCoefficients {
public:
    // Without inverses (`undone`) the maps take their place.
    PauliCoefficients(const PauliCounts& counts, std::shared_ptr<const PauliChannels> channels, bool undone);
    const PauliTargets& targets() { return targets_; }
    const PauliCounts& counts() const { return counts_; }
    const PauliChannels& channels() const { return *channels_; }
    const PauliNumbers& numbers() const { return numbers_; }

private:
    PauliCounts counts_;
    std::shared_ptr<const PauliChannels> channels_;
    Memory memory_;
    PauliTargets targets_;
    PauliNumbers numbers_;
};

// `AffineSequences` of planner/pauli_vector/tables.py.
struct PauliSequences {
    std::vector<int64_t> start, axis, slot;
    std::vector<double> weight, constant;

    int64_t size() const { return static_cast<int64_t>(start.size()) - 1; }
    // Cosines and sines [factor][sample] at angles [slot][sample].
    SinesCosines sines(const double* angles, int64_t batch) const;
};

// `TurnAngles`, likewise.
struct PauliTurns {
    std::vector<int64_t> slot;
    std::vector<double> weight, constant;

    int64_t size() const { return static_cast<int64_t>(slot.size()); }
};

// `PauliTables`, and the first overlap of each operation, or -1.
struct PauliTables {
    int64_t num_angles = 0, num_batched = 0, num_overlaps = 0;
    PauliSequences affine, batched_affine;
    PauliTurns turns, batched_turns;
    std::vector<int64_t> affine_overlaps, batched_affine_overlaps, turn_overlaps, batched_turn_overlaps;
};

// The derivative by a parameter of channels: of the maps of channels, or of operations whose overlaps begin at some positions.
struct PauliSlope {
    bool of_channels;
    int64_t slot;
    std::vector<int64_t> places;
    std::vector<double> slope;
};

// Coefficients together with what the backward pass needs.
struct PauliBound {
    std::shared_ptr<const PauliCoefficients> coefficients;
    std::vector<double> angles;    // the shared ones
    SinesCosines affine, batched_affine;
};

class PauliCoefficientMap {
public:
    PauliCoefficientMap(std::shared_ptr<const PauliTables> tables, AngleTables angles)
        : tables_(std::move(tables)), t(*tables_), angles_(std::move(angles)) {}
    // The same map from other values.
    PauliCoefficientMap over(AngleTables angles) const { return PauliCoefficientMap(tables_, std::move(angles)); }
    const PauliTables& tables() const { return t; }
    const AngleTables& angles() const { return angles_; }

    // The shared angles (A,) at shared values.
    void shared_angles(const double* shared_values, double* angles) const;
    // From shared (F,) and batched (B, F') values; nullptr if an angle is not finite.
    std::unique_ptr<PauliBound> bind(const double* shared_values, const double* batched_values, int64_t batch,
                                     std::shared_ptr<const PauliChannels> channels) const;
    // As `CoefficientMap::pull`, with the derivatives by parameters of channels.
    void pull(const PauliBound& bound, int64_t batch, const double* overlaps, bool per_sample, const std::vector<PauliSlope>& slopes,
              double* shared, double* batched) const;

private:
    std::shared_ptr<const PauliTables> tables_;
    const PauliTables& t;
    AngleTables angles_;
};

}  // namespace fusedqml
