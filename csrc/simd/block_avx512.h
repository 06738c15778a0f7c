// 64 bytes in one AVX-512 register, masks straight from the compares. Include only from a translation unit compiled with
// -mavx512bw.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace overread {
namespace {  // internal linkage: no AVX-512 code may be picked for another translation unit's inline function

struct Avx512Block {
    static constexpr size_t width = 64;
    __m512i v;

    // Precondition: p[0, 64) is readable.
    static Avx512Block load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
    // Precondition: table[0, 16) is readable.
    static Avx512Block table16(const uint8_t* table) { return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)))}; }
    Avx512Block operator&(const Avx512Block& o) const { return {_mm512_and_si512(v, o.v)}; }
    Avx512Block operator|(const Avx512Block& o) const { return {_mm512_or_si512(v, o.v)}; }
    Avx512Block operator^(const Avx512Block& o) const { return {_mm512_xor_si512(v, o.v)}; }
    static Avx512Block splat(uint8_t byte) { return {_mm512_set1_epi8(char(byte))}; }
    // Never below zero.
    Avx512Block minus(uint8_t byte) const { return {_mm512_subs_epu8(v, _mm512_set1_epi8(char(byte)))}; }
    uint64_t equal_mask(const Avx512Block& o) const { return _mm512_cmpeq_epi8_mask(v, o.v); }
    uint64_t either_mask(const Avx512Block& a, const Avx512Block& b) const { return equal_mask(a) | equal_mask(b); }
    Avx512Block low_nibble() const { return {_mm512_and_si512(v, _mm512_set1_epi8(15))}; }
    Avx512Block high_nibble() const { return {_mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15))}; }
    // Bits 3 to 6 of each byte.
    Avx512Block upper_four() const { return {_mm512_and_si512(_mm512_srli_epi16(v, 3), _mm512_set1_epi8(15))}; }
    // table[lower four bits], and 0 for bytes above ASCII.
    Avx512Block ascii_lookup16(const Avx512Block& table) const { return lookup16(table); }
    Avx512Block lookup16(const Avx512Block& table) const { return {_mm512_shuffle_epi8(table.v, v)}; }
    // The sign of each byte that is ASCII text for certain: above 1F, where it counts as signed, but for what exceptions[lower four bits]
    // names, which is the other way about.
    Avx512Block text(const Avx512Block& exceptions) const {
        return {_mm512_movm_epi8(_mm512_cmpgt_epi8_mask(v, _mm512_set1_epi8(0x1f)) ^ _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(exceptions.v, v), v))};
    }
    uint64_t nonzero_mask() const { return _mm512_test_epi8_mask(v, v); }
    // Bit N of each byte.
    template <int N>
    uint64_t bit_mask() const {
        return _mm512_test_epi8_mask(v, _mm512_set1_epi8(char(1 << N)));
    }
    uint64_t sign_mask() const { return _mm512_movepi8_mask(v); }
};

}  // namespace
}  // namespace overread
