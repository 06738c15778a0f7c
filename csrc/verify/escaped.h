// Escaped text: NULs and bytes that a formatter wrote as \x00, \u0000, %00 or &#0;, and header lines behind an escaped CR LF.
#pragma once
#include "verify/signal.h"

namespace overread {

// A run of escapes from `start`, where two escaped NULs stand that continue no run of NULs. `limit` as for verify().
Answer escaped_run(const View&, uint64_t start, uint64_t limit, Match&);
// At least four U+FFFD; the anchor is the first four.
Answer replacement_run(const View&, uint64_t start, uint64_t limit, Match&);

// The text behind an escaped CR LF, decoded one character at a time until its encoding cannot go on.
struct Decoded {
    uint8_t bytes[LOOK_AHEAD + 64];
    uint64_t from[LOOK_AHEAD + 64];  // where each byte's escape begins, in the escaped text
    size_t size = 0;
    bool open = false;  // what follows is not there yet
    // A line end for the escaped one at `start`, the n bytes of a header name at `name` as they are, and what follows up to `limit`.
    Decoded(const View&, uint64_t start, uint64_t name, size_t n, uint64_t limit, uint8_t kind);
    // Whether a colon follows the name.
    bool is_line(size_t n) const { return size > n + 2 && bytes[n + 2] == ':'; }

  private:
    void push(uint8_t byte, uint64_t at) {
        bytes[size] = byte;
        from[size++] = at;
    }
    // `kind`: the first byte of the escapes, one of \ % &.
    void append(const View&, uint64_t at, uint64_t limit, uint8_t kind);
};
// Offset behind every escaped or plain CR and LF at `at` (at most four).
uint64_t skip_line_ends(const View&, uint64_t at, uint64_t stop, uint8_t kind);

}  // namespace overread
