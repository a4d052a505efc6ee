#include "pool.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "portability.hpp"

namespace fusedqml {
namespace {

constexpr int spins = 2000;   // about 50 us: successive blocks of a sweep find the threads awake
constexpr int yields = 500;   // and some hundred us more in which other programs go first: so do the sweeps of a small circuit's step

// The parts of one call: each thread's share with a counter of its own, in a cache line of its own.
struct Shares {
    struct alignas(64) Share {
        std::atomic<int> next{0};
        int end = 0;
    };
    Shares(int parts, int threads) : count(threads), shares(new Share[static_cast<size_t>(threads)]) {
        for (int t = 0; t < threads; ++t) {
            shares[t].next = static_cast<int>(int64_t(parts) * t / threads);
            shares[t].end = static_cast<int>(int64_t(parts) * (t + 1) / threads);
        }
    }
    // The next part for thread `own`, or -1.
    int take(int own) {
        for (int i = 0; i < count; ++i) {
            Share& share = shares[(own + i) % count];
            if (share.next.load(std::memory_order_relaxed) >= share.end) continue;
            const int part = share.next.fetch_add(1, std::memory_order_relaxed);
            if (part < share.end) return part;
        }
        return -1;
    }
    const int count;
    std::unique_ptr<Share[]> shares;
};

class Pool {
public:
    void run(int parts, int threads, const std::function<void(int)>& part) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) {
            for (int i = 0; i < parts; ++i) part(i);
            return;
        }
        Shares shares(parts, threads);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(threads - 1);
            part_ = &part;
            shares_ = &shares;
            job_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        help(part, shares, 0);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            part_ = nullptr;  // no thread joins from here on
        }
        for (int spin = 0; helpers_.load(std::memory_order_acquire); ++spin) {
            if (spin < spins) relax();
            else std::this_thread::yield();
        }
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

private:
    // Start threads up to a number, or fewer if the system has no room for their stacks: shares are taken by the others,
    // with the same results.
    void grow(int workers) {
        for (; workers_ < workers; ++workers_) try {
                std::thread([this, own = workers_ + 1] { work(own); }).detach();
            } catch (const std::system_error&) {
                return;
            } catch (const std::bad_alloc&) {
                return;
            }
    }
    void help(const std::function<void(int)>& part, Shares& shares, int own) {
        for (int i = shares.take(own); i >= 0; i = shares.take(own)) try {
                part(i);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex_);
                failure_ = std::current_exception();
            }
    }
    void work(int own) {
        unsigned seen = 0;
        for (;;) {
            for (int spin = 0; spin < spins + yields && job_.load(std::memory_order_acquire) == seen; ++spin) {
                if (spin < spins) relax();
                else std::this_thread::yield();
            }
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return job_.load(std::memory_order_relaxed) != seen; });
            seen = job_.load(std::memory_order_relaxed);
            if (!part_ || own >= shares_->count) continue;
            const std::function<void(int)>& part = *part_;
            Shares& shares = *shares_;
            helpers_.fetch_add(1);
            lock.unlock();
            help(part, shares, own);
            helpers_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex turn_;              // held by the caller whose job it is
    std::mutex mutex_;             // protects what follows
    std::condition_variable wake_;
    const std::function<void(int)>* part_ = nullptr;
    Shares* shares_ = nullptr;
    int workers_ = 0;
    std::exception_ptr failure_;
    std::atomic<int> helpers_{0};
    std::atomic<unsigned> job_{0};
};

// Never destroyed: its threads may outlive main. A forked child has none of them and starts afresh.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
    Pool* current = the_pool.load(std::memory_order_acquire);
    if (current) return *current;
    [[maybe_unused]] static const bool registered = [] {
        call_in_forked_children([] { the_pool.store(nullptr); });
        return true;
    }();
    Pool* fresh = new Pool;
    if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
    return *current;
}

}  // namespace

void run_parts(int parts, int threads, const std::function<void(int)>& part) {
    threads = threads < parts ? threads : parts;
    if (threads > 1) return pool().run(parts, threads, part);
    for (int i = 0; i < parts; ++i) part(i);
}

}  // namespace fusedqml
