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
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

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
        ovr_stream_close(stream);
        ovr_scanner_free(s);
    });
    return suite.close();
}
