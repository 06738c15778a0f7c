// What an operator's own responses show: of n of a content class, k reached a level. Counts only, no byte, path or rule.
// The same cells and the same file as src/overread/site_counts.py, which merges such files and lowers weights by them.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "evidence/evidence.h"
#include "ruleset/ruleset.h"

namespace overread {

// Lives in memory that was zeroed once and that threads and processes may share: nothing in it is a pointer, and a process may
// end anywhere.
class SiteCounts {
  public:
    struct Response {
        ContentClass cls;
        bool body;   // it had one, and its class was judged
        bool head;   // it had fields
        uint64_t s;  // when, in seconds since 1970; 0: unknown
    };
    void add(const Response& response, const Levels& levels, const Assessment& assessment);
    // The file of docs/evidence.md, NUL-terminated. Returns its length, which may exceed capacity. Others may count meanwhile: n
    // is read behind k, so that k is never the larger one.
    size_t write(const Ruleset& rules, char* buffer, size_t capacity) const;

  private:
    // From tier weak on; no pair cap is higher.
    static constexpr int PAIR_FROM = 14, PAIR_UNTIL = 25;
    using Counter = std::atomic<uint64_t>;
    static_assert(Counter::is_always_lock_free, "a process may end anywhere");
    // Released, and read as acquired: who sees a k sees the n that was counted before it.
    static void one(Counter& c) { c.fetch_add(1, std::memory_order_release); }
    void reach(ContentClass cls, Group group, uint8_t level);

    Counter responses_, first_, last_;
    Counter n_[CONTENT_CLASS_COUNT], given_raw_[CONTENT_CLASS_COUNT];  // given_raw_: those at raw level 3 or 4
    Counter k_[CONTENT_CLASS_COUNT][GROUP_COUNT][MAX_LEVEL + 1];
    Counter pairs_[CONTENT_CLASS_COUNT][PAIR_UNTIL - PAIR_FROM];
};

}  // namespace overread
