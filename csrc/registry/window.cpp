#include "registry/window.h"

#include <algorithm>

namespace overread {

Fingerprint fingerprint(const RegistryKeys& keys, const uint8_t* window) {
    const Digest128 d = keyed_digest128(keys.fingerprints, window, SECRET_WINDOW);
    return {d.first, uint32_t(d.second)};
}

namespace {

struct CharBits {
    uint64_t of[128];  // a bit each, one for all marks
};
constexpr CharBits char_bits() {
    CharBits b{};
    uint64_t next = 1;
    for (int c = 0; c < 128; c++) {
        const CharKind kind = CHAR_KINDS.of[c];
        if (kind == CHAR_MARK) b.of[c] = uint64_t(1) << 63;
        if (kind >= CHAR_DIGIT) b.of[c] = next, next <<= 1;
    }
    return b;
}
constexpr CharBits CHAR_BITS = char_bits();

// What stands before a character in its block: odd pairs, the first one's with what is before the block; marks; digits. Ten bits each.
constexpr uint32_t SUM = 0x3ff;
constexpr int MARKS = 10, DIGITS = 20;
struct Adds {
    uint32_t of[CHAR_KIND_COUNT][CHAR_KIND_COUNT];  // by the kind of the character before, and its own
};
constexpr Adds adds_of_kinds() {
    Adds a{};
    for (int before = 0; before < CHAR_KIND_COUNT; before++)
        for (int here = 0; here < CHAR_KIND_COUNT; here++)
            a.of[before][here] =
                uint32_t(is_odd_pair(CharKind(before), CharKind(here))) | uint32_t(here == CHAR_MARK) << MARKS | uint32_t(here == CHAR_DIGIT) << DIGITS;
    return a;
}
constexpr Adds ADDS = adds_of_kinds();

// inside: what the window's characters add, the first one's pair left out.
bool is_dense(uint32_t inside) { return ((inside & SUM) >= MIN_ODD_PAIRS) & ((inside >> MARKS & SUM) <= MAX_MARKS) & (inside >> DIGITS != 0); }

}  // namespace

bool is_secret_window(const uint8_t* window) {
    CharKind before = CHAR_NONE;
    uint32_t inside = 0;
    bool all = true;
    for (size_t i = 0; i < SECRET_WINDOW; i++) {
        const CharKind here = char_kind(window[i]);
        all &= here != CHAR_NONE;
        inside += ADDS.of[before][here];
        before = here;
    }
    return all && is_dense(inside) && Block::has_different(window);
}

bool Block::has_different(const uint8_t* window) {
    uint64_t seen = 0;
    for (size_t i = 0; i < SECRET_WINDOW; i++) seen |= CHAR_BITS.of[window[i] & 127];
    for (uint32_t more = 1; more < MIN_DIFFERENT; more++) seen &= seen - 1;
    return seen != 0;
}

// No branch hangs on a character.
Block::Block(const RegistryKeys& keys, const uint8_t* text, size_t size) : text_(text) {
    if (size < SECRET_WINDOW) return;
    count_ = size - SECRET_WINDOW + 1;
    uint32_t sums[SECRET_BLOCK + 1], sum = sums[0] = 0;
    CharKind before = CHAR_NONE;
    for (size_t i = 0; i < size; i++) {
        const CharKind here = char_kind(text[i]);
        sums[i + 1] = sum += ADDS.of[before][here];
        before = here;
    }
    marks_ = sum >> MARKS & SUM;
    for (size_t i = 0; i < count_; i++) {
        // wyhash's mixing (Wang Yi): one multiplication, and neither half of the product alone.
        uint64_t a, b;
        std::memcpy(&a, text + i, 8);
        std::memcpy(&b, text + i + 8, 8);
        const auto product = static_cast<Product>(a ^ keys.order[0]) * (b ^ keys.order[1]);
        order_[i] = (uint64_t(product) ^ uint64_t(product >> 64)) >> PLACE_BITS << PLACE_BITS | (LAST_PLACE - i);
    }
    for (size_t i = 0; i < count_; i++) {
        const uint32_t first_pair = (sums[i + 1] - sums[i]) & SUM;
        order_[i] |= -uint64_t(!is_dense(sums[i + SECRET_WINDOW] - sums[i] - first_pair));
    }
}

size_t Block::least_windows(uint8_t* places) const {
    const size_t span = std::min(CHOSEN_OF, count_);
    size_t n = 0;
    uint64_t least = NEVER;
    const auto tell = [&] {
        if (least != NEVER) places[n++] = uint8_t(place(least));
    };
    const auto look = [&](size_t from, size_t to) {
        uint64_t other = NEVER;  // two at a time: each waits for the one before it
        for (least = NEVER; from + 1 < to; from += 2) {
            least = std::min(least, order_[from]);
            other = std::min(other, order_[from + 1]);
        }
        if (from < to) least = std::min(least, order_[from]);
        least = std::min(least, other);
        tell();
    };
    look(0, span);
    for (size_t end = span; end < count_; end++) {
        if (order_[end] < least) {
            least = order_[end];
            tell();
        } else if (least != NEVER && place(least) + span <= end) {
            look(end + 1 - span, end + 1);
        }
    }
    return n;
}

size_t Block::least_secrets(uint8_t* places) {
    const size_t n = least_windows(places);
    if (std::all_of(places, places + n, [this](uint8_t i) { return has_different(text_ + i); })) return n;
    for (size_t i = 0; i < count_; i++)
        if (!has_different(text_ + i)) order_[i] = NEVER;
    return least_windows(places);
}

}  // namespace overread
