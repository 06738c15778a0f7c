#include "kernel/scan_impl.h"
#include "simd/block_avx512.h"

namespace overread {
void scan_avx512(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<Avx512Block>(t, data, size, readable, out);
}
void structure_avx512(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<Avx512Block>(data, size, out); }
}  // namespace overread
