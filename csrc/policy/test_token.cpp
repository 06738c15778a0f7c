#include "policy/test_token.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace overread {
namespace {

constexpr char PREFIX[] = "ovrt1-";
constexpr size_t PREFIX_SIZE = sizeof PREFIX - 1;

uint64_t digest_of(const DigestKey& key, const char* chance) { return keyed_digest(key, reinterpret_cast<const uint8_t*>(chance), 16); }

}  // namespace

DigestKey test_key(const uint8_t key[TEST_KEY_SIZE]) {
    DigestKey k;
    std::memcpy(&k.k0, key, 8);
    std::memcpy(&k.k1, key + 8, 8);
    return k;
}

void make_test_token(const DigestKey& key, uint64_t chance, char* out) {
    char text[TEST_TOKEN_SIZE + 1];
    std::snprintf(text, sizeof text, "%s%016llx", PREFIX, static_cast<unsigned long long>(chance));
    std::snprintf(text + PREFIX_SIZE + 16, 17, "%016llx", static_cast<unsigned long long>(digest_of(key, text + PREFIX_SIZE)));
    std::memcpy(out, text, TEST_TOKEN_SIZE);
}

const uint8_t* find_test_token(const DigestKey& key, const ovr_bytes& in) {
    const uint8_t* const end = in.data + in.size;
    for (const uint8_t* p = in.data; in.size >= TEST_TOKEN_SIZE; p++) {
        p = std::search(p, end, PREFIX, PREFIX + PREFIX_SIZE);
        if (size_t(end - p) < TEST_TOKEN_SIZE) break;
        char right[17];
        std::snprintf(right, sizeof right, "%016llx", static_cast<unsigned long long>(digest_of(key, reinterpret_cast<const char*>(p) + PREFIX_SIZE)));
        // Of equal time whatever stands there: a token must not be guessed digit by digit.
        unsigned differs = 0;
        for (size_t i = 0; i < 16; i++) differs |= unsigned(uint8_t(right[i]) ^ p[PREFIX_SIZE + 16 + i]);
        if (!differs) return p;
    }
    return nullptr;
}

}  // namespace overread
