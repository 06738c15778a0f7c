// Windows of 16 bytes of a secret's text: which of them may tell one secret, and which are chosen to.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "kernel/kernel.h"
#include "registry/secret_key.h"

namespace overread {

constexpr size_t SECRET_WINDOW = TOKEN_WINDOW;
// Of so many windows after each other the one of least order is chosen (minimizers: Schleimer, Wilkerson, Aiken, Winnowing, 2003), so
// that any 47 bytes of a value hold a chosen one, wherever they are cut.
constexpr size_t CHOSEN_OF = 32;
constexpr size_t GUARANTEED = CHOSEN_OF + SECRET_WINDOW - 1;

// Text is looked at in blocks, and a long one's blocks overlap by what a choice depends on.
constexpr size_t SECRET_BLOCK = 256;
constexpr size_t BLOCK_OVERLAP = GUARANTEED - 1;

// The characters of secrets: base64 of both alphabets, hexadecimal digits, UUIDs, JWTs and what signs them.
enum CharKind : uint8_t { CHAR_NONE, CHAR_MARK, CHAR_DIGIT, CHAR_UPPER, CHAR_LOWER, CHAR_KIND_COUNT };
struct CharKinds {
    CharKind of[256];
};
constexpr CharKinds char_kinds() {
    CharKinds k{};
    for (int c = '0'; c <= '9'; c++) k.of[c] = CHAR_DIGIT;
    for (int c = 'A'; c <= 'Z'; c++) k.of[c] = CHAR_UPPER, k.of[c | 0x20] = CHAR_LOWER;
    for (const char c : {'+', '-', '.', '/', '_'}) k.of[uint8_t(c)] = CHAR_MARK;
    return k;
}
inline constexpr CharKinds CHAR_KINDS = char_kinds();
inline CharKind char_kind(uint8_t c) { return CHAR_KINDS.of[c]; }

// A window is a secret's if it has as many odd pairs (kernel.h), a digit, seven different characters and at most three marks, as a UUID's
// has, which count as one: with two kinds of characters or more that are 64 bits.
constexpr uint32_t MIN_ODD_PAIRS = TOKEN_ODD_PAIRS, MIN_DIFFERENT = 7, MAX_MARKS = 3;
constexpr bool is_odd_pair(CharKind a, CharKind b) {
    const bool letter_a = a >= CHAR_UPPER, letter_b = b >= CHAR_UPPER;
    return (letter_a && b == CHAR_DIGIT) || (a == CHAR_DIGIT && letter_b) || (a == CHAR_LOWER && b == CHAR_UPPER);
}

struct Fingerprint {
    uint64_t low;
    uint32_t high;
};
Fingerprint fingerprint(const RegistryKeys& keys, const uint8_t* window);

// Whether 16 bytes, of which some may be no secret's characters, tell a secret by themselves, as Block::secret() says of a window.
bool is_secret_window(const uint8_t* window);

// A block of a text: the order of its windows, and which of them may tell a secret.
class Block {
  public:
    // Precondition: size <= SECRET_BLOCK, and all characters are a secret's.
    Block(const RegistryKeys& keys, const uint8_t* text, size_t size);
    size_t windows() const { return count_; }
    size_t marks() const { return marks_; }
    // Whether window i may tell a secret.
    bool secret(size_t i) const { return order_[i] != NEVER && has_different(text_ + i); }
    uint64_t order(size_t i) const { return order_[i] >> PLACE_BITS; }
    // Calls chosen(i), in ascending order, for every window that is the least of CHOSEN_OF after each other, or of all where there are fewer.
    template <class F>
    void choose(F&& chosen) {
        uint8_t least[SECRET_BLOCK];
        const size_t n = least_secrets(least);
        for (size_t i = 0; i < n; i++) chosen(size_t(least[i]));
    }

  private:
    // An order ends in its window's place, so that the least one tells where it stands; of equal ones the last is the least.
    static constexpr int PLACE_BITS = 8;
    static constexpr size_t LAST_PLACE = 254;  // NEVER has none
    static size_t place(uint64_t order) { return LAST_PLACE - (order & 0xff); }
    static constexpr uint64_t NEVER = UINT64_MAX;
    friend bool is_secret_window(const uint8_t* window);
    static bool has_different(const uint8_t* window);
    size_t least_secrets(uint8_t* places);
    size_t least_windows(uint8_t* places) const;
    const uint8_t* text_;
    size_t count_ = 0;
    size_t marks_ = 0;
    uint64_t order_[SECRET_BLOCK - SECRET_WINDOW + 1];
    static_assert(SECRET_BLOCK - SECRET_WINDOW <= LAST_PLACE, "a place is a byte");
};

}  // namespace overread
