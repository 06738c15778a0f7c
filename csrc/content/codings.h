// The content codings of a response head; RFC 9110, section 8.4.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

enum class Coding : uint8_t { gzip, deflate, br, zstd, other };

// Servers apply one coding, a careless proxy a second. Each costs a decoder, so the head of a response must not ask for many.
constexpr size_t MAX_CODINGS = 3;

struct Codings {
    Coding applied[MAX_CODINGS];  // in the order of the field: the last one is undone first
    uint8_t count = 0;
    bool unknown = false;  // a name that is none of those above, or too many

    // The members of one more field line; section 5.3 joins lines in their order.
    void add(const uint8_t* value, size_t size);
    bool none() const { return count == 0 && !unknown; }
};

}  // namespace overread
