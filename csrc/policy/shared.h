// What the filters of a site share, of one scanner or of every worker's: in memory that an adapter may put where all its processes
// see it. It holds counters and digests, no pointer, no lock and no scanned byte, so that a process may end anywhere.
#pragma once
#include <atomic>
#include <cstdint>
#include <new>

#include "evidence/site_counts.h"
#include "policy/breaker.h"
#include "policy/event_limit.h"
#include "policy/repetition.h"
#include "policy/shared_key.h"
#include "policy/twin.h"

namespace overread {

struct Shared {
    // Of this layout; another build's memory is not used.
    static constexpr uint64_t LAYOUT = 0x6f76722d73686103;
    std::atomic<uint64_t> layout;
    SharedKey key;
    std::atomic<uint32_t> scanners;  // that share it, now or before
    Breaker breaker;
    EventLimit events;
    SiteCounts site;
    Paths paths;
    Signs signs;
    Twins twins;

    // Memory that was zeroed, or that an equal build used before; nullptr: another one did. Zeroed memory holds a Shared: none of its
    // members has anything to construct.
    static Shared* in(void* memory) {
        auto* shared = static_cast<Shared*>(memory);
        uint64_t found = 0;
        shared->layout.compare_exchange_strong(found, LAYOUT);
        return found == 0 || found == LAYOUT ? shared : nullptr;
    }
};

}  // namespace overread
