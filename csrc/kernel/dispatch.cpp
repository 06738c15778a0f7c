#include <cstdlib>
#include <cstring>

#include "kernel/kernel.h"

namespace overread {

// bit 0: high nibble 0, all but 9 A C D; bit 1: high nibble 1, all but A B; bit 2: 7F.
const uint8_t CONTROL_LOW[16] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 0, 1, 2, 2, 3, 7};
const uint8_t CONTROL_HIGH[16] = {1, 2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0};

const uint8_t STRUCTURE_LOW[16] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 4, 2, 24, 0, 0};
const uint8_t STRUCTURE_HIGH[16] = {16, 0, 1, 0, 0, 14, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0};

namespace {

bool always() { return true; }
#if defined(__x86_64__)
// The compiler's run-time check asks the operating system too: registers it does not save are not used.
bool has_avx512() { return __builtin_cpu_supports("avx512bw"); }
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
bool has_sse42() { return __builtin_cpu_supports("sse4.2"); }
#endif

const Kernel KERNELS[] = {
#if defined(__x86_64__)
    {"avx2", scan_avx2, structure_avx2, has_avx2},
    {"sse42", scan_sse42, structure_sse42, has_sse42},
    // Never run on its own CPU so far: chosen by name only.
    {"avx512", scan_avx512, structure_avx512, has_avx512},
#elif defined(__aarch64__)
    // Its very instructions run in the tests, under qemu; every AArch64 CPU has them.
    {"neon", scan_neon, structure_neon, always},
#endif
    {"scalar", scan_scalar, structure_scalar, always},
    {"emulated16", scan_emulated16, structure_emulated16, always},
    {"emulated32", scan_emulated32, structure_emulated32, always},
    {"emulated64", scan_emulated64, structure_emulated64, always},
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
