#include "evidence/site_counts.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace overread {
namespace {

constexpr uint8_t RAW_AFTER_TEXT = 3;
// As in a file: http and secret are one group, and the class has the level where it is not chained.
const char* const GROUP_NAME[] = {"raw", "http", "place", "http-given-raw", "escaped"};
static_assert(sizeof GROUP_NAME / sizeof GROUP_NAME[0] == GROUP_COUNT, "a name for every group");

}  // namespace

// k counts bodies that reached the level or a higher one.
void SiteCounts::reach(ContentClass cls, Group group, uint8_t level) {
    for (uint8_t reached = 1; reached <= level; reached++) one(k_[size_t(cls)][group][reached]);
}

void SiteCounts::add(const Response& r, const Levels& levels, const Assessment& assessment) {
    one(responses_);
    if (r.s) {
        uint64_t none = 0;
        first_.compare_exchange_strong(none, r.s, std::memory_order_relaxed);
        if (last_.load(std::memory_order_relaxed) < r.s) last_.store(r.s, std::memory_order_relaxed);
    }
    if (r.head) {
        one(n_[size_t(ContentClass::head)]);
        reach(ContentClass::head, GROUP_PLACE, levels.head);
    }
    if (!r.body) return;
    one(n_[size_t(r.cls)]);
    if (assessment.term_count == 0) return;
    reach(r.cls, GROUP_RAW, levels.raw);
    reach(r.cls, GROUP_HTTP, levels.http);
    reach(r.cls, GROUP_ESCAPED, levels.escaped);
    // Raw bytes of a container count behind its end only: they hold the place sign already.
    reach(r.cls, GROUP_PLACE, is_container(r.cls) && levels.raw ? uint8_t(PLACE_CONTAINER_TAIL) : levels.place);
    if (levels.raw >= RAW_AFTER_TEXT) {
        one(given_raw_[size_t(r.cls)]);
        reach(r.cls, GROUP_HTTP_GIVEN_RAW, levels.http);
    }
    const ovr_term* end = assessment.terms + assessment.term_count;
    if (std::none_of(assessment.terms, end, [](const ovr_term& t) { return t.basis == OVR_BASIS_CAPPED; })) return;
    for (int bits = PAIR_FROM; bits < PAIR_UNTIL; bits++)
        if (assessment.bits >= bits) one(pairs_[size_t(r.cls)][bits - PAIR_FROM]);
}

size_t SiteCounts::write(const Ruleset& rules, char* buffer, size_t capacity) const {
    size_t size = 0;
    auto put = [&](const char* format, ...) __attribute__((format(printf, 2, 3))) {
        const size_t left = size < capacity ? capacity - size : 0;
        va_list args;
        va_start(args, format);
        const int n = std::vsnprintf(left ? buffer + size : nullptr, left, format, args);
        va_end(args);
        size += n > 0 ? size_t(n) : 0;
    };
    auto read = [](const Counter& c) { return static_cast<unsigned long long>(c.load(std::memory_order_acquire)); };
    auto cell = [&](size_t cls, const char* group, int level, unsigned long long k, unsigned long long n) {
        if (n)
            put("{\"class\": \"%s\", \"group\": \"%s\", \"level\": %d, \"k\": %llu, \"n\": %llu}\n", content_class_name(ContentClass(cls)), group, level, k, n);
    };
    put("{\"overread_site_counts\": 1, \"versions\": [\"%s\"], ", OVR_VERSION);
    if (const auto first = read(first_))
        put("\"first\": %llu, \"last\": %llu, ", first, std::max(first, read(last_)));
    else
        put("\"first\": null, \"last\": null, ");
    put("\"responses\": %llu}\n", read(responses_));
    for (size_t cls = 0; cls < CONTENT_CLASS_COUNT; cls++) {
        for (int group = 0; group < GROUP_COUNT; group++) {
            const Counter& of = group == GROUP_HTTP_GIVEN_RAW ? given_raw_[cls] : n_[cls];
            for (int level = 1; level <= MAX_LEVEL; level++) {
                if (rules.weights[cls][group][level].n == 0) continue;  // no such level
                const auto k = read(k_[cls][group][level]);
                cell(cls, GROUP_NAME[group], level, k, read(of));
            }
        }
        for (int bits = PAIR_FROM; bits < PAIR_UNTIL && rules.pair_cap[cls] > 0; bits++) {
            const auto k = read(pairs_[cls][bits - PAIR_FROM]);
            cell(cls, "pair", bits, k, read(n_[cls]));
        }
    }
    return size;
}

}  // namespace overread
