// Checks of credentials' inner structure.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

bool check_jwt(const uint8_t* token, size_t size);
bool check_github_crc(const uint8_t* token, size_t size);
bool check_basic(const uint8_t* base64, size_t size);
bool check_pem(const uint8_t* text, size_t size);

}  // namespace overread
