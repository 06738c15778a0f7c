#include "policy/plan.h"

#include <algorithm>
#include <limits>

#include "evidence/evidence.h"
#include "policy/control.h"

namespace overread {
namespace {

constexpr double MAX_BLOCK_BITS = 1000;  // far above what any body can show
constexpr double TIER_BITS[] = {0, WEAK_BITS, STRONG_BITS, CERTAIN_BITS};
constexpr int DEFAULT_ACTION[] = {OVR_DO_LOG, OVR_DO_LOG, OVR_DO_NO_STORE, OVR_DO_BLOCK};

ovr_bytes text(const char* s, size_t n) { return {reinterpret_cast<const uint8_t*>(s), n}; }

}  // namespace

Plan::Plan(const ovr_policy& p) : threshold_(p.threshold > 0 ? p.threshold : STRONG_BITS) {
    std::fill_n(from_, ACTIONS, std::numeric_limits<double>::infinity());
    auto take = [this](int action, double bits) {
        takes_[action] = true;
        for (int weaker = 0; weaker <= action; weaker++) from_[weaker] = std::min(from_[weaker], bits);
    };
    int strongest = OVR_DO_BLOCK;
    for (int tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) {
        const int action = p.action[tier] == OVR_DO_DEFAULT ? DEFAULT_ACTION[tier] : p.action[tier];
        strongest = std::max(strongest, action);
        // With a budget, it alone says from where a response is blocked.
        take(action >= OVR_DO_BLOCK && p.block_bits > 0 ? int(OVR_DO_NO_STORE) : action, tier == OVR_TIER_STRONG ? threshold_ : TIER_BITS[tier]);
    }
    if (p.block_bits > 0) take(strongest, p.block_bits);
}

const char* Plan::fault(const ovr_policy& p) {
    if (p.mode < OVR_MODE_OFF || p.mode > OVR_MODE_ENFORCE) return "policy.mode is out of range";
    for (int tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++)
        if (p.action[tier] < OVR_DO_DEFAULT || p.action[tier] > OVR_DO_TRIP) return "policy.action is out of range";
    if (!(p.block_bits >= 0 && p.block_bits <= MAX_BLOCK_BITS)) return "policy.block_bits must be 0, or bits up to 1000";
    if (!(p.most_blocked >= 0 && p.most_blocked <= 1)) return "policy.most_blocked must be a share, 0 to 1";
    if (p.test_key.size != 0 && (p.test_key.size != 16 || !p.test_key.data)) return "policy.test_key must have 16 bytes, or none";
    if (p.watch & ~uint32_t(OVR_WATCH_REPETITION | OVR_WATCH_SAMENESS | OVR_WATCH_TWINS)) return "policy.watch has unknown bits";
    if (p.on_error < OVR_ON_ERROR_PASS || p.on_error > OVR_ON_ERROR_BLOCK) return "policy.on_error is out of range";
    if (!(p.threshold == 0 || (p.threshold >= WEAK_BITS && p.threshold <= MAX_BLOCK_BITS))) return "policy.threshold must be 0, or 14 to 1000 bits";
    if (p.trip_alarms > Control::MAX_ALARMS) return "policy.trip_alarms must be at most 64";
    if (p.feature.size && !Control::is_name(p.feature)) return "policy.feature must be 1 to 32 letters, digits, '-', '_' or '.', which is not the first";
    if (p.feature_header.size > MAX_FIELD_NAME || (p.feature_header.size && !p.feature_header.data)) return "policy.feature_header must have at most 64 bytes";
    return nullptr;
}

int Plan::action(double bits) const {
    int strongest = OVR_DO_DEFAULT;
    for (int action = OVR_DO_LOG; action < ACTIONS; action++)
        if (takes_[action] && bits >= from_[action]) strongest = action;
    return strongest;
}

const char* action_name(int action) {
    static const char* const NAME[ACTIONS] = {"", "log", "no-store", "redact", "trim", "truncate", "block", "trip"};
    return NAME[action];
}

// What lets a cache keep a response or find it again (RFC 9111, RFC 9213, and the names of the common ones), and digests that an
// altered body would no longer have (RFC 9530, RFC 1864).
const char* const NO_STORE_STRIPS[] = {"cache-control",
                                       "expires",
                                       "pragma",
                                       "etag",
                                       "last-modified",
                                       "age",
                                       "cdn-cache-control",
                                       "cloudflare-cdn-cache-control",
                                       "vercel-cdn-cache-control",
                                       "netlify-cdn-cache-control",
                                       "cache-tag",
                                       "edge-cache-tag",
                                       "surrogate-control",
                                       "surrogate-key",
                                       "edge-control",
                                       "x-accel-expires",
                                       "x-robots-tag",
                                       "digest",
                                       "content-digest",
                                       "repr-digest",
                                       "content-md5",
                                       nullptr};

const ovr_header* no_store_sets(size_t* count) {
    static const ovr_header FIELDS[] = {{text("cache-control", 13), text("no-store", 8)}, {text("x-robots-tag", 12), text("noindex, noarchive", 18)}};
    *count = sizeof FIELDS / sizeof FIELDS[0];
    return FIELDS;
}

}  // namespace overread
