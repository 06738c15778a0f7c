#include "policy/filter.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>

namespace overread {
namespace {

const char* const VERB[] = {"pass", "block", "cut"};

// A bounded text buffer that goes on counting past its end.
struct Text {
    char* out;
    size_t capacity, size = 0;
    void put(char c) {
        if (size + 1 < capacity) out[size] = c;
        size++;
    }
    void raw(const char* s) {
        while (*s) put(*s++);
    }
    void format(const char* f, ...) __attribute__((format(printf, 2, 3))) {
        char b[512];
        va_list args;
        va_start(args, f);
        std::vsnprintf(b, sizeof b, f, args);
        va_end(args);
        raw(b);
    }
    // A number with so many decimals, 0 <= v: printf takes the decimal point from the host's locale, and JSON has one only.
    void decimal(double v, int places) {
        const long long unit = places == 1 ? 10 : 1000000, n = std::llround(v * double(unit));
        format("%lld.%0*lld", n / unit, places, n % unit);
    }
    // A JSON string of printable ASCII; everything else becomes "?", so the line is valid whatever arrives.
    void quoted(const uint8_t* s, size_t n) {
        put('"');
        for (size_t i = 0; i < n; i++) {
            const uint8_t c = s[i];
            if (c == '"' || c == '\\')
                put('\\'), put(char(c));
            else
                put(c >= 0x20 && c < 0x7f ? char(c) : '?');
        }
        put('"');
    }
    void quoted(const char* s) { quoted(reinterpret_cast<const uint8_t*>(s), std::strlen(s)); }
};

}  // namespace

void Filter::head(const ovr_response& response, ovr_action* action) {
    const uint64_t id = [] {
        const DigestKey k = random_key();
        return k.k0 ^ k.k1;
    }();
    std::snprintf(id_, sizeof id_, "%016llx", static_cast<unsigned long long>(id));
    started_ = true;
    stopped_ = ended_ = head_out_ = reported_ = false;
    verb_ = OVR_PASS;
    released_ = 0;
    status_ = response.status;
    const bool enforce = policy_.mode == OVR_MODE_ENFORCE;
    const int from = policy_.block_from ? policy_.block_from : OVR_TIER_CERTAIN;
    const double tier_bits = from == OVR_TIER_WEAK ? WEAK_BITS : from == OVR_TIER_STRONG ? STRONG_BITS : CERTAIN_BITS;
    block_bits_ = !enforce ? std::numeric_limits<double>::infinity() : policy_.block_bits > 0 ? policy_.block_bits : tier_bits;
    const uint32_t hold = policy_.hold == OVR_HOLD_DEFAULT ? DEFAULT_HOLD : policy_.hold;
    stream_.reset(&response, enforce ? hold : 0, block_bits_);
    act(action, false);
}

void Filter::body(const uint8_t* data, size_t size, ovr_action* action) {
    if (policy_.mode == OVR_MODE_OFF)
        released_ += size;
    else if (!stopped_)
        stream_.feed(data, size);
    act(action, false);
}

void Filter::flush(ovr_action* action) {
    if (!stopped_) stream_.flush();
    act(action, false);
}

void Filter::trailers(const ovr_header* fields, size_t count, ovr_action* action) {
    if (policy_.mode != OVR_MODE_OFF && !stopped_) stream_.trailers(fields, count);
    act(action, false);
}

void Filter::end(ovr_action* action) {
    if (!ended_ && !stopped_ && policy_.mode != OVR_MODE_OFF) {
        ovr_verdict v;
        stream_.finish(&v);
    }
    ended_ = true;
    act(action, true);
}

void Filter::act(ovr_action* action, bool at_end) {
    std::memset(action, 0, sizeof *action);
    const ovr_progress p = stream_.progress();
    if (policy_.mode == OVR_MODE_OFF) {
        action->release_head = 1;
        action->released = released_;
        return;
    }
    const bool unjudged = policy_.mode == OVR_MODE_ENFORCE && policy_.on_error == OVR_ON_ERROR_BLOCK && p.decode >= OVR_DECODE_TRUNCATED;
    if (!stopped_ && (stream_.bits() >= block_bits_ || unjudged)) {
        stopped_ = true;
        verb_ = head_out_ ? OVR_CUT : OVR_BLOCK;
    }
    if (!stopped_) {
        // In monitor a byte is never delayed, not even one of an open match.
        released_ = p.released;
        head_out_ |= at_end || released_ > 0 || stream_.hold() == 0;
    }
    action->verb = verb_;
    action->release_head = head_out_;
    action->released = policy_.mode == OVR_MODE_MONITOR ? std::numeric_limits<uint64_t>::max() : released_;
    action->hold_ms = policy_.mode == OVR_MODE_ENFORCE && !stopped_ && !at_end && stream_.holds() ? (policy_.hold_ms ? policy_.hold_ms : 50) : 0;
    if (!reported_ && (stopped_ || (at_end && stream_.bits() >= WEAK_BITS))) {
        reported_ = true;
        action->wants_event = 1;
    }
}

size_t Filter::event(const ovr_exchange& x, char* buffer, size_t capacity) {
    ovr_verdict v;
    stream_.finish(&v);
    Text t{buffer, capacity};
    size_t path = 0;
    while (path < x.target.size && x.target.data[path] != '?' && x.target.data[path] != '#' && path < 512) path++;
    t.format("{\"schema\":1,\"id\":\"%s\",\"unix_ms\":%llu,\"proxy\":", id_, static_cast<unsigned long long>(x.unix_ms));
    t.quoted(x.proxy ? x.proxy : "");
    t.format(",\"mode\":\"%s\",\"action\":\"%s\"", policy_.mode == OVR_MODE_ENFORCE ? "enforce" : "monitor", verb_ == OVR_PASS ? "log" : VERB[verb_]);
    t.raw(",\"method\":");
    t.quoted(x.method.data, x.method.size < 16 ? x.method.size : 16);
    t.raw(",\"host\":");
    t.quoted(x.host.data, x.host.size < 255 ? x.host.size : 255);
    t.raw(",\"path\":");
    t.quoted(x.target.data, path);
    t.format(",\"status\":%u,\"tier\":\"%s\",\"bits\":", status_, ovr_tier_name(v.tier));
    t.decimal(v.bits, 1);
    t.raw(",\"probability\":");
    t.decimal(v.probability, 6);
    t.format(",\"content_class\":\"%s\",\"decode\":\"%s\",\"body_bytes\":%llu,\"released\":%llu", v.content_class, ovr_decode_name(v.decode),
             static_cast<unsigned long long>(v.body_bytes), static_cast<unsigned long long>(released_));
    t.raw(",\"terms\":[");
    for (size_t i = 0; i < v.term_count; i++) {
        t.format("%s{\"group\":\"%s\",\"level\":", i ? "," : "", v.terms[i].group);
        t.quoted(v.terms[i].level);
        t.raw(",\"bits\":");
        t.decimal(double(v.terms[i].bits), 1);
        t.put('}');
    }
    t.raw("],\"findings\":[");
    for (size_t i = 0; i < v.finding_count; i++) {
        const ovr_finding& f = v.findings[i];
        t.format("%s{\"rule\":", i ? "," : "");
        t.quoted(f.rule);
        t.format(",\"part\":\"%s\",\"offset\":%llu,\"length\":%u,\"digest\":\"%016llx\"}", ovr_part_name(f.part), static_cast<unsigned long long>(f.offset),
                 f.length, static_cast<unsigned long long>(f.digest));
    }
    t.format("],\"findings_dropped\":%llu}", static_cast<unsigned long long>(v.findings_dropped));
    if (capacity) buffer[t.size < capacity ? t.size : capacity - 1] = 0;
    return t.size;
}

}  // namespace overread
