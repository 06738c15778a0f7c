#include "verify/escaped.h"

#include <algorithm>
#include <cstring>

namespace overread {
namespace {

constexpr size_t LONGEST = 10;  // of one escape: "&#000000;" and one more
constexpr size_t ESCAPES = 8;   // of a run that counts
constexpr size_t GAP = 4;       // plain bytes between two escapes of a run: memory has printable bytes as well

// What ends a run: quotes, markup, white space.
bool ends(uint8_t c) {
    // Bits of the characters up to '?'.
    constexpr uint64_t ENDS =
        uint64_t(1) << '"' | uint64_t(1) << '\'' | uint64_t(1) << '<' | uint64_t(1) << '>' | uint64_t(1) << ' ' | 1u << '\t' | 1u << '\r' | 1u << '\n';
    return c < 64 && ENDS >> c & 1;
}

int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// One escape of p[0, n): its value and length, or length 0. Values above 255 are given as 255.
struct Escape {
    unsigned value = 0;
    size_t length = 0;
};

Escape digits(const uint8_t* p, size_t n, size_t from, size_t count, unsigned base) {
    unsigned value = 0;
    for (size_t i = 0; i < count; i++) {
        const int d = from + i < n ? hex(p[from + i]) : -1;
        if (d < 0 || unsigned(d) >= base) return {};
        value = value * base + unsigned(d);
    }
    return {std::min(value, 255u), from + count};
}

Escape escape_at(const uint8_t* p, size_t n, uint8_t kind) {
    if (n < 2 || p[0] != kind) return {};
    if (kind == '%') return digits(p, n, 1, 2, 16);
    if (kind == '&') {
        if (p[1] != '#') return {};
        const bool x = n > 2 && (p[2] | 0x20) == 'x';
        size_t at = x ? 3 : 2;
        const size_t first = at;
        unsigned value = 0;
        for (; at < n && at - first < 6 && hex(p[at]) >= 0 && (x || p[at] <= '9'); at++) value = std::min(value * (x ? 16 : 10) + unsigned(hex(p[at])), 255u);
        if (at == first || at >= n || p[at] != ';') return {};
        return {value, at + 1};
    }
    switch (p[1]) {
        case 'x':
            return digits(p, n, 2, 2, 16);
        case 'u':
            return digits(p, n, 2, 4, 16);
        case '0':
        case '1':
        case '2':
        case '3': {
            const Escape octal = digits(p, n, 1, 3, 8);
            if (octal.length) return octal;
            return p[1] == '0' && (n < 3 || hex(p[2]) < 0 || hex(p[2]) > 9) ? Escape{0, 2} : Escape{};
        }
        default:
            return {};
    }
}

// Named characters of HTML text and the short escapes of JSON.
Escape text_escape_at(const uint8_t* p, size_t n, uint8_t kind) {
    const Escape e = escape_at(p, n, kind);
    if (e.length || n < 2 || p[0] != kind) return e;
    if (kind == '\\') {
        const char* const short_form = "r\rn\nt\tb\bf\f\"\"\\\\//";
        for (size_t i = 0; short_form[i]; i += 2)
            if (p[1] == uint8_t(short_form[i])) return {uint8_t(short_form[i + 1]), 2};
    }
    if (kind == '&') {
        const struct {
            const char* name;
            uint8_t value;
        } named[] = {{"&quot;", '"'}, {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&apos;", '\''}};
        for (const auto& c : named)
            if (n >= std::strlen(c.name) && std::memcmp(p, c.name, std::strlen(c.name)) == 0) return {c.value, std::strlen(c.name)};
    }
    return {};
}

}  // namespace

Answer escaped_run(const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = std::min(v.end(), limit);
    const bool may_grow = !v.final && v.end() < limit;
    const uint8_t kind = *v.at(start);
    const Escape first = escape_at(v.at(start), size_t(stop - start), kind);
    // Of a long run of NULs only the first pair is looked at.
    if (first.length && start - v.base >= first.length && std::memcmp(v.at(start - first.length), v.at(start), first.length) == 0) return Answer::no;
    uint64_t at = start, end = start;
    size_t count = 0, gap = 0;
    while (at < stop && gap <= GAP) {
        if (may_grow && stop - at < LONGEST) return Answer::more;
        const Escape e = escape_at(v.at(at), size_t(stop - at), kind);
        if (e.length) {
            at += e.length;
            end = at;
            count++;
            gap = 0;
            continue;
        }
        if (ends(*v.at(at))) break;
        at++;
        gap++;
    }
    if (at >= stop && gap <= GAP && may_grow) return Answer::more;
    m = {Sign::escaped_bytes, start, end, start, end};
    return count >= ESCAPES ? Answer::yes : Answer::no;
}

Answer replacement_run(const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = std::min(v.end(), limit);
    const bool may_grow = !v.final && v.end() < limit;
    uint64_t at = start;
    while (at + 3 <= stop && std::memcmp(v.at(at), "\xef\xbf\xbd", 3) == 0) at += 3;
    if (at + 3 > stop && may_grow) return Answer::more;
    m = {Sign::replacements, start, at, start, at};
    return Answer::yes;
}

Decoded::Decoded(const View& v, uint64_t start, uint64_t name, size_t n, uint64_t limit, uint8_t kind) {
    push('\r', start);
    push('\n', start);
    for (size_t j = 0; j < n; j++) push(*v.at(name + j), name + j);
    append(v, name + n, limit, kind);
}

void Decoded::append(const View& v, uint64_t at, uint64_t limit, uint8_t kind) {
    const uint64_t stop = std::min(v.end(), limit);
    const bool may_grow = !v.final && v.end() < limit;
    while (at < stop && size < sizeof bytes) {
        const uint8_t c = *v.at(at);
        if (c == kind) {
            if (may_grow && stop - at < LONGEST) {
                open = true;
                return;
            }
            const Escape e = text_escape_at(v.at(at), size_t(stop - at), kind);
            if (!e.length) return;
            push(uint8_t(e.value), at);
            at += e.length;
            continue;
        }
        // Neither a quote nor a line break stands in an escaped string; a percent-encoded one has no space either.
        if (c == '"' || c < 0x20 || c == 0x7f || (kind == '%' && ends(c)) || (kind == '&' && c == '<')) return;
        push(kind == '%' && c == '+' ? uint8_t(' ') : c, at);
        at++;
    }
    open = at >= stop && may_grow;
}

uint64_t skip_line_ends(const View& v, uint64_t at, uint64_t stop, uint8_t kind) {
    for (int i = 0; i < 4 && at < stop; i++) {
        const Escape e = text_escape_at(v.at(at), size_t(stop - at), kind);
        if (e.length && (e.value == '\r' || e.value == '\n'))
            at += e.length;
        else if (kind == '&' && *v.at(at) == '\n')
            at++;
        else
            break;
    }
    return at;
}

}  // namespace overread
