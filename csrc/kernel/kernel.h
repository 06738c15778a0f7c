// The one-pass kernel's contract: its inputs, its outputs, and the list of kernels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

// Windows, anchors' heads and history are compared as words: elsewhere anchors would be missed silently.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian CPUs are not supported");

constexpr size_t WINDOW = 4;       // bytes of an anchor that are looked for
constexpr size_t TABLE_BYTES = 3;  // of them, the first ones: tested with tables; then all by their hash
constexpr size_t BUCKETS = 8;      // of anchors: a bit each of a table's entries
constexpr uint8_t HIGH = 0x80;     // the bit of windows with bytes above ASCII in their tables, beside CONTROL_BITS
// Where an anchor's window may begin: bit k of an entry is set when some window of bucket k leads to it (Teddy, see
// Hyperscan, NSDI 2019). What the tables let through by chance, most of it, ends at the hash set.
struct FingerprintTable {
    // Of a window's bytes a, b, c, all ASCII: by each one's value, and by the lower six bits of b ^ c and of a ^ b ^ 2c, which tell
    // which of the many mixes of them are an anchor's. A window of ASCII is what all five allow.
    uint8_t bytes[TABLE_BYTES][128], pairs[64], triples[64];
    static size_t pair(uint8_t b, uint8_t c) { return (b ^ c) & 63; }
    static size_t triple(uint8_t a, uint8_t b, uint8_t c) { return (a ^ b ^ 2 * c) & 63; }
    // The same for kernels that look four bits up at a time, where more passes: by the lower and by the upper four of each
    // one's seven bits, and by the lower four bits of b ^ c.
    uint8_t low[TABLE_BYTES][16], upper[TABLE_BYTES][16], joint[16];
    // The same bits of a and b, at HIGH, where one of a, b, c is not ASCII: the kernel looks for such windows only in
    // units that have such bytes, where it asks for a's bits anyway, to tell what is no text (CONTROL_BITS).
    uint8_t first_low[16], first_upper[16], second_low[16], second_upper[16];
    uint64_t windows[1024];  // a Bloom filter of one word and two bits an entry: 1,000 anchors let 0.2 % of others through

    // Of four bytes in memory order, letters of both cases alike: where bit 6 is set, bit 5 is set as well.
    static uint32_t hash(uint32_t four) { return (four | (four & 0x40404040u) >> 1) * 0x9E3779B1u; }
    void set(uint32_t four) {
        const uint32_t h = hash(four);
        windows[h >> 22] |= uint64_t(1) << (h >> 16 & 63) | uint64_t(1) << (h >> 10 & 63);
    }
    uint32_t has(uint32_t four) const {
        const uint32_t h = hash(four);
        const uint64_t word = windows[h >> 22];
        return uint32_t(word >> (h >> 16 & 63) & word >> (h >> 10 & 63)) & 1;
    }
    // Whether the tables allow the three bytes of ASCII that `four` begins with. Kernels that let more through end it with this,
    // so that all report the same places.
    bool allows(uint32_t four) const {
        const uint8_t a = uint8_t(four), b = uint8_t(four >> 8), c = uint8_t(four >> 16);
        return bytes[0][a] & bytes[1][b] & bytes[2][c] & pairs[pair(b, c)] & triples[triple(a, b, c)];
    }
    static bool begins_with_ascii(uint32_t four) { return !(four & 0x808080); }
};

constexpr size_t UNIT = 64;    // one mask word covers this many bytes
constexpr size_t TILE = 8192;  // bytes per kernel call: lists stay in L1 and on the stack
constexpr size_t TILE_UNITS = TILE / UNIT;

struct ClassUnit {
    uint32_t unit;
    uint64_t control;  // C0 controls but TAB LF FF CR SUB (the end of a DOS text) ESC, and DEL
    uint64_t high;     // bytes >= 0x80
};
struct KernelOutput {
    uint32_t candidate_count;
    uint32_t class_units;
    uint32_t past_tables;  // places that the kernel's tables let through to the hash set
    // More slots than can be filled: the kernel writes first and counts afterwards, without a branch.
    uint16_t candidates[TILE + 2];  // ascending places in the tile where an anchor's window may begin
    ClassUnit classes[TILE_UNITS + 1];
};

// What a caller needs beside windows of ASCII: what is no text, and windows with bytes above ASCII.
enum Wanted : uint8_t { WANT_CLASSES = 1, WANT_HIGH_WINDOWS = 2 };
// Scans data[0, size), size <= TILE; data[0, readable) may be read for windows that start inside, and no other byte.
// Windows that would cross `readable` are not reported. Precondition: readable >= size.
using KernelFunction = void (*)(const FingerprintTable&, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput&);

// Where a JSON text stands (RFC 8259): inside how many objects and lists, inside a string, behind a backslash.
struct JsonState {
    enum Event : uint8_t { none, complete, line_break };
    uint64_t in_string = 0;  // all bits or none
    uint64_t escaped = 0;    // 1: the next byte is
    uint32_t depth = 0;
    Event event = none;
};
// Reads on in data[0, size) until the outermost object or list is complete or a line breaks inside a string, and tells
// where: behind the last byte read, `size` when there is no event.
using JsonFunction = size_t (*)(const uint8_t* data, size_t size, JsonState&);

// Whether no byte of data[0, UNIT) is wrong UTF-8 (RFC 3629), as far as it and the three before it show; what is open at
// the end is not wrong yet. Where those three are wrong themselves, the answer may be too. Precondition: data[-3, UNIT) is readable.
using Utf8Function = bool (*)(const uint8_t* data);

// What may be a secret. Its characters are letters, digits and + - . / _, but for one behind a backslash, which belongs to an escape; a
// region is a stretch of them and of # % & ; and backslashes, which may be escapes of them.
constexpr size_t TOKEN_WINDOW = 16;
// Pairs of neighbours that words seldom have: a letter beside a digit, a capital behind a small letter. Of 16 random hexadecimal digits
// 97 of 100 have four or more, of base64 more than 999 in 1,000; identifiers, paths, dates and numbers have fewer.
constexpr uint32_t TOKEN_ODD_PAIRS = 4;
struct TokenRegion {
    uint16_t from, to;
    bool escaped;
};
// Of a tile, in ascending order: runs of a secret's characters, of 16 or more, that have a digit and 16 after each other with four odd
// pairs; where a region has an escape of such a character, the whole region in their place, if it is as long. What stands in the region
// that reaches the tile's end is left out.
struct TokenOutput {
    uint32_t count;
    uint16_t head;  // where the region ends that begins at the tile's first byte; 0: none does
    uint16_t tail;  // where the region begins that reaches the tile's end; its size: none does
    TokenRegion regions[TILE / TOKEN_WINDOW + 1];
};
// size <= TILE.
using TokenFunction = void (*)(const uint8_t* data, size_t size, TokenOutput& out);

struct Kernel {
    const char* name;
    KernelFunction scan;
    JsonFunction json;
    Utf8Function utf8;
    TokenFunction tokens;
    bool (*supported)();
};

// Usable kernels, best first; emulated ones last. nullptr past the end.
const Kernel* kernel_at(size_t index);
const Kernel* kernel_named(const char* name);
// OVERREAD_KERNEL if set (nullptr when it names no usable kernel), else the best.
const Kernel* kernel_default();

// Which ASCII bytes are no text, by the lower and the upper four of their seven bits: CONTROL_BITS of both have one in common.
constexpr uint8_t CONTROL_BITS = 15;
extern const uint8_t CONTROL_LOW[16];
extern const uint8_t CONTROL_UPPER[16];
// The length of the escape of a secret's character that text[0, size) begins with: percent (RFC 3986), HTML's numbers, JSON's and
// JavaScript's; 0: none does.
constexpr size_t MAX_TOKEN_ESCAPE = 7;
size_t token_escape(const uint8_t* text, size_t size, uint8_t* character);
// A byte's bits, by its lower four and its bits 3 to 6: both tables have them.
constexpr uint8_t TOKEN_ALPHA = 3, TOKEN_CHARACTER = 31;
constexpr int TOKEN_DIGIT_BIT = 2;  // and 7: where an escape may begin
extern const uint8_t TOKEN_LOW[16];
extern const uint8_t TOKEN_UPPER[16];
// The same for what the second byte of an escape of a secret's character may be.
extern const uint8_t ESCAPE_LOW[16];
extern const uint8_t ESCAPE_UPPER[16];
inline bool token_region(uint8_t c) { return c < 0x80 && TOKEN_LOW[c & 15] & TOKEN_UPPER[c >> 3]; }
// By their lower four bits, what bytes above 1F and below it are told apart wrongly by: TAB, LF and CR are text, DEL is none. Elsewhere a
// byte that none has there. The rest of what CONTROL_LOW lets pass is rare.
extern const uint8_t TEXT_EXCEPTIONS[16];
// UTF-8 by the nibbles of two neighbours: Keiser and Lemire, Validating UTF-8 in less than one instruction per byte, 2021.
extern const uint8_t UTF8_FIRST_HIGH[16];
extern const uint8_t UTF8_FIRST_LOW[16];
extern const uint8_t UTF8_SECOND_HIGH[16];

void scan_scalar(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_emulated16(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_emulated32(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_emulated64(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
#if defined(__x86_64__)
void scan_avx512vbmi(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_avx512(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_avx2(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
void scan_sse42(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
#elif defined(__aarch64__)
void scan_neon(const FingerprintTable&, const uint8_t*, size_t, size_t, uint8_t, KernelOutput&);
#endif
size_t json_scalar(const uint8_t*, size_t, JsonState&);
bool utf8_scalar(const uint8_t*);
void tokens_scalar(const uint8_t*, size_t, TokenOutput&);
size_t json_emulated16(const uint8_t*, size_t, JsonState&);
bool utf8_emulated16(const uint8_t*);
void tokens_emulated16(const uint8_t*, size_t, TokenOutput&);
size_t json_emulated32(const uint8_t*, size_t, JsonState&);
bool utf8_emulated32(const uint8_t*);
void tokens_emulated32(const uint8_t*, size_t, TokenOutput&);
size_t json_emulated64(const uint8_t*, size_t, JsonState&);
bool utf8_emulated64(const uint8_t*);
void tokens_emulated64(const uint8_t*, size_t, TokenOutput&);
#if defined(__x86_64__)
size_t json_avx512(const uint8_t*, size_t, JsonState&);
bool utf8_avx512(const uint8_t*);
void tokens_avx512(const uint8_t*, size_t, TokenOutput&);
void tokens_avx512vbmi(const uint8_t*, size_t, TokenOutput&);
size_t json_avx2(const uint8_t*, size_t, JsonState&);
bool utf8_avx2(const uint8_t*);
void tokens_avx2(const uint8_t*, size_t, TokenOutput&);
size_t json_sse42(const uint8_t*, size_t, JsonState&);
bool utf8_sse42(const uint8_t*);
void tokens_sse42(const uint8_t*, size_t, TokenOutput&);
#elif defined(__aarch64__)
size_t json_neon(const uint8_t*, size_t, JsonState&);
bool utf8_neon(const uint8_t*);
void tokens_neon(const uint8_t*, size_t, TokenOutput&);
#endif

}  // namespace overread
