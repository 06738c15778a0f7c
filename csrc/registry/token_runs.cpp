#include "registry/token_runs.h"

namespace overread {
namespace {

int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The number of text[0, n), or -1.
int number(const uint8_t* text, size_t n, int base) {
    int value = n ? 0 : -1;
    for (size_t i = 0; i < n && value >= 0; i++) {
        const int d = hex_digit(text[i]);
        value = d < 0 || d >= base || value > 0xff ? -1 : value * base + d;
    }
    return value;
}

}  // namespace

// Whether a region has as many odd pairs as a window needs, or an escape, which may stand for any character.
bool TokenRuns::may_be_dense(const uint8_t* data, const TokenUnit* units, size_t from, size_t to) {
    uint32_t pairs = 0;
    for (size_t u = from / UNIT; u * UNIT < to; u++) {
        const TokenUnit& t = units[u];
        const uint64_t lower = t.alpha & t.lower, upper = t.alpha & ~t.lower;
        // What stands before the unit's first byte.
        uint64_t alpha_before = t.alpha << 1, digit_before = t.digit << 1, lower_before = lower << 1;
        if (u) {
            const TokenUnit& b = units[u - 1];
            alpha_before |= b.alpha >> 63;
            digit_before |= b.digit >> 63;
            lower_before |= (b.alpha & b.lower) >> 63;
        }
        uint64_t odd = (t.alpha & digit_before) | (t.digit & alpha_before) | (upper & lower_before);
        const size_t at = u * UNIT;
        const uint64_t until = to - at < UNIT ? (uint64_t(1) << (to - at)) - 1 : ~uint64_t(0);
        const uint64_t inside = from > at ? until & ~uint64_t(0) << (from - at) : until;
        if (from >= at) odd &= ~(uint64_t(1) << (from - at));  // the first character's pair is with one outside
        pairs += uint32_t(__builtin_popcountll(odd & inside));
        if (pairs >= MIN_ODD_PAIRS) return true;
        for (uint64_t marks = t.region & ~(t.alpha | t.digit) & inside; marks; marks &= marks - 1) {
            const uint8_t c = data[at + size_t(__builtin_ctzll(marks))];
            if (c == '%' || c == '&' || c == '\\') return true;
        }
    }
    return false;
}

TokenRuns::Escape TokenRuns::read_escape(uint8_t* character) const {
    const uint8_t* e = escape_;
    const size_t n = escape_size_;
    int c = -1;
    if (e[0] == '%') {
        if (hex_digit(e[n - 1]) < 0) return Escape::none;
        if (n < 3) return Escape::more;
        c = number(e + 1, 2, 16);
    } else if (e[0] == '&') {
        // &#47; and &#x2F; : what stands for one of a secret's characters has at most six digits.
        if (n == 2) return e[1] == '#' ? Escape::more : Escape::none;
        const bool hex = (e[2] | 0x20) == 'x';
        if (e[n - 1] != ';') return n < MAX_ESCAPE && (hex_digit(e[n - 1]) >= 0 || (n == 3 && hex)) ? Escape::more : Escape::none;
        c = hex ? number(e + 3, n - 4, 16) : number(e + 2, n - 3, 10);
    } else {
        // JSON's and JavaScript's; what else stands behind a backslash is part of its escape, as n is of a line's end.
        if (e[1] == '/') {
            c = '/';
        } else if (e[1] == 'u' || e[1] == 'x') {
            const size_t digits = e[1] == 'u' ? 4 : 2;
            if (n > 2 && hex_digit(e[n - 1]) < 0) return Escape::none;
            if (n < 2 + digits) return Escape::more;
            c = number(e + 2, digits, 16);
        }
    }
    if (c < 0 || c > 0x7f || char_kind(uint8_t(c)) == CHAR_NONE) return Escape::ends;
    *character = uint8_t(c);
    return Escape::character;
}

uint64_t TokenRuns::pending(uint64_t end) const {
    constexpr size_t SHORT = 8;  // with fewer characters it is a word's beginning
    if (!open_ || size_ < SHORT) return end;
    uint32_t pairs = 0;
    for (size_t i = 1; i < size_; i++) pairs += is_odd_pair(char_kind(text_[i - 1]), char_kind(text_[i]));
    return pairs >= MIN_ODD_PAIRS / 2 ? base_ : end;
}

}  // namespace overread
