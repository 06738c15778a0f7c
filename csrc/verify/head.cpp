#include "verify/head.h"

#include <cstring>

namespace overread {
namespace {

// RFC 9110, section 5.6.2.
bool token_char(uint8_t c) {
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return true;
    if (c >= '0' && c <= '9') return true;
    return c && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

bool name_is(const uint8_t* name, size_t size, const char* lower) {
    if (size != std::strlen(lower)) return false;
    for (size_t i = 0; i < size; i++)
        if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]) != lower[i]) return false;
    return true;
}

size_t first_control(const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f) return i;
    return n;
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
    }
    return Builtin::none;
}

}  // namespace overread
