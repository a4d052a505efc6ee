// What a plan costs: planner/cost.py and the sums of plan.py in compiled code.
#pragma once
#include "emit.hpp"

namespace fusedqml::planner {

// Per amplitude and direction: multiply-adds, and bytes moved to or from slow memory.
struct Work {
    double forward = 0.0, backward = 0.0, forward_bytes = 0.0, backward_bytes = 0.0;
};

constexpr int num_kinds = 8;

// A device's numbers: what a multiply-add costs, by kind of operation (cost.KINDS) and direction.
struct Prices {
    double forward[num_kinds], backward[num_kinds], byte_cost;
    double amplitude_bytes;
};

struct Account {
    Work work;
    double arithmetic_cost = 0.0, cost = 0.0, gain_of_matrices = 0.0;
};

Account account(const Emitter& emitted, const Prices& prices, const Settings& settings);

}  // namespace fusedqml::planner
