#include <cstdlib>
#include <cstring>

#include "kernel/kernel.h"

namespace overread {

// By bytes' bits 3 to 6: 0 to 3 are the control characters, all but 9 A C D 1A 1B, and 15 holds DEL.
const uint8_t CONTROL_LOW[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 0, 2, 4, 4, 1, 9};
const uint8_t CONTROL_UPPER[16] = {1, 3, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8};
const uint8_t TEXT_EXCEPTIONS[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '\t', '\n', 0xff, 0xff, '\r', 0xff, 0x7f};

// Bits 0 and 1: letters; 2: digits; 3: + - . /; 4: _; 5: # ; and 7, where escapes begin: % & and the backslash.
const uint8_t TOKEN_LOW[16] = {5, 7, 7, 39, 7, 135, 135, 7, 7, 7, 3, 41, 129, 9, 9, 25};
const uint8_t TOKEN_UPPER[16] = {0, 0, 0, 0, 160, 8, 4, 36, 2, 1, 1, 146, 2, 1, 1, 2};
// Bits: 0 a slash, 1 u, 2 x, 3 #, 4 the digits 2 to 7.
const uint8_t ESCAPE_LOW[16] = {0, 0, 16, 24, 16, 18, 16, 16, 4, 0, 0, 0, 0, 0, 0, 1};
const uint8_t ESCAPE_UPPER[16] = {0, 0, 0, 0, 8, 1, 16, 0, 0, 0, 0, 0, 0, 0, 2, 4};

// Bits: 0 a lead without a continuation, 1 a continuation without a lead, 2, 5 and 6 a form longer than needed, 3 and 6 a code
// point above U+10FFFF, 4 a surrogate, 7 two continuations, which are right where a lead two or three bytes before asks for it.
const uint8_t UTF8_FIRST_HIGH[16] = {2, 2, 2, 2, 2, 2, 2, 2, 128, 128, 128, 128, 33, 1, 21, 73};
const uint8_t UTF8_FIRST_LOW[16] = {231, 163, 131, 131, 139, 203, 203, 203, 203, 203, 203, 203, 203, 219, 203, 203};
const uint8_t UTF8_SECOND_HIGH[16] = {1, 1, 1, 1, 1, 1, 1, 1, 230, 174, 186, 186, 1, 1, 1, 1};

namespace {

bool is_token(int c) { return c >= 0 && c < 0x80 && TOKEN_LOW[c & 15] & TOKEN_UPPER[c >> 3] & TOKEN_CHARACTER; }

int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Of text[0, n): n digits; -1: they are none.
int number(const uint8_t* text, size_t n, int base) {
    int value = n ? 0 : -1;
    for (size_t i = 0; i < n && value >= 0; i++) {
        const int d = hex_digit(text[i]);
        value = d < 0 || d >= base || value > 0xff ? -1 : value * base + d;
    }
    return value;
}

}  // namespace

size_t token_escape(const uint8_t* text, size_t size, uint8_t* character) {
    int c = -1;
    size_t length = 0;
    if (size >= 3 && text[0] == '%') {
        c = number(text + 1, length = 2, 16);
        length = 3;
    } else if (size >= 2 && text[0] == '\\') {
        if (text[1] == '/')
            c = '/', length = 2;
        else if (text[1] == 'x' && size >= 4)
            c = number(text + 2, 2, 16), length = 4;
        else if (text[1] == 'u' && size >= 6)
            c = number(text + 2, 4, 16), length = 6;
    } else if (size >= 4 && text[0] == '&' && text[1] == '#') {
        // What stands for one of these characters has at most three digits.
        const bool hex = (text[2] | 0x20) == 'x';
        const size_t from = hex ? 3 : 2;
        size_t end = from;
        while (end < size && end < from + 3 && hex_digit(text[end]) >= 0) end++;
        if (end < size && text[end] == ';') c = number(text + from, end - from, hex ? 16 : 10), length = end + 1;
    }
    if (!is_token(c)) return 0;
    *character = uint8_t(c);
    return length;
}

namespace {

bool always() { return true; }
#if defined(__x86_64__)
// The compiler's run-time check asks the operating system too: registers it does not save are not used.
bool has_avx2() {
    // Every CPU with AVX2 so far has the others as well.
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
           __builtin_cpu_supports("pclmul");
}
bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512bw"); }
bool has_avx512vbmi() { return has_avx512() && __builtin_cpu_supports("avx512vbmi"); }
bool has_sse42() { return __builtin_cpu_supports("sse4.2"); }
#endif

const Kernel KERNELS[] = {
#if defined(__x86_64__)
    {"avx512vbmi", scan_avx512vbmi, json_avx512, utf8_avx512, tokens_avx512vbmi, has_avx512vbmi},
    {"avx2", scan_avx2, json_avx2, utf8_avx2, tokens_avx2, has_avx2},
    // By name only: of the CPUs without VBMI, Skylake-X and its like lower the clock of a whole core for 512 bits (Intel's
    // optimization manual, section on Skylake server power management), and every other thread of the server would pay for it.
    {"avx512", scan_avx512, json_avx512, utf8_avx512, tokens_avx512, has_avx512},
    {"sse42", scan_sse42, json_sse42, utf8_sse42, tokens_sse42, has_sse42},
#elif defined(__aarch64__)
    // Its very instructions run in the tests, under qemu; every AArch64 CPU has them.
    {"neon", scan_neon, json_neon, utf8_neon, tokens_neon, always},
#endif
    {"scalar", scan_scalar, json_scalar, utf8_scalar, tokens_scalar, always},
    {"emulated16", scan_emulated16, json_emulated16, utf8_emulated16, tokens_emulated16, always},
    {"emulated32", scan_emulated32, json_emulated32, utf8_emulated32, tokens_emulated32, always},
    {"emulated64", scan_emulated64, json_emulated64, utf8_emulated64, tokens_emulated64, always},
};

}  // namespace

const Kernel* kernel_at(size_t index) {
    for (const Kernel& k : KERNELS)
        if (k.supported() && index-- == 0) return &k;
    return nullptr;
}

const Kernel* kernel_named(const char* name) {
    for (const Kernel& k : KERNELS)
        if (std::strcmp(k.name, name) == 0 && k.supported()) return &k;
    return nullptr;
}

const Kernel* kernel_default() {
    const char* forced = std::getenv("OVERREAD_KERNEL");
    return forced && *forced ? kernel_named(forced) : kernel_at(0);
}

}  // namespace overread
