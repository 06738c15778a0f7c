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

// Precondition: p[0, UNIT + 2) is readable.
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

template <class Block>
inline void scan_tile(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    const Tables<Block> t(table);
    uint32_t nc = 0, nk = 0, unit = 0;
    size_t at = 0;
    for (; at + UNIT <= size && at + UNIT + 2 <= readable; at += UNIT, unit++) {
        uint64_t c, k, h;
        scan_unit<Block>(t, data + at, c, k, h);
        out.candidates[nc] = {unit, c};
        nc += c != 0;
        out.classes[nk] = {unit, k, h};
        nk += (k | h) != 0;
    }
    // The rest goes through a padded copy: the kernel never touches a byte outside its input.
    for (; at < size; at += UNIT, unit++) {
        const size_t left = size - at;
        const size_t in_unit = left < UNIT ? left : UNIT;
        uint8_t padded[UNIT + 2] = {};
        const size_t may_read = readable - at;
        std::memcpy(padded, data + at, may_read < UNIT + 2 ? may_read : UNIT + 2);
        uint64_t c, k, h;
        scan_unit<Block>(t, padded, c, k, h);
        const uint64_t inside = in_unit == UNIT ? ~uint64_t(0) : (uint64_t(1) << in_unit) - 1;
        const size_t whole = may_read < 3 ? 0 : may_read - 2;  // windows that end inside the input
        c &= inside;
        c &= whole >= UNIT ? ~uint64_t(0) : (uint64_t(1) << whole) - 1;
        k &= inside;
        h &= inside;
        out.candidates[nc] = {unit, c};
        nc += c != 0;
        out.classes[nk] = {unit, k, h};
        nk += (k | h) != 0;
    }
    out.candidate_units = nc;
    out.class_units = nk;
}

}  // namespace
}  // namespace overread
