// What operators write: lines of ignores, and a control file that changes while it is looked at. Whatever stands there has a documented
// answer, and a list that was accepted is used.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "overread.h"

namespace {

void ignores(const std::string& text) {
    std::vector<std::string> lines;
    for (size_t from = 0; from < text.size();) {
        const size_t end = std::min(text.find('\n', from), text.size());
        lines.push_back(text.substr(from, end - from));
        from = end + 1;
    }
    std::vector<const char*> pointers;
    for (const std::string& line : lines) pointers.push_back(line.c_str());
    ovr_ignores* list = nullptr;
    ovr_error err;
    if (ovr_ignores_new(ovr_ruleset_default(), pointers.data(), pointers.size(), &list, &err) != OVR_OK) {
        if (list || !err.message[0]) std::abort();
        return;
    }
    static ovr_scanner* scanner = [] {
        ovr_scanner* s = nullptr;
        if (ovr_scanner_new(nullptr, nullptr, &s, nullptr) != OVR_OK) std::abort();
        return s;
    }();
    ovr_policy policy{};
    policy.struct_size = sizeof policy;
    policy.mode = OVR_MODE_ENFORCE;
    policy.ignores = list;
    ovr_filter* f = nullptr;
    if (ovr_filter_open(scanner, &policy, &f, nullptr) != OVR_OK) std::abort();
    ovr_request q{};
    q.struct_size = sizeof q;
    q.target = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    ovr_response r{};
    r.struct_size = sizeof r;
    r.request = &q;
    r.unix_ms = 1796083200000;
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    static const char BODY[] = "<html>\0\0\0\0\1\xff\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n";
    ovr_filter_body(f, BODY, sizeof BODY - 1, &a);
    ovr_filter_end(f, &a);
    ovr_verdict v;
    if (ovr_filter_verdict(f, &v) != OVR_OK || v.bits < 0) std::abort();
    ovr_filter_close(f);
    ovr_ignores_free(list);
}

void control(const std::string& text) {
    const int fd = memfd_create("control", MFD_CLOEXEC);
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    ovr_control* c = nullptr;
    if (fd < 0 || ovr_control_open(path.c_str(), 0, &c, nullptr) != OVR_OK) std::abort();
    uint64_t now = 1796083200000;
    for (size_t from = 0, step = 1; from < text.size(); from += step, step = step * 2 + 1) {
        const size_t n = std::min(step, text.size() - from);
        if (write(fd, text.data() + from, n) != ssize_t(n)) std::abort();
        ovr_control_state state{};
        state.struct_size = sizeof state;
        if (ovr_control_look(c, now += 100, &state) != OVR_OK || state.mode < OVR_MODE_OFF || state.mode > OVR_MODE_ENFORCE) std::abort();
        if (text[from] == '!' && ftruncate(fd, 0) != 0) std::abort();
        if (text[from] == '?') ovr_control_trip(c, "x", now, now + 50);
    }
    ovr_feature f;
    for (size_t i = 0; ovr_control_feature(c, i, &f) == OVR_OK; i++)
        if (i >= OVR_FEATURES || !f.name[0]) std::abort();
    ovr_control_close(c);
    close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const size_t nul = std::min(text.find('\0'), text.size());
    ignores(text.substr(0, nul));
    control(text.substr(std::min(nul + 1, text.size())));
    return 0;
}
