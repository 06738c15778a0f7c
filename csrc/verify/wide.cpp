#include <algorithm>
#include <cstring>

#include "verify/reading.h"

namespace overread {
namespace {

void narrow_units(const uint8_t* p, size_t n, uint8_t* out) {
    constexpr uint64_t LOW = 0x00ff00ff00ff00ffu;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t four;
        std::memcpy(&four, p + 2 * i, sizeof four);
        const uint64_t high = four >> 8 & LOW, wide = (high + LOW) >> 8 & 0x0001000100010001u;  // 1: the unit is above U+00FF
        uint64_t bytes = (four & LOW & ~(wide * 0xff)) | wide * NO_BYTE;
        bytes |= bytes >> 8;
        bytes = (bytes & 0xffff) | (bytes >> 16 & 0xffff0000u);
        const uint32_t packed = uint32_t(bytes);
        std::memcpy(out + i, &packed, sizeof packed);
    }
    for (; i < n; i++) out[i] = p[2 * i + 1] ? NO_BYTE : p[2 * i];
}

}  // namespace

NarrowText Reading::narrow(const View& v, uint64_t at, uint64_t until, uint64_t limit) {
    const Space space = at % 2 ? Space::narrow_odd : Space::narrow_even;
    // Offset 0 is the edge of the body: at byte 1 no whole unit stands before the anchor either.
    const uint64_t start = at / 2;
    const uint64_t there = std::min(v.end(), limit), end = std::min(there, until);
    const uint64_t from = start - std::min<uint64_t>((at - v.base) / 2, WIDE_BEHIND), to = start + (end - at) / 2;
    Narrowed& n = narrowed_[at % 2];
    if (n.key != key(space, 0) || from < n.from || from > n.to) {
        n.key = key(space, 0);
        n.from = n.to = from;
    } else if (to - n.from > sizeof n.bytes) {
        std::memmove(n.bytes, n.bytes + (from - n.from), size_t(n.to - from));
        n.from = from;
    }
    if (to > n.to) {
        narrow_units(v.at(2 * n.to + at % 2), size_t(to - n.to), n.bytes + (n.to - n.from));
        n.to = to;
    }
    const View view{n.bytes + (from - n.from), from, size_t(to - from), v.final && end == there, space};
    return {view, start, start + (limit - at) / 2, at};
}

}  // namespace overread
