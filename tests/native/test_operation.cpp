// What operators turn at run time: ignores, thresholds, features and the control file, event limits, digests under their key.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>

#include "abi.h"
#include "check.h"
#include "examples.h"
#include "overread.h"

namespace {

Suite suite;
std::string folder;
constexpr uint64_t NOW = 1796083200000;  // 2026-12-01
constexpr uint64_t DAY = 86400000;

ovr_policy policy(int mode = OVR_MODE_ENFORCE) {
    auto p = sized<ovr_policy>();
    p.mode = mode;
    p.hold = OVR_HOLD_DEFAULT;
    return p;
}

struct Scanner {
    ovr_scanner* handle = nullptr;
    explicit Scanner(const std::string& key = "") {
        auto o = sized<ovr_scanner_options>();
        o.hold = OVR_HOLD_DEFAULT;
        o.key = bytes_of(key);
        EXPECT(suite, ovr_scanner_new(nullptr, &o, &handle, nullptr) == OVR_OK);
    }
    ~Scanner() { ovr_scanner_free(handle); }
};

struct Got {
    int verb = 0;
    double bits = 0;
    bool leaked = false, wanted = false;
    uint64_t ignored = 0, tripped = 0;
    std::string event, digest;
    bool says(const std::string& what) const { return event.find(what) != std::string::npos; }
};

struct Ask {
    std::string target = "/shop/cart?q=1", field, value, owner;
    uint64_t now = NOW;
    size_t chunk = 1 << 20;
};

Got send(const Scanner& s, const ovr_policy& p, const Example& x, const Ask& ask = {}) {
    Got got;
    ovr_filter* f = nullptr;
    ovr_error err{};
    EXPECT(suite, ovr_filter_open(s.handle, &p, &f, &err) == OVR_OK);
    if (!f) return got;
    const std::string method = "GET";
    auto q = sized<ovr_request>();
    q.method = bytes_of(method);
    q.target = bytes_of(ask.target);
    const ovr_header field{bytes_of(ask.field), bytes_of(ask.value)};
    auto r = sized<ovr_response>();
    r.status = 200;
    r.content_type = bytes_of(x.type);
    r.headers = &field;
    r.header_count = ask.field.empty() ? 0 : 1;
    r.request = &q;
    r.unix_ms = ask.now;
    ovr_action a;
    EXPECT(suite, ovr_filter_head(f, &r, &a) == OVR_OK);
    got.wanted = a.wants_event;
    for (size_t at = 0; at < x.body.size() && a.verb == OVR_PASS; at += ask.chunk) {
        ovr_filter_body(f, x.body.data() + at, std::min(ask.chunk, x.body.size() - at), &a);
        got.wanted |= a.wants_event != 0;
    }
    if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
    got.wanted |= a.wants_event != 0;
    ovr_verdict v{};
    EXPECT(suite, ovr_filter_verdict(f, &v) == OVR_OK);
    got.verb = a.verb;
    got.bits = v.bits;
    got.leaked = v.leaked;
    for (size_t i = 0; i < v.finding_count; i++)
        if (v.findings[i].digest && got.digest.empty()) {
            char hex[17];
            std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(v.findings[i].digest));
            got.digest = hex;
        }
    got.ignored = ovr_filter_ignored(f);
    got.tripped = ovr_filter_tripped(f);
    if (got.wanted) {
        char json[8192];
        size_t size = 0;
        auto e = sized<ovr_exchange>();
        e.unix_ms = ask.now;
        e.owner = bytes_of(ask.owner);
        EXPECT(suite, ovr_filter_event(f, &e, json, sizeof json, &size) == OVR_OK);
        if (size) got.event = json;
    }
    ovr_filter_close(f);
    return got;
}

struct Ignores {
    ovr_ignores* handle = nullptr;
    explicit Ignores(std::vector<const char*> lines) {
        ovr_error err{};
        const int status = ovr_ignores_new(ovr_ruleset_default(), lines.data(), lines.size(), &handle, &err);
        if (status != OVR_OK) std::printf("%s\n", err.message);
        EXPECT(suite, status == OVR_OK);
    }
    ~Ignores() { ovr_ignores_free(handle); }
};

Example raw_page() {
    std::string s = "<!DOCTYPE html>\n<html><body>\n";
    for (int i = 0; i < 60; i++) s += "<p>An ordinary paragraph of an ordinary page.</p>\n";
    return {"text/html; charset=utf-8", s + BYTES("\0\0\0\0\0\x10\xff\xfe\x01\0\0\0\0\x20") + "<p>more</p></body></html>\n"};
}

Example weak_page() {
    Example x = raw_page();
    x.body = x.body.substr(0, 2000) + BYTES("\0\0\1") + "</body></html>\n";
    return x;
}

Example page_with(const std::string& what) {
    Example x = raw_page();
    x.body = x.body.substr(0, 1500) + what + "</body></html>\n";
    return x;
}

// ---- ignores ----

void ignores_take_out_what_they_name() {
    const Scanner s;
    const Example raw = raw_page(), line = page_with("\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://a.example/x\r\n");
    ovr_policy p = policy(OVR_MODE_MONITOR);
    const double before = send(s, p, raw).bits, before_line = send(s, p, line).bits;
    EXPECT(suite, before >= 14 && before_line > 8);
    const Ignores family({"family=raw until=2026-12-31"});
    p.ignores = family.handle;
    const Got none = send(s, p, raw);
    EXPECT(suite, none.bits == 0 && none.ignored == 1 && !none.wanted);
    EXPECT(suite, send(s, p, line).bits == before_line);
    // As of any chunks.
    for (const size_t chunk : {1, 7, 64, 1500}) EXPECT(suite, send(s, p, raw, {"/", "", "", "", NOW, chunk}).bits == 0);
    const Ignores http({"family=http until=2026-12-31", "family=secret path=/shop/* until=2026-12-31"});
    p.ignores = http.handle;
    const Got shop = send(s, p, line);
    EXPECT(suite, shop.bits == 0 && shop.ignored == 3);
    EXPECT(suite, send(s, p, line, {"/other", "", "", "", NOW}).ignored == 1);
    EXPECT(suite, send(s, p, raw).bits == before && send(s, p, raw).ignored == 0);
}

void ignored_levels_fall() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    const Example raw = raw_page();
    const double all = send(s, p, raw).bits;
    double last = all;
    // Each line takes something away, and none brings it back.
    std::vector<const char*> lines;
    for (const char* line : {"rule=raw.mixed until=2027-01-01", "rule=raw.after-text until=2027-01-01", "rule=raw.nul until=2027-01-01",
                             "rule=raw.control until=2027-01-01", "rule=raw.broken-utf8 until=2027-01-01"}) {
        lines.push_back(line);
        const Ignores some(lines);
        p.ignores = some.handle;
        const double bits = send(s, p, raw).bits;
        EXPECT(suite, bits <= last);
        last = bits;
    }
    EXPECT(suite, last == 0 && all > 0);
}

void a_head_and_one_value() {
    const Scanner s("0123456789abcdef"), other("0123456789abcdef"), unlike("0123456789abcdeX");
    ovr_policy p = policy(OVR_MODE_MONITOR);
    const Example plain{"text/plain", "nothing to see\n"};
    const Ask allow{"/", "Allow", "GET,HEAD,OPTIONS,,HEAD,:09:44 GMT", "", NOW};
    const Got seen = send(s, p, plain, allow);
    EXPECT(suite, seen.bits > 0 && seen.digest.size() == 16);
    const std::string line = "digest=" + seen.digest + " until=2026-12-01";
    const Ignores one({line.c_str()});
    p.ignores = one.handle;
    EXPECT(suite, send(s, p, plain, allow).bits == 0 && send(other, p, plain, allow).bits == 0);
    EXPECT(suite, send(unlike, p, plain, allow).bits == seen.bits && Scanner().handle != nullptr);
    const Example one_line = page_with("\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n");
    const double bits = send(s, p, one_line).bits;
    p.ignores = nullptr;
    EXPECT(suite, send(s, p, one_line).bits == bits);
}

void ignores_end() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    const Ignores list({"family=raw until=2026-12-01"});
    p.ignores = list.handle;
    ovr_ignore line;
    EXPECT(suite,
           ovr_ignores_line(list.handle, 0, &line) == OVR_OK && line.until_ms == NOW + DAY && std::strcmp(line.text, "family=raw until=2026-12-01") == 0);
    EXPECT(suite, ovr_ignores_line(list.handle, 1, &line) == OVR_E_ARGUMENT);
    EXPECT(suite, send(s, p, raw_page(), {"/", "", "", "", NOW + DAY - 1}).bits == 0);
    EXPECT(suite, send(s, p, raw_page(), {"/", "", "", "", NOW + DAY}).bits > 0);
    // Whoever does not tell the time gets nothing ignored.
    EXPECT(suite, send(s, p, raw_page(), {"/", "", "", "", 0}).bits > 0);
}

void an_ignored_match_is_not_masked() {
    const Scanner s;
    ovr_policy p = policy();
    for (int tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) p.action[tier] = OVR_DO_REDACT;
    const Ignores list({"family=raw until=2027-01-01", "family=http until=2027-01-01", "family=secret until=2027-01-01", "family=place until=2027-01-01"});
    p.ignores = list.handle;
    const Got got = send(s, p, page_with(memory()));
    EXPECT(suite, got.verb == OVR_PASS && !got.wanted && got.bits == 0);
}

void bad_lines() {
    const char* const BAD[] = {"",
                               "until=2027-01-01",
                               "rule=raw.nul",
                               "rule=no-such until=2027-01-01",
                               "rule=raw.nul family=raw until=2027-01-01",
                               "family=foo until=2027-01-01",
                               "digest=123 until=2027-01-01",
                               "digest=0000000000000000 until=2027-01-01",
                               "rule=raw.nul path=shop until=2027-01-01",
                               "rule=raw.nul until=2027-02-29",
                               "rule=raw.nul until=2027-1-1",
                               "rule=raw.nul until=never",
                               "rule=raw.nul host=a until=2027-01-01",
                               "rule= until=2027-01-01",
                               "raw.nul until=2027-01-01"};
    ovr_ignores* list = nullptr;
    ovr_error err;
    for (const char* bad : BAD) {
        const char* lines[] = {"rule=raw.nul until=2028-02-29", bad};
        EXPECT(suite, ovr_ignores_new(ovr_ruleset_default(), lines, 2, &list, &err) == OVR_E_ARGUMENT && !list);
        EXPECT(suite, std::strstr(err.message, bad));
    }
    const std::vector<const char*> many(65, "rule=raw.nul until=2028-02-29");
    EXPECT(suite, ovr_ignores_new(nullptr, many.data(), 65, &list, &err) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_ignores_new(nullptr, many.data(), 64, &list, &err) == OVR_OK);
    ovr_ignores_free(list);
}

// A client writes a path as it likes, and a proxy routes by what it means.
void paths_that_are_not_what_they_look_like() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    const Ignores docs({"family=raw path=/docs/* until=2027-01-01"}), all({"family=raw until=2027-01-01"});
    p.ignores = docs.handle;
    EXPECT(suite, send(s, p, raw_page(), {"/docs/a..b/.c?x=/../", "", "", "", NOW}).bits == 0);
    const char* const CROOKED[] = {"/docs/../account", "/docs/%2e%2E/account", "/docs/./a",   "/docs//a",
                                   "/docs/..",         "/docs/a%2Fb",          "/docs/a%5cb", "/docs/..\\account"};
    for (const char* target : CROOKED) EXPECT(suite, send(s, p, raw_page(), {target, "", "", "", NOW}).bits > 0);
    p.ignores = all.handle;
    EXPECT(suite, send(s, p, raw_page(), {"/docs/../account", "", "", "", NOW}).bits == 0);
}

// Broken UTF-8 that is ignored does not count as what nobody can type either, nor is it masked; and hits are told of once the body is over.
void what_is_ignored_counts_nowhere() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    Example typed = raw_page();
    for (size_t at; (at = typed.body.find("\xff\xfe")) != std::string::npos;) typed.body.replace(at, 2, "xx");
    const double most = send(s, p, typed).bits;
    const Ignores utf8({"rule=raw.broken-utf8 until=2027-01-01"});
    p.ignores = utf8.handle;
    EXPECT(suite, send(s, p, raw_page()).bits <= most);
    const Ignores tail({"rule=place.html-tail until=2027-01-01"});
    p.ignores = tail.handle;
    const Example twice{"text/html", "<html></html> text </html>\n"}, behind{"text/html", "<html></html> text"};
    for (const size_t chunk : {size_t(1), size_t(7), size_t(1000)}) {
        EXPECT(suite, send(s, p, twice, {"/", "", "", "", NOW, chunk}).ignored == 0);
        EXPECT(suite, send(s, p, behind, {"/", "", "", "", NOW, chunk}).ignored == 1);
    }
    ovr_policy redacts = policy();
    for (int tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) redacts.action[tier] = OVR_DO_REDACT;
    const Ignores raw({"family=raw until=2027-01-01", "family=place until=2027-01-01"});
    redacts.ignores = raw.handle;
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(s.handle, &redacts, &f, nullptr) == OVR_OK);
    auto r = sized<ovr_response>();
    r.unix_ms = NOW;
    const std::string type = "text/html";
    r.content_type = bytes_of(type);
    std::string body =
        page_with("\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nAuthorization: Bearer Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n" + BYTES("\0\1 kept \0")).body +
        "kept as well";
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    ovr_filter_body(f, body.data(), body.size(), &a);
    ovr_filter_end(f, &a);
    EXPECT(suite, a.redact && a.verb == OVR_PASS);
    ovr_filter_redact(f, 0, &body[0], body.size());
    EXPECT(suite, body.find(BYTES("\0\1 kept \0")) != std::string::npos && body.find("kept as well") != std::string::npos &&
                      body.find("Zk3Yx8Qm") == std::string::npos);
    ovr_filter_close(f);
}

void globs() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    auto ignored = [&](const char* pattern, const char* target) {
        const std::string line = std::string("family=raw until=2027-01-01 path=") + pattern;
        const Ignores list({line.c_str()});
        p.ignores = list.handle;
        return send(s, p, raw_page(), {target, "", "", "", NOW}).ignored != 0;
    };
    EXPECT(suite, ignored("*", "/") && ignored("/", "/") && ignored("/a/*", "/a/b/c?x=/d") && ignored("*.png", "/x/y.png") && ignored("/a*b*c", "/aXXbYYbc"));
    EXPECT(suite, !ignored("/", "/a") && !ignored("/a/*", "/b/a/") && !ignored("*.png", "/x?y.png") && !ignored("/a*b*c", "/aXXbYYb") && !ignored("/A", "/a"));
}

// ---- threshold, events ----

void threshold() {
    const Scanner s;
    ovr_policy p = policy();
    p.action[OVR_TIER_STRONG] = OVR_DO_BLOCK;
    const Example raw = weak_page();
    const Got first = send(s, p, raw);
    EXPECT(suite, first.bits > 14 && first.bits < 22 && first.verb == OVR_PASS && !first.leaked);
    p.threshold = 14;
    EXPECT(suite, send(s, p, raw).verb == OVR_BLOCK && send(s, p, raw).leaked);
    p.threshold = 1000;
    p.action[OVR_TIER_CERTAIN] = OVR_DO_LOG;
    EXPECT(suite, send(s, p, page_with(memory() + memory())).verb == OVR_PASS);
    ovr_filter* f;
    for (const double bad : {-1.0, 13.0, 1001.0}) {
        p.threshold = bad;
        EXPECT(suite, ovr_filter_open(s.handle, &p, &f, nullptr) == OVR_E_ARGUMENT);
    }
}

void floods_are_counted() {
    const Scanner s;
    ovr_policy p = policy(OVR_MODE_MONITOR);
    p.events_per_second = 10;
    const Example weak = weak_page(), strong = page_with(memory() + memory());
    int written = 0;
    for (int i = 0; i < 40; i++) written += !send(s, p, weak).event.empty();
    EXPECT(suite, written == 5);
    // Room is left for alarms, and the first of them tells what was left out.
    const Got alarm = send(s, p, strong);
    EXPECT(suite, alarm.says("\"left_out\":35"));
    for (int i = 0; i < 20; i++) written += !send(s, p, strong).event.empty();
    EXPECT(suite, written == 9);
    const Got later = send(s, p, weak, {"/", "", "", "", NOW + 1000});
    EXPECT(suite, later.says("\"left_out\":16"));
    // Without a clock there is no limit, for it would never end.
    p.events_per_second = 1;
    const Scanner timeless;
    for (int i = 0; i < 5; i++) EXPECT(suite, !send(timeless, p, strong, {"/", "", "", "", 0}).event.empty());
    const Scanner fresh;
    p.events_per_second = 0;
    p.weak_sample = 4;
    written = 0;
    for (int i = 0; i < 40; i++) written += !send(fresh, p, weak).event.empty();
    EXPECT(suite, written == 10 && !send(fresh, p, strong).event.empty());
}

void owners() {
    const Scanner s("0123456789abcdef"), other("0123456789abcdef"), unkeyed;
    const ovr_policy p = policy(OVR_MODE_MONITOR);
    const Ask ask{"/", "", "", "session-of-alice-12345", NOW};
    const Got got = send(s, p, raw_page(), ask);
    const size_t at = got.event.find("\"owner\":\"");
    EXPECT(suite, at != std::string::npos && !got.says("alice"));
    const std::string owner = got.event.substr(at, 26);
    EXPECT(suite, send(other, p, raw_page(), ask).says(owner));
    EXPECT(suite, !send(s, p, raw_page(), {"/", "", "", "session-of-bob-123456", NOW}).says(owner));
    EXPECT(suite, !send(unkeyed, p, raw_page(), ask).says("owner") && !send(s, p, raw_page()).says("owner"));
    auto o = sized<ovr_scanner_options>();
    o.key = {reinterpret_cast<const uint8_t*>("short"), 5};
    ovr_scanner* none = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, &o, &none, nullptr) == OVR_E_ARGUMENT && !none);
}

// ---- the control file ----

struct ControlFile {
    std::string path;
    ovr_control* handle = nullptr;
    explicit ControlFile(const std::string& name, bool create = false) : path(folder + "/" + name) {
        EXPECT(suite, ovr_control_open(path.c_str(), create, &handle, nullptr) == OVR_OK);
    }
    ~ControlFile() { ovr_control_close(handle); }
    ControlFile(const ControlFile&) = delete;
    ControlFile& operator=(const ControlFile&) = delete;
    ovr_control_state look(uint64_t now) const {
        auto state = sized<ovr_control_state>();
        EXPECT(suite, ovr_control_look(handle, now, &state) == OVR_OK);
        return state;
    }
    void write(const std::string& text, bool append = false) const { std::ofstream(path, append ? std::ios::app : std::ios::trunc) << text; }
    std::string read() const {
        std::ifstream in(path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    ovr_feature feature(size_t i = 0) const {
        ovr_feature f{};
        EXPECT(suite, ovr_control_feature(handle, i, &f) == OVR_OK);
        return f;
    }
};

void a_file_turns_down_and_back() {
    const ControlFile c("mode");
    uint64_t now = NOW;
    EXPECT(suite, c.look(now).mode == OVR_MODE_ENFORCE);
    c.write("mode=monitor\n");
    EXPECT(suite, c.look(now + 99).mode == OVR_MODE_ENFORCE);  // not so soon
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_MONITOR);
    c.write("# a note\n\nmode=off\r\n");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_OFF);
    // Replaced in place by as many bytes, and by more that begin otherwise; appended; by another file; gone.
    c.write("# a note\n\nmode=xff\r\n");
    ovr_control_state bad = c.look(now += 100);
    EXPECT(suite, bad.mode == OVR_MODE_OFF && std::strstr(bad.fault, "a line that is not mode=off"));
    EXPECT(suite, !*c.look(now += 100).fault);
    c.write("mode=monitor\nmode=enforce\nmode=monitor\n");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_MONITOR);
    c.write("mode=off\n", true);
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_OFF);
    c.write("mode=enf", true);
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_OFF);
    c.write("orce\n", true);
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_ENFORCE);
    c.write("mode=monitor");  // as an editor may leave it
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_MONITOR);
    c.write("mode=off\nmode=enforce\n");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_ENFORCE);
    const ControlFile other("other");
    other.write("mode=monitor\n");
    EXPECT(suite, rename(other.path.c_str(), c.path.c_str()) == 0 && c.look(now += 100).mode == OVR_MODE_MONITOR);
    c.write("");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_ENFORCE);
    c.write("mode=off\n");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_OFF && unlink(c.path.c_str()) == 0);
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_ENFORCE);
    EXPECT(suite, mkdir(c.path.c_str(), 0755) == 0);
    bad = c.look(now += 100);
    EXPECT(suite, bad.mode == OVR_MODE_ENFORCE && std::strstr(bad.fault, "no regular file"));
    EXPECT(suite, rmdir(c.path.c_str()) == 0 && !*c.look(now += 100).fault);
    // What grew while nobody looked is read in pieces.
    std::string much;
    for (int i = 0; i < 5000; i++) much += "mode=monitor\n";
    c.write(much + "mode=off\n");
    EXPECT(suite, c.look(now += 100).mode == OVR_MODE_OFF);
    EXPECT(suite, ovr_control_set_mode(c.handle, OVR_MODE_MONITOR, now) == OVR_OK && c.look(now += 100).mode == OVR_MODE_MONITOR);
    EXPECT(suite, ovr_control_set_mode(c.handle, 3, now) == OVR_E_ARGUMENT);
}

// Whoever starts while things are switched off must know it.
void a_file_that_is_there_is_read(void) {
    for (const bool create : {false, true}) {
        const ControlFile first(create ? "there1" : "there0");
        first.write("mode=off\ntrip=rewriter at=5\n");
        const ControlFile c(create ? "there1" : "there0", create);
        const ovr_control_state state = c.look(NOW);
        EXPECT(suite, state.mode == OVR_MODE_OFF && state.tripped == 1 && std::string(c.feature().name) == "rewriter");
        EXPECT(suite, c.look(NOW + 100).mode == OVR_MODE_OFF && c.look(NOW + 5000).tripped == 1);
    }
}

void lines_are_whole() {
    // What an operator left without an end stays a line of its own.
    const ControlFile c("ends");
    c.write("mode=monitor");
    EXPECT(suite, c.look(NOW).mode == OVR_MODE_MONITOR);
    EXPECT(suite, ovr_control_trip(c.handle, "checkout", NOW, 0) == OVR_OK && c.read() == "mode=monitor\ntrip=checkout at=" + std::to_string(NOW) + "\n");
    const ControlFile fresh("ends");
    EXPECT(suite, fresh.look(NOW).mode == OVR_MODE_MONITOR && fresh.look(NOW).tripped == 1);
    // A file that took the place of another is written to at once.
    const ControlFile other("ends-other");
    other.write("mode=monitor\n");
    EXPECT(suite, rename(other.path.c_str(), c.path.c_str()) == 0 && ovr_control_trip(c.handle, "images", NOW, 0) == OVR_OK);
    EXPECT(suite, c.read().find("trip=images") != std::string::npos && c.read().find("checkout") == std::string::npos);
    // A line without an end of any length costs one look, and what follows it counts.
    c.write(std::string(4 << 20, 'x') + "\nmode=off\n");
    const ovr_control_state state = c.look(NOW + 100);
    EXPECT(suite, state.mode == OVR_MODE_OFF && *state.fault);
    // By hand without a time: older alarms do not count any more.
    const ControlFile hand("hand", true);
    const Scanner s;
    ovr_policy p = policy();
    const std::string feature = "rewriter";
    p.control = hand.handle;
    p.feature = bytes_of(feature);
    p.trip_alarms = 2;
    const Example leak = page_with(memory() + memory());
    send(s, p, leak);
    EXPECT(suite, send(s, p, leak).tripped == 1);
    hand.write("rearm=rewriter\n", true);
    EXPECT(suite, hand.look(NOW + 100).tripped == 0 && send(s, p, leak, {"/", "", "", "", NOW + 100}).tripped == 0);
    EXPECT(suite, send(s, p, leak, {"/", "", "", "", NOW + 100}).tripped == 1);
}

// What machines write must leave room for what operators do.
void a_file_does_not_fill_up() {
    const ControlFile c("full", true);
    const Scanner s;
    ovr_policy p = policy();
    const std::string feature = "rewriter", header = "x-features";
    p.control = c.handle;
    p.feature = bytes_of(feature);
    p.action[OVR_TIER_CERTAIN] = OVR_DO_TRIP;
    const Example leak = page_with(memory() + memory());
    for (int i = 0; i < 20; i++) EXPECT(suite, send(s, p, leak).tripped == (i ? 0 : 1));
    EXPECT(suite, c.read() == "trip=rewriter at=" + std::to_string(NOW) + "\n");
    // An origin that invents names uses none of the control's numbers up, but with alarms.
    p.feature_header = bytes_of(header);
    for (int i = 0; i < 100; i++) send(s, p, page_with(""), {"/", "x-features", "f" + std::to_string(i), "", NOW});
    ovr_feature f;
    EXPECT(suite, ovr_control_feature(c.handle, 1, &f) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_control_trip(c.handle, ".hidden", NOW, 0) == OVR_E_ARGUMENT && ovr_control_trip(c.handle, "..", NOW, 0) == OVR_E_ARGUMENT);
    std::string much;
    while (much.size() < 9u << 20) much += "mode=enforce\n";
    c.write(much);
    EXPECT(suite, send(s, p, leak).tripped == 1 && c.read().size() == much.size());  // in this process alone
    EXPECT(suite, ovr_control_set_mode(c.handle, OVR_MODE_OFF, NOW) == OVR_OK && c.look(NOW + 100).mode == OVR_MODE_OFF);
}

void features_trip() {
    const ControlFile c("features", true);
    const Scanner s;
    const Example leak = page_with(memory() + memory()), clean = page_with("");
    ovr_policy p = policy();
    const std::string feature = "rewriter", header = "X-Features";
    p.control = c.handle;
    p.feature = bytes_of(feature);
    p.feature_header = bytes_of(header);
    p.trip_alarms = 3;
    p.trip_ms = 10000;
    p.rearm_ms = 60000;
    uint64_t now = NOW;
    const auto ask = [&] { return Ask{"/", "x-features", "minify, rewriter ,,bad name,images", "", now}; };
    EXPECT(suite, send(s, p, leak, ask()).tripped == 0);
    EXPECT(suite, c.feature(0).alarms == 1 && std::string(c.feature(1).name) == "minify" && std::string(c.feature(2).name) == "images");
    now += 9000;
    EXPECT(suite, send(s, p, clean, ask()).tripped == 0 && send(s, p, leak, ask()).tripped == 0);
    now += 2000;  // the first is too long ago
    EXPECT(suite, send(s, p, leak, ask()).tripped == 0 && c.look(now).tripped == 0);
    const Got third = send(s, p, leak, ask());
    EXPECT(suite, third.tripped == 7 && third.says("\"features\":[\"rewriter\",\"minify\",\"images\"]") &&
                      third.says("\"tripped\":[\"rewriter\",\"minify\",\"images\"]"));
    EXPECT(suite, third.verb == OVR_BLOCK && c.look(now += 100).tripped == 7 && c.feature().tripped && c.feature().until_ms == NOW + 11000 + 60000);
    // Another process sees it; what is tripped has no more alarms; it is rearmed by itself, and older alarms do not trip it again.
    const ControlFile other("features");
    EXPECT(suite, other.look(now).tripped == 7 && std::string(other.feature().name) == "rewriter");
    const std::string before = c.read();
    EXPECT(suite, send(s, p, leak, ask()).tripped == 0 && c.read() == before);
    now += 60000;
    EXPECT(suite, c.look(now).tripped == 0 && other.look(now).tripped == 0 && !c.feature().tripped && c.feature().trips == 1);
    EXPECT(suite, send(s, p, leak, ask()).tripped == 0 && send(s, p, leak, ask()).tripped == 0 && send(s, p, leak, ask()).tripped == 7);
    // By hand.
    EXPECT(suite, ovr_control_rearm(other.handle, "rewriter", now) == OVR_OK && c.look(now += 100).tripped == 6);
    EXPECT(suite, ovr_control_trip(c.handle, "rewriter", now, 0) == OVR_OK && other.look(now += 100).tripped == 7 && c.feature().until_ms == 0);
    EXPECT(suite, other.look(now += 100 * DAY).tripped == 1);
    EXPECT(suite, ovr_control_trip(c.handle, "no name", now, 0) == OVR_E_ARGUMENT && ovr_control_rearm(c.handle, "", now) == OVR_E_ARGUMENT);
    // Monitor changes nothing, a test is no alarm, and without a time nothing can be told.
    const std::string told = c.read();
    ovr_policy quiet = p;
    quiet.mode = OVR_MODE_MONITOR;
    EXPECT(suite, send(s, quiet, leak, ask()).tripped == 0);
    now = 0;
    EXPECT(suite, send(s, p, leak, ask()).tripped == 0 && c.read() == told);
}

void the_action_trip_trips_at_once() {
    const ControlFile c("at-once", true);
    const Scanner s;
    ovr_policy p = policy();
    const std::string feature = "rewriter";
    p.control = c.handle;
    p.feature = bytes_of(feature);
    p.action[OVR_TIER_CERTAIN] = OVR_DO_TRIP;
    const Example leak = page_with(memory() + memory());
    const Got got = send(s, p, leak);
    EXPECT(suite, got.verb == OVR_BLOCK && got.tripped == 1 && got.says("\"action\":\"block\"") && got.says("\"tripped\":[\"rewriter\"]"));
    EXPECT(suite, std::string(ovr_do_name(OVR_DO_TRIP)) == "trip");
    p.mode = OVR_MODE_MONITOR;
    EXPECT(suite, send(s, p, leak).says("\"would\":\"trip\""));
    // With a budget it is taken from the budget's bits on.
    p.mode = OVR_MODE_ENFORCE;
    EXPECT(suite, ovr_control_rearm(c.handle, "rewriter", NOW) == OVR_OK);
    p.block_bits = 1000;
    EXPECT(suite, send(s, p, leak).verb == OVR_PASS && c.look(NOW + 100).tripped == 0);
    p.block_bits = 22;
    EXPECT(suite, send(s, p, leak).tripped == 1);
}

// Alarms of processes that know nothing of each other count together, whatever ends when.
void processes_count_together() {
    const ControlFile c("processes", true);
    EXPECT(suite, chmod(c.path.c_str(), 0644) == 0);
    const std::string feature = "rewriter";
    std::vector<pid_t> children;
    for (int i = 0; i < 8; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            const Scanner s;
            ovr_policy p = policy();
            p.control = c.handle;
            p.feature = bytes_of(feature);
            p.trip_alarms = 33;
            for (int n = 0; n < 5 - (i == 0); n++) send(s, p, page_with(memory() + memory()));
            _exit(suite.failed ? 1 : 0);
        }
        children.push_back(pid);
    }
    for (const pid_t pid : children) {
        int status = 0;
        EXPECT(suite, waitpid(pid, &status, 0) == pid && status == 0);
    }
    EXPECT(suite, c.look(NOW).tripped == 1 && c.feature().alarms >= 33 && c.feature().trips == 1);
    size_t lines = 0;
    for (const char x : c.read()) lines += x == '\n';
    EXPECT(suite, lines >= 34 && lines <= 47);  // alarms of those that did not know yet, and perhaps a trip of each
}

void a_file_that_cannot_be_written() {
    const ControlFile c("read-only");  // and not there
    const Scanner s;
    ovr_policy p = policy();
    const std::string feature = "rewriter";
    p.control = c.handle;
    p.feature = bytes_of(feature);
    p.trip_alarms = 2;
    const Example leak = page_with(memory() + memory());
    send(s, p, leak);
    EXPECT(suite, send(s, p, leak).tripped == 1 && c.look(NOW + 100).tripped == 1 && c.look(NOW + 200).tripped == 1);
    EXPECT(suite, ovr_control_rearm(c.handle, "rewriter", NOW) == OVR_E_INTERNAL && c.look(NOW + 300).tripped == 0);
    EXPECT(suite, mkdir(c.path.c_str(), 0755) == 0);
    send(s, p, leak);
    send(s, p, leak);
    EXPECT(suite, c.look(NOW + 400).tripped == 1);
    EXPECT(suite, ovr_control_set_mode(c.handle, OVR_MODE_OFF, NOW) == OVR_E_INTERNAL && rmdir(c.path.c_str()) == 0);
    ovr_control* none = nullptr;
    ovr_error err;
    EXPECT(suite, ovr_control_open((folder + "/no/such").c_str(), 1, &none, &err) == OVR_E_ARGUMENT && !none && std::strstr(err.message, "/no/such"));
}

void hostile_control_files() {
    const ControlFile c("hostile");
    std::mt19937_64 random(7);
    const std::string words[] = {"mode=",
                                 "off",
                                 "monitor\n",
                                 "alarm=",
                                 "trip=",
                                 "rearm=",
                                 "x",
                                 " at=",
                                 " until=",
                                 "99",
                                 "184467440737095516159",
                                 "\n",
                                 "#",
                                 std::string(300, 'a'),
                                 std::string("\0", 1),
                                 "\xff"};
    for (int i = 0; i < 400; i++) {
        std::string text;
        for (int n = 0; n < 60; n++) text += words[random() % 16];
        c.write(text, i % 3 != 0);
        const ovr_control_state state = c.look(NOW + uint64_t(i) * 100);
        EXPECT_SEED(suite, state.mode >= OVR_MODE_OFF && state.mode <= OVR_MODE_ENFORCE, uint64_t(i));
    }
    for (int i = 0; i < 100; i++) c.write("alarm=f" + std::to_string(i) + " at=1\n", true);
    c.look(NOW + 100000);
    ovr_feature f;
    EXPECT(suite, ovr_control_feature(c.handle, OVR_FEATURES - 1, &f) == OVR_OK && ovr_control_feature(c.handle, OVR_FEATURES, &f) == OVR_E_ARGUMENT);
}

void an_agent_shows_life() {
    const ControlFile c("agent");
    EXPECT(suite, c.look(NOW).agent_ms == 0);
    const std::string path = c.path + ".agent";
    std::ofstream(path) << "";
    const timespec times[2] = {{time_t(NOW / 1000), 5000000}, {time_t(NOW / 1000), 5000000}};
    EXPECT(suite, utimensat(AT_FDCWD, path.c_str(), times, 0) == 0 && c.look(NOW + 1000).agent_ms == NOW + 5);
}

void older_callers() {
    const Scanner s;
    ovr_policy p = policy();
    p.struct_size = offsetof(ovr_policy, threshold);
    p.threshold = -5;  // not theirs
    const Example leak = page_with(memory() + memory());
    EXPECT(suite, send(s, p, leak).verb == OVR_BLOCK);
}

}  // namespace

int main() {
    char name[] = "/tmp/overread-test-XXXXXX";
    if (!mkdtemp(name)) return 1;
    folder = name;
    suite.run("ignores take out what they name", ignores_take_out_what_they_name);
    suite.run("ignored levels fall", ignored_levels_fall);
    suite.run("a head and one value", a_head_and_one_value);
    suite.run("ignores end", ignores_end);
    suite.run("an ignored match is not masked", an_ignored_match_is_not_masked);
    suite.run("bad lines", bad_lines);
    suite.run("globs", globs);
    suite.run("paths that are not what they look like", paths_that_are_not_what_they_look_like);
    suite.run("what is ignored counts nowhere", what_is_ignored_counts_nowhere);
    suite.run("threshold", threshold);
    suite.run("floods are counted", floods_are_counted);
    suite.run("owners", owners);
    suite.run("a file turns down and back", a_file_turns_down_and_back);
    suite.run("a file that is there is read", a_file_that_is_there_is_read);
    suite.run("lines are whole", lines_are_whole);
    suite.run("a file does not fill up", a_file_does_not_fill_up);
    suite.run("features trip", features_trip);
    suite.run("the action trip trips at once", the_action_trip_trips_at_once);
    suite.run("processes count together", processes_count_together);
    suite.run("a file that cannot be written", a_file_that_cannot_be_written);
    suite.run("hostile control files", hostile_control_files);
    suite.run("an agent shows life", an_agent_shows_life);
    suite.run("older callers", older_callers);
    const std::string remove = "rm -r '" + folder + "'";
    if (std::system(remove.c_str()) != 0) return 1;
    return suite.close();
}
