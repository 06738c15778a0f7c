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
          exceptions_(Block::table16(TEXT_EXCEPTIONS)) {}

    // Bit i of `begin`: a window of ASCII may begin at p[i]. With AGAIN, returns whether p[0, UNIT) may hold what is no ASCII text,
    // and windows that have a byte above ASCII may be among them: scan_again() takes them out.
    // Precondition: p[0, UNIT + WINDOW - 1) is readable.
    template <bool AGAIN>
    bool candidates(const uint8_t* p, uint64_t& begin) const {
        uint64_t mask = 0;
        Block text = Block::splat(0x80);
        for (size_t i = 0; i < UNIT; i += Block::width) {
            // One byte of the window after the other: seven tables leave few registers.
            Block b = Block::load(p + i), found = b.ascii_lookup16(low_[0]);
            if (AGAIN) text = text & b.text(exceptions_);
            found = found & b.upper_four().lookup16(upper_[0]);
            b = Block::load(p + i + 1);
            found = found & b.ascii_lookup16(low_[1]);
            found = found & (b ^ Block::load(p + i + 2)).ascii_lookup16(joint_);
            found = found & b.upper_four().lookup16(upper_[1]);
            b = Block::load(p + i + 2);
            found = found & b.ascii_lookup16(low_[2]);
            found = found & b.upper_four().lookup16(upper_[2]);
            mask |= found.nonzero_mask() << i;
        }
        begin = mask;
        return AGAIN && text.sign_mask() != Block::splat(0x80).sign_mask();
    }

  private:
    Block low_[TABLE_BYTES], upper_[TABLE_BYTES], joint_, exceptions_;
};

static_assert(TILE_UNITS <= 256, "a unit's number is a byte");
// Of a tile, by unit: where windows may begin. And the units where some may, one slot more than can be filled.
struct Begins {
    uint64_t masks[TILE_UNITS];
    uint32_t count = 0;
    uint8_t units[TILE_UNITS + 1];
    void add(size_t unit, uint64_t mask) {
        masks[unit] = mask;
        units[count] = uint8_t(unit);
        count += mask != 0;
    }
};

// The places of `begins` whose four bytes an anchor's window may have. Branches hang on a byte only where more than two places of
// a unit pass the tables, and where a window is all but found.
inline void filter(const FingerprintTable& table, const uint8_t* data, const Begins& begins, KernelOutput& out) {
    uint16_t* const places = out.candidates;
    uint32_t past = 0;
    for (uint32_t i = 0; i < begins.count; i++) {
        const uint32_t base = begins.units[i] * uint32_t(UNIT);
        uint64_t mask = begins.masks[begins.units[i]];
        const uint32_t until = past + uint32_t(__builtin_popcountll(mask));
        uint32_t at = past;
        do {
            for (uint32_t k = 0; k < 2; k++) {
                places[at + k] = uint16_t(base + uint32_t(__builtin_ctzll(mask | uint64_t(1) << 63)));
                mask &= mask - 1;
            }
            at += 2;
        } while (at < until);
        past = until;
    }
    uint32_t hashed = 0, n = 0, four;
    for (uint32_t i = 0; i < past; i++) {
        const uint16_t at = places[i];
        std::memcpy(&four, data + at, sizeof four);
        places[hashed] = at;
        hashed += table.has(four);
    }
    for (uint32_t i = 0; i < hashed; i++) {
        const uint16_t at = places[i];
        std::memcpy(&four, data + at, sizeof four);
        places[n] = at;
        n += !FingerprintTable::begins_with_ascii(four) || table.allows(four);
    }
    out.past_tables = past;
    out.candidate_count = n;
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

// What is no text in the units of `unclean`, and, where they are wanted, where windows with bytes above ASCII may begin.
template <class Block>
[[gnu::noinline]] void scan_again(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, const uint8_t* unclean,
                                  uint32_t count, Begins& begins, KernelOutput& out) {
    const Block first_low = Block::table16(table.first_low), first_upper = Block::table16(table.first_upper), second_low = Block::table16(table.second_low),
                second_upper = Block::table16(table.second_upper), control_bits = Block::splat(CONTROL_BITS);
    const uint64_t joining = wanted & WANT_HIGH_WINDOWS ? ~uint64_t(0) : 0;
    uint32_t classes = 0;
    bool more = false;
    const auto scan = [&](size_t unit, const uint8_t* p, uint64_t inside, uint64_t whole) {
        uint64_t control = 0, high = 0, above = 0, begin = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b0 = Block::load(p + i), b1 = Block::load(p + i + 1), b2 = Block::load(p + i + 2);
            const Block first = b0.low_nibble().lookup16(first_low) & b0.upper_four().lookup16(first_upper),
                        second = b1.low_nibble().lookup16(second_low) & b1.upper_four().lookup16(second_upper);
            control |= (first & control_bits).nonzero_mask() << i;
            begin |= (first & second).sign_mask() << i;
            high |= b0.sign_mask() << i;
            above |= (b0 | b1 | b2).sign_mask() << i;
        }
        control &= ~high & inside;
        high &= inside;
        out.classes[classes] = {uint32_t(unit), control, high};
        classes += (control | high) != 0;
        begin &= above & whole & joining;
        more |= begin != 0;
        begins.masks[unit] = begin | (begins.masks[unit] & ~above);
    };
    const auto look = [&](size_t unit) {
        const size_t at = unit * UNIT;
        if (at + UNIT <= size && at + UNIT + WINDOW - 1 <= readable) {
            scan(unit, data + at, ~uint64_t(0), ~uint64_t(0));
        } else {
            const PaddedUnit padded(data, size, readable, at);
            scan(unit, padded.bytes, padded.inside, padded.windows);
        }
    };
    // A unit's last windows end in what follows it.
    const auto reached = [&](size_t end) { return end + 1 < readable ? (data[end] | data[end + 1]) & 0x80 : end < readable && data[end] & 0x80; };
    size_t next = 0;  // the first unit that is not looked at yet
    for (uint32_t i = 0; i < count; i++) {
        const size_t unit = unclean[i];
        if (unit > next && reached(unit * UNIT)) look(unit - 1);
        look(unit);
        next = unit + 1;
    }
    const size_t units = (size + UNIT - 1) / UNIT;
    if (next < units && reached(size)) look(units - 1);
    out.class_units = classes;
    if (!more) return;
    begins.count = 0;
    for (size_t unit = 0; unit < units; unit++) begins.add(unit, begins.masks[unit]);
}

// Bytes that are asked for ahead: without it the loop waits for the second cache and what is behind it. 256 to 1024 do as well.
constexpr size_t AHEAD = 512;

template <class Block, class Tables, bool AGAIN>
inline void scan_tile(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    const Tables tables(table);
    Begins begins;
    uint8_t unclean[TILE_UNITS + 1];
    uint32_t unclean_count = 0;
    size_t unit = 0;
    const auto scan = [&](const uint8_t* p, uint64_t windows) {
        uint64_t begin;
        const bool again = tables.template candidates<AGAIN>(p, begin);
        begins.add(unit, begin & windows);
        if (AGAIN) {
            unclean[unclean_count] = uint8_t(unit);
            unclean_count += again;
        }
    };
    size_t at = 0;
    for (; at + UNIT <= size && at + UNIT + WINDOW - 1 <= readable; at += UNIT, unit++) {
        __builtin_prefetch(data + (at + AHEAD < size ? at + AHEAD : at));
        scan(data + at, ~uint64_t(0));
    }
    for (; at < size; at += UNIT, unit++) {
        const PaddedUnit padded(data, size, readable, at);
        scan(padded.bytes, padded.windows);
    }
    out.class_units = 0;
    if (AGAIN && (unclean_count || readable > size)) scan_again<Block>(table, data, size, readable, wanted, unclean, unclean_count, begins, out);
    if (!(wanted & WANT_CLASSES)) out.class_units = 0;
    filter(table, data, begins, out);
}

template <class Block, class Tables = NibbleTables<Block>>
inline void scan(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    if (wanted)
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

// What a unit's bytes are of a secret, as byte shuffles tell it, four bits each.
template <class Block>
class NibbleClasses {
  public:
    NibbleClasses()
        : low_(Block::table16(TOKEN_LOW)),
          upper_(Block::table16(TOKEN_UPPER)),
          character_(Block::splat(TOKEN_CHARACTER)),
          letters_(Block::splat(TOKEN_ALPHA)),
          leads_(Block::splat(0)) {}
    // Bytes that make an odd pair with the one before. The units are asked for one after the other.
    uint64_t odd(const uint8_t* p) {
        uint64_t alpha = 0, digit = 0, small = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b = Block::load(p + i), k = kinds(b);
            alpha |= (k & letters_).nonzero_mask() << i;
            digit |= k.template bit_mask<TOKEN_DIGIT_BIT>() << i;
            small |= b.template bit_mask<5>() << i;
            leads_ = leads_ | k;
        }
        const uint64_t lower = alpha & small;
        const uint64_t odd = (alpha & (digit << 1 | digit_ >> 63)) | (digit & (alpha << 1 | alpha_ >> 63)) | (alpha & ~small & (lower << 1 | lower_ >> 63));
        alpha_ = alpha, digit_ = digit, lower_ = lower;
        return odd;
    }
    // Whether an escape may begin in the units that odd() was asked for since this was, or in the byte before.
    bool may_escape(const uint8_t* p) {
        const bool may = leads_.sign_mask() != 0 || is_lead(p[-1]);
        leads_ = Block::splat(0);
        return may;
    }
    // A secret's characters.
    uint64_t token(const uint8_t* p) const {
        uint64_t token = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) token |= (kinds(Block::load(p + i)) & character_).nonzero_mask() << i;
        return token;
    }
    // Second bytes of what may be escapes.
    uint64_t escape(const uint8_t* p) const {
        const Block low = Block::table16(ESCAPE_LOW), upper = Block::table16(ESCAPE_UPPER);
        uint64_t lead = 0, second = 0;
        for (size_t i = 0; i < UNIT; i += Block::width) {
            const Block b = Block::load(p + i);
            lead |= kinds(b).sign_mask() << i;
            second |= (b.ascii_lookup16(low) & b.upper_four().lookup16(upper)).nonzero_mask() << i;
        }
        return (lead << 1 | uint64_t(is_lead(p[-1]))) & second;
    }

  private:
    static bool is_lead(uint8_t c) { return c == '%' || c == '&' || c == '\\'; }
    Block kinds(const Block& b) const { return b.ascii_lookup16(low_) & b.upper_four().lookup16(upper_); }
    const Block low_, upper_, character_, letters_;
    Block leads_;
    uint64_t alpha_ = 0, digit_ = 0, lower_ = 0;  // of the unit before
};

// Bit i: the 16 bytes up to i are a secret's characters.
inline uint64_t sixteen(uint64_t one, uint64_t before) {
    const uint64_t two = one & (one << 1 | before >> 63), two_before = before & before << 1;
    const uint64_t four = two & (two << 2 | two_before >> 62), four_before = two_before & two_before << 2;
    const uint64_t eight = four & (four << 4 | four_before >> 60), eight_before = four_before & four_before << 4;
    return eight & (eight << 8 | eight_before >> 56);
}

// Whether four bits of a mask stand in fifteen places after each other: a window's pairs end at its bytes but the first.
inline bool has_four(uint64_t m) {
    uint64_t fourth = m & (m - 1);
    fourth &= fourth - 1;
    fourth &= fourth - 1;
    for (; fourth; fourth &= fourth - 1, m &= m - 1)
        if (__builtin_ctzll(fourth) - __builtin_ctzll(m) < int(TOKEN_WINDOW) - 1) return true;
    return false;
}
static_assert(TOKEN_ODD_PAIRS == 4, "has_four");

// What a tile's bytes are of a secret, 64 of them a mask. Few units of most texts may hold one: every unit is only asked for its odd pairs,
// four after each other whether one may begin an escape.
template <class Classes>
class TokenUnits {
  public:
    TokenUnits(const Classes& tables, const uint8_t* data, size_t size) : classes_(tables), data_(data), size_(size) {
        pad(first_, 0);
        if (size > UNIT) pad(last_, (size - 1) / UNIT * UNIT);
        Classes classes = tables;  // with what it says of the units before
        uint32_t u = 0;
        while (u * UNIT < size) {
            const uint32_t from = u;
            if (u && (u + GROUP) * UNIT <= size) {
                for (; u < from + GROUP; u++) odd_[u] = classes.odd(data + u * UNIT);
            } else {
                odd_[u] = classes.odd(unit(u));
                u++;
            }
            if (!classes.may_escape(unit(from))) continue;
            for (uint32_t k = from; k < u; k++) escaping_[escaping_count_++] = uint8_t(k);
        }
        odd_[u] = 0;
        find_crowded(u);
    }
    // Calls found(at) for every escape of a secret's character, until it is told where the next one is wanted from.
    template <class F>
    void escapes(F&& found) const {
        size_t from = 0;
        for (uint32_t i = 0; i < escaping_count_; i++) {
            const size_t base = escaping_[i] * UNIT;
            for (uint64_t m = classes_.escape(unit(escaping_[i])); m; m &= m - 1) {
                const size_t at = base + size_t(__builtin_ctzll(m)) - 1;
                uint8_t character;
                if (at >= from && may_escape(at) && token_escape(data_ + at, size_ - at, &character)) from = found(at);
            }
        }
    }
    // Calls found(from, to) for every run with a dense window.
    template <class F>
    void dense_runs(F&& found) const {
        size_t done = 0;  // what lies before it is decided
        for (uint32_t i = 0; i < crowded_count_; i++) {
            const size_t base = crowded_[i] * UNIT;
            for (uint64_t m = ends_[i]; m;) {
                if (done > base) m &= done - base < UNIT ? ~uint64_t(0) << (done - base) : 0;
                if (!m) break;
                const size_t at = base + size_t(__builtin_ctzll(m));
                size_t from = begin(at);
                const size_t to = done = end(at);
                from += from && data_[from - 1] == '\\';  // that one is the escape's
                if (to - from >= TOKEN_WINDOW && is_dense(from, to)) found(from, to);
            }
        }
    }

  private:
    static constexpr uint32_t GROUP = 4;
    // The windows that end in 8 bytes, counted from the tile's start, which with the 16 before hold as many odd pairs as a window wants.
    void find_crowded(uint32_t units) {
        constexpr uint64_t ONES = 0x0101010101010101u;
        uint64_t counts[1 + TILE_UNITS], crowded[TILE_UNITS];
        counts[0] = 0;
        for (uint32_t u = 0; u < units; u++) {
            uint64_t bits = odd_[u] - (odd_[u] >> 1 & 0x55 * ONES);
            bits = (bits & 0x33 * ONES) + (bits >> 2 & 0x33 * ONES);
            counts[1 + u] = (bits + (bits >> 4)) & 0x0f * ONES;
        }
        const auto* bytes = reinterpret_cast<const uint8_t*>(counts + 1);
        for (uint32_t u = 0; u < units; u++) {
            uint64_t one, two;
            std::memcpy(&one, bytes + 8 * u - 1, 8);
            std::memcpy(&two, bytes + 8 * u - 2, 8);
            crowded[u] = (counts[1 + u] + one + two + (0x80 - TOKEN_ODD_PAIRS) * ONES) & 0x80 * ONES;
        }
        uint32_t count = 0;
        for (uint32_t u = 0; u < units; u++) {
            crowded_[count] = uint8_t(u);
            count += crowded[u] != 0;
        }
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t u = crowded_[i];
            ends_[crowded_count_] = sixteen(token(u), u ? token(u - 1) : 0) & (crowded[u] >> 7) * 0xff;
            crowded_[crowded_count_] = uint8_t(u);
            crowded_count_ += ends_[crowded_count_] != 0;
        }
    }
    // Before the first byte and behind the last one nothing may be read.
    void pad(uint8_t (&padded)[1 + UNIT], size_t at) const {
        const size_t left = size_ - at < UNIT ? size_ - at : UNIT;
        padded[0] = at ? data_[at - 1] : 0;
        std::memset(padded + 1, 0, UNIT);
        std::memcpy(padded + 1, data_ + at, left);
    }
    const uint8_t* unit(size_t u) const { return !u ? first_ + 1 : (u + 1) * UNIT <= size_ ? data_ + u * UNIT : last_ + 1; }
    uint64_t token(size_t u) const { return classes_.token(unit(u)); }
    // What most of the backslashes and ampersands of a text end at.
    bool may_escape(size_t at) const {
        const uint8_t next = at + 1 < size_ ? data_[at + 1] : 0;
        if (data_[at] == '&') return next == '#';
        if (data_[at] == '%') return next >= '2' && next <= '7';
        return next == '/' || next == 'x' || (next == 'u' && at + 2 < size_ && data_[at + 2] == '0');
    }
    bool is_dense(size_t from, size_t to) const {
        // The first one's pair is with a byte outside.
        bool four = false;
        for (size_t at = from + 1; at < to && !four; at += UNIT - (TOKEN_WINDOW - 2)) {
            const size_t u = at / UNIT, past = at % UNIT, left = to - at;
            uint64_t m = odd_[u] >> past | (past ? odd_[u + 1] << (UNIT - past) : 0);
            if (left < UNIT) m &= (uint64_t(1) << left) - 1;
            four = has_four(m);
        }
        for (size_t i = from; four && i < to; i++)
            if (data_[i] >= '0' && data_[i] <= '9') return true;
        return false;
    }
    // Where the run ends that holds byte `at`, or begins.
    size_t end(size_t at) const {
        size_t u = at / UNIT;
        uint64_t clear = ~token(u) & ~uint64_t(0) << at % UNIT;
        while (!clear && ++u * UNIT < size_) clear = ~token(u);
        const size_t found = clear ? u * UNIT + size_t(__builtin_ctzll(clear)) : size_;
        return found < size_ ? found : size_;
    }
    size_t begin(size_t at) const {
        size_t u = at / UNIT;
        uint64_t clear = ~token(u) & ~(~uint64_t(0) << at % UNIT);
        while (!clear && u) clear = ~token(--u);
        return clear ? u * UNIT + UNIT - size_t(__builtin_clzll(clear)) : 0;
    }

    const Classes& classes_;
    const uint8_t* data_;
    const size_t size_;
    uint32_t crowded_count_ = 0, escaping_count_ = 0;
    uint8_t first_[1 + UNIT], last_[1 + UNIT];
    uint64_t odd_[TILE_UNITS + 1];
    uint64_t ends_[TILE_UNITS + 1];                               // of the windows in each crowded unit
    uint8_t crowded_[TILE_UNITS + 1], escaping_[TILE_UNITS + 1];  // where a run may be dense, and where escapes may begin
};

template <class Classes>
inline void token_regions(const uint8_t* data, size_t size, TokenOutput& out) {
    const Classes classes;
    const auto is_token = [&](const uint8_t* p) { return classes.token(p) == ~uint64_t(0); };
    size_t head = 0, tail = size;
    while (head < size && token_region(data[head])) head += head + UNIT <= size && is_token(data + head) ? UNIT : 1;
    // As one region is the whole tile, so is it from the other end.
    if (head == size) tail = 0;
    while (tail && token_region(data[tail - 1])) tail -= tail >= UNIT && is_token(data + tail - UNIT) ? UNIT : 1;
    out.count = 0;
    out.head = uint16_t(head);
    out.tail = uint16_t(tail);
    if (!size) return;
    const TokenUnits<Classes> units(classes, data, size);
    TokenRegion escaped[TILE / TOKEN_WINDOW + 1];
    uint32_t escapes = 0, told = 0;
    size_t done = 0;
    units.escapes([&](size_t at) {
        size_t from = at, to = at;
        while (from > done && token_region(data[from - 1])) from--;
        while (to < size && token_region(data[to])) to++;
        if (to < size && to - from >= TOKEN_WINDOW) escaped[escapes++] = {uint16_t(from), uint16_t(to), true};
        return done = to;
    });
    units.dense_runs([&](size_t from, size_t to) {
        while (told < escapes && escaped[told].to <= from) out.regions[out.count++] = escaped[told++];
        const bool inside = told < escapes && escaped[told].from <= from;
        if (!inside && from < tail) out.regions[out.count++] = {uint16_t(from), uint16_t(to), false};
    });
    while (told < escapes) out.regions[out.count++] = escaped[told++];
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
