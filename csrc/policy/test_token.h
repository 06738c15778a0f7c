// Tokens with which an operator proves that the filter is in the path, decodes and blocks: "ovrt1-", 16 hexadecimal digits of
// chance, and 16 of their digest under the operator's key. Nobody without the key makes one, and one only ever stops the response to
// the request that carried it.
#pragma once
#include "overread.h"
#include "registry/digest.h"

namespace overread {

constexpr size_t TEST_TOKEN_SIZE = 38;
constexpr size_t TEST_KEY_SIZE = 16;

DigestKey test_key(const uint8_t key[TEST_KEY_SIZE]);
// Writes TEST_TOKEN_SIZE bytes.
void make_test_token(const DigestKey& key, uint64_t chance, char* out);
// The first token under the key in these bytes, or NULL.
const uint8_t* find_test_token(const DigestKey& key, const ovr_bytes& in);

}  // namespace overread
