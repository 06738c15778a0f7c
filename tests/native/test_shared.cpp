// What filters share: counts of an operator's own responses, what repeats, and twins of an object.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "abi.h"
#include "check.h"
#include "examples.h"
#include "overread.h"
#include "policy/repetition.h"

namespace {

Suite suite;

ovr_scanner* new_scanner() {
    ovr_scanner* s = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, nullptr, &s, nullptr) == OVR_OK);
    return s;
}

// A response, and how it is sent.
struct Sent {
    int mode = OVR_MODE_MONITOR;
    uint32_t watch = 0;
    uint64_t unix_ms = 0;
    std::vector<std::pair<std::string, std::string>> fields = {};
    std::string target = "/shop/item?id=1", host = "shop.example", method = "GET";
    size_t chunk = SIZE_MAX;
    int strong = OVR_DO_DEFAULT;
    uint32_t status = 200;
    bool ends = true;  // or the client goes before the body's last byte
};
struct Got {
    int verb = OVR_PASS;
    bool repeated = false;
    std::string event;
    bool says(const std::string& what) const { return event.find(what) != std::string::npos; }
};

Got send(const ovr_scanner* scanner, const Example& x, const Sent& how) {
    Got got;
    auto policy = sized<ovr_policy>();
    policy.mode = how.mode;
    policy.hold = OVR_HOLD_DEFAULT;
    policy.action[OVR_TIER_STRONG] = how.strong;
    policy.watch = how.watch;
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(scanner, &policy, &f, nullptr) == OVR_OK);
    if (!f) return got;
    std::vector<ovr_header> fields;
    for (const auto& field : how.fields) fields.push_back({bytes_of(field.first), bytes_of(field.second)});
    const std::string host_name = "Host";
    const ovr_header host{bytes_of(host_name), bytes_of(how.host)};
    auto q = sized<ovr_request>();
    q.method = bytes_of(how.method);
    q.target = bytes_of(how.target);
    q.headers = &host;
    q.header_count = 1;
    auto r = sized<ovr_response>();
    r.status = how.status;
    r.content_type = bytes_of(x.type);
    r.headers = fields.data();
    r.header_count = fields.size();
    r.request = &q;
    r.unix_ms = how.unix_ms;
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    const std::string body = how.method == "HEAD" ? "" : x.body;
    for (size_t at = 0; at < body.size() && a.verb == OVR_PASS; at += std::min(how.chunk, body.size()))
        ovr_filter_body(f, body.data() + at, std::min(how.chunk, body.size() - at), &a);
    if (!how.ends) {
        ovr_filter_close(f);
        return got;
    }
    if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
    got.verb = a.verb;
    got.repeated = a.repeated;
    if (a.wants_event) {
        char json[8192];
        auto e = sized<ovr_exchange>();
        EXPECT(suite, ovr_filter_event(f, &e, json, sizeof json, nullptr) == OVR_OK);
        got.event = json;
    }
    ovr_filter_end(f, &a);  // a second end counts nothing, and tells nothing
    EXPECT(suite, !a.wants_event && !a.repeated);
    ovr_filter_close(f);
    return got;
}

void send(const ovr_scanner* scanner, const Example& x, int mode = OVR_MODE_MONITOR, const std::string& allow = "", uint64_t unix_ms = 0) {
    Sent how;
    how.mode = mode;
    how.unix_ms = unix_ms;
    if (!allow.empty()) how.fields = {{"Allow", allow}};
    send(scanner, x, how);
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
    auto policy = sized<ovr_policy>();
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

// ---- twins ----

std::string text_of(size_t size, uint32_t seed) {
    std::mt19937 rng(seed);
    std::string s;
    while (s.size() < size) s += "<p>" + std::to_string(rng()) + " words of a page</p>\n";
    s.resize(size);
    return s;
}

Sent object_of(const std::string& body, const std::string& etag = "\"v1\"") {
    Sent how;
    how.watch = OVR_WATCH_TWINS;
    how.unix_ms = 1767225600000;
    how.fields = {{"ETag", etag}, {"Content-Length", std::to_string(body.size())}};
    return how;
}

// What the second of two bodies says.
Got after(const std::string& first, const std::string& second, const std::function<void(Sent&)>& change = {}, size_t chunk = SIZE_MAX) {
    ovr_scanner* s = new_scanner();
    Sent one = object_of(first), two = object_of(second);
    two.chunk = chunk;
    if (change) change(one), change(two);
    EXPECT(suite, send(s, {HTML, first}, one).event.empty());
    const Got got = send(s, {HTML, second}, two);
    ovr_scanner_free(s);
    return got;
}

void twins() {
    for (const size_t size : {size_t(1024), size_t(2047), size_t(2048), size_t(5000), size_t(70001)}) {
        const std::string page = text_of(size, uint32_t(size)), more = text_of(300, 7);
        const size_t block = std::max<size_t>(64, ((size + 31) / 32 + 7) / 8 * 8);
        EXPECT(suite, after(page, page).event.empty());
        for (const size_t chunk : {size_t(1), size_t(7), size_t(64), size_t(1000), SIZE_MAX}) {
            if (chunk == 1 && size > 5000) continue;
            for (const size_t at : {size_t(0), size_t(1), size / 3, std::min(block, size - 1), size - 1}) {
                const Got got = after(page, page.substr(0, at) + more + page.substr(at), {}, chunk);
                EXPECT_SEED(suite, got.says("\"twin\":{\"is\":\"insertion\",\"offset\":" + std::to_string(at / block * block) + ",\"length\":300}"), size);
                EXPECT_SEED(suite, got.says("\"group\":\"framing\"") && got.says("\"tier\":\"none\""), size);
            }
            const Got tail = after(page, page + more, {}, chunk);
            EXPECT_SEED(suite, tail.says("\"twin\":{\"is\":\"tail\",\"offset\":" + std::to_string(size) + ",\"length\":300}"), size);
        }
        std::string edited = page;
        edited[size / 2] ^= 1;
        EXPECT(suite, after(page, edited).event.empty());
        if (size > 4 * block) {
            // Two places: no insertion explains it.
            const std::string both = more + edited;
            EXPECT(suite, after(page, both).event.empty());
        }
        EXPECT(suite, after(page + more, page).event.empty());
        EXPECT(suite, after(page.substr(0, 1023), page.substr(0, 1023) + more).event.empty());  // too few blocks to tell
        EXPECT(suite, after(page, page + more.substr(0, 15)).event.empty() && !after(page, page + more.substr(0, 16)).event.empty());
    }
}

void what_is_no_twin() {
    const std::string page = text_of(5000, 1), leak = page + text_of(300, 2);
    const auto with = [](const char* name, const char* value) { return [=](Sent& s) { s.fields.push_back({name, value}); }; };
    EXPECT(suite, !after(page, leak, with("Vary", "Accept-Encoding")).event.empty() && !after(page, leak, with("Cache-Control", "max-age=60")).event.empty());
    for (const auto& change : {with("Vary", "Cookie"), with("Vary", "*"), with("Content-Encoding", "gzip"), with("Set-Cookie", "a=b"),
                               with("Cache-Control", "private, max-age=1"), with("Content-Range", "bytes 0-9/10")})
        EXPECT(suite, after(page, leak, change).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.fields[0].second = "W/\"v1\""; }).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.fields.pop_back(); }).event.empty());  // no length
    EXPECT(suite, after(page, leak, [](Sent& s) { s.method = "POST"; }).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.method = "HEAD"; }).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.status = 206; }).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.host.clear(); }).event.empty());
    EXPECT(suite, after(page, leak, [](Sent& s) { s.watch = 0; }).event.empty());
    int sent = 0;
    for (const char* what : {"etag", "target", "host"}) {
        sent = 0;
        EXPECT(suite, after(page, leak, [&](Sent& s) {
                          if (sent++ == 0) return;
                          if (*what == 'e') s.fields[0].second = "\"v2\"";
                          if (*what == 't') s.target += "2";
                          if (*what == 'h') s.host = "other.example";
                      }).event.empty());
    }
    // A body that is cut off is no object: the next whole one is the first.
    ovr_scanner* s = new_scanner();
    Sent cut = object_of(page);
    cut.ends = false;
    send(s, {HTML, page.substr(0, 100)}, cut);
    EXPECT(suite, send(s, {HTML, leak}, object_of(leak)).event.empty());
    ovr_scanner_free(s);
}

// The weight is what the objects compared so far support, and origins whose ETags do not hold lower it.
void weight_of_twins() {
    ovr_scanner* s = new_scanner();
    const std::string page = text_of(3000, 3), leak = page + text_of(300, 4);
    auto visit = [&](int object, const std::string& body) {
        Sent how = object_of(body);
        how.target = "/o/" + std::to_string(object);
        return send(s, {HTML, body}, how);
    };
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 300; i++) EXPECT(suite, visit(i, page).event.empty());
    EXPECT(suite, visit(0, leak).says("\"k\":0,\"n\":300,\"sources\":1,\"bits\":6.64,"));  // log2(300 / 3)
    EXPECT(suite, visit(1, leak).says("\"k\":1,\"n\":300,\"sources\":1,\"bits\":5.73,"));  // log2(300 / 5.645)
    for (int i = 2; i < 40; i++) visit(i, text_of(3000, 5));
    EXPECT(suite, visit(41, leak).says("\"k\":40,\"n\":300,\"sources\":1,\"bits\":2.49,"));
    ovr_scanner_free(s);
}

// ---- repetition ----

Example raw_page(uint32_t seed, const std::string& rest = "") {
    std::mt19937 rng(seed);
    std::string s = text_of(3000, 9);
    const uint64_t pointers[] = {0x00007f34e1000010 + (uint64_t(rng()) & 0xfffff0), 0x00007f34e1000460 + (uint64_t(rng()) & 0xffff00), 0, 0x21};
    s.append(reinterpret_cast<const char*>(pointers), sizeof pointers);
    s += BYTES("\xff\xfe\x01\x02") + text_of(100, 11) + rest;
    return {HTML, s + text_of(900, 10)};
}

constexpr uint64_t NOON = 1767225600000;

Sent watched(uint32_t watch, uint64_t seconds = 0) {
    Sent how;
    how.watch = watch;
    how.unix_ms = NOON + seconds * 1000;
    return how;
}

void repetition() {
    // Exact tails: of a mean of 1, 3 events or more have a probability of 0.0803, 10 or more of 1.114e-7; of 0.01, 2 or more of 4.967e-5.
    const auto near = [](double a, double b) { return std::fabs(a - b) < 1e-3; };
    EXPECT(suite, near(overread::Paths::log2_tail(1, 3), std::log2(0.080301)) && near(overread::Paths::log2_tail(1, 10), std::log2(1.11425e-7)));
    EXPECT(suite, near(overread::Paths::log2_tail(0.01, 2), std::log2(4.96679e-5)));

    // After a million clean pages the eighth of 22 bits alarms, the seventh does not.
    const double mean = 1e6 / (1 << 22), most = -22 - 3;
    EXPECT(suite, overread::Paths::log2_tail(mean, 7) > most - std::log2(7 * 8) && overread::Paths::log2_tail(mean, 8) < most - std::log2(8 * 9));

    auto first_alarm = [](uint64_t clean, const std::function<Example(uint32_t)>& page, const std::function<void(Sent&, int)>& change = {}) {
        ovr_scanner* s = new_scanner();
        for (uint64_t i = 0; i < clean; i++) send(s, CLEAN, watched(OVR_WATCH_REPETITION));
        int at = 0, alarms = 0;
        for (int i = 1; i <= 20; i++) {
            Sent how = watched(OVR_WATCH_REPETITION);
            if (change) change(how, i);
            const Got got = send(s, page(uint32_t(i)), how);
            EXPECT(suite, got.repeated == got.says("\"repetition\":{\"bits\":"));
            alarms += got.repeated;
            if (got.repeated && !at) at = i;
        }
        EXPECT(suite, alarms <= 1);  // once a day
        ovr_scanner_free(s);
        return at;
    };
    const auto leak = [](uint32_t seed) { return raw_page(seed); };
    // More than 22 bits each.
    EXPECT(suite, first_alarm(0, leak) == 2 && first_alarm(2000, leak) == 3);
    EXPECT(suite, first_alarm(0, [](uint32_t) { return raw_page(1); }) == 0);  // published bytes
    EXPECT(suite, first_alarm(0, [](uint32_t i) {
                      return Example{HTML, text_of(2000, i) + "\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs\r\nReferer: https://a.example/\r\n" + text_of(900, i)};
                  }) == 0);  // visitors post such text
    EXPECT(suite, first_alarm(0, [](uint32_t i) { return Example{HTML, text_of(2000 + i, 1) + BYTES("\1\0\0\0\0\2") + text_of(900, 1)}; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.fields = {{"Age", "3"}}; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.fields = {{"X-Cache", "Hit from cloudfront"}}; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.fields = {{"X-Cache", "MISS"}}; }) == 2);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.fields = {{"Cache-Status", "edge; fwd=miss; stored"}}; }) == 2);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int i) { s.target = "/a/b/" + std::to_string(i) + "/c"; }) == 2);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int i) { s.target = "/" + std::to_string(i) + "/b"; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int i) { s.host = std::to_string(i) + ".example"; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int i) { s.unix_ms = NOON + uint64_t(i) * 86400000; }) == 0);
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.unix_ms = 0; }) == 0);  // no clock
    EXPECT(suite, first_alarm(0, leak, [](Sent& s, int) { s.watch = 0; }) == 0);
    // Broken UTF-8, 8.6 bits, is commoner: so many in a thousand are chance, so many in ten are not.
    const auto broken = [](uint32_t i) { return Example{HTML, text_of(500, 1) + BYTES("\xff\xfe") + std::to_string(i * 7919) + text_of(100, 1)}; };
    const int few = first_alarm(0, broken), many = first_alarm(2000, broken);
    EXPECT(suite, few >= 3 && few <= 6 && (many == 0 || many > 15));
}

// ---- sameness ----

void sameness() {
    std::vector<ovr_scanner*> workers;
    const size_t size = ovr_shared_size();
    void* memory = std::calloc(1, size);
    for (int i = 0; i < 8; i++) {
        workers.push_back(new_scanner());
        EXPECT(suite, ovr_scanner_share(workers.back(), memory, size) == OVR_OK);
    }
    auto fetch = [&](int worker, uint64_t second, const Example& x, const std::function<void(Sent&)>& change = {}) {
        Sent how = watched(OVR_WATCH_SAMENESS, second);
        how.mode = OVR_MODE_ENFORCE;
        how.strong = OVR_DO_BLOCK;
        if (change) change(how);
        return send(workers[size_t(worker) % workers.size()], x, how);
    };
    // Shown so many times, for only what was not stopped was published; and then what enforce does.
    auto after = [&](int times, const Example& x, const std::string& target, const std::function<void(Sent&, int)>& change = {}) {
        for (int i = 0; i < times; i++)
            fetch(i, uint64_t(i) * 600, x, [&](Sent& s) {
                s.target = target, s.mode = OVR_MODE_MONITOR;
                if (change) change(s, i);
            });
        return fetch(3, 600 * uint64_t(times), x,
                     [&](Sent& s) {
                         s.target = target;
                         if (change) change(s, times);
                     })
            .verb;
    };
    const Example page = raw_page(1);
    // One worker, however often; all of them, but too soon; out of a cache; and what was always stopped.
    for (int i = 0; i < 20; i++) fetch(0, uint64_t(i) * 600, page, [](Sent& s) { s.mode = OVR_MODE_MONITOR; });
    EXPECT(suite, fetch(0, 20 * 600, page).verb == OVR_BLOCK);
    EXPECT(suite, after(20, page, "/soon", [](Sent& s, int i) { s.unix_ms = NOON + uint64_t(i) * 1000; }) == OVR_BLOCK);
    EXPECT(suite, after(20, page, "/cached", [](Sent& s, int) { s.fields = {{"Age", "1"}}; }) == OVR_BLOCK);
    for (int i = 0; i < 20; i++) EXPECT(suite, fetch(i, uint64_t(i) * 600, page, [](Sent& s) { s.target = "/stopped"; }).verb == OVR_BLOCK);
    // Among fetches that do not show it, as somebody asks for it again and again.
    for (int i = 0; i < 40; i++)
        fetch(i / 2, uint64_t(i) * 300, i % 2 ? Example{HTML, text_of(3000, 1)} : page, [](Sent& s) { s.target = "/asked", s.mode = OVR_MODE_MONITOR; });
    EXPECT(suite, fetch(3, 40 * 300, page, [](Sent& s) { s.target = "/asked"; }).verb == OVR_BLOCK);
    // A second place: who may post raw bytes would shield whatever leaks beside them.
    Example two = page;
    two.body += text_of(2000, 5) + page.body.substr(3000);
    EXPECT(suite, after(8, two, "/two") == OVR_BLOCK && after(8, page, "/one") == OVR_PASS);
    // Heads come in another order than ends.
    EXPECT(suite, fetch(3, 4799, page, [](Sent& s) { s.target = "/one"; }).verb == OVR_PASS);

    const auto published = [](Sent& s) { s.target = "/published"; };
    EXPECT(suite, after(8, page, "/published") == OVR_PASS);
    for (const size_t chunk : {size_t(1), size_t(100), SIZE_MAX}) {
        const Got got = fetch(3, 4800, page, [chunk](Sent& s) { s.target = "/published?q=1", s.chunk = chunk; });
        EXPECT(suite, got.verb == OVR_PASS && got.says("\"action\":\"log\"") && got.says("\"same\":") && got.says("\"tier\":\"strong\""));
    }
    // Elsewhere, other bytes, and whatever stands beside them is judged as ever.
    EXPECT(suite, fetch(3, 4801, page).verb == OVR_BLOCK);
    EXPECT(suite,
           fetch(3, 4802, raw_page(1, "\r\nCookie: session=Qk3Yx8QmZr7LwPvB2nHs5TdX\r\nReferer: https://shop.example/cart\r\n"), published).verb != OVR_PASS);
    EXPECT(suite, fetch(3, 4900, page, [](Sent& s) { s.target = "/published", s.mode = OVR_MODE_MONITOR; }).says("\"would\":\"log\""));
    EXPECT(suite, fetch(3, 4901, page, [](Sent& s) { s.target = "/published", s.watch = 0; }).verb == OVR_BLOCK);
    EXPECT(suite, fetch(3, 4902, page, published).verb == OVR_PASS);
    // Other bytes there: nothing is published any more.
    EXPECT(suite, fetch(4, 5000, raw_page(2), published).verb == OVR_BLOCK);
    EXPECT(suite, fetch(4, 5001, page, published).verb == OVR_BLOCK);
    // Too little to know a text by.
    const Example nuls = {HTML, text_of(3000, 9) + BYTES("\xff\x01") + std::string(200, '\0') + BYTES("\x01\xfe\xff") + text_of(900, 10)};
    EXPECT(suite, after(20, nuls, "/nuls") == OVR_BLOCK);
    // A day without it.
    const auto daily = [](Sent& s) { s.target = "/daily"; };
    EXPECT(suite, after(8, page, "/daily") == OVR_PASS);
    EXPECT(suite, fetch(1, 4800 + 86399, page, daily).verb == OVR_PASS);
    EXPECT(suite, fetch(1, 4800 + 86399 + 86400, page, daily).verb == OVR_BLOCK);
    for (ovr_scanner* s : workers) ovr_scanner_free(s);
    std::free(memory);
}

// More paths, signs and objects than there is room for, from several threads: nothing but the oldest is lost.
void full_tables() {
    ovr_scanner* s = new_scanner();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; t++)
        threads.emplace_back([s, t] {
            for (int i = 0; i < 3000; i++) {
                const std::string body = text_of(200 + size_t(i % 9), uint32_t(i));
                Sent how = object_of(body);
                how.watch = OVR_WATCH_REPETITION | OVR_WATCH_SAMENESS | OVR_WATCH_TWINS;
                how.target = "/" + std::to_string(t * 3000 + i) + "/x";
                send(s, i % 50 ? Example{HTML, body} : raw_page(uint32_t(i)), how);
            }
        });
    for (std::thread& t : threads) t.join();
    const std::string page = text_of(3000, 3), leak = page + text_of(300, 4);
    send(s, {HTML, page}, object_of(page));
    EXPECT(suite, send(s, {HTML, leak}, object_of(leak)).says("\"is\":\"tail\""));
    EXPECT(suite, !send(s, raw_page(1), watched(OVR_WATCH_REPETITION, 1)).repeated);
    EXPECT(suite, send(s, raw_page(2), watched(OVR_WATCH_REPETITION, 2)).repeated);
    ovr_scanner_free(s);
}

}  // namespace

int main() {
    suite.run("site counts", site_counts);
    suite.run("the largest file of counts", the_largest_file);
    suite.run("one memory for all", one_memory_for_all);
    suite.run("an older head", an_older_head);
    suite.run("twins", twins);
    suite.run("what is no twin", what_is_no_twin);
    suite.run("weight of twins", weight_of_twins);
    suite.run("repetition", repetition);
    suite.run("sameness", sameness);
    suite.run("full tables", full_tables);
    return suite.close();
}
