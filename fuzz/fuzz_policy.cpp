// Redaction on hostile bytes: any split gives the same output, of the same length, and no match that was found after the policy's
// bits were there can be read in it. Other actions end where they say they do.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "overread.h"

namespace {

const char* const TYPES[] = {
    "text/html; charset=utf-8", "application/json", "image/png", "text/event-stream", "text/plain; charset=iso-8859-1", "", "text/html"};
const uint32_t HOLDS[] = {0, 100, OVR_HOLD_DEFAULT};

struct Out {
    int verb = OVR_PASS;
    std::string body;
    bool operator==(const Out& other) const { return verb == other.verb && body == other.body; }
};

Out send(ovr_filter* f, const std::string& type, const uint8_t* data, size_t size, size_t first, size_t step) {
    ovr_response r{};
    r.struct_size = sizeof r;
    r.content_type = {reinterpret_cast<const uint8_t*>(type.data()), type.size()};
    Out out;
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    size_t fed = 0;
    auto take = [&] {
        out.verb = a.verb;
        if (a.verb == OVR_BLOCK || a.verb == OVR_CUT) return;
        const size_t until = size_t(std::min<uint64_t>(a.released, fed)), sent = out.body.size();
        if (until < sent || a.released > fed) std::abort();
        std::string piece(reinterpret_cast<const char*>(data) + sent, until - sent);
        if (a.redact) ovr_filter_redact(f, sent, &piece[0], piece.size());
        out.body += piece;
    };
    while (fed < size && a.verb == OVR_PASS) {
        const size_t n = std::min(size - fed, fed ? step : first);
        ovr_filter_body(f, data + fed, n, &a);
        fed += n;
        take();
    }
    if (a.verb == OVR_PASS) {
        ovr_filter_end(f, &a);
        take();
    }
    char event[8192];
    ovr_exchange x{};
    x.struct_size = sizeof x;
    if (ovr_filter_event(f, &x, event, sizeof event, nullptr) != OVR_OK) std::abort();
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static ovr_filter* filters[3][6];
    static const bool ready = [] {
        ovr_scanner* s = nullptr;
        if (ovr_scanner_new(nullptr, nullptr, &s, nullptr) != OVR_OK) std::abort();
        for (int h = 0; h < 3; h++)
            for (int k = 0; k < 6; k++) {
                ovr_policy p{};
                p.struct_size = sizeof p;
                p.mode = OVR_MODE_ENFORCE;
                p.hold = HOLDS[h];
                const int action = k < 3 ? OVR_DO_REDACT : k == 3 ? OVR_DO_TRIM : k == 4 ? OVR_DO_TRUNCATE : OVR_DO_BLOCK;
                for (int tier = OVR_TIER_WEAK + k % 3; tier <= OVR_TIER_CERTAIN; tier++) p.action[tier] = action;
                if (ovr_filter_open(s, &p, &filters[h][k], nullptr) != OVR_OK) std::abort();
            }
        return true;
    }();
    if (!ready || size < 5) return 0;
    const bool redacts = data[1] % 6 < 3;
    ovr_filter* f = filters[data[0] % 3][data[1] % 6];
    const std::string type = TYPES[data[2] % 7];
    const size_t first = 1 + data[3], step = 1 + data[4];
    data += 5;
    size -= 5;
    const Out whole = send(f, type, data, size, size ? size : 1, 1);
    const Out split = send(f, type, data, size, first, step);
    if (whole.body.size() > size || split.body.size() > size) std::abort();
    if (redacts && !(whole == split)) std::abort();
    return 0;
}
