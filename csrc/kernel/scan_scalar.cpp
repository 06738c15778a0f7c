// The reference: byte by byte, written from the definition and not from the block algorithm.
#include <cstring>

#include "kernel/kernel.h"

namespace overread {

void scan_scalar(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    uint32_t nc = 0, nk = 0;
    for (size_t at = 0; at < size; at += UNIT) {
        const uint32_t unit = uint32_t(at / UNIT);
        const size_t end = at + UNIT < size ? at + UNIT : size;
        uint64_t k = 0, h = 0;
        for (size_t i = at; i < end; i++) {
            const uint8_t b = data[i];
            const uint64_t bit = uint64_t(1) << (i - at);
            const bool text_control = b == '\t' || b == '\n' || b == '\f' || b == '\r' || b == 0x1a || b == 0x1b;
            if ((b < 0x20 && !text_control) || b == 0x7f) k |= bit;
            if (b >= 0x80) h |= bit;
            if (i + WINDOW > readable) continue;
            uint8_t buckets[BUCKETS / 8] = {0xff, 0xff};
            for (size_t s = 0; s < BUCKETS / 8; s++)
                for (size_t j = 0; j < NIBBLE_BYTES; j++) buckets[s] &= t.low[s][j][data[i + j] & 15] & t.high[s][j][data[i + j] >> 4];
            uint32_t four;
            std::memcpy(&four, data + i, sizeof four);
            if ((buckets[0] | buckets[1]) && t.has(four)) out.candidates[nc++] = uint16_t(i);
        }
        if (k | h) out.classes[nk++] = {unit, k, h};
    }
    out.candidate_count = nc;
    out.class_units = nk;
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

}  // namespace overread
