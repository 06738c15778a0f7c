// The one-pass kernel's contract: its inputs, its outputs, and the list of kernels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

constexpr size_t WINDOW = 4;        // bytes of an anchor that are looked for
constexpr size_t NIBBLE_BYTES = 3;  // of them, the first ones: tested with nibble tables; then all by their hash
// Nibble tables of all anchors' windows (Teddy, see Hyperscan, NSDI 2019): bit k of low[j][x] is set when some window of
// bucket k has low nibble x in its byte j. What they let through by chance, nine of ten, ends at the hash set.
struct FingerprintTable {
    uint8_t low[NIBBLE_BYTES][16];
    uint8_t high[NIBBLE_BYTES][16];
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
    // One slot more than can be filled: the kernel writes first and counts afterwards, without a branch.
    uint16_t candidates[TILE + 1];  // ascending places in the tile where an anchor's window may begin
    ClassUnit classes[TILE_UNITS + 1];
};

// Scans data[0, size), size <= TILE; data[0, readable) may be read for windows that start inside, and no other byte.
// Windows that would cross `readable` are not reported. Precondition: readable >= size.
using KernelFunction = void (*)(const FingerprintTable&, const uint8_t* data, size_t size, size_t readable, KernelOutput&);

// What JSON's structure is made of, one mask bit a byte.
struct StructureUnit {
    uint64_t quote, backslash, open, close, line_break;
};
// Classifies data[0, size), size <= TILE, into one unit per UNIT bytes; bits past `size` are clear.
using StructureFunction = void (*)(const uint8_t* data, size_t size, StructureUnit* out);

struct Kernel {
    const char* name;
    KernelFunction scan;
    StructureFunction structure;
    bool (*supported)();
};

// Usable kernels, best first; emulated ones last. nullptr past the end.
const Kernel* kernel_at(size_t index);
const Kernel* kernel_named(const char* name);
// OVERREAD_KERNEL if set (nullptr when it names no usable kernel), else the best.
const Kernel* kernel_default();

// Nibble tables that classify control bytes the way the kernels do.
extern const uint8_t CONTROL_LOW[16];
extern const uint8_t CONTROL_HIGH[16];
// The same for JSON: bit 0 quote, 1 backslash, 2 [ {, 3 ] }, 4 CR LF (as simdjson classifies, Langdale and Lemire 2019).
extern const uint8_t STRUCTURE_LOW[16];
extern const uint8_t STRUCTURE_HIGH[16];

void scan_scalar(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
void scan_emulated16(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
void scan_emulated32(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
void scan_emulated64(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
#if defined(__x86_64__)
void scan_avx512(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
void scan_avx2(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
void scan_sse42(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
#elif defined(__aarch64__)
void scan_neon(const FingerprintTable&, const uint8_t*, size_t, size_t, KernelOutput&);
#endif
void structure_scalar(const uint8_t*, size_t, StructureUnit*);
void structure_emulated16(const uint8_t*, size_t, StructureUnit*);
void structure_emulated32(const uint8_t*, size_t, StructureUnit*);
void structure_emulated64(const uint8_t*, size_t, StructureUnit*);
#if defined(__x86_64__)
void structure_avx512(const uint8_t*, size_t, StructureUnit*);
void structure_avx2(const uint8_t*, size_t, StructureUnit*);
void structure_sse42(const uint8_t*, size_t, StructureUnit*);
#elif defined(__aarch64__)
void structure_neon(const uint8_t*, size_t, StructureUnit*);
#endif

}  // namespace overread
