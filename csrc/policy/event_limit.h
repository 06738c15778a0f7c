// A flood of events must not fill a disk: above a number a second further ones are left out, and counted.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

namespace overread {

class EventLimit {
  public:
    // Whether an event is to be written; threads may race. Weak ones may take half of what a second has, so that a flood of them
    // leaves room for alarms, and of them one in `sample` is written.
    bool take(uint64_t unix_ms, bool weak, uint32_t per_second, uint32_t sample) {
        const bool written = (!weak || sample < 2 || weak_seen_.fetch_add(1, std::memory_order_relaxed) % sample == 0) &&
                             (!per_second || room(all_, unix_ms, weak ? std::max(per_second / 2, 1u) : per_second));
        if (!written) left_out_.fetch_add(1, std::memory_order_relaxed);
        return written;
    }
    // How many were left out since this was asked last.
    uint64_t left_out() { return left_out_.exchange(0, std::memory_order_relaxed); }

  private:
    static bool room(std::atomic<uint64_t>& counts, uint64_t unix_ms, uint32_t most) {
        const uint64_t second = unix_ms / 1000 << 32;
        uint64_t now = counts.load(std::memory_order_relaxed), next;
        do {
            const uint64_t count = (now >> 32 << 32) == second ? uint32_t(now) : 0;
            if (count >= most) return false;
            next = second | (count + 1);
        } while (!counts.compare_exchange_weak(now, next, std::memory_order_relaxed));
        return true;
    }

    std::atomic<uint64_t> all_{0};  // a second, and in the lower half how many were written in it
    std::atomic<uint64_t> weak_seen_{0}, left_out_{0};
};

}  // namespace overread
