// What filters share: counts of an operator's own responses.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>

#include "check.h"
#include "examples.h"
#include "overread.h"

namespace {

Suite suite;

ovr_bytes bytes_of(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

ovr_scanner* new_scanner() {
    ovr_scanner* s = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, nullptr, &s, nullptr) == OVR_OK);
    return s;
}

void send(const ovr_scanner* scanner, const Example& x, int mode = OVR_MODE_MONITOR, const std::string& allow = "", uint64_t unix_ms = 0) {
    ovr_policy policy{};
    policy.struct_size = sizeof policy;
    policy.mode = mode;
    policy.hold = OVR_HOLD_DEFAULT;
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(scanner, &policy, &f, nullptr) == OVR_OK);
    if (!f) return;
    const std::string name = "Allow";
    const ovr_header field{bytes_of(name), bytes_of(allow)};
    ovr_response r{};
    r.struct_size = sizeof r;
    r.status = 200;
    r.content_type = bytes_of(x.type);
    r.headers = &field;
    r.header_count = allow.empty() ? 0 : 1;
    r.unix_ms = unix_ms;
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    if (a.verb == OVR_PASS) ovr_filter_body(f, x.body.data(), x.body.size(), &a);
    if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
    ovr_filter_end(f, &a);  // a second end counts nothing
    ovr_filter_close(f);
}

std::string counts_of(const ovr_scanner* scanner) {
    std::string text(131072, '\0');
    size_t size = 0;
    EXPECT(suite, ovr_scanner_site_counts(scanner, &text[0], text.size(), &size) == OVR_OK);
    text.resize(size);
    return text;
}

bool holds(const std::string& text, const char* what) { return text.find(what) != std::string::npos; }

std::string cell(const char* cls, const char* group, int level, int k, int n) {
    return "{\"class\": \"" + std::string(cls) + "\", \"group\": \"" + group + "\", \"level\": " + std::to_string(level) + ", \"k\": " + std::to_string(k) +
           ", \"n\": " + std::to_string(n) + "}\n";
}

const std::string HTML = "text/html; charset=utf-8";
const Example LEAK{HTML, leaking_page()}, CLEAN{HTML, "<html><body><p>plain</p></body></html>\n"};

void site_counts() {
    ovr_scanner* s = new_scanner();
    EXPECT(suite, holds(counts_of(s), "\"first\": null, \"last\": null, \"responses\": 0}\n"));
    send(s, CLEAN, OVR_MODE_MONITOR, "", 1767225600123);
    send(s, LEAK, OVR_MODE_MONITOR, "GET,HEAD,,:09:44 GMT", 1767225700000);
    send(s, {HTML, ""}, OVR_MODE_MONITOR, "GET");  // an empty body is none
    const std::string text = counts_of(s);
    EXPECT(suite, holds(text, "\"first\": 1767225600, \"last\": 1767225700, \"responses\": 3}\n"));
    for (int level = 1; level <= 4; level++) EXPECT(suite, holds(text, cell("html", "raw", level, 1, 2).c_str()));
    EXPECT(suite, holds(text, cell("html", "http", 6, 1, 2).c_str()));
    EXPECT(suite, holds(text, cell("html", "http-given-raw", 6, 1, 1).c_str()));
    EXPECT(suite, holds(text, cell("html", "place", 1, 0, 2).c_str()));
    EXPECT(suite, holds(text, cell("head", "place", 5, 1, 2).c_str()));
    EXPECT(suite, holds(text, cell("html", "pair", 24, 1, 2).c_str()));  // the head's sign beside the body's
    EXPECT(suite, !holds(text, "\"class\": \"json\""));
    // Only monitor counts: enforce stops what would be a hit.
    send(s, LEAK, OVR_MODE_ENFORCE);
    send(s, CLEAN, OVR_MODE_ENFORCE);
    send(s, LEAK, OVR_MODE_OFF);
    EXPECT(suite, counts_of(s) == text);
    // Raw bytes behind a container's end are its place sign.
    for (const Example& x : leaking_bodies())
        if (x.type == "font/woff2") send(s, x);
    EXPECT(suite, holds(counts_of(s), cell("woff2", "place", 3, 1, 1).c_str()));
    char little[16];
    size_t needed = 0;
    EXPECT(suite, ovr_scanner_site_counts(s, little, sizeof little, &needed) == OVR_E_SPACE && needed == counts_of(s).size());
    EXPECT(suite, ovr_scanner_site_counts(s, nullptr, 0, &needed) == OVR_E_SPACE && ovr_scanner_site_counts(nullptr, little, 16, nullptr) == OVR_E_ARGUMENT);
    ovr_scanner_free(s);
}

// The file of every class and level that there may be fits what the header says is enough.
void the_largest_file() {
    ovr_scanner* s = new_scanner();
    for (const char* type : {"text/html",
                             "text/javascript",
                             "text/css",
                             "application/json",
                             "image/svg+xml",
                             "text/xml",
                             "text/plain",
                             "text/event-stream",
                             "text/plain; charset=iso-8859-1",
                             "text/plain; charset=utf-16le",
                             "image/png",
                             "image/jpeg",
                             "image/gif",
                             "image/webp",
                             "font/woff",
                             "font/woff2",
                             "font/ttf",
                             "application/wasm",
                             "application/pdf",
                             "application/zip",
                             "application/octet-stream"})
        send(s, {type, "x"}, OVR_MODE_MONITOR, "GET");
    EXPECT(suite, counts_of(s).size() * 2 < 131072);  // counters of 20 digits
    ovr_scanner_free(s);
}

void one_memory_for_all() {
    const size_t size = ovr_shared_size();
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ovr_scanner* s = new_scanner();
    EXPECT(suite, ovr_scanner_share(s, memory, size - 1) == OVR_E_ARGUMENT && ovr_scanner_share(s, nullptr, size) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_scanner_share(s, static_cast<char*>(memory) + 1, size) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_scanner_share(s, memory, size) == OVR_OK);
    for (int worker = 0; worker < 2; worker++) {
        const pid_t child = fork();
        if (child == 0) {
            ovr_scanner* own = new_scanner();
            ovr_scanner_share(own, memory, size);
            for (int i = 0; i < 500; i++) send(own, i % 100 ? CLEAN : LEAK);
            _exit(0);  // as a worker that is killed: nothing is freed
        }
        int status = 0;
        EXPECT(suite, waitpid(child, &status, 0) == child && status == 0);
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([s] {
            for (int j = 0; j < 250; j++) send(s, CLEAN);
        });
    for (std::thread& t : threads) t.join();
    EXPECT(suite, holds(counts_of(s), cell("html", "raw", 4, 10, 2000).c_str()));
    ovr_scanner_free(s);
    uint64_t other = 1;
    std::memcpy(memory, &other, sizeof other);
    s = new_scanner();
    EXPECT(suite, ovr_scanner_share(s, memory, size) == OVR_E_ARGUMENT);
    send(s, CLEAN);
    EXPECT(suite, holds(counts_of(s), "\"responses\": 1}\n"));
    ovr_scanner_free(s);
    munmap(memory, size);
}

// A program of an older header: its heads end before the time of day.
void an_older_head() {
    ovr_scanner* s = new_scanner();
    ovr_policy policy{};
    policy.struct_size = sizeof policy;
    policy.mode = OVR_MODE_MONITOR;
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(s, &policy, &f, nullptr) == OVR_OK);
    ovr_response r{};
    r.struct_size = offsetof(ovr_response, unix_ms);
    r.unix_ms = 1767225600123;
    ovr_action a;
    EXPECT(suite, ovr_filter_head(f, &r, &a) == OVR_OK && ovr_filter_end(f, &a) == OVR_OK);
    EXPECT(suite, holds(counts_of(s), "\"first\": null, \"last\": null, \"responses\": 1}\n"));
    r.struct_size--;
    EXPECT(suite, ovr_filter_head(f, &r, &a) == OVR_E_ARGUMENT);
    ovr_filter_close(f);
    ovr_scanner_free(s);
}

}  // namespace

int main() {
    suite.run("site counts", site_counts);
    suite.run("the largest file of counts", the_largest_file);
    suite.run("one memory for all", one_memory_for_all);
    suite.run("an older head", an_older_head);
    return suite.close();
}
