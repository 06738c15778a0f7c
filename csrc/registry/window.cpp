#include "registry/window.h"

namespace overread {

bool has_different(const uint8_t* window) {
    uint64_t seen[2] = {};
    for (size_t i = 0; i < SECRET_WINDOW; i++) seen[window[i] >> 6 & 1] |= uint64_t(1) << (window[i] & 63);
    return uint32_t(__builtin_popcountll(seen[0]) + __builtin_popcountll(seen[1])) >= MIN_DIFFERENT;
}

Fingerprint fingerprint(const RegistryKeys& keys, const uint8_t* window) {
    const Digest128 d = keyed_digest128(keys.fingerprints, window, SECRET_WINDOW);
    return {d.first, uint32_t(d.second)};
}

Block::Block(const RegistryKeys& keys, const uint8_t* text, size_t size) {
    if (size < SECRET_WINDOW) return;
    count_ = size - SECRET_WINDOW + 1;
    uint8_t odd[SECRET_BLOCK];
    CharKind before = char_kind(text[0]);
    odd[0] = 0;
    for (size_t i = 1; i < size; i++) {
        const CharKind here = char_kind(text[i]);
        odd[i] = is_odd_pair(before, here);
        before = here;
    }
    uint32_t pairs = 0;
    for (size_t i = 1; i + 1 < SECRET_WINDOW; i++) pairs += odd[i];
    for (size_t i = 0; i < count_; i++) {
        pairs += odd[i + SECRET_WINDOW - 1];
        order_[i] = NEVER;
        if (pairs >= MIN_ODD_PAIRS && has_different(text + i)) {
            // wyhash's mixing (Wang Yi): one multiplication, and neither half of the product alone.
            uint64_t a, b;
            std::memcpy(&a, text + i, 8);
            std::memcpy(&b, text + i + 8, 8);
            const auto product = static_cast<Product>(a ^ keys.order[0]) * (b ^ keys.order[1]);
            order_[i] = (uint64_t(product) ^ uint64_t(product >> 64)) >> 1;
        }
        pairs -= odd[i + 1];
    }
}

}  // namespace overread
