#include "registry/window.h"

namespace overread {

Fingerprint fingerprint(const RegistryKeys& keys, const uint8_t* window) {
    const Digest128 d = keyed_digest128(keys.fingerprints, window, SECRET_WINDOW);
    return {d.first, uint32_t(d.second)};
}

bool Block::has_different(const uint8_t* window) {
    // Letters stand in the upper half of ASCII, the rest in the lower one. No branch hangs on a byte.
    uint64_t letters = 0, others = 0;
    for (size_t i = 0; i < SECRET_WINDOW; i++) {
        const uint64_t bit = uint64_t(1) << (window[i] & 63), letter = -uint64_t(window[i] >> 6 & 1);
        letters |= bit & letter;
        others |= bit & ~letter;
    }
    return uint32_t(__builtin_popcountll(letters) + __builtin_popcountll(others)) >= MIN_DIFFERENT;
}

namespace {

// What a character adds to its windows, by its kind and the one before's: an odd pair, a mark, a digit, 16 bits each.
constexpr uint64_t PAIR = 0xffff;
constexpr int MARKS = 16, DIGITS = 32;
struct Adds {
    uint64_t of[CHAR_KIND_COUNT][CHAR_KIND_COUNT];
};
constexpr Adds adds_of_kinds() {
    Adds a{};
    for (int before = 0; before < CHAR_KIND_COUNT; before++)
        for (int here = 0; here < CHAR_KIND_COUNT; here++)
            a.of[before][here] =
                uint64_t(is_odd_pair(CharKind(before), CharKind(here))) | uint64_t(here == CHAR_MARK) << MARKS | uint64_t(here == CHAR_DIGIT) << DIGITS;
    return a;
}
constexpr Adds ADDS = adds_of_kinds();

}  // namespace

Block::Block(const RegistryKeys& keys, const uint8_t* text, size_t size) : text_(text) {
    if (size < SECRET_WINDOW) return;
    count_ = size - SECRET_WINDOW + 1;
    uint64_t adds[SECRET_BLOCK];
    CharKind before = CHAR_NONE;
    for (size_t i = 0; i < size; i++) {
        const CharKind here = char_kind(text[i]);
        adds[i] = ADDS.of[before][here];
        before = here;
    }
    uint64_t sum = adds[0] & ~PAIR;
    for (size_t i = 1; i + 1 < SECRET_WINDOW; i++) sum += adds[i];
    for (size_t i = 0; i < count_; i++) {
        sum += adds[i + SECRET_WINDOW - 1];
        // wyhash's mixing (Wang Yi): one multiplication, and neither half of the product alone. No branch hangs on a character.
        uint64_t a, b;
        std::memcpy(&a, text + i, 8);
        std::memcpy(&b, text + i + 8, 8);
        const auto product = static_cast<Product>(a ^ keys.order[0]) * (b ^ keys.order[1]);
        const uint64_t order = (uint64_t(product) ^ uint64_t(product >> 64)) >> 1;
        const bool dense = ((sum & PAIR) >= MIN_ODD_PAIRS) & ((sum >> MARKS & PAIR) <= MAX_MARKS) & (sum >> DIGITS != 0);
        order_[i] = order | -uint64_t(!dense);
        sum -= (adds[i] & ~PAIR) + (adds[i + 1] & PAIR);
    }
}

}  // namespace overread
