// The scan with six bits of a byte looked up instead of four: VPERMB asks a table of 64 entries 64 times.
#include <initializer_list>

#include "kernel/scan_impl.h"
#include "simd/block_avx512.h"

namespace overread {
namespace {

// VPERMB takes the lower six bits of an index: bytes 64 apart, as `n` and `.`, share an entry. What passes for that ends in the filter.
class SixBitTables {
  public:
    explicit SixBitTables(const FingerprintTable& t)
        : first_(folded(t.bytes[0])),
          second_(folded(t.bytes[1])),
          third_(folded(t.bytes[2])),
          pairs_(_mm512_loadu_si512(t.pairs)),
          triples_(_mm512_loadu_si512(t.triples)) {
        // What is added to bytes: text is then from 20 to 7F, and all else is below, where it counts as signed, for DEL overflows.
        constexpr uint32_t TEXT_CONTROLS = 1u << '\t' | 1u << '\n' | 1u << '\f' | 1u << '\r' | 1u << 0x1a | 1u << 0x1b;
        text_ = _mm512_mask_set1_epi8(_mm512_maskz_set1_epi8(uint64_t(1) << 63, 1), TEXT_CONTROLS, 0x20);
    }

    // As NibbleTables::candidates().
    template <bool AGAIN>
    bool candidates(const uint8_t* p, uint64_t& begin) const {
        __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + 1), c = _mm512_loadu_si512(p + 2);
        __asm__("" : "+v"(a), "+v"(b), "+v"(c));           // GCC would load them again for each use
        constexpr int ALL = 0x80, ANY = 0xfe, ODD = 0x96;  // truth tables
        const __m512i triple = _mm512_ternarylogic_epi32(a, b, _mm512_add_epi8(c, c), ODD);
        const __m512i mixes = _mm512_and_si512(_mm512_permutexvar_epi8(_mm512_xor_si512(b, c), pairs_), _mm512_permutexvar_epi8(triple, triples_));
        const __m512i found =
            _mm512_ternarylogic_epi32(_mm512_permutexvar_epi8(a, first_), _mm512_permutexvar_epi8(b, second_), _mm512_permutexvar_epi8(c, third_), ALL);
        begin = _mm512_test_epi8_mask(found, mixes);
        if (AGAIN) return _mm512_cmplt_epi8_mask(_mm512_add_epi8(a, _mm512_permutexvar_epi8(a, text_)), _mm512_set1_epi8(0x20));
        begin &= ~_mm512_movepi8_mask(_mm512_ternarylogic_epi32(a, b, c, ANY));
        return false;
    }

  private:
    static __m512i folded(const uint8_t (&table)[128]) { return _mm512_or_si512(_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64)); }
    __m512i first_, second_, third_, pairs_, triples_, text_;
};

// By a byte, its kind and, a bit each, what it makes an odd pair with and how an escape that it begins goes on, where that stands behind it.
struct TokenTables {
    enum : uint8_t { LOWER = 1, UPPER = 2, DIGIT = 4, CHARACTER = 8, LETTER = 16, HEX = 32, NUMBER = 64 };
    alignas(64) uint8_t kind[128], before[128];
};
constexpr TokenTables token_tables() {
    using T = TokenTables;
    T t{};
    for (int c = 'a'; c <= 'z'; c++) t.kind[c] = T::CHARACTER | T::LOWER, t.before[c] = T::UPPER | T::DIGIT;
    for (int c = 'A'; c <= 'Z'; c++) t.kind[c] = T::CHARACTER | T::UPPER, t.before[c] = T::DIGIT;
    for (int c = '0'; c <= '9'; c++) t.kind[c] = T::CHARACTER | T::DIGIT, t.before[c] = T::LOWER | T::UPPER;
    for (const char c : {'+', '-', '.', '/', '_'}) t.kind[uint8_t(c)] = T::CHARACTER;
    t.before['\\'] = T::LETTER, t.before['%'] = T::HEX, t.before['&'] = T::NUMBER;
    for (const char c : {'/', 'u', 'x'}) t.kind[uint8_t(c)] |= T::LETTER;
    for (int c = '2'; c <= '7'; c++) t.kind[c] |= T::HEX;
    t.kind['#'] = T::NUMBER;
    return t;
}
constexpr TokenTables TOKEN_TABLES = token_tables();

// As NibbleClasses, with the byte before looked up in the same way: VPERMI2B asks a table of 128 entries. Precondition: p[-1] is readable.
class ByteClasses {
  public:
    uint64_t odd(const uint8_t* p) {
        const __m512i found = both(p);
        escapes_ = _mm512_or_si512(escapes_, found);
        return has(found, T::LOWER | T::UPPER | T::DIGIT);
    }
    bool may_escape(const uint8_t*) {
        const bool may = has(escapes_, T::LETTER | T::HEX | T::NUMBER);
        escapes_ = _mm512_setzero_si512();
        return may;
    }
    uint64_t token(const uint8_t* p) const { return has(lookup(p, kind_), T::CHARACTER); }
    uint64_t escape(const uint8_t* p) const { return has(both(p), T::LETTER | T::HEX | T::NUMBER); }

  private:
    using T = TokenTables;
    struct Table {
        __m512i lower, upper;
        explicit Table(const uint8_t (&t)[128]) : lower(_mm512_load_si512(t)), upper(_mm512_load_si512(t + 64)) {}
    };
    static uint64_t has(__m512i v, uint8_t bits) { return _mm512_test_epi8_mask(v, _mm512_set1_epi8(char(bits))); }
    // What is above ASCII is taken for DEL, which is of no kind.
    static __m512i lookup(const uint8_t* p, const Table& t) {
        return _mm512_permutex2var_epi8(t.lower, _mm512_min_epu8(_mm512_loadu_si512(p), _mm512_set1_epi8(0x7f)), t.upper);
    }
    __m512i both(const uint8_t* p) const { return _mm512_and_si512(lookup(p, kind_), lookup(p - 1, before_)); }
    const Table kind_{TOKEN_TABLES.kind}, before_{TOKEN_TABLES.before};
    __m512i escapes_ = _mm512_setzero_si512();
};

}  // namespace

void tokens_avx512vbmi(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<ByteClasses>(data, size, out); }

void scan_avx512vbmi(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<Avx512Block, SixBitTables>(t, data, size, readable, wanted, out);
}

}  // namespace overread
