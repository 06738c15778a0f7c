// The commonest three-byte sequences of web text, ascending; byte 3 of each word is 8 log2 of its rate in 2^24 windows.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

constexpr size_t TRIGRAM_COUNT = 8192;
extern const uint32_t TRIGRAMS[TRIGRAM_COUNT];

}  // namespace overread
