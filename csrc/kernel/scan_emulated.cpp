#include "kernel/scan_impl.h"
#include "simd/block_emulated.h"

namespace overread {
void scan_emulated16(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<EmulatedBlock<16>>(t, data, size, readable, out);
}
void scan_emulated32(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<EmulatedBlock<32>>(t, data, size, readable, out);
}
void scan_emulated64(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, KernelOutput& out) {
    scan_tile<EmulatedBlock<64>>(t, data, size, readable, out);
}
void structure_emulated16(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<EmulatedBlock<16>>(data, size, out); }
void structure_emulated32(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<EmulatedBlock<32>>(data, size, out); }
void structure_emulated64(const uint8_t* data, size_t size, StructureUnit* out) { structure_tile<EmulatedBlock<64>>(data, size, out); }
}  // namespace overread
