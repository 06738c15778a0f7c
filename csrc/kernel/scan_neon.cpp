#include "kernel/scan_impl.h"
#include "simd/block_neon.h"

namespace overread {
void scan_neon(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<NeonBlock>(t, data, size, readable, wanted, out);
}
size_t json_neon(const uint8_t* data, size_t size, JsonState& state) { return json_tile<NeonBlock>(data, size, state); }
bool utf8_neon(const uint8_t* data) { return utf8_unit<NeonBlock>(data); }
void tokens_neon(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<NeonBlock>>(data, size, out); }
}  // namespace overread
