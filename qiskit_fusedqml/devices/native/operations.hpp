// Compilation of one block's operations.
#pragma once
#include <algorithm>
#include <string>

#include "diagonals.hpp"

namespace fusedqml {

class BlockCompiler {
public:
    BlockCompiler(Arena& arena, Requirements& needs, const TileFrame& frame, int64_t num_overlaps, int group)
        : arena_(arena), needs_(needs), frame_(frame), num_overlaps_(num_overlaps), group_(group) {}

    // Reads one operation. `undone`: the backward sweep undoes it.
    void read(Reader& reader, bool undone, std::vector<const Table*>& tables);
    // Number of the first operations that are one set of independent rotations.
    int num_head() const { return num_head_; }
    // The operations read, after the last one.
    const std::vector<Op>& finish();

private:
    struct Pending {
        Turn turn;
        bool imaginary, undone;
        uint64_t w;                // side of a real rotation, on rows
        uint64_t x;
    };
    void read_diagonal(Reader& reader, bool undone, std::vector<const Table*>& tables);
    void read_ry(Reader& reader, bool undone);
    void read_unitary2(Reader& reader, bool undone);
    void read_pauli(Reader& reader, bool undone);
    void read_dense(Reader& reader, bool undone);
    void add_phase(const Turn& turn, const std::vector<uint64_t>& controls, uint64_t sign, bool undone);
    void add_controlled(const Turn& turn, const std::vector<uint64_t>& controls, uint64_t sign, bool imaginary, bool undone);
    void queue(const Pending& next);
    bool fits(const Pending& next) const;
    void flush();
    static bool any_batched(const Pending* first, const Pending* last);
    Turns make_turns(const Pending* first, const Pending* last) const;
    void add_turns(const Pending* first, const Pending* last);
    void add_pair(const Pending* first, const Pending* middle, const Pending* last);
    int overlap(Reader& reader, int64_t count);
    int coefficient(Reader& reader, bool batched, int64_t shared_size, int64_t Requirements::*shared,
                    int64_t Requirements::*separate);
    template <class T> void emit(Kind kind, bool undone, bool batched, const T& detail) {
        flush();
        ops_.push_back({kind, undone, batched, arena_.keep_one(detail)});
    }
    uint64_t one() const { return uint64_t(1) << frame_.n; }

    Arena& arena_;
    Requirements& needs_;
    const TileFrame& frame_;
    int64_t num_overlaps_;
    int group_;
    std::vector<Pending> pending_;
    int num_head_ = 0;
    std::vector<Op> ops_;
};

}  // namespace fusedqml
