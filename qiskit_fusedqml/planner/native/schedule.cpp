#include "schedule.hpp"

#include <algorithm>

namespace fusedqml::planner {

namespace {

constexpr int patience = 8;
constexpr int64_t stretch = 64;
constexpr size_t worthwhile = 8;

using Generators = std::vector<Generator>;
using Steps = std::vector<std::vector<size_t>>;

bool meets(const Generators& some, const Generators& others) {
    for (const Generator& g : some)
        for (const Generator& other : others)
            if (anticommute(g, other)) return true;
    return false;
}

Bits support(const Generators& generators) {
    Bits touched = 0;
    for (const Generator& g : generators) touched |= g.x | g.z;
    return touched;
}

// Indices of the elements by level, in program order within a level; levels alternate diagonal and flipping.
Steps levels(const std::vector<Element>& elements) {
    struct Level {
        std::vector<size_t> members;
        Generators generators;
        Bits touched = 0;
    };
    std::vector<Level> table;
    std::vector<Bits> stretches;  // what many levels in a row touch: levels far below are passed over quickly
    for (size_t index = 0; index < elements.size(); ++index) {
        const Generators& generators = elements[index].generators;
        const bool diagonal = elements[index].is_diagonal();
        const Bits touched = support(generators);
        auto level = static_cast<int64_t>(table.size()) - 1;
        while (level >= 0) {
            if (!(stretches[level / stretch] & touched))
                level = level / stretch * stretch - 1;
            else if (table[level].touched & touched && (level & 1 || !diagonal) && meets(generators, table[level].generators))
                break;
            else
                --level;
        }
        ++level;
        if ((level & 1) == diagonal) ++level;
        if (static_cast<int64_t>(table.size()) <= level) table.resize(level + 1);
        if (stretches.size() * stretch < table.size()) stretches.push_back(0);
        Level& own = table[level];
        own.members.push_back(index);
        own.generators.insert(own.generators.end(), generators.begin(), generators.end());
        own.touched |= touched;
        stretches[level / stretch] |= touched;
    }
    Steps result;
    for (Level& level : table)
        if (!level.members.empty()) result.push_back(std::move(level.members));
    return result;
}

// Fills one block greedily. Diagonal elements wait until a flip that does not commute with one of them is taken; then all
// that wait go first, together. With a support, its sum with the tile has at most `most` dimensions.
class Picker {
public:
    Picker(const std::vector<Element>& elements, std::vector<char>& done, int num_qubits, int tile_limit, const Span* support, int most)
        : elements_(elements),
          done_(done),
          n_(num_qubits),
          tile_limit_(tile_limit),
          support_(support),
          most_(most),
          left_(2 * num_qubits + 1) {}

    // Takes what fits from remaining[first:]; what is left stays in order, from the place that is returned on.
    size_t pick(std::vector<size_t>& remaining, size_t first) {
        size_t taken = 0, stop = remaining.size();
        int idle = 0;
        for (size_t position = first; position < remaining.size(); ++position) {
            if (take(remaining[position])) {
                ++taken;
                idle = 0;
            } else if (++idle > patience * n_ || left_list_.size() == size_t(2 * n_)) {
                stop = position + 1;
                break;
            }
        }
        // nothing is left that the waiting ones could join, or nothing else can be done before them
        if (taken == remaining.size() - first || steps_.empty()) flush();
        size_t target = stop;
        for (size_t position = stop; position-- > first;)
            if (!done_[remaining[position]]) remaining[--target] = remaining[position];
        return target;
    }

    Group made() { return {tile_.basis(), std::move(steps_)}; }

private:
    bool take(size_t index) {
        const Element& element = elements_[index];
        const bool diagonal = element.is_diagonal();
        const Bits* flips = element.flips_begin();
        const size_t number = element.num_flips();
        if (meets(element.generators, left_list_) || !(diagonal || fits(flips, number))) {
            leave(element.generators);
            return false;
        }
        if (diagonal) {
            waiting_.push_back(index);
            for (const Generator& g : element.generators) waiting_signs_.push_back(g.z);
            return true;
        }
        for (size_t k = 0; k < number; ++k) tile_.add(flips[k]);
        if (is_awaited(flips, number)) flush();
        if (steps_.empty() || elements_[steps_.back()[0]].is_diagonal()) steps_.emplace_back();
        steps_.back().push_back(index);
        done_[index] = 1;
        return true;
    }

    bool fits(const Bits* flips, size_t number) const {
        if (!tile_.fits(flips, number, tile_limit_)) return false;
        if (!support_) return true;
        std::vector<Bits> together = tile_.basis();
        together.insert(together.end(), flips, flips + number);
        return support_->fits(together.data(), together.size(), most_);
    }

    // Whether flips do not commute with one of the diagonals that wait.
    bool is_awaited(const Bits* flips, size_t number) const {
        for (size_t k = 0; k < number; ++k)
            for (const Bits sign : waiting_signs_)
                if (parity(sign & flips[k])) return true;
        return false;
    }

    void flush() {
        if (waiting_.empty()) return;
        for (const size_t index : waiting_) done_[index] = 1;
        steps_.push_back(std::move(waiting_));
        waiting_ = {};
        waiting_signs_.clear();
    }

    void leave(const std::vector<Generator>& generators) {
        for (Generator rest : generators) {
            while (rest.x | rest.z) {
                Generator& pivot = left_[highest(rest)];
                if (!(pivot.x | pivot.z)) {
                    pivot = rest;
                    left_list_.push_back(rest);
                    break;
                }
                rest = {rest.x ^ pivot.x, rest.z ^ pivot.z};
            }
        }
    }

    int highest(const Generator& g) const { return g.z ? n_ + bit_length(g.z) : bit_length(g.x); }

    const std::vector<Element>& elements_;
    std::vector<char>& done_;
    const int n_, tile_limit_;
    const Span* support_;
    const int most_;
    Span tile_;
    Steps steps_;
    std::vector<size_t> waiting_;
    std::vector<Bits> waiting_signs_;
    // what the elements left behind generate, in echelon form by highest bit (0: none), and as a list
    std::vector<Generator> left_;
    Generators left_list_;
};

// A block within a support: accepted if it enlarges the span of the tiles, or has enough to do.
bool pays(const Span& support, const Group& found, size_t taken) {
    const auto outside = [&support](Bits vector) {
        Bits mask = 0;
        return !support.coordinates(vector, mask);
    };
    return !found.tile.empty() && (taken >= worthwhile || std::any_of(found.tile.begin(), found.tile.end(), outside));
}

}  // namespace

std::vector<Group> group(const std::vector<Element>& elements, int num_qubits, int tile_limit, const std::vector<int>& supports) {
    Steps table = levels(elements);
    std::vector<Group> groups;
    if (tile_limit >= num_qubits && supports.empty()) {
        groups.emplace_back();
        for (int q = 0; q < num_qubits; ++q) groups[0].tile.push_back(Bits(1) << q);
        groups[0].steps = std::move(table);
        return groups;
    }
    std::vector<size_t> remaining;
    for (const auto& level : table) remaining.insert(remaining.end(), level.begin(), level.end());
    std::vector<char> done(elements.size());
    size_t first = 0;
    Span support;
    for (const int most : supports) {
        while (first < remaining.size()) {
            Picker picker(elements, done, num_qubits, tile_limit, &support, most);
            std::vector<size_t> after = remaining;
            const size_t next = picker.pick(after, first);
            Group found = picker.made();
            if (!pays(support, found, next - first)) {
                for (const auto& step : found.steps)
                    for (const size_t index : step) done[index] = 0;
                break;
            }
            remaining.swap(after);
            first = next;
            for (const Bits vector : found.tile) support.add(vector);
            groups.push_back(std::move(found));
        }
    }
    while (first < remaining.size()) {
        Picker picker(elements, done, num_qubits, tile_limit, nullptr, num_qubits);
        first = picker.pick(remaining, first);
        groups.push_back(picker.made());
    }
    return groups;
}

}  // namespace fusedqml::planner
