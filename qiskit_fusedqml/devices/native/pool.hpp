// A pool of threads that survives fork, exit and concurrent callers.
#pragma once
#include <functional>

namespace fusedqml {

// Calls part(0) ... part(parts - 1), each once, on the calling thread and on up to parts - 1 others, and returns when all are
// done. Parts are handed out as threads become free, so nothing may depend on which thread runs a part. When another caller
// holds the pool, all parts run on the calling thread.
void run_parts(int parts, const std::function<void(int)>& part);

}  // namespace fusedqml
