// What verifiers see and what they say.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"
#include "verify/reading.h"

namespace overread {

constexpr size_t LOOK_BEHIND = 192;  // bytes before a window that a verifier may read: anchor (48), target (96), method (12)
constexpr size_t LOOK_AHEAD = 640;   // bytes from the anchor's start on: anchor (48) + spaces + the longest run (512)

enum class Sign : uint8_t {
    credential,     // a well-formed credential
    lf_header,      // header line with a bare LF, or a request line with one
    crlf_header,    // header line ended or preceded by CRLF
    request_line,   // request or status line with CRLF
    parsed_header,  // header name or value between NULs, as nginx and Apache keep parsed heads
    html_end,       // </html>: where a page's tail starts
    replacements,   // a run of U+FFFD, as lossy decoding leaves it
    escaped_bytes,  // a run of escaped NULs and other bytes
};

struct Match {
    Sign sign;
    uint64_t start, end;              // of the finding
    uint64_t value_start, value_end;  // of what is compared with the client's own values
};

// Text around a UTF-16LE anchor, one byte per code unit, so that verifiers see it as they see other text.
struct NarrowText {
    static constexpr uint8_t NO_BYTE = 0x7f;  // stands for a unit above U+00FF: no verifier takes it for text
    View view;
    uint64_t start, limit;  // of the anchor, in the view's offsets
    uint64_t body;          // the anchor's place in the body
    uint8_t bytes[WIDE_BEHIND + (LOOK_AHEAD + LOOK_BEHIND) / 2 + 1];
    // until: last offset in the body that may be read. first: so many bytes of it are enough for now.
    void fill(const View& v, uint64_t at, uint64_t first, uint64_t until);
    uint64_t offset(uint64_t narrow) const { return body + 2 * (narrow - start); }
};

enum class Answer : uint8_t { no, yes, more };  // more: cannot be decided before further bytes

// Decides the anchor whose text starts at `start` (already compared). `limit` = last offset that may be read.
Answer verify(const Ruleset&, Reading&, const Anchor&, const View&, uint64_t start, uint64_t limit, Match&);

}  // namespace overread
