// When a rule or an origin goes wrong, a filter that blocks page after page does more harm than a leak: above a share of stopped
// responses it only monitors, until fewer would be stopped. It counts responses, for the core has no clock.
#pragma once
#include <atomic>
#include <cstdint>

namespace overread {

class Breaker {
  public:
    static constexpr uint32_t WINDOW = 1000;  // responses

    bool open() const { return open_.load(std::memory_order_relaxed); }
    void close() {
        counts_.store(0, std::memory_order_relaxed);
        open_.store(false, std::memory_order_relaxed);
    }
    // One response that was stopped, or would be while this is open; at most `most` of WINDOW may be. Threads may race: they count
    // a response into the window before or behind, never twice.
    void count(bool stop, double most) {
        const uint64_t one = uint64_t(1) << 32 | uint64_t(stop);
        const uint64_t now = counts_.fetch_add(one, std::memory_order_relaxed) + one;
        const bool above = double(uint32_t(now)) > most * WINDOW;
        if (above) open_.store(true, std::memory_order_relaxed);
        if (now >> 32 != WINDOW) return;
        if (!above) open_.store(false, std::memory_order_relaxed);
        counts_.fetch_sub(now, std::memory_order_relaxed);
    }

  private:
    std::atomic<uint64_t> counts_{0};  // responses, and in the lower half those stopped
    std::atomic<bool> open_{false};
};

}  // namespace overread
