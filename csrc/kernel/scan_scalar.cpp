// The reference: byte by byte, written from the definition and not from the block algorithm.
#include <cstring>

#include "kernel/kernel.h"

namespace overread {

void scan_scalar(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    uint32_t nc = 0, nk = 0, np = 0;
    const bool windows = wanted & WANT_HIGH_WINDOWS;
    for (size_t at = 0; at < size; at += UNIT) {
        const uint32_t unit = uint32_t(at / UNIT);
        const size_t end = at + UNIT < size ? at + UNIT : size;
        uint64_t k = 0, h = 0;
        for (size_t i = at; i < end; i++) {
            const uint8_t a = data[i];
            const uint64_t bit = uint64_t(1) << (i - at);
            const bool text_control = a == '\t' || a == '\n' || a == '\f' || a == '\r' || a == 0x1a || a == 0x1b;
            if ((a < 0x20 && !text_control) || a == 0x7f) k |= bit;
            if (a >= 0x80) h |= bit;
            if (i + WINDOW > readable) continue;
            const uint8_t b = data[i + 1];
            uint32_t four;
            std::memcpy(&four, data + i, sizeof four);
            const bool ascii = FingerprintTable::begins_with_ascii(four);
            const bool high = windows && (t.first_low[a & 15] & t.first_upper[a >> 3 & 15] & t.second_low[b & 15] & t.second_upper[b >> 3 & 15] & HIGH);
            if (ascii ? !t.allows(four) : !high) continue;
            np++;
            if (t.has(four)) out.candidates[nc++] = uint16_t(i);
        }
        if ((k | h) && wanted & WANT_CLASSES) out.classes[nk++] = {unit, k, h};
    }
    out.candidate_count = nc;
    out.class_units = nk;
    out.past_tables = np;
}

size_t json_scalar(const uint8_t* data, size_t size, JsonState& s) {
    for (size_t i = 0; i < size; i++) {
        const uint8_t b = data[i];
        const bool escaped = s.escaped;
        s.escaped = b == '\\' && !escaped;
        if (b == '"' && !escaped) {
            s.in_string = ~s.in_string;
        } else if (s.in_string) {
            if (b == '\r' || b == '\n') {
                s.event = JsonState::line_break;
                return i + 1;
            }
        } else if (b == '{' || b == '[') {
            s.depth++;
        } else if (b == '}' || b == ']') {
            if (--s.depth == 0) {
                s.event = JsonState::complete;
                return i + 1;
            }
        }
    }
    return size;
}

bool utf8_scalar(const uint8_t* data) {
    for (int i = 0; i < int(UNIT); i++) {
        const uint8_t b = data[i], b1 = data[i - 1], b2 = data[i - 2], b3 = data[i - 3];
        const bool follows = (b & 0xc0) == 0x80, second = (b1 & 0xc0) == 0x80;
        if ((b2 >= 0xe0 || b3 >= 0xf0) != (second && follows)) return false;
        if (!second && follows != (b1 >= 0xc0)) return false;
        if (b1 == 0xc0 || b1 == 0xc1 || b1 >= 0xf5) return false;
        if ((b1 == 0xe0 && b < 0xa0) || (b1 == 0xed && b > 0x9f) || (b1 == 0xf0 && b < 0x90) || (b1 == 0xf4 && b > 0x8f)) return false;
    }
    return true;
}

namespace {

bool is_letter(uint8_t c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
bool in_region(uint8_t c) { return is_letter(c) || is_digit(c) || (c && std::strchr("+-./_#%&;\\", c)); }

bool is_odd_pair(uint8_t a, uint8_t b) {
    return (is_letter(a) && is_digit(b)) || (is_digit(a) && is_letter(b)) || (a >= 'a' && a <= 'z' && b >= 'A' && b <= 'Z');
}

bool has_dense_window(const uint8_t* run, size_t size) {
    bool digit = false;
    for (size_t i = 0; i < size; i++) digit |= is_digit(run[i]);
    if (!digit) return false;
    for (size_t i = 0; i + TOKEN_WINDOW <= size; i++) {
        uint32_t pairs = 0;
        for (size_t k = i + 1; k < i + TOKEN_WINDOW; k++) pairs += is_odd_pair(run[k - 1], run[k]);
        if (pairs >= TOKEN_ODD_PAIRS) return true;
    }
    return false;
}

}  // namespace

void tokens_scalar(const uint8_t* data, size_t size, TokenOutput& out) {
    out.count = 0;
    out.head = 0;
    out.tail = uint16_t(size);
    for (size_t from = 0; from < size;) {
        if (!in_region(data[from])) {
            from++;
            continue;
        }
        size_t to = from;
        bool escaped = false;
        uint8_t character;
        for (; to < size && in_region(data[to]); to++) escaped |= token_escape(data + to, size - to, &character) != 0;
        if (from == 0) out.head = uint16_t(to);
        if (to == size) {
            out.tail = uint16_t(from);
            return;
        }
        if (escaped && to - from >= TOKEN_WINDOW) out.regions[out.count++] = {uint16_t(from), uint16_t(to), true};
        for (size_t run = from; run < to && !escaped;) {
            size_t end = run;
            while (end < to && !std::strchr("#%&;\\", data[end]) && !(end && data[end - 1] == '\\')) end++;
            if (end - run >= TOKEN_WINDOW && has_dense_window(data + run, end - run)) out.regions[out.count++] = {uint16_t(run), uint16_t(end), false};
            run = end + 1;
        }
        from = to;
    }
}

}  // namespace overread
