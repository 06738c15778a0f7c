// What a response's head and its request say of where it comes from.
#pragma once
#include "overread.h"
#include "registry/digest.h"

namespace overread {

// The value of the first field of that name; empty: none. `name` is in lower case.
ovr_bytes field(const ovr_header* fields, size_t count, const char* name);
// Whether a text stands in a value, as a word of a list or alone; `word` is in lower case.
bool has_word(const ovr_bytes& value, const char* word);
// Whether the origin made the response now: it has no Age (RFC 9111, section 5.1), and no cache says that it had it: Cache-Status
// (RFC 9211) and what CDNs and proxies send in its place.
bool is_fresh(const ovr_response& response);

// Digests of a request's host and target. Both are 0 where the request, or its host, is unknown.
struct Where {
    uint64_t path;    // the target without its query
    uint64_t prefix;  // its folder, at most two segments deep
    uint64_t target;  // with its query
};
Where where(const DigestKey& key, const ovr_request* request);

}  // namespace overread
