#include "policy/event.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace overread {
namespace {

const char* const BASIS[] = {"counted", "chained", "capped", "constructed"};  // enum ovr_basis

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
        const long long unit = places == 2 ? 100 : 1000000, n = std::llround(v * double(unit));
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

void write_features(Text& t, const Event& e) {
    for (int i = 0; i < e.feature_count; i++) t.format("%s\"%s\"", i ? "," : ",\"features\":[", e.features[i]);
    if (e.feature_count) t.put(']');
    const uint64_t first = e.tripped & (~e.tripped + 1);
    for (uint64_t left = e.tripped; left; left &= left - 1) {
        ovr_feature feature;
        if (e.control->info(size_t(__builtin_ctzll(left)), &feature)) t.format("%s\"%s\"", left & first ? ",\"tripped\":[" : ",", feature.name);
    }
    if (e.tripped) t.put(']');
}

}  // namespace

size_t write_event(const Event& e, const ovr_exchange& x, char* buffer, size_t capacity) {
    const ovr_verdict& v = e.verdict;
    Text t{buffer, capacity};
    size_t path = 0;
    while (path < x.target.size && x.target.data[path] != '?' && x.target.data[path] != '#' && path < 512) path++;
    t.format("{\"schema\":1,\"id\":\"%s\",\"unix_ms\":%llu,\"proxy\":", e.id, static_cast<unsigned long long>(x.unix_ms));
    t.quoted(x.proxy ? x.proxy : "");
    t.format(",\"mode\":\"%s\",\"action\":\"%s\"", e.enforce ? "enforce" : "monitor", e.action);
    if (e.would) t.format(",\"would\":\"%s\"", e.would);
    if (e.test) t.raw(",\"test\":true");
    if (e.breaker) t.raw(",\"breaker\":true");
    t.format(",\"head_sent\":%s", e.head_sent ? "true" : "false");
    t.raw(",\"method\":");
    t.quoted(x.method.data, x.method.size < 16 ? x.method.size : 16);
    t.raw(",\"host\":");
    t.quoted(x.host.data, x.host.size < 255 ? x.host.size : 255);
    t.raw(",\"path\":");
    t.quoted(x.target.data, path);
    if (*e.trace_id) t.format(",\"trace_id\":\"%s\"", e.trace_id);
    if (*e.request_id) t.format(",\"request_id\":\"%s\"", e.request_id);
    if (e.owned) t.format(",\"owner\":\"%016llx\"", static_cast<unsigned long long>(e.owner));
    write_features(t, e);
    t.format(",\"status\":%u,\"tier\":\"%s\",\"bits\":", e.status, ovr_tier_name(v.tier));
    t.decimal(v.bits, 2);
    t.raw(",\"probability\":");
    t.decimal(v.probability, 6);
    t.format(",\"content_class\":\"%s\",\"decode\":\"%s\",\"body_bytes\":%llu,\"released\":%llu", v.content_class, ovr_decode_name(v.decode),
             static_cast<unsigned long long>(v.body_bytes), static_cast<unsigned long long>(e.released));
    if (e.same) t.format(",\"same\":%u", e.same);
    if (e.repeated.bits)
        t.format(",\"repetition\":{\"bits\":%d,\"count\":%llu,\"responses\":%llu}", e.repeated.bits, static_cast<unsigned long long>(e.repeated.count),
                 static_cast<unsigned long long>(e.repeated.responses));
    if (e.twin.is != Twin::Is::none)
        t.format(",\"twin\":{\"is\":\"%s\",\"offset\":%llu,\"length\":%llu}", e.twin.is == Twin::Is::tail ? "tail" : "insertion",
                 static_cast<unsigned long long>(e.twin.offset), static_cast<unsigned long long>(e.twin.length));
    t.raw(",\"terms\":[");
    for (size_t i = 0; i < v.term_count; i++) {
        t.format("%s{\"group\":\"%s\",\"level\":", i ? "," : "", v.terms[i].group);
        t.quoted(v.terms[i].level);
        t.format(",\"level_index\":%u,\"content_class\":\"%s\",\"basis\":\"%s\",\"k\":%u,\"n\":%u,\"sources\":%u,\"bits\":", unsigned{v.terms[i].level_index},
                 v.terms[i].cls, BASIS[v.terms[i].basis], v.terms[i].k, v.terms[i].n, v.terms[i].sources);
        t.decimal(double(v.terms[i].bits), 2);
        t.raw(",\"alone\":");
        t.decimal(double(v.terms[i].alone), 2);
        if (v.terms[i].basis == OVR_BASIS_CONSTRUCTED) {
            t.raw(",\"collision\":");
            t.decimal(double(v.terms[i].collision), 2);
            t.raw(",\"semantic\":");
            t.decimal(double(v.terms[i].semantic), 2);
        }
        t.put('}');
    }
    t.raw("],\"findings\":[");
    for (size_t i = 0; i < v.finding_count; i++) {
        const ovr_finding& f = v.findings[i];
        t.format("%s{\"rule\":", i ? "," : "");
        t.quoted(f.rule);
        t.format(",\"family\":\"%s\",\"part\":\"%s\",", ovr_family_name(f.family), ovr_part_name(f.part));
        if (*f.name) t.format("\"name\":\"%s\",", f.name);
        t.format("\"offset\":%llu,\"length\":%u,\"bits\":", static_cast<unsigned long long>(f.offset), f.length);
        t.decimal(double(f.bits), 2);
        t.format(",\"digest\":\"%016llx\"}", static_cast<unsigned long long>(f.digest));
    }
    t.format("],\"findings_dropped\":%llu,\"exempt\":%llu", static_cast<unsigned long long>(v.findings_dropped), static_cast<unsigned long long>(v.exempt));
    if (e.keyed) t.raw(",\"keyed\":true");
    if (e.ignored) t.format(",\"ignored\":%u", e.ignored);
    if (e.left_out) t.format(",\"left_out\":%llu", static_cast<unsigned long long>(e.left_out));
    t.put('}');
    if (capacity) buffer[t.size < capacity ? t.size : capacity - 1] = 0;
    return t.size;
}

}  // namespace overread
