// The scan with whole bytes looked up instead of nibbles: one VPERMI2B asks a table of 128 entries 64 times. A unit with a byte
// from 0x80 on, or before one, has its nibbles looked up, so that what passes is the same.
#include "kernel/scan_impl.h"
#include "simd/block_avx512.h"

namespace overread {
namespace {

struct ByteTable {
    __m512i low, high;  // the entries of bytes 0 to 63 and 64 to 127
    ByteTable(const uint8_t (&low_nibble)[16], const uint8_t (&high_nibble)[16]) {
        const __m512i l = Avx512Block::table16(low_nibble).v, h = Avx512Block::table16(high_nibble).v;
        // Sixteen bytes after each other share their high nibble.
        const __m512i rows =
            _mm512_set_epi64(0x0303030303030303, 0x0303030303030303, 0x0202020202020202, 0x0202020202020202, 0x0101010101010101, 0x0101010101010101, 0, 0);
        low = _mm512_and_si512(l, _mm512_shuffle_epi8(h, rows));
        high = _mm512_and_si512(l, _mm512_shuffle_epi8(h, _mm512_or_si512(rows, _mm512_set1_epi8(4))));
    }
    // Precondition: no byte is 0x80 or more.
    Avx512Block lookup(const Avx512Block& bytes) const { return {_mm512_permutex2var_epi8(low, bytes.v, high)}; }
};

struct ByteTables {
    ByteTable first[NIBBLE_BYTES], second[NIBBLE_BYTES], control;
    explicit ByteTables(const FingerprintTable& t)
        : first{{t.low[0][0], t.high[0][0]}, {t.low[0][1], t.high[0][1]}, {t.low[0][2], t.high[0][2]}},
          second{{t.low[1][0], t.high[1][0]}, {t.low[1][1], t.high[1][1]}, {t.low[1][2], t.high[1][2]}},
          control(CONTROL_LOW, CONTROL_HIGH) {}
};

// Out of line: its tables would take the registers of the loop.
__attribute__((noinline)) void scan_nibbles(const FingerprintTable& table, const uint8_t* p, uint64_t& candidates, uint64_t& control, uint64_t& high) {
    scan_unit(Tables<Avx512Block>(table), p, candidates, control, high);
}

}  // namespace

void scan_avx512vbmi(const FingerprintTable& table, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    const ByteTables t(table);
    CandidateUnit units[TILE_UNITS + 1];
    uint32_t nc = 0, nk = 0, unit = 0;
    for (size_t at = 0; at < size; at += UNIT, unit++) {
        const uint8_t* p = data + at;
        uint8_t padded[UNIT + WINDOW - 1];
        uint64_t inside = ~uint64_t(0), whole = ~uint64_t(0);  // places of the input, and of windows that end inside it
        const size_t left = size - at, may_read = readable - at;
        if (left < UNIT || may_read < sizeof padded) {
            std::memset(padded, 0, sizeof padded);
            std::memcpy(padded, p, may_read < sizeof padded ? may_read : sizeof padded);
            p = padded;
            if (left < UNIT) inside = (uint64_t(1) << left) - 1;
            const size_t windows = may_read < WINDOW ? 0 : may_read - (WINDOW - 1);
            if (windows < UNIT) whole = (uint64_t(1) << windows) - 1;
        }
        const Avx512Block b0 = Avx512Block::load(p), b1 = Avx512Block::load(p + 1), b2 = Avx512Block::load(p + 2);
        uint64_t c, k, h = 0;
        if (__builtin_expect((b0 | b1 | b2).sign_mask() != 0, 0)) {
            scan_nibbles(table, p, c, k, h);
        } else {
            const Avx512Block first = t.first[0].lookup(b0) & t.first[1].lookup(b1) & t.first[2].lookup(b2);
            const Avx512Block second = t.second[0].lookup(b0) & t.second[1].lookup(b1) & t.second[2].lookup(b2);
            c = (first | second).nonzero_mask();
            k = t.control.lookup(b0).nonzero_mask();
        }
        c &= inside & whole;
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

}  // namespace overread
