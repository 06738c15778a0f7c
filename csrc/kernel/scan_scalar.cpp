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
            uint8_t buckets = 0xff;
            for (size_t j = 0; j < NIBBLE_BYTES; j++) buckets &= t.low[j][data[i + j] & 15] & t.high[j][data[i + j] >> 4];
            uint32_t four;
            std::memcpy(&four, data + i, sizeof four);
            if (buckets && t.has(four)) out.candidates[nc++] = uint16_t(i);
        }
        if (k | h) out.classes[nk++] = {unit, k, h};
    }
    out.candidate_count = nc;
    out.class_units = nk;
}

void structure_scalar(const uint8_t* data, size_t size, StructureUnit* out) {
    for (size_t at = 0; at < size; at += UNIT, out++) {
        *out = {};
        for (size_t i = at; i < size && i < at + UNIT; i++) {
            const uint8_t b = data[i];
            const uint64_t bit = uint64_t(1) << (i - at);
            if (b == '"') out->quote |= bit;
            if (b == '\\') out->backslash |= bit;
            if (b == '{' || b == '[') out->open |= bit;
            if (b == '}' || b == ']') out->close |= bit;
            if (b == '\r' || b == '\n') out->line_break |= bit;
        }
    }
}

}  // namespace overread
