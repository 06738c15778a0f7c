// A block of W bytes in plain C++: lets every block width be tested on every machine.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace overread {

template <size_t W>
struct EmulatedBlock {
    static constexpr size_t width = W;
    uint8_t b[W];

    // Precondition: p[0, W) is readable.
    static EmulatedBlock load(const uint8_t* p) {
        EmulatedBlock r;
        std::memcpy(r.b, p, W);
        return r;
    }
    // Precondition: table[0, 16) is readable.
    static EmulatedBlock table16(const uint8_t* table) {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = table[i % 16];
        return r;
    }
    EmulatedBlock operator&(const EmulatedBlock& o) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] & o.b[i];
        return r;
    }
    EmulatedBlock operator|(const EmulatedBlock& o) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] | o.b[i];
        return r;
    }
    EmulatedBlock operator^(const EmulatedBlock& o) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] ^ o.b[i];
        return r;
    }
    static EmulatedBlock splat(uint8_t byte) {
        EmulatedBlock r;
        std::memset(r.b, byte, W);
        return r;
    }
    // Never below zero.
    EmulatedBlock minus(uint8_t byte) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] > byte ? uint8_t(b[i] - byte) : uint8_t(0);
        return r;
    }
    uint64_t equal_mask(const EmulatedBlock& o) const { return ~(*this ^ o).nonzero_mask() & (W == 64 ? ~uint64_t(0) : (uint64_t(1) << W % 64) - 1); }
    uint64_t either_mask(const EmulatedBlock& x, const EmulatedBlock& y) const { return equal_mask(x) | equal_mask(y); }
    EmulatedBlock low_nibble() const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] & 15;
        return r;
    }
    EmulatedBlock high_nibble() const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] >> 4;
        return r;
    }
    // Bits 3 to 6 of each byte.
    EmulatedBlock upper_four() const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] >> 3 & 15;
        return r;
    }
    // table[lower four bits], and 0 for bytes above ASCII.
    EmulatedBlock ascii_lookup16(const EmulatedBlock& table) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = b[i] < 0x80 ? table.b[b[i] & 15] : uint8_t(0);
        return r;
    }
    // Each byte of `this` (0..15) replaced by table[that]; `table` repeats every 16 bytes.
    EmulatedBlock lookup16(const EmulatedBlock& table) const {
        EmulatedBlock r;
        for (size_t i = 0; i < W; i++) r.b[i] = table.b[b[i]];
        return r;
    }
    // The sign of each byte that is ASCII text for certain: above 1F, where it counts as signed, but for what exceptions[lower four bits]
    // names, which is the other way about.
    EmulatedBlock text(const EmulatedBlock& exceptions) const {
        EmulatedBlock r = ascii_lookup16(exceptions);
        for (size_t i = 0; i < W; i++) r.b[i] = (int8_t(b[i]) > 0x1f) != (r.b[i] == b[i]) ? 0x80 : 0;
        return r;
    }
    uint64_t nonzero_mask() const {
        uint64_t m = 0;
        for (size_t i = 0; i < W; i++) m |= uint64_t(b[i] != 0) << i;
        return m;
    }
    // Bit N of each byte.
    template <int N>
    uint64_t bit_mask() const {
        return (*this & splat(1 << N)).nonzero_mask();
    }
    uint64_t sign_mask() const {
        uint64_t m = 0;
        for (size_t i = 0; i < W; i++) m |= uint64_t(b[i] >> 7) << i;
        return m;
    }
};

}  // namespace overread
