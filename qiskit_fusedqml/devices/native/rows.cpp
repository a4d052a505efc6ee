#include "rows.hpp"

namespace fusedqml {

Selection::Selection(const TileFrame& frame, const std::vector<uint64_t>& controls) : frame_(frame) {
    for (const uint64_t control : controls) {
        const Functional f = reduced(frame.split(control ^ uint64_t(1) << frame.n));  // 0 where the control holds
        if (f.local) {
            const int pivot = gf2::highest(f.local);
            for (Functional& other : conditions_)
                if (other.local >> pivot & 1) other = other ^ f;
            conditions_.push_back(f);
            pivots_.push_back(pivot);
        } else if (f.lanes) {
            lane_tests_.push_back(f.sign());
        } else if (f.outer) {
            tests_.push_back(f.outer);
        }
    }
}

Functional Selection::reduced(Functional f) const {
    for (size_t i = 0; i < conditions_.size(); ++i)
        if (f.local >> pivots_[i] & 1) f = f ^ conditions_[i];
    return f;
}

uint32_t Selection::dual(const Functional& f) const {
    const int bit = gf2::highest(f.local);
    uint32_t vector = uint32_t(1) << bit;
    for (size_t i = 0; i < conditions_.size(); ++i)
        if (conditions_[i].local >> bit & 1) vector |= uint32_t(1) << pivots_[i];
    return vector;
}

// Steps of a walk over the common kernel of the masks in t dimensions.
static std::vector<uint32_t> kernel_steps(const std::vector<uint64_t>& masks, int t) {
    gf2::Echelon echelon;
    for (const uint64_t mask : masks) echelon.add(mask);
    std::vector<uint32_t> steps;
    uint32_t total = 0;
    for (int bit = 0; bit < t; ++bit) {
        if (echelon.pivots() >> bit & 1) continue;
        uint32_t vector = uint32_t(1) << bit;
        for (const uint64_t mask : echelon.vectors())
            if (mask >> bit & 1) vector |= uint32_t(1) << gf2::highest(mask);
        steps.push_back(total ^= vector);
    }
    return steps;
}

void extend_walk(std::vector<uint32_t>& steps, int t) {
    uint32_t total = steps.empty() ? 0 : steps.back();
    for (int bit = 0; bit < max_stack_bits; ++bit) steps.push_back(total ^= uint32_t(1) << (t + bit));
    steps.push_back(0);
}

Rows Selection::rows(Arena& arena, std::vector<uint64_t> masks) const {
    std::vector<Shift> shifts;
    std::vector<LaneClass> classes;
    for (size_t i = 0; i < conditions_.size(); ++i) {
        masks.push_back(conditions_[i].local);
        if (conditions_[i].outer) shifts.push_back({conditions_[i].outer, uint32_t(1) << pivots_[i]});
    }
    for (uint32_t lane = 0; lane < uint32_t(1) << frame_.v; ++lane) {
        uint32_t vector = 0;
        for (size_t i = 0; i < conditions_.size(); ++i)
            if (gf2::parity(conditions_[i].lanes & lane)) vector |= uint32_t(1) << pivots_[i];
        bool known = false;
        for (LaneClass& other : classes)
            if (other.vector == vector) {
                other.lanes |= uint32_t(1) << lane;
                known = true;
            }
        if (!known) classes.push_back({vector, uint32_t(1) << lane});
    }
    std::vector<uint32_t> steps = kernel_steps(masks, static_cast<int>(frame_.basis.size()));
    Rows result{};
    result.dim = static_cast<int32_t>(steps.size());
    extend_walk(steps, static_cast<int>(frame_.basis.size()));
    result.steps = arena.keep(steps);
    result.num_shifts = static_cast<int32_t>(shifts.size());
    result.shifts = arena.keep(shifts);
    result.num_tests = static_cast<int32_t>(tests_.size());
    result.tests = arena.keep(tests_);
    result.num_lane_tests = static_cast<int32_t>(lane_tests_.size());
    result.lane_tests = arena.keep(lane_tests_);
    result.num_classes = static_cast<int32_t>(classes.size());
    result.classes = arena.keep(classes);
    return result;
}

}  // namespace fusedqml
