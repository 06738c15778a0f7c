// From signs to bits: group levels, weights, chains, caps, prior and tiers. The arithmetic is explained in docs/evidence.md.
#pragma once
#include <cstdint>

#include "overread.h"
#include "ruleset/ruleset.h"

namespace overread {

// Weights of docs/evidence.md end here; thresholds are written in this file only.
constexpr double PRIOR_BITS = -21.654;  // 1 in 3,300,000: Cloudbleed at its peak
constexpr double WEAK_BITS = 14, STRONG_BITS = 22, CERTAIN_BITS = 30;
constexpr double HTTP_CAP = 17;  // http and secret together, whatever is found
// Escaped bytes pass through formatters (JetLeak, CVE-2015-2080), but scripts and documentation are full of them; U+FFFD is
// what any lossy decoding leaves. docs/evidence.md, caps.
constexpr double ESCAPED_CAP = 8, REPLACED_CAP = 3;
constexpr double PLANTED_CAP = 21.9;  // raw evidence that visitors could have typed
// Below tier weak: visitors choose the objects that are counted, and a file that grows under its ETag is no leak.
constexpr double TWIN_CAP = 13.9;
// Of the foreign group: what a value of another client is worth beside an honest reason for it to be there, by its level. A client can
// send public strings; what a server issued to one session only is that one's; no body shows what no script may read; nobody but a leak
// shows a canary. docs/foreign-secrets.md
constexpr double FOREIGN_BITS[] = {0, 12, 24, 30, 40};
// Several owners' secrets in a page that shows nothing else of memory: a list of sessions.
constexpr uint8_t LISTED_OWNERS = 3;
constexpr double PUBLISHED_BITS = CERTAIN_BITS - 0.1;  // an alarm, and no block
constexpr double FINGERPRINT_BITS = 96;
constexpr double UNRESOLVED_BITS = 8;  // a group above this keeps the delay line through a flush

// Levels of the http group (credentials included), weakest first.
enum HttpLevel : uint8_t { HTTP_NONE, HTTP_CREDENTIAL, HTTP_LF_LINE, HTTP_CRLF_LINE, HTTP_CRLF_BLOCK, HTTP_PARSED, HTTP_CREDENTIAL_IN_HEADER };
// Levels of the escaped group: U+FFFD runs, then runs of escaped NULs and bytes.
enum EscapedLevel : uint8_t { ESCAPED_NONE, ESCAPED_REPLACED, ESCAPED_BYTES };
// Levels of the place group. Heads and bodies never share a class, so one ladder serves both: documents first, then heads.
enum PlaceLevel : uint8_t { PLACE_NONE, PLACE_HTML_TAIL, PLACE_BROKEN, PLACE_CONTAINER_TAIL, PLACE_HEAD_FIELD, PLACE_HEAD_LIST, PLACE_HEAD_BYTES };
static_assert(PLACE_HEAD_BYTES <= MAX_LEVEL, "a weight has a slot");

// More bytes than the same object had: 1 inside it, 2 behind its end. Of n objects that were compared k did not keep their ETag's
// promise; `bits` is what these support.
struct TwinSign {
    uint8_t level = 0;
    double bits = 0;
    uint32_t k = 0, n = 0;
};

enum ForeignEvidence : uint8_t { FOREIGN_NONE, FOREIGN_SENT, FOREIGN_ISSUED, FOREIGN_HTTP_ONLY, FOREIGN_CANARY };
struct ForeignSigns {
    uint8_t level = FOREIGN_NONE;
    uint8_t owners = 0;  // of what servers issued
    uint32_t lookups = 0;
    uint64_t live = 1;  // windows that live
};

struct Levels {
    uint8_t raw = 0, http = 0, escaped = 0, place = 0, head = 0;
    bool typed = true;      // the raw evidence could be text that a visitor typed
    bool embedded = false;  // the raw bytes are a file of a known format: header lines beside it are its envelope
    TwinSign twin;
    ForeignSigns foreign;
    // A list of many owners' secrets, beside which no other sign stands but what they look like themselves.
    bool listed() const {
        return foreign.owners >= LISTED_OWNERS && foreign.level != FOREIGN_CANARY && http <= HTTP_CREDENTIAL &&
               !(raw || escaped || place || head || twin.level);
    }
};

struct Assessment {
    double bits = 0;
    ovr_term terms[7];
    uint8_t term_count = 0;
};

Assessment assess(const Ruleset&, ContentClass, const Levels&);
double level_bits(const Ruleset&, ContentClass, Group, uint8_t level);
double probability(double bits);
uint8_t tier(double bits);
const char* level_name(Group, uint8_t level);
// The level a sign in a head reaches, rarest on clean heads highest; PLACE_NONE for a sign of bodies.
PlaceLevel head_level(Builtin sign);

}  // namespace overread
