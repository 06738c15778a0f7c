// The algorithm, written once over `block`. Included by one translation unit per ISA.
#pragma once
#if defined(__PCLMUL__)
#include <immintrin.h>
#endif

#include <cstring>

#include "kernel/kernel.h"

namespace overread {
namespace {

// The tables of windows of ASCII as byte shuffles ask them: four bits each.
template <class Block>
class NibbleTables {
  public:
    explicit NibbleTables(const FingerprintTable& t)
        : low_{Block::table16(t.low[0]), Block::table16(t.low[1]), Block::table16(t.low[2])},
          upper_{Block::table16(t.upper[0]), Block::table16(t.upper[1]), Block::table16(t.upper[2])},
          joint_(Block::table16(t.joint)),
          control_low_(Block::table16(CONTROL_LOW)),
          control_upper_(Block::table16(CONTROL_UPPER)) {}

    // Where windows of ASCII may begin. `control` and `high` gather, over all units, whether anything is no ASCII text.
    // Precondition: p[0, UNIT + WINDOW - 1) is readable.
    template <bool CLASSES>
    uint64_t candidates(const uint8_t* p, Block& control, Block& high) const {
        uint64_t mask = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            // One byte of the window after the other: nine tables leave few registers.
            Block b = Block::load(p + i), found = b.ascii_lookup16(low_[0]);
            high = high | b;
            if (CLASSES) {
                Block no_text = b.ascii_lookup16(control_low_);
                b = b.upper_four();
                no_text = no_text & b.lookup16(control_upper_);
                control = control | no_text;
            } else {
                b = b.upper_four();
            }
            found = found & b.lookup16(upper_[0]);
            b = Block::load(p + i + 1);
            found = found & b.ascii_lookup16(low_[1]);
            found = found & (b ^ Block::load(p + i + 2)).ascii_lookup16(joint_);
            found = found & b.upper_four().lookup16(upper_[1]);
            b = Block::load(p + i + 2);
            found = found & b.ascii_lookup16(low_[2]);
            found = found & b.upper_four().lookup16(upper_[2]);
            mask |= found.nonzero_mask() << i;
        }
        return mask;
    }

  private:
    Block low_[TABLE_BYTES], upper_[TABLE_BYTES], joint_, control_low_, control_upper_;
};

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

// Unit `at` of an input that ends within or just behind it: the kernel never touches a byte outside its input.
struct PaddedUnit {
    uint8_t bytes[UNIT + WINDOW - 1];
    uint64_t inside;   // its places in the input
    uint64_t windows;  // those whose windows end in what is readable
    PaddedUnit(const uint8_t* data, size_t size, size_t readable, size_t at) {
        const size_t left = size - at, may_read = readable - at, wanted = left + WINDOW - 1 < sizeof bytes ? left + WINDOW - 1 : sizeof bytes;
        std::memset(bytes, ' ', sizeof bytes);
        std::memcpy(bytes, data + at, may_read < wanted ? may_read : wanted);
        inside = left < UNIT ? (uint64_t(1) << left) - 1 : ~uint64_t(0);
        const size_t whole = may_read < WINDOW ? 0 : may_read - (WINDOW - 1);
        windows = whole < UNIT ? ((uint64_t(1) << whole) - 1) & inside : inside;
    }
};

// What is no text in a stretch that has such bytes and, with `windows`, where windows with bytes above ASCII may begin: these
// join the stretch's `units`, whose number is returned. data and sizes are the tile's.
template <class Block>
[[gnu::noinline]] uint32_t scan_high(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, size_t from, size_t to, bool windows,
                                     CandidateUnit* units, uint32_t count, KernelOutput& out) {
    const Block first_low = Block::table16(table.first_low), first_upper = Block::table16(table.first_upper), second_low = Block::table16(table.second_low),
                second_upper = Block::table16(table.second_upper), control_bits = Block::splat(CONTROL_BITS);
    const uint64_t joining = windows ? ~uint64_t(0) : 0;
    CandidateUnit ascii[STRETCH / UNIT + 1];
    std::memcpy(ascii, units, count * sizeof *units);
    ascii[count].unit = UINT32_MAX;
    uint32_t next = 0, joined = 0, classes = out.class_units, unit = uint32_t(from / UNIT);
    const auto scan = [&](const uint8_t* p, uint64_t inside, uint64_t whole) {
        uint64_t control = 0, high = 0, begin = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b0 = Block::load(p + i), b1 = Block::load(p + i + 1);
            const Block first = b0.low_nibble().lookup16(first_low) & b0.upper_four().lookup16(first_upper),
                        second = b1.low_nibble().lookup16(second_low) & b1.upper_four().lookup16(second_upper);
            control |= (first & control_bits).nonzero_mask() << i;
            begin |= (first & second).sign_mask() << i;
            high |= b0.sign_mask() << i;
        }
        control &= ~high & inside;
        high &= inside;
        out.classes[classes] = {unit, control, high};
        classes += (control | high) != 0;
        const bool here = ascii[next].unit == unit;
        begin = (begin & whole & joining) | (here ? ascii[next].mask : 0);
        next += here;
        units[joined] = {unit, begin};
        joined += begin != 0;
        unit++;
    };
    size_t at = from;
    for (; at + UNIT <= to && at + UNIT + WINDOW - 1 <= readable; at += UNIT) scan(data + at, ~uint64_t(0), ~uint64_t(0));
    for (; at < to; at += UNIT) {
        const PaddedUnit padded(data, size, readable, at);
        scan(padded.bytes, padded.inside, padded.windows);
    }
    out.class_units = classes;
    return joined;
}

template <class Block, class Tables, bool CLASSES>
inline void scan_tile(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    const Tables tables(table);
    CandidateUnit units[TILE_UNITS + 1];
    uint32_t total = 0, unit = 0;
    out.class_units = 0;
    for (size_t from = 0; from < size; from += STRETCH) {
        const size_t to = size - from < STRETCH ? size : from + STRETCH;
        Block control = Block::splat(0), high = control;
        uint32_t count = total;
        size_t at = from;
        for (; at + UNIT <= to && at + UNIT + WINDOW - 1 <= readable; at += UNIT, unit++) {
            const uint64_t candidates = tables.template candidates<CLASSES>(data + at, control, high);
            units[count] = {unit, candidates};
            count += candidates != 0;
        }
        for (; at < to; at += UNIT, unit++) {
            const PaddedUnit padded(data, size, readable, at);
            const uint64_t candidates = tables.template candidates<CLASSES>(padded.bytes, control, high) & padded.windows;
            units[count] = {unit, candidates};
            count += candidates != 0;
        }
        // The last windows of the stretch end behind it.
        uint32_t ahead = 0;
        if (to + WINDOW - 1 <= readable)
            std::memcpy(&ahead, data + to - 1, sizeof ahead);
        else
            for (size_t i = to; i < readable; i++) ahead |= uint32_t(data[i]) << 8;
        const bool above = high.sign_mask() || ahead & 0x80808000;
        if ((above && wanted) || (CLASSES && control.nonzero_mask()))
            count = total + scan_high<Block>(table, data, size, readable, from, to, above && wanted & WANT_HIGH_WINDOWS, units + total, count - total, out);
        total = count;
    }
    if (!CLASSES) out.class_units = 0;
    out.candidate_count = filter(table, data, units, total, out.candidates);
}

template <class Block, class Tables = NibbleTables<Block>>
inline void scan(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    if (wanted & WANT_CLASSES)
        scan_tile<Block, Tables, true>(table, data, size, readable, wanted, out);
    else
        scan_tile<Block, Tables, false>(table, data, size, readable, wanted, out);
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
inline void token_units(const uint8_t* data, size_t size, TokenUnit* out) {
    const Block low = Block::table16(TOKEN_LOW), upper = Block::table16(TOKEN_UPPER), alpha = Block::splat(TOKEN_ALPHA), digit = Block::splat(TOKEN_DIGIT),
                case_bit = Block::splat(0x20);
    const auto unit = [&](const uint8_t* p) {
        TokenUnit u{};
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b = Block::load(p + i), found = b.ascii_lookup16(low) & b.upper_four().lookup16(upper);
            u.region |= found.nonzero_mask() << i;
            u.alpha |= (found & alpha).nonzero_mask() << i;
            u.digit |= (found & digit).nonzero_mask() << i;
            u.lower |= (b & case_bit).nonzero_mask() << i;
        }
        return u;
    };
    for (; size >= UNIT; data += UNIT, size -= UNIT) *out++ = unit(data);
    if (!size) return;
    uint8_t padded[UNIT] = {};
    std::memcpy(padded, data, size);
    *out = unit(padded);
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
