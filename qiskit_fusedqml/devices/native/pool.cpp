#include "pool.hpp"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace fusedqml {
namespace {

constexpr int spins = 2000;  // about 50 us: successive blocks of a sweep find the threads awake

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Pool {
public:
    void run(int parts, const std::function<void(int)>& part) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (parts <= 1 || !turn.owns_lock()) {
            for (int i = 0; i < parts; ++i) part(i);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (workers_ < parts - 1) {
                std::thread([this] { work(); }).detach();
                ++workers_;
            }
            part_ = &part;
            parts_ = parts;
            next_ = 0;
            job_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        help(part, parts);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            part_ = nullptr;  // nobody joins from here on
        }
        for (int spin = 0; helpers_.load(std::memory_order_acquire); ++spin) {
            if (spin < spins) relax();
            else std::this_thread::yield();
        }
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

private:
    void help(const std::function<void(int)>& part, int parts) {
        for (int i = next_.fetch_add(1); i < parts; i = next_.fetch_add(1)) try {
                part(i);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex_);
                failure_ = std::current_exception();
            }
    }
    void work() {
        unsigned seen = 0;
        for (;;) {
            for (int spin = 0; spin < spins && job_.load(std::memory_order_acquire) == seen; ++spin) relax();
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return job_.load(std::memory_order_relaxed) != seen; });
            seen = job_.load(std::memory_order_relaxed);
            if (!part_ || next_.load() >= parts_) continue;
            const std::function<void(int)>& part = *part_;
            const int parts = parts_;
            helpers_.fetch_add(1);
            lock.unlock();
            help(part, parts);
            helpers_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex turn_;              // held by the caller whose job it is
    std::mutex mutex_;             // protects what follows
    std::condition_variable wake_;
    const std::function<void(int)>* part_ = nullptr;
    int parts_ = 0, workers_ = 0;
    std::exception_ptr failure_;
    std::atomic<int> next_{0}, helpers_{0};
    std::atomic<unsigned> job_{0};
};

// Never destroyed: its threads may outlive main. A forked child has none of them and starts afresh.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
    Pool* current = the_pool.load(std::memory_order_acquire);
    if (current) return *current;
    static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
    (void)registered;
    Pool* fresh = new Pool;
    if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
    return *current;
}

}  // namespace

void run_parts(int parts, const std::function<void(int)>& part) {
    if (parts <= 1) {
        if (parts == 1) part(0);
        return;
    }
    pool().run(parts, part);
}

}  // namespace fusedqml
