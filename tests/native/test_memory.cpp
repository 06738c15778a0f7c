// Without memory every fallible call says so: no exception crosses the C edge.
#include <cstdlib>
#include <new>

#include "check.h"
#include "overread.h"

namespace {
bool exhausted = false;
}

void* operator new(std::size_t size) {
    void* p = exhausted ? nullptr : std::malloc(size);
    if (!p) throw std::bad_alloc();
    return p;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return exhausted ? nullptr : std::malloc(size); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }

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
        ovr_response response{};
        response.struct_size = sizeof response;
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
    return suite.close();
}
