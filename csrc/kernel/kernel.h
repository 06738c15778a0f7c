// The one-pass kernel's contract: its inputs, its outputs, and the list of kernels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

// Nibble tables of all anchors' 3-byte windows (Teddy, see Hyperscan, NSDI 2019): bit k of
// low[j][x] is set when some window of bucket k has low nibble x in its byte j.
struct FingerprintTable {
    uint8_t low[3][16];
    uint8_t high[3][16];
};

constexpr size_t UNIT = 64;    // one mask word covers this many bytes
constexpr size_t TILE = 8192;  // bytes per kernel call: lists stay in L1 and on the stack
constexpr size_t TILE_UNITS = TILE / UNIT;

struct CandidateUnit {
    uint32_t unit;  // index of the unit in the tile
    uint64_t mask;  // bit i: the window at byte i of the unit may belong to an anchor
};
struct ClassUnit {
    uint32_t unit;
    uint64_t control;  // C0 controls but TAB LF FF CR SUB (the end of a DOS text) ESC, and DEL
    uint64_t high;     // bytes >= 0x80
};
struct KernelOutput {
    uint32_t candidate_units;
    uint32_t class_units;
    // One slot more than can be filled: the kernel writes first and counts afterwards, without a branch.
    CandidateUnit candidates[TILE_UNITS + 1];
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
