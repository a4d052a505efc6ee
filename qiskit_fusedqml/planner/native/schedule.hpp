// Ordering elements into levels and grouping them into blocks: planner/schedule.py in compiled code.
#pragma once
#include "elements.hpp"

namespace fusedqml::planner {

// One block to be: the tile, and the elements' indices in steps that are all diagonal or all flipping.
struct Group {
    std::vector<Bits> tile;
    std::vector<std::vector<size_t>> steps;
};

// `supports`: for elements that begin with |0...0>, dimensions that the span of the tiles keeps to while it can.
std::vector<Group> group(const std::vector<Element>& elements, int num_qubits, int tile_limit, const std::vector<int>& supports);

}  // namespace fusedqml::planner
