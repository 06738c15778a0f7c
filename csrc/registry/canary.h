// Values of our own that nothing but a leak shows in a response: canaries that travel in a request's memory, and the poison of recycled
// buffers.
#pragma once
#include <cstddef>
#include <cstdint>

#include "registry/secret_key.h"

namespace overread {

constexpr size_t CANARY_SIZE = 46;         // "oc", the time, chance and the owner with 8 digits each, then a MAC of 80 bits
constexpr uint32_t CANARY_LIFE = 15 * 60;  // seconds
constexpr size_t POISON_PERIOD = 16;

// Writes CANARY_SIZE characters.
void make_canary(const RegistryKeys& keys, uint32_t owner, uint32_t now, char* out);
// Whether CANARY_SIZE characters are one of ours and still valid; whose.
bool read_canary(const RegistryKeys& keys, const uint8_t* text, uint32_t now, uint32_t* owner);
// The 16 characters that a key's poison repeats: every window of them is dense.
void poison_pattern(const uint8_t key[16], uint8_t pattern[POISON_PERIOD]);

}  // namespace overread
