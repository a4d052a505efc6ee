// A thread's buffers.
#pragma once
#include "state.hpp"

namespace fusedqml {

// Buffers of the calling thread, kept from call to call unless they are large.
class Workspace {
public:
    static Workspace& here() {
        static thread_local Workspace workspace;
        return workspace;
    }
    void* get(size_t which, size_t bytes) {
        if (buffers_[which].size() < bytes) buffers_[which] = Memory(bytes, false);
        return buffers_[which].get();
    }
    void trim() {
        for (Memory& buffer : buffers_)
            if (buffer.size() > kept) buffer = Memory();
    }

private:
    static constexpr size_t kept = size_t(1) << 24;
    Memory buffers_[5];
};

}  // namespace fusedqml
