// The algorithm, written once over `block`. Included by one translation unit per ISA.
#pragma once
#include <cstring>

#include "kernel/kernel.h"

namespace overread {
namespace {

template <class Block>
struct Tables {
    Block low[3], high[3], control_low, control_high;
    explicit Tables(const FingerprintTable& t)
        : low{Block::table16(t.low[0]), Block::table16(t.low[1]), Block::table16(t.low[2])},
          high{Block::table16(t.high[0]), Block::table16(t.high[1]), Block::table16(t.high[2])},
          control_low(Block::table16(CONTROL_LOW)),
          control_high(Block::table16(CONTROL_HIGH)) {}
};

// Precondition: p[0, UNIT + WINDOW - 1) is readable.
template <class Block>
inline void scan_unit(const Tables<Block>& t, const uint8_t* p, uint64_t& candidates, uint64_t& control, uint64_t& high) {
    candidates = control = high = 0;
    for (size_t i = 0; i < UNIT; i += Block::width) {
        const Block b0 = Block::load(p + i), b1 = Block::load(p + i + 1), b2 = Block::load(p + i + 2);
        const Block l0 = b0.low_nibble(), h0 = b0.high_nibble();
        const Block buckets = l0.lookup16(t.low[0]) & h0.lookup16(t.high[0]) & b1.low_nibble().lookup16(t.low[1]) & b1.high_nibble().lookup16(t.high[1]) &
                              b2.low_nibble().lookup16(t.low[2]) & b2.high_nibble().lookup16(t.high[2]);
        candidates |= buckets.nonzero_mask() << i;
        control |= (l0.lookup16(t.control_low) & h0.lookup16(t.control_high)).nonzero_mask() << i;
        high |= b0.sign_mask() << i;
    }
}

struct CandidateUnit {
    uint32_t unit;
    uint64_t mask;
};

// The places of `units` whose four bytes an anchor's window may have, into out; their number. No branch hangs on a byte.
inline uint32_t filter(const FingerprintTable& table, const uint8_t* data, const CandidateUnit* units, uint32_t count, uint16_t* out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t base = units[i].unit * uint32_t(UNIT);
        uint64_t mask = units[i].mask;
        do {
            const uint32_t at = base + uint32_t(__builtin_ctzll(mask));
            uint32_t four;
            std::memcpy(&four, data + at, sizeof four);
            out[n] = uint16_t(at);
            n += table.has(four);
            mask &= mask - 1;
        } while (mask);
    }
    return n;
}

template <class Block>
inline void scan_tile(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    const Tables<Block> t(table);
    CandidateUnit units[TILE_UNITS + 1];
    uint32_t nc = 0, nk = 0, unit = 0;
    size_t at = 0;
    for (; at + UNIT <= size && at + UNIT + WINDOW - 1 <= readable; at += UNIT, unit++) {
        uint64_t c, k, h;
        scan_unit<Block>(t, data + at, c, k, h);
        units[nc] = {unit, c};
        nc += c != 0;
        out.classes[nk] = {unit, k, h};
        nk += (k | h) != 0;
    }
    // The rest goes through a padded copy: the kernel never touches a byte outside its input.
    for (; at < size; at += UNIT, unit++) {
        const size_t left = size - at;
        const size_t in_unit = left < UNIT ? left : UNIT;
        uint8_t padded[UNIT + WINDOW - 1] = {};
        const size_t may_read = readable - at;
        std::memcpy(padded, data + at, may_read < sizeof padded ? may_read : sizeof padded);
        uint64_t c, k, h;
        scan_unit<Block>(t, padded, c, k, h);
        const uint64_t inside = in_unit == UNIT ? ~uint64_t(0) : (uint64_t(1) << in_unit) - 1;
        const size_t whole = may_read < WINDOW ? 0 : may_read - (WINDOW - 1);  // windows that end inside the input
        c &= inside;
        c &= whole >= UNIT ? ~uint64_t(0) : (uint64_t(1) << whole) - 1;
        k &= inside;
        h &= inside;
        units[nc] = {unit, c};
        nc += c != 0;
        out.classes[nk] = {unit, k, h};
        nk += (k | h) != 0;
    }
    out.candidate_count = filter(table, data, units, nc, out.candidates);
    out.class_units = nk;
}

template <class Block>
inline void structure_unit(const Block& low, const Block& high, const Block (&bits)[5], const uint8_t* p, StructureUnit& u) {
    u = {};
    for (size_t i = 0; i < UNIT; i += Block::width) {
        const Block b = Block::load(p + i);
        // A byte from 0x80 on has a high nibble whose entry is clear.
        const Block c = b.low_nibble().lookup16(low) & b.high_nibble().lookup16(high);
        u.quote |= (c & bits[0]).nonzero_mask() << i;
        u.backslash |= (c & bits[1]).nonzero_mask() << i;
        u.open |= (c & bits[2]).nonzero_mask() << i;
        u.close |= (c & bits[3]).nonzero_mask() << i;
        u.line_break |= (c & bits[4]).nonzero_mask() << i;
    }
}

template <class Block>
inline void structure_tile(const uint8_t* data, size_t size, StructureUnit* out) {
    uint8_t each[5][16];
    for (int i = 0; i < 5; i++) std::memset(each[i], 1 << i, 16);
    const Block low = Block::table16(STRUCTURE_LOW), high = Block::table16(STRUCTURE_HIGH);
    const Block bits[5] = {Block::table16(each[0]), Block::table16(each[1]), Block::table16(each[2]), Block::table16(each[3]), Block::table16(each[4])};
    size_t at = 0;
    for (; at + UNIT <= size; at += UNIT) structure_unit<Block>(low, high, bits, data + at, *out++);
    if (at == size) return;
    uint8_t padded[UNIT] = {};
    std::memcpy(padded, data + at, size - at);
    structure_unit<Block>(low, high, bits, padded, *out);
}

}  // namespace
}  // namespace overread
