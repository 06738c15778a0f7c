#include "registry/window.h"

namespace overread {

Fingerprint fingerprint(const RegistryKeys& keys, const uint8_t* window) {
    const Digest128 d = keyed_digest128(keys.fingerprints, window, SECRET_WINDOW);
    return {d.first, uint32_t(d.second)};
}

Block::Block(const RegistryKeys& keys, const uint8_t* text, size_t size) {
    if (size < SECRET_WINDOW) return;
    count_ = size - SECRET_WINDOW + 1;
    uint8_t odd[SECRET_BLOCK], mark[SECRET_BLOCK], digit[SECRET_BLOCK], times[256] = {};  // how often each character is in the window
    CharKind before = CHAR_NONE;
    for (size_t i = 0; i < size; i++) {
        const CharKind here = char_kind(text[i]);
        odd[i] = is_odd_pair(before, here);
        mark[i] = here == CHAR_MARK;
        digit[i] = here == CHAR_DIGIT;
        before = here;
    }
    uint32_t pairs = 0, marks = 0, digits = 0, different = 0;
    const auto enter = [&](size_t i) {
        marks += mark[i];
        digits += digit[i];
        different += times[text[i]]++ == 0;
    };
    enter(0);
    for (size_t i = 1; i + 1 < SECRET_WINDOW; i++) {
        pairs += odd[i];
        enter(i);
    }
    for (size_t i = 0; i < count_; i++) {
        pairs += odd[i + SECRET_WINDOW - 1];
        enter(i + SECRET_WINDOW - 1);
        order_[i] = NEVER;
        if (pairs >= MIN_ODD_PAIRS && different >= MIN_DIFFERENT && digits && marks <= MAX_MARKS) {
            // wyhash's mixing (Wang Yi): one multiplication, and neither half of the product alone.
            uint64_t a, b;
            std::memcpy(&a, text + i, 8);
            std::memcpy(&b, text + i + 8, 8);
            const auto product = static_cast<Product>(a ^ keys.order[0]) * (b ^ keys.order[1]);
            order_[i] = (uint64_t(product) ^ uint64_t(product >> 64)) >> 1;
        }
        pairs -= odd[i + 1];
        marks -= mark[i];
        digits -= digit[i];
        different -= --times[text[i]] == 0;
    }
}

}  // namespace overread
