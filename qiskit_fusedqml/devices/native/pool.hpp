// A pool of threads that survives fork, exit and concurrent callers.
#pragma once
#include <functional>

namespace fusedqml {

// Calls part(0) ... part(parts - 1), each once, on the calling thread and up to threads - 1 others, and returns when all are
// done. Thread t begins with the t-th share of the parts, so that what a part works on stays in its core's cache from call to
// call, and then helps the others; nothing may depend on which thread runs a part. When another caller holds the pool, all
// parts run on the calling thread.
void run_parts(int parts, int threads, const std::function<void(int)>& part);

}  // namespace fusedqml
