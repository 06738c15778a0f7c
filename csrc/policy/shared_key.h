// One key for all that share memory, so that the digests of several processes are equal.
#pragma once
#include <atomic>

#include "registry/digest.h"

namespace overread {

// Lies in zeroed memory: whoever comes first chooses the key.
class SharedKey {
  public:
    DigestKey get() { return {word(k0_), word(k1_)}; }

  private:
    static uint64_t word(std::atomic<uint64_t>& w) {
        uint64_t found = w.load(std::memory_order_relaxed);
        if (found) return found;
        const uint64_t fresh = random_key().k0 | 1;
        return w.compare_exchange_strong(found, fresh, std::memory_order_relaxed) ? fresh : found;
    }
    std::atomic<uint64_t> k0_, k1_;
};

}  // namespace overread
