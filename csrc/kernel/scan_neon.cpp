#include "kernel/scan_impl.h"
#include "simd/block_neon.h"

namespace overread {
void scan_neon(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<NeonBlock>(t, data, size, readable, out);
}
void structure_neon(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<NeonBlock>(data, size, out); }
}  // namespace overread
