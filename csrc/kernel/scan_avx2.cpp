#include "kernel/scan_impl.h"
#include "simd/block_avx2.h"

namespace overread {
void scan_avx2(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<Avx2Block>(t, data, size, readable, wanted, out);
}
size_t json_avx2(const uint8_t* data, size_t size, JsonState& state) { return json_tile<Avx2Block>(data, size, state); }
bool utf8_avx2(const uint8_t* data) { return utf8_unit<Avx2Block>(data); }
void tokens_avx2(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<Avx2Block>>(data, size, out); }
}  // namespace overread
