// Runs the threads of a block: as fibers under a seeded schedule, or (EMULATION_THREADS) as threads of the operating system.
#define _XOPEN_SOURCE 700  // macOS hides ucontext.h without it

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_words.h"

namespace emulation {

thread_local Index thread_index, block_index;
Index block_size, grid_size;

namespace {

constexpr size_t guard = 4096;
constexpr unsigned char fence = 0xa5;

char message[200];
uint64_t seed = 0;
std::unique_ptr<unsigned char[]> memory;
size_t memory_bytes;
std::vector<unsigned char> places;
std::vector<int> shuffles;

uint64_t draw() {  // splitmix64
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void complain(const char* what) {
    if (!message[0]) std::snprintf(message, sizeof message, "%s in block (%u, %u)", what, block_index.x, block_index.y);
}

}  // namespace

unsigned char* shared() { return memory.get(); }
void* place(int lane) {
    const unsigned t = thread_index.x;
    return &places[((t >> 5) * 64 + static_cast<unsigned>(shuffles[t]) * 32 + static_cast<unsigned>(lane)) * slot_bytes];
}
void next_shuffle() { shuffles[thread_index.x] ^= 1; }

#ifdef EMULATION_THREADS
}  // namespace emulation

#include <barrier>
#include <thread>

namespace emulation {
namespace {
std::unique_ptr<std::barrier<>> block_barrier;
std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;
}  // namespace

void sync_block() { block_barrier->arrive_and_wait(); }
void sync_warp() { warp_barriers[thread_index.x >> 5]->arrive_and_wait(); }

static void run_block(unsigned threads, const std::function<void()>& kernel) {
    block_barrier = std::make_unique<std::barrier<>>(threads);
    warp_barriers.clear();
    for (unsigned first = 0; first < threads; first += 32)
        warp_barriers.push_back(std::make_unique<std::barrier<>>(threads - first < 32 ? threads - first : 32));
    const Index block = block_index;
    std::vector<std::thread> team;
    for (unsigned t = 0; t < threads; ++t)
        team.emplace_back([=, &kernel] {
            thread_index = {t, 0};
            block_index = block;
            kernel();
            warp_barriers[t >> 5]->arrive_and_drop();
            block_barrier->arrive_and_drop();
        });
    for (std::thread& member : team) member.join();
}
#else
namespace {

enum State { ready, at_block, at_warp, done };
struct Fiber {
    void* stack_pointer = nullptr;
    std::unique_ptr<unsigned char[]> stack;
    State state = ready;
};
constexpr size_t stack_bytes = 128 << 10;

std::vector<Fiber> fibers;  // as many as the largest block so far had threads
unsigned members, current, waiting, alive;
std::vector<unsigned> waiting_in_warp;
void* scheduler;
const std::function<void()>* running;

void enter_fiber();

}  // namespace

#if defined(__x86_64__) && defined(__ELF__) && !defined(EMULATION_UCONTEXT)
extern "C" void emulation_switch(void** save, void* resume);
asm(R"(
.text
.globl emulation_switch
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
namespace {
void prepare(unsigned t) {
    // stacks that begin at different offsets do not all fall into the same cache sets
    const uintptr_t top = reinterpret_cast<uintptr_t>(fibers[t].stack.get()) + stack_bytes - t % 61 * 320;
    void** at = reinterpret_cast<void**>(top & ~uintptr_t(15));
    *--at = nullptr;
    *--at = reinterpret_cast<void*>(enter_fiber);
    for (int saved = 0; saved < 6; ++saved) *--at = nullptr;
    fibers[t].stack_pointer = at;
}
void leave() { emulation_switch(&fibers[current].stack_pointer, scheduler); }
void resume(unsigned t) { emulation_switch(&scheduler, fibers[t].stack_pointer); }
}  // namespace
#else
}  // namespace emulation
#include <ucontext.h>
namespace emulation {
namespace {
std::vector<ucontext_t> contexts;
ucontext_t scheduler_context;
void prepare(unsigned t) {
    contexts.resize(fibers.size());
    getcontext(&contexts[t]);
    contexts[t].uc_stack.ss_sp = fibers[t].stack.get();
    contexts[t].uc_stack.ss_size = stack_bytes;
    contexts[t].uc_link = &scheduler_context;
    makecontext(&contexts[t], enter_fiber, 0);
}
void leave() { swapcontext(&contexts[current], &scheduler_context); }
void resume(unsigned t) { swapcontext(&scheduler_context, &contexts[t]); }
}  // namespace
#endif

namespace {
void enter_fiber() {
    (*running)();
    fibers[current].state = done;
    --alive;
    leave();
    std::abort();
}
}  // namespace

void sync_block() {
    if (++waiting == members) {
        waiting = 0;
        for (unsigned t = 0; t < members; ++t) fibers[t].state = ready;
    } else {
        fibers[current].state = at_block;
    }
    leave();
}

void sync_warp() {
    const unsigned warp = current >> 5, first = warp * 32, stop = first + 32 < members ? first + 32 : members;
    if (++waiting_in_warp[warp] == stop - first) {
        waiting_in_warp[warp] = 0;
        for (unsigned t = first; t < stop; ++t) fibers[t].state = ready;
    } else {
        fibers[current].state = at_warp;
    }
    leave();
}

static void run_block(unsigned threads, const std::function<void()>& kernel) {
    running = &kernel;
    members = threads;
    while (fibers.size() < threads) {
        fibers.emplace_back();
        fibers.back().stack.reset(new unsigned char[stack_bytes]);
    }
    const unsigned warps = (threads + 31) / 32;
    waiting = 0;
    alive = threads;
    waiting_in_warp.assign(warps, 0);
    std::vector<unsigned> order(warps);
    for (unsigned w = 0; w < warps; ++w) order[w] = w;
    for (unsigned w = warps; seed && w-- > 1;) std::swap(order[w], order[draw() % (w + 1)]);
    for (unsigned t = 0; t < threads; ++t) {
        fibers[t].state = ready;
        prepare(t);
    }
    while (alive) {
        // the first warp in the order that can go on does: it gets as far ahead of the others as barriers allow
        bool progress = false;
        for (unsigned w = 0; w < warps && !progress; ++w) {
            const unsigned first = order[w] * 32, count = threads - first < 32 ? threads - first : 32;
            const unsigned start = seed ? static_cast<unsigned>(draw() % count) : 0;
            for (unsigned k = 0; k < count; ++k) {
                current = first + (start + k) % count;
                if (fibers[current].state != ready) continue;
                thread_index = {current, 0};
                resume(current);
                progress = true;
            }
        }
        if (!progress) return complain("barrier divergence: some threads wait, others do not come");
        if (seed && draw() % 64 == 0) std::swap(order[draw() % warps], order[draw() % warps]);
    }
    if (waiting) complain("threads have left while others wait");
}
#endif

void launch(unsigned blocks_x, unsigned blocks_y, unsigned threads, size_t shared_bytes, const std::function<void()>& kernel) {
    block_size = {threads, 1};
    grid_size = {blocks_x, blocks_y};
    places.assign((threads + 31) / 32 * 64 * slot_bytes, 0);
    const uint64_t blocks = uint64_t(blocks_x) * blocks_y, shift = seed ? draw() % blocks : 0;
#ifdef EMULATION_THREADS
    memory.reset(new unsigned char[shared_bytes]);  // to the byte: AddressSanitizer watches its ends
#else
    memory_bytes = shared_bytes;
    memory.reset(new unsigned char[shared_bytes + guard]);
#endif
    for (uint64_t k = 0; k < blocks && !message[0]; ++k) {
        const uint64_t block = (k + shift) % blocks;
        block_index = {static_cast<unsigned>(block % blocks_x), static_cast<unsigned>(block / blocks_x)};
        std::memset(memory.get(), 0xff, shared_bytes);  // NaN: reading what nobody wrote shows
        shuffles.assign(threads, 0);
#ifdef EMULATION_THREADS
        run_block(threads, kernel);
#else
        std::memset(memory.get() + memory_bytes, fence, guard);
        run_block(threads, kernel);
        for (size_t i = 0; i < guard; ++i)
            if (memory[memory_bytes + i] != fence) complain("a write beyond shared memory");
#endif
    }
}

}  // namespace emulation

extern "C" {
// What went wrong in the last launch, or an empty string; forgets it.
const char* emulation_complaint() {
    static char last[sizeof emulation::message];
    std::memcpy(last, emulation::message, sizeof last);
    emulation::message[0] = 0;
    return last;
}
// 0: threads, warps and blocks in their order.
void emulation_seed(uint64_t value) { emulation::seed = value; }
}
