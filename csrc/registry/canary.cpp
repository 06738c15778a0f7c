#include "registry/canary.h"

#include <cstring>

#include "overread.h"
#include "registry/window.h"

namespace overread {
namespace {

constexpr char DIGITS[] = "0123456789abcdef";
constexpr size_t PREFIX = 2, WORD = 8, MAC = 20, SIGNED = PREFIX + 3 * WORD;
static_assert(SIGNED + MAC == CANARY_SIZE && CANARY_SIZE == OVR_CANARY, "a canary's parts");

void write_hex(uint64_t value, size_t digits, char* out) {
    for (size_t i = 0; i < digits; i++) out[i] = DIGITS[value >> (4 * (digits - 1 - i)) & 15];
}

bool read_hex(const uint8_t* text, size_t digits, uint32_t* out) {
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        const uint8_t c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        *out = *out << 4 | uint32_t(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

void write_mac(const RegistryKeys& keys, const uint8_t* text, char* out) {
    const Digest128 d = keyed_digest128(keys.canaries, text, SIGNED);
    write_hex(d.first, 16, out);
    write_hex(d.second, MAC - 16, out + 16);
}

}  // namespace

void make_canary(const RegistryKeys& keys, uint32_t owner, uint32_t now, char* out) {
    out[0] = 'o', out[1] = 'c';
    write_hex(now, WORD, out + PREFIX);
    write_hex(random_key().k0, WORD, out + PREFIX + WORD);
    write_hex(owner, WORD, out + PREFIX + 2 * WORD);
    write_mac(keys, reinterpret_cast<const uint8_t*>(out), out + SIGNED);
}

bool read_canary(const RegistryKeys& keys, const uint8_t* text, uint32_t now, uint32_t* owner) {
    uint32_t made, chance;
    if (text[0] != 'o' || text[1] != 'c' || !read_hex(text + PREFIX, WORD, &made) || !read_hex(text + PREFIX + WORD, WORD, &chance) ||
        !read_hex(text + PREFIX + 2 * WORD, WORD, owner))
        return false;
    char right[MAC];
    write_mac(keys, text, right);
    // Of equal time whatever stands there: a canary must not be guessed digit by digit.
    unsigned differs = 0;
    for (size_t i = 0; i < MAC; i++) differs |= unsigned(uint8_t(right[i]) ^ text[SIGNED + i]);
    return !differs && now - made <= CANARY_LIFE;
}

void poison_pattern(const uint8_t key[16], uint8_t pattern[POISON_PERIOD]) {
    // Letters of both cases and digits in turn, so that every one of the sixteen windows is as dense as a secret's.
    static constexpr char UPPER[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", LOWER[] = "abcdefghijklmnopqrstuvwxyz";
    const DigestKey chance = derived_key(key, "poison pattern");
    uint64_t bits[2] = {chance.k0, chance.k1};
    auto draw = [&](uint32_t of) {
        // Of 128 bits that a mixed-radix number is read from: 4 upper-case, 8 lower-case letters and 4 digits, 70 bits.
        const auto product = static_cast<Product>(bits[0]) * of;
        const uint32_t digit = uint32_t(product >> 64);
        bits[0] = uint64_t(product) ^ (bits[1] = bits[1] * 0x9E3779B97F4A7C15u + 1) >> 32;
        return digit;
    };
    for (size_t i = 0; i < POISON_PERIOD; i += 4) {
        pattern[i] = uint8_t(UPPER[draw(26)]);
        pattern[i + 1] = uint8_t(LOWER[draw(26)]);
        pattern[i + 2] = uint8_t('0' + draw(10));
        pattern[i + 3] = uint8_t(LOWER[draw(26)]);
    }
}

}  // namespace overread
