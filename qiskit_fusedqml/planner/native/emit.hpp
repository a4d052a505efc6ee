// From grouped elements to a tape and the tables of its coefficients: planner/emit.py and scaling.py in compiled code.
#pragma once
#include <cmath>
#include <initializer_list>

#include "schedule.hpp"

namespace fusedqml::planner {

// Rows "constant + sum weight * source" in CSR form, and an overlap each.
struct AngleTable {
    std::vector<int64_t> start{0}, index, overlaps;
    std::vector<double> weight, constant;

    int64_t add(double value, int64_t overlap);
    int64_t size() const { return static_cast<int64_t>(constant.size()); }
};

struct SequenceTable {
    std::vector<int64_t> start{0}, axis, source, overlaps;
    std::vector<double> constant;

    int64_t add(const std::vector<SequenceGate>& gates, std::initializer_list<int64_t> of_sequence);
};

enum class Op { diag = 1, ry, u2, pauli, dense };  // as the devices' words

struct Factor {
    std::vector<Bits> basis, terms;
    int64_t first;
    bool batched;
};

// An operation of any kind; fields that a kind does not have stay as they are here.
struct Operation {
    Op op;
    Bits x = 0, z = 0;  // an RY's and a U2's z is their side
    int power = 0;
    bool batched = false;
    int64_t coefficient = -1, overlap = -1, scale = -1;
    int num_overlaps = 0;
    bool x_optional = false;
    std::vector<Bits> controls{};               // or a dense matrix's sides
    std::vector<Bits> flips{}, functionals{};   // of a dense matrix; the overlaps of a diagonal
    std::vector<Factor> factors{};

    // The pair of a rotation whose cosine can be factored out; -1 for other operations.
    int64_t factorable_pair() const {
        return (op == Op::ry || (op == Op::pauli && controls.empty())) && !batched ? coefficient : -1;
    }
};

struct Block {
    std::vector<Bits> tile;
    std::vector<Operation> operations;
    int64_t undo_from = 0;
    bool is_whole = true;          // or the ket is zero outside of
    std::vector<Bits> support{};  // the span of these

    // The part of the amplitudes that the ket's support holds.
    double share(int num_qubits) const { return is_whole ? 1.0 : std::ldexp(1.0, static_cast<int>(support.size()) - num_qubits); }
};

// Which factors were taken out where (tables.ScaleTable), and the kinds of shared pairs.
struct ScaleTable {
    std::vector<int64_t> kinds, factored, starts, carrier_pair, carrier_diag, order, overlap_position;
};

struct Settings {
    int num_qubits = 0, table_qubits = 0;
    int64_t num_angles = 0;
    std::vector<int64_t> batched;  // the position of each slot among the batched ones, or -1
    std::vector<char> wanted;      // whether each slot's gradient is
    bool wants_any = false;
    bool is_real = false, keeps_phase = false;  // real diagonals; their phases, together 1 or -1, are put back into the last one
};

class Emitter {
public:
    explicit Emitter(const Settings& settings) : settings_(settings) {}

    // Goes on to the next window, which has to live as long as its blocks are made.
    void begin(const Elements& window);
    void block(const Group& group);
    // Notes the ket's support, the span of the tiles so far, where it begins as physical index 0.
    void grow_supports();
    // Fills in from where blocks are undone, and the table of factors.
    void finish();

    std::vector<Block> blocks;
    int64_t num_overlaps = 0, num_scales = 0;
    AngleTable pairs[2], terms[2];  // shared and batched
    SequenceTable matrices[2], sequences;
    std::vector<double> signs;             // of the sequences' overlaps
    std::vector<int64_t> sequence_pairs;   // the pairs of beta's rotations
    std::vector<int64_t> dense;            // numbers of the dense matrices
    ScaleTable scales;

private:
    struct Stretch {
        std::vector<int64_t> pairs;
        int64_t carrier_pair, carrier_diag;
    };

    Operation rotation(const Element& element);
    Operation u2(const Element& element);
    Operation dense_matrix(const Element& element);
    Operation diagonal(const Element& element);
    std::vector<Element> joined(const std::vector<size_t>& step);
    template <class Angles> double taken_out(const Angles& angles);
    Operation diag(const std::vector<const Element*>& members);
    void measure(const std::vector<const Element*>& members, Operation& diag, std::vector<int64_t>& overlaps);
    void factors(const std::vector<const Element*>& members, bool batched, const std::vector<int64_t>& overlaps, Operation& diag);
    int64_t add(AngleTable (&tables)[2], const Angle& angle, bool batched, int64_t overlap);
    bool wants(int64_t slot) const { return slot >= 0 && settings_.wanted[slot]; }
    bool wants(const Angle& angle) const;
    bool wants(const Sequence& sequence) const;
    void carry(std::vector<Operation>& operations);
    void carry_themselves(std::vector<int64_t>& pairs, size_t rest);

    const Settings& settings_;
    const Elements* window_ = nullptr;
    std::vector<int64_t> sequence_number_;
    std::vector<Stretch> stretches_;
    // of real diagonals: twice the phase taken out so far, the term that takes it out of the last one
    double phase_ = 0.0;
    int64_t last_phase_ = -1;
};

}  // namespace fusedqml::planner
