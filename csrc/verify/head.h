// Grammar of response heads: reason phrase and header fields whose form the RFCs fix.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"

namespace overread {

// The sign a reason phrase shows, or Builtin::none. `offset` receives the first offending byte.
Builtin check_reason(const uint8_t* reason, size_t size, size_t* offset);
// The sign a header field shows, or Builtin::none.
Builtin check_header(const uint8_t* name, size_t name_size, const uint8_t* value, size_t size, size_t* offset);

}  // namespace overread
