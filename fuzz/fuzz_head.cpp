// Status line, header and trailer fields and the client's own request on hostile bytes; then the event, which must stay JSON.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "overread.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static ovr_filter* filter = [] {
        ovr_scanner* s = nullptr;
        ovr_filter* f = nullptr;
        ovr_policy p{};
        p.struct_size = sizeof p;
        p.mode = OVR_MODE_ENFORCE;
        p.action[OVR_TIER_WEAK] = OVR_DO_BLOCK;
        p.hold = OVR_HOLD_DEFAULT;
        if (ovr_scanner_new(nullptr, nullptr, &s, nullptr) != OVR_OK || ovr_filter_open(s, &p, &f, nullptr) != OVR_OK) std::abort();
        return f;
    }();
    std::vector<ovr_bytes> parts;  // separated by 0xFF
    size_t from = 0;
    for (size_t i = 0; i <= size; i++)
        if (i == size || data[i] == 0xff) {
            parts.push_back({data + from, i - from});
            from = i + 1;
        }
    std::vector<ovr_header> headers;
    for (size_t i = 3; i + 1 < parts.size(); i += 2) headers.push_back({parts[i], parts[i + 1]});
    auto part = [&](size_t i) { return i < parts.size() ? parts[i] : ovr_bytes{nullptr, 0}; };
    ovr_request q{};
    q.struct_size = sizeof q;
    q.target = part(1);
    q.body = part(2);
    q.headers = headers.data();
    q.header_count = headers.size() / 2;
    ovr_response r{};
    r.struct_size = sizeof r;
    r.reason = part(0);
    r.headers = headers.data();
    r.header_count = headers.size();
    r.request = &q;
    ovr_action a;
    ovr_filter_head(filter, &r, &a);
    if (size) ovr_filter_body(filter, data, size, &a);
    ovr_filter_trailers(filter, headers.data(), headers.size(), &a);
    ovr_filter_end(filter, &a);
    ovr_exchange x{};
    x.struct_size = sizeof x;
    x.proxy = "fuzz";
    x.target = part(1);
    x.host = part(2);
    char json[8192];
    size_t n = 0;
    if (ovr_filter_event(filter, &x, json, sizeof json, &n) != OVR_OK) std::abort();
    for (size_t i = 0; i < n; i++)
        if (json[i] < 0x20 || json[i] > 0x7e) std::abort();
    return 0;
}
