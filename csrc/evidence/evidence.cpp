#include "evidence/evidence.h"

#include <algorithm>
#include <cmath>

namespace overread {
namespace {

const char* const RAW_LEVEL[] = {"", "broken UTF-8", "control or NUL bytes", "raw bytes after text or a complete document",
                                 "memory there: NUL runs or pointers among other raw bytes"};
const char* const HTTP_LEVEL[] = {"",
                                  "credential or log line",
                                  "header line, LF or escaped",
                                  "header line, CRLF",
                                  "header block, CRLF",
                                  "parsed header between NULs",
                                  "credential inside a header"};
const char* const PLACE_LEVEL[] = {"",
                                   "text after </html>, or the rest of an older image",
                                   "document broken inside or followed by more",
                                   "bytes after a complete container",
                                   "header field breaks its grammar",
                                   "Allow is no list of methods",
                                   "control, escaped or encoded bytes in the head"};
const char* const ESCAPED_LEVEL[] = {"", "run of U+FFFD", "run of escaped NULs and bytes"};
const char* const TWIN_LEVEL[] = {"", "more inside than the same object had", "more behind than the same object had"};
const char* const FOREIGN_LEVEL[] = {"", "value that another client sent", "secret that a server issued to another client",
                                     "the same, of a cookie that no script may read", "canary, planted token or poison"};
const char* const LISTED_LEVEL = "secrets of several clients, in a page that shows nothing else: a list";
const char* const GROUP_NAME[] = {"raw", "http", "place", "http given raw", "escaped"};

constexpr uint8_t RAW_AFTER_TEXT = 3;

}  // namespace

const char* level_name(Group g, uint8_t level) {
    if (g == GROUP_RAW && level < 5) return RAW_LEVEL[level];
    if ((g == GROUP_HTTP || g == GROUP_HTTP_GIVEN_RAW) && level < 7) return HTTP_LEVEL[level];
    if (g == GROUP_ESCAPED && level < 3) return ESCAPED_LEVEL[level];
    if (g == GROUP_PLACE && level < 7) return PLACE_LEVEL[level];
    return "";
}

PlaceLevel head_level(Builtin sign) {
    switch (sign) {
        case Builtin::head_grammar:
            return PLACE_HEAD_FIELD;
        case Builtin::head_list:
            return PLACE_HEAD_LIST;
        case Builtin::head_reason:
        case Builtin::head_control:
        case Builtin::head_cookie:
            return PLACE_HEAD_BYTES;
        default:
            return PLACE_NONE;
    }
}

double level_bits(const Ruleset& rs, ContentClass cls, Group g, uint8_t level) { return level ? rs.weights[size_t(cls)][g][level].bits : 0; }

Assessment assess(const Ruleset& rs, ContentClass cls, const Levels& levels) {
    Assessment r;
    auto term = [&](Group g, ContentClass c, uint8_t level, double bits, uint8_t basis) {
        const Weight& w = rs.weights[size_t(c)][g][level];
        r.terms[r.term_count++] = {GROUP_NAME[g == GROUP_HTTP_GIVEN_RAW ? GROUP_HTTP : g],
                                   level_name(g, level),
                                   content_class_name(ContentClass(w.counted_class)),
                                   basis,
                                   level,
                                   float(bits),
                                   w.k,
                                   w.n,
                                   w.sources,
                                   float(level_bits(rs, c, g == GROUP_HTTP_GIVEN_RAW ? GROUP_HTTP : g, level)),
                                   /* collision */ 0,
                                   /* semantic */ 0};
    };
    const double cap = rs.pair_cap[size_t(cls)];
    // Two counted groups without a measured chain never exceed what the sample supports, plus three bits.
    auto pair = [&](double sum, double more) { return std::max({sum, more, std::min(sum + more, cap)}); };

    double bits = 0, typeable = 0;
    if (levels.raw) {
        bits = level_bits(rs, cls, GROUP_RAW, levels.raw);
        term(GROUP_RAW, cls, levels.raw, bits, rs.weights[size_t(cls)][GROUP_RAW][levels.raw].basis);
    }
    if (levels.http) {
        const double alone = std::min(HTTP_CAP, level_bits(rs, cls, GROUP_HTTP, levels.http));
        typeable = alone;
        if (levels.raw >= RAW_AFTER_TEXT && !levels.embedded) {
            const double chained = std::min(alone, level_bits(rs, cls, GROUP_HTTP_GIVEN_RAW, levels.http));
            // The chain gives what the header adds where raw bytes already stand; never less than the stronger sign alone.
            const double sum = std::max(bits + chained, alone);
            term(bits + chained >= alone ? GROUP_HTTP_GIVEN_RAW : GROUP_HTTP, cls, levels.http, sum - bits, OVR_BASIS_CHAINED);
            bits = sum;
        } else {
            const double sum = pair(bits, alone);
            term(GROUP_HTTP, cls, levels.http, sum - bits, levels.raw ? OVR_BASIS_CAPPED : OVR_BASIS_COUNTED);
            bits = sum;
        }
    }
    if (levels.escaped) {
        const double most = std::min(levels.escaped == ESCAPED_BYTES ? ESCAPED_CAP : REPLACED_CAP, PLANTED_CAP - typeable);
        const double sum = pair(bits, std::min(most, level_bits(rs, cls, GROUP_ESCAPED, levels.escaped)));
        term(GROUP_ESCAPED, cls, levels.escaped, sum - bits, bits > 0 ? OVR_BASIS_CAPPED : OVR_BASIS_COUNTED);
        bits = sum;
    }
    // Raw bytes of a container count only behind its end: they hold the place sign already.
    if (levels.place && !(is_container(cls) && levels.raw)) {
        const double sum = pair(bits, level_bits(rs, cls, GROUP_PLACE, levels.place));
        term(GROUP_PLACE, cls, levels.place, sum - bits, bits > 0 ? OVR_BASIS_CAPPED : OVR_BASIS_COUNTED);
        bits = sum;
    }
    if (levels.twin.level) {
        const TwinSign& twin = levels.twin;
        const double sum = pair(bits, twin.bits);
        r.terms[r.term_count++] = {"framing",
                                   TWIN_LEVEL[twin.level],
                                   content_class_name(cls),
                                   uint8_t(bits > 0 ? OVR_BASIS_CAPPED : OVR_BASIS_COUNTED),
                                   twin.level,
                                   float(sum - bits),
                                   twin.k,
                                   twin.n,
                                   /* sources */ 1,
                                   float(twin.bits),
                                   /* collision */ 0,
                                   /* semantic */ 0};
        bits = sum;
    }
    const ForeignSigns& foreign = levels.foreign;
    const uint8_t foreign_level = levels.listed() ? std::min<uint8_t>(foreign.level, FOREIGN_SENT) : foreign.level;
    const double collision = std::max(0.0, FINGERPRINT_BITS - std::log2(double(foreign.live)) - std::log2(std::max(1.0, double(foreign.lookups))));
    const double semantic = FOREIGN_BITS[foreign_level], foreign_bits = std::min(collision, semantic);
    // What a client sent, a visitor can type.
    if (foreign_level == FOREIGN_SENT) bits += foreign_bits;
    if (levels.typed) bits = std::min(bits, PLANTED_CAP);
    if (foreign_level > FOREIGN_SENT) bits += foreign_bits;
    if (foreign_level)
        r.terms[r.term_count++] = {"foreign",
                                   levels.listed() ? LISTED_LEVEL : FOREIGN_LEVEL[foreign_level],
                                   content_class_name(cls),
                                   OVR_BASIS_CONSTRUCTED,
                                   foreign_level,
                                   float(foreign_bits),
                                   foreign.lookups,
                                   uint32_t(std::min<uint64_t>(foreign.live, UINT32_MAX)),
                                   /* sources */ 0,
                                   float(foreign_bits),
                                   float(collision),
                                   float(semantic)};
    if (levels.head) {
        const double sum = pair(bits, level_bits(rs, ContentClass::head, GROUP_PLACE, levels.head));
        term(GROUP_PLACE, ContentClass::head, levels.head, sum - bits, bits > 0 ? OVR_BASIS_CAPPED : OVR_BASIS_COUNTED);
        bits = sum;
    }
    r.bits = bits;
    return r;
}

double probability(double bits) { return 1 / (1 + std::exp2(-(bits + PRIOR_BITS))); }

uint8_t tier(double bits) {
    return bits >= CERTAIN_BITS ? OVR_TIER_CERTAIN : bits >= STRONG_BITS ? OVR_TIER_STRONG : bits >= WEAK_BITS ? OVR_TIER_WEAK : OVR_TIER_NONE;
}

}  // namespace overread
