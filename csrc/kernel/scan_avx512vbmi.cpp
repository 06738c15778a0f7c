// The scan with whole bytes looked up instead of four bits: one VPERMI2B asks a table of 128 entries 64 times.
#include "kernel/scan_impl.h"
#include "simd/block_avx512.h"

namespace overread {
namespace {

struct ByteTable {
    __m512i first, second;  // the entries of bytes 0 to 63 and 64 to 127
    ByteTable(const uint8_t (&low)[16], const uint8_t (&upper)[16]) {
        const __m512i l = Avx512Block::table16(low).v, u = Avx512Block::table16(upper).v;
        // Eight bytes after each other share their upper four bits.
        const __m512i rows = _mm512_set_epi64(0x0707070707070707, 0x0606060606060606, 0x0505050505050505, 0x0404040404040404, 0x0303030303030303,
                                              0x0202020202020202, 0x0101010101010101, 0);
        first = _mm512_and_si512(l, _mm512_shuffle_epi8(u, rows));
        second = _mm512_and_si512(l, _mm512_shuffle_epi8(u, _mm512_or_si512(rows, _mm512_set1_epi8(8))));
    }
    // By the lower seven bits of each byte.
    Avx512Block lookup(const Avx512Block& bytes) const { return {_mm512_permutex2var_epi8(first, bytes.v, second)}; }
};

class ByteTables {
  public:
    explicit ByteTables(const FingerprintTable& t)
        : bytes_{{t.low[0], t.upper[0]}, {t.low[1], t.upper[1]}, {t.low[2], t.upper[2]}},
          joint_(Avx512Block::table16(t.joint)),
          control_(CONTROL_LOW, CONTROL_UPPER) {}

    // As NibbleTables::candidates(). Bytes above ASCII are looked up as if they were ASCII: as windows they are taken out at once,
    // as control characters they only have a stretch looked at again that is anyway.
    template <bool CLASSES>
    uint64_t candidates(const uint8_t* p, Avx512Block& control, Avx512Block& high) const {
        const Avx512Block b0 = Avx512Block::load(p), b1 = Avx512Block::load(p + 1), b2 = Avx512Block::load(p + 2);
        high = high | b0;
        if (CLASSES) control = control | control_.lookup(b0);
        const Avx512Block found = bytes_[0].lookup(b0) & bytes_[1].lookup(b1) & bytes_[2].lookup(b2) & (b1 ^ b2).ascii_lookup16(joint_);
        return found.nonzero_mask() & ~(b0 | b1 | b2).sign_mask();
    }

  private:
    ByteTable bytes_[TABLE_BYTES];
    Avx512Block joint_;
    ByteTable control_;
};

}  // namespace

void scan_avx512vbmi(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<Avx512Block, ByteTables>(t, data, size, readable, wanted, out);
}

}  // namespace overread
