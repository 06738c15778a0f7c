#include "stream/own_request.h"

#include <cstring>

namespace overread {
namespace {

constexpr size_t MIN_VALUE = 8;  // shorter values are too common to exempt anything

const uint8_t* find(const uint8_t* p, size_t n, char c) { return n ? static_cast<const uint8_t*>(std::memchr(p, c, n)) : nullptr; }

}  // namespace

void OwnRequest::keep(const uint8_t* value, size_t size) {
    const uint64_t d = keyed_digest(key_, value, size);
    digests_[count_++] = d;
    sizes_[size >> 6 & 15] |= uint64_t(1) << (size & 63);
    low_bits_[d >> 6 & 15] |= uint64_t(1) << (d & 63);
}

void OwnRequest::add(const uint8_t* value, size_t size) {
    while (size && (*value == ' ' || *value == '\t')) value++, size--;
    while (size && (value[size - 1] == ' ' || value[size - 1] == '\r')) size--;
    if (size < MIN_VALUE || count_ == CAPACITY) return;
    keep(value, size);
    add_escaped(value, size);
}

// Echo pages write values HTML-escaped.
void OwnRequest::add_escaped(const uint8_t* value, size_t size) {
    uint8_t out[1024];
    size_t n = 0;
    bool changed = false;
    for (size_t i = 0; i < size; i++) {
        const char* e = value[i] == '&' ? "&amp;" : value[i] == '<' ? "&lt;" : value[i] == '>' ? "&gt;" : value[i] == '"' ? "&quot;" : nullptr;
        const size_t m = e ? std::strlen(e) : 1;
        if (n + m > sizeof out) return;
        if (e)
            std::memcpy(out + n, e, m), changed = true;
        else
            out[n] = value[i];
        n += m;
    }
    if (changed && count_ < CAPACITY) keep(out, n);
}

void OwnRequest::add_pairs(const uint8_t* text, size_t size, char separator) {
    while (size) {
        const uint8_t* end = find(text, size, separator);
        const size_t n = end ? size_t(end - text) : size;
        size_t skip = 0;
        while (skip < n && text[skip] == ' ') skip++;
        add(text + skip, n - skip);
        if (const uint8_t* equals = find(text, n, '=')) add(equals + 1, size_t(text + n - equals - 1));
        if (!end) return;
        size -= n + 1;
        text = end + 1;
    }
}

void OwnRequest::reset(const DigestKey& key, const ovr_request* r) {
    key_ = key;
    count_ = 0;
    if (!r) return;
    std::memset(sizes_, 0, sizeof sizes_);
    std::memset(low_bits_, 0, sizeof low_bits_);
    add(r->target.data, r->target.size);
    if (const uint8_t* query = find(r->target.data, r->target.size, '?')) add_pairs(query + 1, size_t(r->target.data + r->target.size - query - 1), '&');
    for (size_t i = 0; i < r->header_count; i++) {
        const ovr_bytes& v = r->headers[i].value;
        add(v.data, v.size);
        add_pairs(v.data, v.size, ';');
        // The credential of `Bearer token`, `Basic pair`.
        if (const uint8_t* space = find(v.data, v.size, ' ')) add(space + 1, size_t(v.data + v.size - space - 1));
    }
    if (r->body.size && r->body.size <= 65536) {
        add_pairs(r->body.data, r->body.size, '&');
        const uint8_t* p = r->body.data;
        size_t left = r->body.size;
        while (left) {  // lines, as textareas and chats are shown again
            const uint8_t* end = find(p, left, '\n');
            const size_t n = end ? size_t(end - p) : left;
            add(p, n);
            // A header line a visitor wrote: its value alone is what a finding spans.
            if (const uint8_t* colon = find(p, n, ':')) add(colon + 1, size_t(p + n - colon - 1));
            if (!end) break;
            left -= n + 1;
            p = end + 1;
        }
    }
}

bool OwnRequest::known(const uint8_t* value, size_t size) const {
    if (size < MIN_VALUE || !(sizes_[size >> 6 & 15] >> (size & 63) & 1)) return false;
    const uint64_t d = keyed_digest(key_, value, size);
    if (!(low_bits_[d >> 6 & 15] >> (d & 63) & 1)) return false;
    for (size_t i = 0; i < count_; i++)
        if (digests_[i] == d) return true;
    return false;
}

}  // namespace overread
