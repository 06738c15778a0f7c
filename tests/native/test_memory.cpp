// Without memory every fallible call says so: no exception crosses the C edge. And what is given back holds no token.
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "abi.h"
#include "check.h"
#include "overread.h"

namespace {
bool exhausted = false;
char wanted[17] = "";  // what is looked for in memory that is given back
size_t given_back = 0, with_token = 0;

void look_and_free(void* p) {
    if (p && *wanted) {
        given_back++;
        with_token += memmem(p, malloc_usable_size(p), wanted, sizeof wanted - 1) != nullptr;
    }
    std::free(p);
}

}  // namespace

void* operator new(std::size_t size) {
    void* p = exhausted ? nullptr : std::malloc(size);
    if (!p) throw std::bad_alloc();
    return p;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return exhausted ? nullptr : std::malloc(size); }
void operator delete(void* p) noexcept { look_and_free(p); }
void operator delete(void* p, std::size_t) noexcept { look_and_free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { look_and_free(p); }

int main() {
    Suite suite;
    suite.run("no memory", [&] {
        ovr_error err{};
        ovr_scanner* s = nullptr;
        ovr_stream* stream = nullptr;
        exhausted = true;
        const ovr_ruleset* none = ovr_ruleset_default();
        const int first = ovr_scanner_new(nullptr, nullptr, &s, &err);
        exhausted = false;
        EXPECT(suite, none == nullptr && first == OVR_E_MEMORY && err.status == OVR_E_MEMORY && s == nullptr);
        EXPECT(suite, ovr_scanner_new(nullptr, nullptr, &s, &err) == OVR_OK);
        exhausted = true;
        const int second = ovr_stream_open(s, nullptr, &stream, &err);
        exhausted = false;
        EXPECT(suite, second == OVR_E_MEMORY && stream == nullptr);
        EXPECT(suite, ovr_stream_open(s, nullptr, &stream, &err) == OVR_OK);
        // A coded response for whose decoder there is none is scanned as one that cannot be decoded.
        const uint8_t name[] = "content-encoding", coding[] = "gzip";
        const ovr_header field{{name, sizeof name - 1}, {coding, sizeof coding - 1}};
        auto response = sized<ovr_response>();
        response.headers = &field;
        response.header_count = 1;
        ovr_progress progress{};
        exhausted = true;
        const int third = ovr_stream_reset(stream, &response);
        exhausted = false;
        ovr_stream_progress(stream, &progress);
        EXPECT(suite, third == OVR_OK && progress.decode == OVR_DECODE_UNKNOWN);
        ovr_stream_close(stream);
        ovr_scanner_free(s);
    });
    suite.run("a reply that is given up leaves no token in memory", [&] {
        auto ro = sized<ovr_registry_options>();
        ro.memory = 1 << 20;
        ovr_registry* registry = nullptr;
        EXPECT(suite, ovr_registry_open(&ro, &registry, nullptr) == OVR_OK);
        auto so = sized<ovr_scanner_options>();
        so.registry = registry;
        ovr_scanner* s = nullptr;
        EXPECT(suite, ovr_scanner_new(nullptr, &so, &s, nullptr) == OVR_OK);
        const std::string type = "application/json", token = "k3Jv9QxT2mWz7RbL";
        ovr_response timed{}, untimed{};
        timed.struct_size = untimed.struct_size = sizeof timed;
        timed.content_type = bytes_of(type);
        timed.unix_ms = 1'700'000'000'000;
        // Behind the token stands more than a stream keeps besides: its carry, and the last run.
        std::string body = "{\"token_type\":\"b\",\"access_token\":\"" + token + "\",\"more\":\"";
        for (int i = 0; i < 2000; i++) body += char("a1B2c3D4e5"[i % 10]);
        const auto closed = [&](const auto& close) {
            std::memcpy(wanted, token.c_str(), sizeof wanted);
            given_back = with_token = 0;
            close();
            *wanted = 0;
            EXPECT(suite, given_back > 0 && with_token == 0);
        };
        ovr_stream* stream = nullptr;
        EXPECT(suite, ovr_stream_open(s, &timed, &stream, nullptr) == OVR_OK);
        EXPECT(suite, ovr_stream_feed(stream, body.data(), body.size(), nullptr) == OVR_OK);
        closed([&] { ovr_stream_close(stream); });
        // A filter that may redact goes back to a copy of its stream.
        auto policy = sized<ovr_policy>();
        policy.mode = OVR_MODE_ENFORCE;
        policy.action[OVR_TIER_STRONG] = OVR_DO_REDACT;
        ovr_filter* filter = nullptr;
        ovr_action action{};
        EXPECT(suite, ovr_filter_open(s, &policy, &filter, nullptr) == OVR_OK);
        EXPECT(suite, ovr_filter_head(filter, &timed, &action) == OVR_OK);
        for (size_t at = 0; at < body.size(); at += 256)
            EXPECT(suite, ovr_filter_body(filter, body.data() + at, std::min<size_t>(256, body.size() - at), &action) == OVR_OK);
        closed([&] { ovr_filter_close(filter); });
        // The next response of the same stream keeps nothing of it either, though no registry is asked.
        EXPECT(suite, ovr_stream_open(s, &timed, &stream, nullptr) == OVR_OK);
        EXPECT(suite, ovr_stream_feed(stream, body.data(), body.size(), nullptr) == OVR_OK);
        EXPECT(suite, ovr_stream_reset(stream, &untimed) == OVR_OK);
        closed([&] { ovr_stream_close(stream); });
        ovr_scanner_free(s);
        ovr_registry_close(registry);
    });
    return suite.close();
}
