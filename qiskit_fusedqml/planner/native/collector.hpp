// From a program to elements: planner/collector.py in compiled code.
#pragma once
#include <functional>

#include "elements.hpp"

namespace fusedqml::planner {

struct Rotation {
    Bits x, z, ctrl_mask, ctrl_value;
    int64_t slot;
    double theta;
};

// A diagonal as its Z strings (bit j of a mask is qubits[j]), a matrix by its number; one on a single qubit as Euler
// angles in time order, the fourth number is its phase.
struct Table {
    std::vector<int64_t> qubits;
    std::vector<Bits> masks;
    std::vector<double> angles;
    int64_t dense = -1;
};

class Collector {
public:
    // `batched` has a position, or -1, for each slot.
    Collector(Frame frame, const std::vector<int64_t>& batched, bool keep_phase, bool euler, bool is_real);

    void rotation(Rotation r);
    void diagonal(const Table& d);
    void matrix(const Table& m);

    // The elements since the last call; later rotations join none of them.
    Elements window();
    bool has_open_sequences() const { return open_mask_ != 0; }
    bool has_pending() const { return has_pending_; }
    const Frame& frame() const { return frame_; }

private:
    using Terms = std::vector<std::pair<Bits, size_t>>;

    void close(Bits mask);
    void close_unless_diagonal(Bits mask) { close(mask & flipping_mask_); }
    void extend_sequence(int q, const SequenceGate& gate, bool batched);
    void flip(const Rotation& r);
    void hold(const Rotation& r, double theta);
    void flush();
    void phases(const Rotation& r);
    void add_phases(Bits string, const std::vector<Bits>& controls, int64_t slot, double theta);
    void sign(Bits ctrl_mask, Bits ctrl_value);
    void append_diagonal(const std::vector<int64_t>& qubits, const std::vector<Bits>& masks, const std::vector<double>& angles);
    void pauli(const Rotation& r);
    void append(Element&& element);
    void add_term(Bits functional, int64_t slot, double theta, bool batched, double weight = 1.0);
    Angle& angle_of(Bits functional, bool batched);
    void emit_sequence(Bits x, Bits w, Sequence&& sequence);
    void emit_mixed_sequence(Bits x, Bits w, Sequence&& sequence);
    void add_euler_term(Bits w, int64_t index, int which);
    bool is_batched(int64_t slot) const { return slot >= 0 && batched_[slot] >= 0; }
    Bits linear(Bits functional) const { return functional & (one_ - 1); }

    Frame frame_;
    const std::vector<int64_t>& batched_;
    const bool keep_phase_, euler_, is_real_;
    const Bits one_;
    Elements made_;
    std::vector<Sequence> open_sequences_;
    Bits open_mask_ = 0, flipping_mask_ = 0;
    // Z rotations by functional that later ones may join: with shared and with batched angles
    Terms open_terms_[2];
    // the phase that the last flip has left under its control, or of a real gate the last phase
    bool has_pending_ = false;
    Bits pending_mask_ = 0, pending_value_ = 0;
    double pending_theta_ = 0.0;
};

// The elements without diagonal ones at the end, on which no population depends.
void drop_last_phases(Elements& window);

}  // namespace fusedqml::planner
