#include "kernel/scan_impl.h"
#include "simd/block_sse42.h"

namespace overread {
void scan_sse42(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<Sse42Block>(t, data, size, readable, wanted, out);
}
size_t json_sse42(const uint8_t* data, size_t size, JsonState& state) { return json_tile<Sse42Block>(data, size, state); }
bool utf8_sse42(const uint8_t* data) { return utf8_unit<Sse42Block>(data); }
void tokens_sse42(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<Sse42Block>>(data, size, out); }
}  // namespace overread
