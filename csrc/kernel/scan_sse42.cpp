#include "kernel/scan_impl.h"
#include "simd/block_sse42.h"

namespace overread {
void scan_sse42(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<Sse42Block>(t, data, size, readable, out);
}
void structure_sse42(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<Sse42Block>(data, size, out); }
}  // namespace overread
