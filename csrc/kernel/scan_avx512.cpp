#include "kernel/scan_impl.h"
#include "simd/block_avx512.h"

namespace overread {
void scan_avx512(const FingerprintTable& t, const uint8_t* data, size_t size, size_t readable, uint8_t wanted, KernelOutput& out) {
    scan<Avx512Block>(t, data, size, readable, wanted, out);
}
size_t json_avx512(const uint8_t* data, size_t size, JsonState& state) { return json_tile<Avx512Block>(data, size, state); }
bool utf8_avx512(const uint8_t* data) { return utf8_unit<Avx512Block>(data); }
void tokens_avx512(const uint8_t* data, size_t size, TokenOutput& out) { token_regions<NibbleClasses<Avx512Block>>(data, size, out); }
}  // namespace overread
