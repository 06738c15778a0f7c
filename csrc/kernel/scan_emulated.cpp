#include "kernel/scan_impl.h"
#include "simd/block_emulated.h"

namespace overread {
void scan_emulated16(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<EmulatedBlock<16>>(t, data, size, readable, wanted, out);
}
void scan_emulated32(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<EmulatedBlock<32>>(t, data, size, readable, wanted, out);
}
void scan_emulated64(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<EmulatedBlock<64>>(t, data, size, readable, wanted, out);
}
size_t json_emulated16(const uint8_t* data, size_t size, JsonState& state) { return json_tile<EmulatedBlock<16>>(data, size, state); }
bool utf8_emulated16(const uint8_t* data) { return utf8_unit<EmulatedBlock<16>>(data); }
void tokens_emulated16(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<EmulatedBlock<16>>>(data, size, out); }
size_t json_emulated32(const uint8_t* data, size_t size, JsonState& state) { return json_tile<EmulatedBlock<32>>(data, size, state); }
bool utf8_emulated32(const uint8_t* data) { return utf8_unit<EmulatedBlock<32>>(data); }
void tokens_emulated32(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<EmulatedBlock<32>>>(data, size, out); }
size_t json_emulated64(const uint8_t* data, size_t size, JsonState& state) { return json_tile<EmulatedBlock<64>>(data, size, state); }
bool utf8_emulated64(const uint8_t* data) { return utf8_unit<EmulatedBlock<64>>(data); }
void tokens_emulated64(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<EmulatedBlock<64>>>(data, size, out); }
}  // namespace overread
