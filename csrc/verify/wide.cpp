#include <algorithm>

#include "verify/signal.h"

namespace overread {

void NarrowText::fill(const View& v, uint64_t at, uint64_t first, uint64_t until) {
    // Offset 0 is the edge of the body: at byte 1 no whole unit stands before the anchor either.
    start = at / 2;
    body = at;
    limit = start + (until - at) / 2;
    const uint64_t there = std::min(v.end(), until), end = std::min(there, first);
    const size_t before = size_t(std::min<uint64_t>((at - v.base) / 2, WIDE_BEHIND));
    const size_t size = std::min<size_t>(before + size_t((end - at) / 2), sizeof bytes);
    const uint8_t* p = v.at(at - 2 * before);
    for (size_t i = 0; i < size; i++) bytes[i] = p[2 * i + 1] ? NO_BYTE : p[2 * i];
    view = {bytes, start - before, size, v.final && end == there, at % 2 ? Space::narrow_odd : Space::narrow_even};
}

}  // namespace overread
