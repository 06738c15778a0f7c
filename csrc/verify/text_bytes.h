// What single bytes are in text: control bytes, the parts of UTF-8 characters, letters of a field name.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace overread {

// As the kernel's control class.
inline bool is_control(uint8_t b) {
    const bool text = b == '\t' || b == '\n' || b == '\f' || b == '\r' || b == 0x1a || b == 0x1b;
    return (b < 0x20 && !text) || b == 0x7f;
}

// RFC 3629, table 3-7 of the Unicode standard: bytes that may begin a character of several, how many continuations each wants,
// and between what the first of these lies.
inline bool is_lead(uint8_t b) { return b >= 0xc2 && b <= 0xf4; }
inline uint8_t continuations(uint8_t lead) { return lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3; }
inline uint8_t lowest_second(uint8_t lead) { return lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80; }
inline uint8_t highest_second(uint8_t lead) { return lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf; }

// Whether a field name, or another ASCII word, is this one in any case.
inline bool name_is(const uint8_t* name, size_t size, const char* lower) {
    if (size != std::strlen(lower)) return false;
    for (size_t i = 0; i < size; i++)
        if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]) != lower[i]) return false;
    return true;
}

}  // namespace overread
