// 16 bytes in one NEON register, which every AArch64 CPU has.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace overread {
namespace {

struct NeonBlock {
    static constexpr size_t width = 16;
    uint8x16_t v;

    // Precondition: p[0, 16) is readable.
    static NeonBlock load(const uint8_t* p) { return {vld1q_u8(p)}; }
    // Precondition: table[0, 16) is readable.
    static NeonBlock table16(const uint8_t* table) { return load(table); }
    NeonBlock operator&(const NeonBlock& o) const { return {vandq_u8(v, o.v)}; }
    NeonBlock operator|(const NeonBlock& o) const { return {vorrq_u8(v, o.v)}; }
    NeonBlock operator^(const NeonBlock& o) const { return {veorq_u8(v, o.v)}; }
    static NeonBlock splat(uint8_t byte) { return {vdupq_n_u8(byte)}; }
    // Never below zero.
    NeonBlock minus(uint8_t byte) const { return {vqsubq_u8(v, vdupq_n_u8(byte))}; }
    uint64_t equal_mask(const NeonBlock& o) const { return bits(vceqq_u8(v, o.v)); }
    uint64_t either_mask(const NeonBlock& a, const NeonBlock& b) const { return bits(vorrq_u8(vceqq_u8(v, a.v), vceqq_u8(v, b.v))); }
    NeonBlock low_nibble() const { return {vandq_u8(v, vdupq_n_u8(15))}; }
    NeonBlock high_nibble() const { return {vshrq_n_u8(v, 4)}; }
    // Bits 3 to 6 of each byte.
    NeonBlock upper_four() const { return {vandq_u8(vshrq_n_u8(v, 3), vdupq_n_u8(15))}; }
    // table[lower four bits], and 0 for bytes above ASCII.
    NeonBlock ascii_lookup16(const NeonBlock& table) const { return {vqtbl1q_u8(table.v, vandq_u8(v, vdupq_n_u8(0x8f)))}; }
    NeonBlock lookup16(const NeonBlock& table) const { return {vqtbl1q_u8(table.v, v)}; }
    // The sign of each byte that is ASCII text for certain: above 1F, where it counts as signed, but for what exceptions[lower four bits]
    // names, which is the other way about.
    NeonBlock text(const NeonBlock& exceptions) const {
        return {veorq_u8(vcgtq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(0x1f)), vceqq_u8(ascii_lookup16(exceptions).v, v))};
    }
    uint64_t nonzero_mask() const { return bits(vtstq_u8(v, v)); }
    // Bit N of each byte.
    template <int N>
    uint64_t bit_mask() const {
        return bits(vtstq_u8(v, vdupq_n_u8(1 << N)));
    }
    uint64_t sign_mask() const { return bits(vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(v), 7))); }

  private:
    // NEON has no movemask: each byte keeps the bit of its place, then neighbours are added until eight share a byte.
    static uint64_t bits(uint8x16_t all_or_nothing) {
        static const uint8_t PLACE[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
        uint8x16_t m = vandq_u8(all_or_nothing, vld1q_u8(PLACE));
        m = vpaddq_u8(m, m);
        m = vpaddq_u8(m, m);
        m = vpaddq_u8(m, m);
        return vgetq_lane_u16(vreinterpretq_u16_u8(m), 0);
    }
};

}  // namespace
}  // namespace overread
