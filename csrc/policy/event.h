// One response as one line of JSON: what was found and done, with no scanned byte and no query string.
#pragma once
#include "overread.h"
#include "policy/control.h"
#include "policy/repetition.h"
#include "policy/twin.h"

namespace overread {

struct Event {
    const char* id;
    bool enforce;
    const char* action;  // what was done
    const char* would;   // what enforce does with such a response; NULL in enforce
    bool test;           // the echo of a test token, no alarm
    bool breaker;        // the policy enforces, but too many responses were stopped
    bool head_sent;      // before it was decided
    uint32_t status;
    const char* trace_id;    // 32 hexadecimal digits, or ""
    const char* request_id;  // or ""
    uint64_t released;
    ovr_verdict verdict;
    uint32_t same = 0;  // fetches in which the path showed the same bytes there, where that is why no more is done; else 0
    Repeated repeated{};
    Twin::Difference twin{};
    uint64_t left_out = 0;  // events that were not written before this one
    unsigned ignored = 0;   // lines of the operator's that took something out of the response
    Control* control = nullptr;
    const char* features[8] = {};
    int feature_count = 0;
    uint64_t tripped = 0;  // of the control's
    bool keyed = false;    // digests are under the operator's key
    bool owned = false;
    uint64_t owner = 0;  // digest of whose response it is
};

// Returns the length of the JSON, which may exceed capacity (nothing is cut: the caller is told).
size_t write_event(const Event& event, const ovr_exchange& exchange, char* buffer, size_t capacity);

}  // namespace overread
