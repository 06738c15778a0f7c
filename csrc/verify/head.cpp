#include "verify/head.h"

#include <cstring>

#include "verify/raw.h"

namespace overread {
namespace {

// RFC 9110, section 5.6.2.
bool token_char(uint8_t c) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return true;
    if (c >= '0' && c <= '9') return true;
    return c && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

size_t first_control(const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f) return i;
    return n;
}

int base64_digit(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

// What a decoded cookie shows of memory: eight NULs in a row, two related pointers, or a header line behind CR LF.
class DecodedMemory {
  public:
    bool found() const { return found_; }
    void byte(uint8_t b) {
        recent_ = recent_ >> 8 | uint64_t(b) << 56;
        size_++;
        nuls_ = b ? 0 : nuls_ + 1;
        found_ |= nuls_ >= 8;
        if (b == 0 && size_ >= 8 && user_pointer(recent_)) {
            for (const auto& p : pointers_)
                found_ |= p.size && size_ - p.size <= 256 && size_ % 8 == p.size % 8 && p.value >> 24 == recent_ >> 24 && p.value != recent_;
            pointers_[next_++ % 4] = {size_, recent_};
        }
        header(b);
    }
    // Base64 restarts behind a byte of another alphabet; what was decoded before does not count on.
    void restart() { *this = DecodedMemory(found_); }
    explicit DecodedMemory(bool found = false) : found_(found) {}

  private:
    void header(uint8_t b) {
        // 0: text, 1: CR, 2: CR LF, then 2 + characters of the name, 255: its colon
        if (b == '\r')
            line_ = 1;
        else if (line_ == 1)
            line_ = b == '\n' ? 2 : 0;
        else if (line_ == 255)
            found_ |= b == ' ', line_ = 0;
        else if (line_ >= 5 && b == ':')
            line_ = 255;
        else if (line_ >= 2)
            line_ = token_char(b) && line_ < 60 ? uint8_t(line_ + 1) : 0;
    }
    struct Pointer {
        size_t size = 0;
        uint64_t value = 0;
    };
    uint64_t recent_ = 0;
    size_t size_ = 0, nuls_ = 0, next_ = 0;
    uint8_t line_ = 0;
    bool found_;
    Pointer pointers_[4];
};

// CitrixBleed 3 (CVE-2026-3055) gave process memory out as the base64 value of NSC_TASS.
bool decodes_to_memory(const uint8_t* s, size_t n) {
    DecodedMemory memory;
    uint32_t word = 0;
    int bits = 0;
    for (size_t i = 0; i < n && s[i] != ';' && !memory.found(); i++) {
        uint8_t c = s[i];
        if (c == '%' && i + 2 < n) {  // %2B, %2F and %3D
            const uint8_t low = s[i + 2] | 0x20;
            c = s[i + 1] == '2' && low == 'b' ? '+' : s[i + 1] == '2' && low == 'f' ? '/' : '=';
            i += 2;
        }
        const int digit = base64_digit(c);
        if (digit < 0) {
            memory.restart();
            bits = 0;
            continue;
        }
        word = word << 6 | uint32_t(digit);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            memory.byte(uint8_t(word >> bits));
        }
    }
    return memory.found();
}

}  // namespace

// Jetty's JetLeak (CVE-2015-2080) put buffer bytes, escaped as \xNN, into the reason phrase.
Builtin check_reason(const uint8_t* reason, size_t size, size_t* offset) {
    *offset = first_control(reason, size);
    if (*offset < size) return Builtin::head_control;
    for (size_t i = 0; i + 8 <= size; i++)
        if (std::memcmp(reason + i, "\\x", 2) == 0 && std::memcmp(reason + i + 4, "\\x", 2) == 0) {
            *offset = i;
            return Builtin::head_reason;
        }
    return Builtin::none;
}

Builtin check_header(const uint8_t* name, size_t name_size, const uint8_t* value, size_t size, size_t* offset) {
    *offset = first_control(value, size);
    if (*offset < size) return Builtin::head_control;
    *offset = 0;
    if (name_is(name, name_size, "allow")) {
        // Optionsbleed (CVE-2017-9798): "GET,HEAD,OPTIONS,,HEAD,:09:44 GMT". RFC 9110, section 10.2.1: a list of tokens.
        // A sender must not write empty members (RFC 9110, section 5.6.1).
        size_t i = 0;
        while (i < size) {
            while (i < size && (value[i] == ' ' || value[i] == '\t')) i++;
            const size_t start = i;
            while (i < size && token_char(value[i])) i++;
            const size_t end = i;
            while (i < size && (value[i] == ' ' || value[i] == '\t')) i++;
            if (end == start || (i < size && value[i] != ',')) {
                *offset = start;
                return size ? Builtin::head_list : Builtin::none;
            }
            if (i < size) i++;
            if (i == size && value[size - 1] == ',') {
                *offset = size - 1;
                return Builtin::head_list;
            }
        }
        return Builtin::none;
    }
    if (name_is(name, name_size, "location")) {
        // RFC 3986: a URI reference holds no space and none of these; bytes above 0x7f are common in the wild.
        for (size_t i = 0; i < size; i++)
            if (value[i] == ' ' || value[i] == '"' || value[i] == '<' || value[i] == '>') {
                *offset = i;
                return Builtin::head_grammar;
            }
        return Builtin::none;
    }
    if (name_is(name, name_size, "date") || name_is(name, name_size, "last-modified")) {
        // IMF-fixdate, RFC 9110, section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT". The obsolete forms have 24 or 30-33 bytes.
        if (size == 29 && std::memcmp(value + 25, " GMT", 4) == 0 && value[3] == ',') return Builtin::none;
        return size >= 24 && size <= 33 ? Builtin::none : Builtin::head_grammar;
    }
    if (name_is(name, name_size, "set-cookie")) {
        // RFC 6265, section 4.1.1: cookie-name is a token followed by "=".
        size_t i = 0;
        while (i < size && token_char(value[i])) i++;
        if (i == 0 || i >= size || value[i] != '=') {
            *offset = i;
            return Builtin::head_grammar;
        }
        if (decodes_to_memory(value + i + 1, size - i - 1)) {
            *offset = i + 1;
            return Builtin::head_cookie;
        }
    }
    return Builtin::none;
}

}  // namespace overread
