// 16 bytes in one SSE register: SSSE3's byte shuffle, SSE4.2 as the level every x86-64-v2 CPU has. Include only from a
// translation unit compiled with -msse4.2.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace overread {
namespace {  // internal linkage: no SSE4.2 code may be picked for another translation unit's inline function

struct Sse42Block {
    static constexpr size_t width = 16;
    __m128i v;

    // Precondition: p[0, 16) is readable.
    static Sse42Block load(const uint8_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
    // Precondition: table[0, 16) is readable.
    static Sse42Block table16(const uint8_t* table) { return load(table); }
    Sse42Block operator&(const Sse42Block& o) const { return {_mm_and_si128(v, o.v)}; }
    Sse42Block operator|(const Sse42Block& o) const { return {_mm_or_si128(v, o.v)}; }
    Sse42Block operator^(const Sse42Block& o) const { return {_mm_xor_si128(v, o.v)}; }
    static Sse42Block splat(uint8_t byte) { return {_mm_set1_epi8(char(byte))}; }
    // Never below zero.
    Sse42Block minus(uint8_t byte) const { return {_mm_subs_epu8(v, _mm_set1_epi8(char(byte)))}; }
    uint64_t equal_mask(const Sse42Block& o) const { return Sse42Block{_mm_cmpeq_epi8(v, o.v)}.sign_mask(); }
    uint64_t either_mask(const Sse42Block& a, const Sse42Block& b) const {
        return Sse42Block{_mm_or_si128(_mm_cmpeq_epi8(v, a.v), _mm_cmpeq_epi8(v, b.v))}.sign_mask();
    }
    Sse42Block low_nibble() const { return {_mm_and_si128(v, _mm_set1_epi8(15))}; }
    Sse42Block high_nibble() const { return {_mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15))}; }
    // Bits 3 to 6 of each byte.
    Sse42Block upper_four() const { return {_mm_and_si128(_mm_srli_epi16(v, 3), _mm_set1_epi8(15))}; }
    // table[lower four bits], and 0 for bytes above ASCII.
    Sse42Block ascii_lookup16(const Sse42Block& table) const { return lookup16(table); }
    Sse42Block lookup16(const Sse42Block& table) const { return {_mm_shuffle_epi8(table.v, v)}; }
    // The sign of each byte that is ASCII text for certain: above 1F, where it counts as signed, but for what exceptions[lower four bits]
    // names, which is the other way about.
    Sse42Block text(const Sse42Block& exceptions) const {
        return {_mm_xor_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8(0x1f)), _mm_cmpeq_epi8(_mm_shuffle_epi8(exceptions.v, v), v))};
    }
    uint64_t nonzero_mask() const { return uint16_t(~_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()))); }
    // Bit N of each byte.
    template <int N>
    uint64_t bit_mask() const {
        return Sse42Block{_mm_slli_epi16(v, 7 - N)}.sign_mask();
    }
    uint64_t sign_mask() const { return uint16_t(_mm_movemask_epi8(v)); }
};

}  // namespace
}  // namespace overread
