#include "verify/credential.h"

#include <cstring>

#include "ruleset/ruleset.h"

namespace overread {
namespace {

int base64_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

// Decodes both alphabets up to the first foreign byte; returns the bytes written.
size_t decode_base64(const uint8_t* s, size_t n, uint8_t* out, size_t capacity) {
    uint32_t word = 0;
    int bits = 0;
    size_t w = 0;
    for (size_t i = 0; i < n && w < capacity; i++) {
        const int v = base64_value(s[i]);
        if (v < 0) break;
        word = word << 6 | uint32_t(v);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[w++] = uint8_t(word >> bits);
        }
    }
    return w;
}

bool contains(const uint8_t* s, size_t n, const char* what) {
    const size_t m = std::strlen(what);
    for (size_t i = 0; i + m <= n; i++)
        if (std::memcmp(s + i, what, m) == 0) return true;
    return false;
}

}  // namespace

// RFC 7519: the first part decodes to a JSON object with "alg".
bool check_jwt(const uint8_t* token, size_t size) {
    const void* dot = std::memchr(token, '.', size);
    if (!dot) return false;
    uint8_t head[192];
    const size_t n = decode_base64(token, size_t(static_cast<const uint8_t*>(dot) - token), head, sizeof head);
    return n >= 10 && head[0] == '{' && contains(head, n, "\"alg\"");
}

// GitHub, "Behind GitHub's new authentication token formats" (2021): the last six characters are the CRC-32 of the
// characters after the prefix, in base 62.
bool check_github_crc(const uint8_t* token, size_t size) {
    const void* underscore = std::memchr(token, '_', size);
    if (!underscore) return false;
    const uint8_t* body = static_cast<const uint8_t*>(underscore) + 1;
    const size_t n = size_t(token + size - body);
    if (n != 36) return false;
    uint32_t want = 0;
    for (size_t i = 30; i < 36; i++) {
        const uint8_t c = body[i];
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'Z' ? c - 'A' + 10 : c >= 'a' && c <= 'z' ? c - 'a' + 36 : -1;
        if (v < 0) return false;
        want = want * 62 + uint32_t(v);
    }
    return crc32(body, 30) == want;
}

// RFC 7617: user-id ":" password, no control characters.
bool check_basic(const uint8_t* base64, size_t size) {
    uint8_t pair[128];
    const size_t n = decode_base64(base64, size, pair, sizeof pair);
    const void* colon = std::memchr(pair, ':', n);
    if (n < 5 || !colon || colon == pair) return false;
    for (size_t i = 0; i < n; i++)
        if (pair[i] < 0x20 || pair[i] == 0x7f) return false;
    return true;
}

// RFC 7468: base64 lines follow the label.
bool check_pem(const uint8_t* text, size_t size) {
    size_t good = 0;
    for (size_t i = 0; i < size; i++) {
        if (base64_value(text[i]) >= 0 || text[i] == '=')
            good++;
        else if (text[i] != '\n' && text[i] != '\r')
            break;
    }
    return good >= 48;
}

}  // namespace overread
