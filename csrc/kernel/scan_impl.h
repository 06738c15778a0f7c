// The algorithm, written once over `block`. Included by one translation unit per ISA.
#pragma once
#if defined(__PCLMUL__)
#include <immintrin.h>
#endif

#include <cstring>

#include "kernel/kernel.h"

namespace overread {
namespace {

template <class Block>
struct Tables {
    Block low[2][3], high[2][3], control_low, control_high;
    explicit Tables(const FingerprintTable& t)
        : low{{Block::table16(t.low[0][0]), Block::table16(t.low[0][1]), Block::table16(t.low[0][2])},
              {Block::table16(t.low[1][0]), Block::table16(t.low[1][1]), Block::table16(t.low[1][2])}},
          high{{Block::table16(t.high[0][0]), Block::table16(t.high[0][1]), Block::table16(t.high[0][2])},
               {Block::table16(t.high[1][0]), Block::table16(t.high[1][1]), Block::table16(t.high[1][2])}},
          control_low(Block::table16(CONTROL_LOW)),
          control_high(Block::table16(CONTROL_HIGH)) {}
};

// Precondition: p[0, UNIT + WINDOW - 1) is readable.
template <class Block>
inline void scan_unit(const Tables<Block>& t, const uint8_t* p, uint64_t& candidates, uint64_t& control, uint64_t& high) {
    candidates = control = high = 0;
    for (size_t i = 0; i < UNIT; i += Block::width) {
        const Block b0 = Block::load(p + i), b1 = Block::load(p + i + 1), b2 = Block::load(p + i + 2);
        const Block l0 = b0.low_nibble(), h0 = b0.high_nibble(), l1 = b1.low_nibble(), h1 = b1.high_nibble(), l2 = b2.low_nibble(), h2 = b2.high_nibble();
        const Block first = ((l0.lookup16(t.low[0][0]) & h0.lookup16(t.high[0][0])) & (l1.lookup16(t.low[0][1]) & h1.lookup16(t.high[0][1]))) &
                            (l2.lookup16(t.low[0][2]) & h2.lookup16(t.high[0][2]));
        const Block second = ((l0.lookup16(t.low[1][0]) & h0.lookup16(t.high[1][0])) & (l1.lookup16(t.low[1][1]) & h1.lookup16(t.high[1][1]))) &
                             (l2.lookup16(t.low[1][2]) & h2.lookup16(t.high[1][2]));
        candidates |= (first | second).nonzero_mask() << i;
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

// Bit i: the exclusive or of bits 0 to i; one multiplication without carries where the instruction set has it.
inline uint64_t prefix_xor(uint64_t bits) {
#if defined(__PCLMUL__)
    return uint64_t(_mm_cvtsi128_si64(_mm_clmulepi64_si128(_mm_set_epi64x(0, int64_t(bits)), _mm_set1_epi8(char(0xff)), 0)));
#else
    for (int shift = 1; shift < 64; shift *= 2) bits ^= bits << shift;
    return bits;
#endif
}

// Which bytes of a unit are escaped, from its backslashes (simdjson's json_escape_scanner, Langdale and Lemire 2019).
inline uint64_t escaped_bytes(uint64_t backslash, uint64_t& next_escaped) {
    if (!backslash) {
        const uint64_t escaped = next_escaped;
        next_escaped = 0;
        return escaped;
    }
    constexpr uint64_t ODD = 0xaaaaaaaaaaaaaaaau;
    // Subtracting the start of each run of backslashes turns every second bit behind it on.
    const uint64_t maybe = (backslash & ~next_escaped) << 1;
    const uint64_t codes = ((maybe | ODD) - (backslash & ~next_escaped)) ^ ODD;
    const uint64_t escaped = codes ^ (backslash | next_escaped);
    next_escaped = (codes & backslash) >> 63;
    return escaped;
}

// Bytes of a unit up to and with the first break inside a string or the document's end; UNIT when there is neither.
inline size_t json_event(uint64_t opens, uint64_t closes, uint64_t breaks, JsonState& s) {
    const uint64_t before_break = breaks ? (breaks & (~breaks + 1)) - 1 : ~uint64_t(0);
    for (uint64_t m = (opens | closes) & before_break; m; m &= m - 1) {
        s.depth += opens & m & (~m + 1) ? 1u : ~0u;
        if (s.depth == 0) {
            s.event = JsonState::complete;
            return size_t(__builtin_ctzll(m)) + 1;
        }
    }
    if (!breaks) return UNIT;
    s.event = JsonState::line_break;
    return size_t(__builtin_ctzll(breaks)) + 1;
}

template <class Block>
inline size_t json_tile(const uint8_t* data, size_t size, JsonState& s) {
    const Block quote_byte = Block::splat('"'), backslash_byte = Block::splat('\\'), case_bit = Block::splat(0x20), open_byte = Block::splat('{'),
                close_byte = Block::splat('}'), lf = Block::splat('\n'), cr = Block::splat('\r');
    uint64_t in_string = s.in_string, next_escaped = s.escaped;
    for (size_t at = 0; at < size; at += UNIT) {
        uint8_t padded[UNIT];
        const uint8_t* p = data + at;
        const size_t left = size - at;
        if (left < UNIT) {
            std::memset(padded, ' ', UNIT);
            std::memcpy(padded, p, left);
            p = padded;
        }
        uint64_t quote = 0, backslash = 0, open = 0, close = 0, line_break = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b = Block::load(p + i), folded = b | case_bit;  // [ is { without the case bit, ] is }
            quote |= b.equal_mask(quote_byte) << i;
            backslash |= b.equal_mask(backslash_byte) << i;
            open |= folded.equal_mask(open_byte) << i;
            close |= folded.equal_mask(close_byte) << i;
            line_break |= b.either_mask(lf, cr) << i;
        }
        const uint64_t escaped = escaped_bytes(backslash, next_escaped);
        if (left < UNIT) next_escaped = escaped >> left & 1;  // of the byte that follows, not of the spaces put in its place
        const uint64_t quotes = quote & ~escaped;
        const uint64_t inside = prefix_xor(quotes) ^ in_string;  // bit i: an odd number of quotes up to byte i
        in_string = uint64_t(int64_t(inside) >> 63);
        const uint64_t opens = open & ~inside, closes = close & ~inside, breaks = line_break & inside;
        const uint32_t closed = uint32_t(__builtin_popcountll(closes));
        if (closed < s.depth && !breaks) {
            s.depth += uint32_t(__builtin_popcountll(opens)) - closed;
            continue;
        }
        const size_t read = json_event(opens, closes, breaks, s);
        if (s.event) return at + read;
    }
    s.in_string = in_string;
    s.escaped = next_escaped;
    return size;
}

template <class Block>
inline bool utf8_unit(const uint8_t* p) {
    const Block first_high = Block::table16(UTF8_FIRST_HIGH), first_low = Block::table16(UTF8_FIRST_LOW), second_high = Block::table16(UTF8_SECOND_HIGH);
    const Block high_bit = Block::splat(0x80);
    Block wrong = Block::splat(0);
    for (size_t i = 0; i < UNIT; i += Block::width) {
        const Block b = Block::load(p + i), b1 = Block::load(p + i - 1), b2 = Block::load(p + i - 2), b3 = Block::load(p + i - 3);
        const Block pairs = b1.high_nibble().lookup16(first_high) & b1.low_nibble().lookup16(first_low) & b.high_nibble().lookup16(second_high);
        // The third byte behind E0 to FF and the fourth behind F0 to FF must be continuations: bit 7 is then set.
        const Block must = (b2.minus(0xe0 - 0x80) | b3.minus(0xf0 - 0x80)) & high_bit;
        wrong = wrong | (must ^ pairs);
    }
    return wrong.nonzero_mask() == 0;
}

}  // namespace
}  // namespace overread
