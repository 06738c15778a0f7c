// What verifiers see and what they say.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"
#include "verify/reading.h"

namespace overread {

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

enum class Answer : uint8_t { no, yes, more };  // more: cannot be decided before further bytes

// Decides the anchor whose text starts at `start` (already compared). `limit` = last offset that may be read.
Answer verify(const Ruleset&, Reading&, const Anchor&, const View&, uint64_t start, uint64_t limit, Match&);

}  // namespace overread
