// 32 bytes in one AVX2 register. Include only from a translation unit compiled with -mavx2.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace overread {
namespace {  // internal linkage: no AVX2 code may be picked for another translation unit's inline function

struct Avx2Block {
    static constexpr size_t width = 32;
    __m256i v;

    // Precondition: p[0, 32) is readable.
    static Avx2Block load(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
    // Precondition: table[0, 16) is readable.
    static Avx2Block table16(const uint8_t* table) { return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)))}; }
    Avx2Block operator&(const Avx2Block& o) const { return {_mm256_and_si256(v, o.v)}; }
    Avx2Block operator|(const Avx2Block& o) const { return {_mm256_or_si256(v, o.v)}; }
    Avx2Block operator^(const Avx2Block& o) const { return {_mm256_xor_si256(v, o.v)}; }
    static Avx2Block splat(uint8_t byte) { return {_mm256_set1_epi8(char(byte))}; }
    // Never below zero.
    Avx2Block minus(uint8_t byte) const { return {_mm256_subs_epu8(v, _mm256_set1_epi8(char(byte)))}; }
    uint64_t equal_mask(const Avx2Block& o) const { return Avx2Block{_mm256_cmpeq_epi8(v, o.v)}.sign_mask(); }
    uint64_t either_mask(const Avx2Block& a, const Avx2Block& b) const {
        return Avx2Block{_mm256_or_si256(_mm256_cmpeq_epi8(v, a.v), _mm256_cmpeq_epi8(v, b.v))}.sign_mask();
    }
    Avx2Block low_nibble() const { return {_mm256_and_si256(v, _mm256_set1_epi8(15))}; }
    Avx2Block high_nibble() const { return {_mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15))}; }
    // Bits 3 to 6 of each byte.
    Avx2Block upper_four() const { return {_mm256_and_si256(_mm256_srli_epi16(v, 3), _mm256_set1_epi8(15))}; }
    // table[lower four bits], and 0 for bytes above ASCII.
    Avx2Block ascii_lookup16(const Avx2Block& table) const { return lookup16(table); }
    Avx2Block lookup16(const Avx2Block& table) const { return {_mm256_shuffle_epi8(table.v, v)}; }
    // The sign of each byte that is ASCII text for certain: above 1F, where it counts as signed, but for what exceptions[lower four bits]
    // names, which is the other way about.
    Avx2Block text(const Avx2Block& exceptions) const {
        return {_mm256_xor_si256(_mm256_cmpgt_epi8(v, _mm256_set1_epi8(0x1f)), _mm256_cmpeq_epi8(_mm256_shuffle_epi8(exceptions.v, v), v))};
    }
    uint64_t nonzero_mask() const { return uint32_t(~_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()))); }
    // Bit N of each byte.
    template <int N>
    uint64_t bit_mask() const {
        return Avx2Block{_mm256_slli_epi16(v, 7 - N)}.sign_mask();
    }
    uint64_t sign_mask() const { return uint32_t(_mm256_movemask_epi8(v)); }
};

}  // namespace
}  // namespace overread
