#include "policy/exchange.h"

#include <algorithm>
#include <cstring>

#include "stream/stream.h"

namespace overread {
namespace {

constexpr int SEGMENTS = 2;

uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

bool is_word(uint8_t c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

// The host's digest is the rest's key, so that no border between the two can be moved.
uint64_t digest(const DigestKey& key, uint64_t host, const uint8_t* text, size_t size) {
    return std::max<uint64_t>(1, keyed_digest({key.k0 ^ host, key.k1}, text, size));
}

}  // namespace

ovr_bytes field(const ovr_header* fields, size_t count, const char* name) {
    for (size_t i = 0; i < count; i++)
        if (name_is(fields[i].name.data, fields[i].name.size, name)) return fields[i].value;
    return {nullptr, 0};
}

bool has_word(const ovr_bytes& value, const char* word) {
    const size_t n = std::strlen(word);
    for (size_t i = 0; i + n <= value.size; i++) {
        if (i && is_word(value.data[i - 1])) continue;
        if (i + n < value.size && is_word(value.data[i + n])) continue;
        if (name_is(value.data + i, n, word)) return true;
    }
    return false;
}

bool is_fresh(const ovr_response& r) {
    static const char* const CACHES[] = {"cache-status", "x-cache", "cf-cache-status", "x-cache-status", "x-proxy-cache", "x-vercel-cache", "x-drupal-cache"};
    if (field(r.headers, r.header_count, "age").data) return false;
    for (const char* cache : CACHES) {
        const ovr_bytes said = field(r.headers, r.header_count, cache);
        for (const char* kept : {"hit", "stale", "updating", "revalidated", "tcp_hit", "tcp_mem_hit"})
            if (has_word(said, kept)) return false;
    }
    return true;
}

Where where(const DigestKey& key, const ovr_request* request) {
    if (!request || !request->target.size) return {0, 0, 0};
    ovr_bytes host = field(request->headers, request->header_count, "host");
    if (!host.size) host = field(request->headers, request->header_count, ":authority");
    if (!host.size) return {0, 0, 0};
    const uint8_t* p = request->target.data;
    size_t path = 0, prefix = 0;
    for (int segments = 0; path < request->target.size && p[path] != '?' && p[path] != '#'; path++)
        if (p[path] == '/' && segments++ <= SEGMENTS) prefix = path + 1;
    const uint64_t h = keyed_digest(key, host.data, host.size);
    return {digest(key, h, p, path), digest(key, ~h, p, prefix), digest(key, h + 1, p, request->target.size)};
}

}  // namespace overread
