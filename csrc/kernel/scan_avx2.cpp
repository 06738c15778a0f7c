#include "kernel/scan_impl.h"
#include "simd/block_avx2.h"

namespace overread {
void scan_avx2(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<Avx2Block>(t, data, size, readable, out);
}
void structure_avx2(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<Avx2Block>(data, size, out); }
}  // namespace overread
