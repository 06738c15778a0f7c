// SipHash-2-4 (Aumasson, Bernstein 2012): keyed digests of values that must not be kept.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

__extension__ using Product = unsigned __int128;  // of two words

struct DigestKey {
    uint64_t k0, k1;
};
constexpr size_t OPERATOR_KEY_SIZE = 16;
DigestKey random_key();
// A key of its own for each use of the operator's.
DigestKey derived_key(const uint8_t key[OPERATOR_KEY_SIZE], const char* use);
uint64_t keyed_digest(const DigestKey&, const uint8_t* data, size_t size);
// The same with 128 bits (SipHash's double output).
struct Digest128 {
    uint64_t first, second;
};
Digest128 keyed_digest128(const DigestKey&, const uint8_t* data, size_t size);

}  // namespace overread
