#include "registry/digest.h"

#include <sys/random.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace overread {
namespace {

uint64_t rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }

struct State {
    uint64_t v0, v1, v2, v3;
    void round() {
        v0 += v1, v1 = rotl(v1, 13) ^ v0, v0 = rotl(v0, 32);
        v2 += v3, v3 = rotl(v3, 16) ^ v2;
        v0 += v3, v3 = rotl(v3, 21) ^ v0;
        v2 += v1, v1 = rotl(v1, 17) ^ v2, v2 = rotl(v2, 32);
    }
    void word(uint64_t m) {
        v3 ^= m;
        round();
        round();
        v0 ^= m;
    }
};

}  // namespace

DigestKey random_key() {
    DigestKey k;
    if (getrandom(&k, sizeof k, 0) != ssize_t(sizeof k)) {
        // Only before the kernel's pool is ready: digests then still differ from process to process.
        k.k0 = uint64_t(std::chrono::steady_clock::now().time_since_epoch().count());
        k.k1 = uint64_t(reinterpret_cast<uintptr_t>(&k)) * 0x9E3779B97F4A7C15u;
    }
    return k;
}

DigestKey derived_key(const uint8_t key[OPERATOR_KEY_SIZE], const char* use) {
    DigestKey operators, derived;
    std::memcpy(&operators.k0, key, 8);
    std::memcpy(&operators.k1, key + 8, 8);
    char text[32] = {};
    const size_t size = std::min(std::strlen(use), sizeof text - 1);
    std::memcpy(text, use, size);
    derived.k0 = keyed_digest(operators, reinterpret_cast<const uint8_t*>(text), size);
    text[size] = '2';
    derived.k1 = keyed_digest(operators, reinterpret_cast<const uint8_t*>(text), size + 1);
    return derived;
}

namespace {

// All words of the text, its length in the last one.
State absorbed(const DigestKey& key, const uint8_t* data, size_t size, uint64_t output) {
    State s{key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du ^ output, key.k0 ^ 0x6c7967656e657261u, key.k1 ^ 0x7465646279746573u};
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t m;
        std::memcpy(&m, data + i, 8);
        s.word(m);
    }
    uint64_t last = uint64_t(size) << 56;
    for (size_t j = 0; i + j < size; j++) last |= uint64_t(data[i + j]) << (8 * j);
    s.word(last);
    return s;
}

uint64_t squeezed(State& s) {
    for (int r = 0; r < 4; r++) s.round();
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

}  // namespace

uint64_t keyed_digest(const DigestKey& key, const uint8_t* data, size_t size) {
    State s = absorbed(key, data, size, 0);
    s.v2 ^= 0xff;
    return squeezed(s);
}

Digest128 keyed_digest128(const DigestKey& key, const uint8_t* data, size_t size) {
    State s = absorbed(key, data, size, 0xee);
    s.v2 ^= 0xee;
    const uint64_t first = squeezed(s);
    s.v1 ^= 0xdd;
    return {first, squeezed(s)};
}

}  // namespace overread
