// Checks of credentials' inner structure.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

bool check_jwt(const uint8_t* token, size_t size);
bool check_github_crc(const uint8_t* token, size_t size);
bool check_basic(const uint8_t* base64, size_t size);
// True for tokens that look random: at least 64 bits by their own byte histogram, and not a word, a counter or a placeholder.
bool check_entropy(const uint8_t* token, size_t size);
// The same for tokens whose alphabet may lack digits: both cases of letters instead.
bool check_letters(const uint8_t* token, size_t size);
bool check_session_cookie(const uint8_t* value, size_t size);
bool check_pem(const uint8_t* text, size_t size);

}  // namespace overread
