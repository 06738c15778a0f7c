// Any chunking on any kernel gives the same verdict; bad input has documented answers; nothing over-reads.
#include <clocale>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "abi.h"
#include "check.h"
#include "examples.h"
#include "guard_page.h"
#include "overread.h"

namespace {

Suite suite;

ovr_response response_of(const std::string& type) {
    auto r = sized<ovr_response>();
    r.status = 200;
    r.content_type = bytes_of(type);
    return r;
}

// Everything a verdict says but digests, whose key is the scanner's own.
std::string describe(const ovr_verdict& v) {
    std::string s = std::string(v.content_class) + " " + std::to_string(v.bits) + " " + std::to_string(v.first_offset) + " " + std::to_string(v.body_bytes) +
                    " " + std::to_string(v.findings_dropped) + " " + std::to_string(v.exempt);
    for (size_t i = 0; i < v.finding_count; i++) {
        const ovr_finding& f = v.findings[i];
        s += std::string("\n") + f.rule + " " + std::to_string(f.part) + " " + std::to_string(f.offset) + "+" + std::to_string(f.length) + " " + f.name;
    }
    return s;
}

struct Scan {
    ovr_scanner* scanner = nullptr;
    ovr_stream* stream = nullptr;
    explicit Scan(const char* kernel) {
        auto o = sized<ovr_scanner_options>();
        o.hold = OVR_HOLD_DEFAULT;
        o.kernel = kernel;
        ovr_error e;
        if (ovr_scanner_new(nullptr, &o, &scanner, &e) != OVR_OK || ovr_stream_open(scanner, nullptr, &stream, &e) != OVR_OK) {
            std::printf("%s\n", e.message);
            std::abort();
        }
    }
    ~Scan() {
        ovr_stream_close(stream);
        ovr_scanner_free(scanner);
    }
    // cuts: ascending offsets
    std::string run(const Example& e, const std::vector<size_t>& cuts) {
        const ovr_response r = response_of(e.type);
        ovr_stream_reset(stream, &r);
        size_t from = 0;
        uint64_t released = 0;
        ovr_progress p{};
        auto feed = [&](size_t to) {
            ovr_stream_feed(stream, e.body.data() + from, to - from, &p);
            suite.expect(p.released >= released && p.released <= to, "released grows and never passes what was fed", __FILE__, __LINE__);
            released = p.released;
            from = to;
        };
        for (size_t c : cuts) feed(c);
        feed(e.body.size());
        ovr_verdict v;
        ovr_stream_finish(stream, &v);
        return describe(v);
    }
};

void exhaustive_splits(const char* kernel) {
    Scan scan(kernel);
    for (const Example& e : short_examples()) {
        const std::string want = scan.run(e, {});
        std::vector<size_t> each;
        for (size_t i = 0; i <= e.body.size(); i++) {
            each.push_back(i);
            const std::string one = scan.run(e, {i});
            EXPECT_SEED(suite, one == want, i);
            if (one != want) std::printf("%s\ngot  %s\nwant %s\n", e.type.c_str(), one.c_str(), want.c_str());
            for (size_t j = i; j <= e.body.size(); j++) EXPECT_SEED(suite, scan.run(e, {i, j}) == want, i * 1000 + j);
        }
        EXPECT(suite, scan.run(e, each) == want);
    }
}

void random_splits(const char* kernel, int rounds) {
    Scan scan(kernel), reference("scalar");
    for (const Example& e : leaking_bodies()) {
        const std::string want = reference.run(e, {});
        // What is tested is the leak's way through every seam: a body without evidence would prove nothing.
        EXPECT(suite, want.find("\nraw.") != std::string::npos || want.find("\nplace.") != std::string::npos);
        for (uint64_t seed = 0; seed < uint64_t(rounds); seed++) {
            std::mt19937_64 rng(seed);
            std::vector<size_t> cuts;
            const size_t most = 1 + rng() % (seed % 5 == 0 ? 3000 : 40);
            for (size_t at = rng() % most; at < e.body.size(); at += rng() % (e.body.size() / most + 1) + 1) cuts.push_back(at);
            const std::string got = scan.run(e, cuts);
            EXPECT_SEED(suite, got == want, seed);
            if (got != want && suite.failed < 5) std::printf("%s\ngot  %s\nwant %s\n", e.type.c_str(), got.c_str(), want.c_str());
        }
        std::vector<size_t> each;
        for (size_t i = 0; i < e.body.size(); i++) each.push_back(i);
        EXPECT(suite, scan.run(e, each) == want);
    }
}

// What would continue a wrong character across a unit's edge is as wrong as elsewhere: the region ends at the same byte.
void wrong_characters_at_edges(const char* kernel) {
    Scan scan(kernel);
    for (const char* before : {"\xf0\x80\x80", "\xf4\x90\x80", "\xf5\x80\x80", "\xed\xa0", "\xe0\x80", "\xf0\x80", "\xc3\xa9\x80", "\xe2\x82", "\xf0"})
        for (const char* behind : {"\x80", "\x80\x80", "\xbf\x80\x80", "\xc3\xa9", "\x80\xc3\xa9", "\xf0"}) {
            Example e{"text/plain; charset=utf-8", std::string(128 - std::strlen(before), 'a') + before + behind};
            e.body.resize(320, 'b');
            const std::string want = scan.run(e, {});
            for (size_t cut = 1; cut < 200; cut++) EXPECT_SEED(suite, scan.run(e, {cut}) == want, cut);
        }
}

void found_and_silent() {
    Scan scan(nullptr);
    Example leak{"text/html; charset=utf-8", leaking_page()};
    const ovr_response r = response_of(leak.type);
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_feed(scan.stream, leak.body.data(), leak.body.size(), nullptr);
    ovr_verdict v;
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.leaked == 1);
    EXPECT(suite, v.first_offset >= 2990 && v.first_offset < 3100);
    Example clean{"text/html; charset=utf-8", "<html><body><p>A page about the Cookie: header and caf\xc3\xa9.</p></body></html>\n"};
    EXPECT(suite, scan.run(clean, {}).substr(0, 13) == "html 0.000000");
}

// An echo page shows the client's own request: silent, and it lowers nothing else.
void own_request() {
    Scan scan(nullptr);
    std::string name = "Cookie", value = "session=Zk3Yx8QmZr7LwPvB2nHs5TdJ; theme=dark", target = "/echo?x=1", method = "GET", type = "text/plain";
    ovr_header h{bytes_of(name), bytes_of(value)};
    auto q = sized<ovr_request>();
    q.method = bytes_of(method);
    q.target = bytes_of(target);
    q.headers = &h;
    q.header_count = 1;
    ovr_response r = response_of(type);
    r.request = &q;
    const std::string echo = "GET /echo?x=1 HTTP/1.1\r\nCookie: " + value + "\r\n\r\n";
    uint64_t exempt = 0;
    auto bits = [&](const std::string& body, const ovr_response& response) {
        ovr_stream_reset(scan.stream, &response);
        ovr_stream_feed(scan.stream, body.data(), body.size(), nullptr);
        ovr_verdict v;
        ovr_stream_finish(scan.stream, &v);
        exempt = v.exempt;
        return v.bits;
    };
    EXPECT(suite, bits(echo, r) == 0 && exempt >= 2);  // the request line and the cookie
    const std::string foreign = "x\r\nCookie: session=Foreign8QmZr7LwPvB2nHs5T\r\nReferer: https://other.example/\r\n";
    ovr_response unknown = response_of(type);
    EXPECT(suite, bits(foreign, unknown) > 0 && exempt == 0);
    EXPECT(suite, bits(echo + foreign, r) == bits(foreign, r));
    // Nor do many echoes or runs of escapes keep an escaped header line behind them from being looked at.
    const std::string line = "%0D%0ACookie:%20session=Foreign8QmZr7LwPvB2nHs5T%0D%0A ";
    std::string echoes, runs;
    for (int i = 0; i < 100; i++) echoes += "%0D%0ACookie:%20" + value.substr(0, 32) + "%0D%0A\n", runs += "\\x00\\x00\\1\\x02\\x03\\x04\\x05\\x06\\x07 ";
    EXPECT(suite, bits(line, r) > 0);
    EXPECT(suite, bits(echoes, r) == 0 && exempt == 100);
    EXPECT(suite, bits(echoes + line, r) == bits(line, r));
    EXPECT(suite, bits(runs + line, r) == bits(line + runs, r) && bits(line + runs, r) > bits(runs, r));
}

void over_reads_nothing(const char* kernel) {
    Scan scan(kernel);
    GuardPage guard(8192);
    for (const Example& e : short_examples())
        for (size_t cut = 0; cut <= e.body.size(); cut++) {
            const ovr_response r = response_of(e.type);
            const uint8_t* data = reinterpret_cast<const uint8_t*>(e.body.data());
            ovr_stream_reset(scan.stream, &r);
            ovr_stream_feed(scan.stream, guard.at_end(data, cut), cut, nullptr);
            ovr_stream_feed(scan.stream, guard.at_start(data + cut, e.body.size() - cut), e.body.size() - cut, nullptr);
            ovr_verdict v;
            ovr_stream_finish(scan.stream, &v);
            EXPECT(suite, v.body_bytes == e.body.size());
        }
}

void bad_input() {
    ovr_error err;
    ovr_scanner* s = nullptr;
    auto o = sized<ovr_scanner_options>();
    o.kernel = "sse9";
    EXPECT(suite, ovr_scanner_new(nullptr, &o, &s, &err) == OVR_E_KERNEL);
    EXPECT(suite, std::strstr(err.message, "scalar") != nullptr);
    EXPECT(suite, ovr_scanner_new(nullptr, nullptr, nullptr, &err) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_stream_feed(nullptr, "x", 1, nullptr) == OVR_E_ARGUMENT);
    Scan scan(nullptr);
    EXPECT(suite, ovr_stream_feed(scan.stream, nullptr, 1, nullptr) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_stream_feed(scan.stream, nullptr, 0, nullptr) == OVR_OK);
    ovr_verdict v;
    EXPECT(suite, ovr_stream_finish(scan.stream, &v) == OVR_OK);
    EXPECT(suite, v.bits == 0 && v.first_offset == OVR_NO_OFFSET);
    EXPECT(suite, ovr_stream_feed(scan.stream, "x", 1, nullptr) == OVR_E_FINISHED);
    // Every truncation and every bit flip of a blob is refused.
    const ovr_bytes blob = ovr_ruleset_default_blob();
    std::vector<uint8_t> copy(blob.data, blob.data + blob.size);
    ovr_ruleset* rules = nullptr;
    for (size_t n = 0; n < copy.size(); n += n < 200 ? 1 : 97)
        EXPECT_SEED(suite, ovr_ruleset_load(copy.data(), n, &rules, &err) == OVR_E_BLOB && err.message[0], n);
    for (size_t i = 0; i < copy.size(); i += i < 200 ? 1 : 31) {
        copy[i] ^= uint8_t(1u << i % 8);
        EXPECT_SEED(suite, ovr_ruleset_load(copy.data(), copy.size(), &rules, &err) == OVR_E_BLOB, i);
        copy[i] ^= uint8_t(1u << i % 8);
    }
    EXPECT(suite, ovr_ruleset_load(copy.data(), copy.size(), &rules, &err) == OVR_OK);
    ovr_ruleset_free(rules);
}

// Bits of clean text must not grow with its length, and offsets pass 4 GiB unharmed.
void beyond_4_gib() {
    Scan scan(nullptr);
    std::string chunk;
    while (chunk.size() < (32u << 20)) chunk += "<p>The quick brown fox jumps over the lazy dog, 0123456789.</p>\n";
    chunk.resize(32u << 20);
    const std::string type = "text/html; charset=utf-8";
    const ovr_response r = response_of(type);
    ovr_stream_reset(scan.stream, &r);
    ovr_progress p{};
    for (int i = 0; i < 129; i++) ovr_stream_feed(scan.stream, chunk.data(), chunk.size(), &p);
    EXPECT(suite, p.bits == 0);
    const std::string sign = "\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n";
    ovr_stream_feed(scan.stream, sign.data(), sign.size(), &p);
    ovr_verdict v;
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.body_bytes == 129ull * chunk.size() + sign.size());
    EXPECT(suite, v.finding_count > 0 && v.first_offset == 129ull * chunk.size() + 2);
}

ovr_policy policy_of(int mode, int block_from, uint32_t hold) {
    auto policy = sized<ovr_policy>();
    policy.mode = mode;
    for (int tier = block_from; tier <= OVR_TIER_CERTAIN; tier++) policy.action[tier] = OVR_DO_BLOCK;
    policy.hold = hold;
    return policy;
}

void filter_policy() {
    ovr_scanner* s = nullptr;
    ovr_error err;
    ovr_scanner_new(nullptr, nullptr, &s, &err);
    const std::string page = leaking_page();
    for (const int mode : {OVR_MODE_MONITOR, OVR_MODE_ENFORCE}) {
        const ovr_policy policy = policy_of(mode, OVR_TIER_STRONG, OVR_HOLD_DEFAULT);
        ovr_filter* f = nullptr;
        EXPECT(suite, ovr_filter_open(s, &policy, &f, &err) == OVR_OK);
        const std::string type = "text/html; charset=utf-8";
        const ovr_response r = response_of(type);
        ovr_action a;
        ovr_filter_head(f, &r, &a);
        EXPECT(suite, a.verb == OVR_PASS && a.release_head == (mode == OVR_MODE_MONITOR));
        ovr_filter_body(f, page.data(), page.size(), &a);
        if (mode == OVR_MODE_ENFORCE) {
            EXPECT(suite, a.verb == OVR_BLOCK && a.released == 0 && a.wants_event == 1);
        } else {
            EXPECT(suite, a.verb == OVR_PASS && a.released >= page.size());
            ovr_filter_end(f, &a);
            EXPECT(suite, a.verb == OVR_PASS && a.wants_event == 1);
            EXPECT(suite, ovr_filter_body(f, "x", 1, &a) == OVR_E_FINISHED && ovr_filter_flush(f, &a) == OVR_E_FINISHED);
            EXPECT(suite, ovr_filter_trailers(f, nullptr, 0, &a) == OVR_E_FINISHED);
        }
        const std::string method = "GET", host = "a.example", target = "/page?token=Secret8QmZr7LwPv";
        auto x = sized<ovr_exchange>();
        x.proxy = "test";
        x.method = bytes_of(method);
        x.host = bytes_of(host);
        x.target = bytes_of(target);
        char json[8192];
        size_t n = 0;
        EXPECT(suite, ovr_filter_event(f, &x, json, sizeof json, &n) == OVR_OK && n == std::strlen(json));
        EXPECT(suite, std::strstr(json, "\"/page\"") && !std::strstr(json, "Secret8") && !std::strstr(json, "Zk3Yx8"));
        EXPECT(suite, ovr_filter_event(f, &x, json, 16, &n) == OVR_E_SPACE);
        // A host may have chosen a locale with another decimal point, where one is installed.
        for (const char* locale : {"C", "de_DE.UTF-8", "fr_FR.UTF-8"}) {
            std::setlocale(LC_NUMERIC, locale);
            EXPECT(suite, ovr_filter_event(f, &x, json, sizeof json, &n) == OVR_OK);
            const char* bits = std::strstr(json, "\"bits\":");
            EXPECT(suite, bits && std::strspn(bits + 7, "0123456789") > 0 && bits[7 + std::strspn(bits + 7, "0123456789")] == '.');
        }
        std::setlocale(LC_NUMERIC, "C");
        ovr_filter_close(f);
    }
    ovr_scanner_free(s);
}

// What is held: nothing leaves after a stop, a body that begins slowly flows, and a flush waits while raw bytes go on.
void holding() {
    ovr_scanner* s = nullptr;
    ovr_error err;
    ovr_scanner_new(nullptr, nullptr, &s, &err);
    const std::string html = "text/html; charset=utf-8", json = "application/json", page = leaking_page();
    for (const uint32_t hold : {OVR_HOLD_DEFAULT, 0u}) {
        const ovr_policy policy = policy_of(OVR_MODE_ENFORCE, OVR_TIER_STRONG, hold);
        ovr_filter* f = nullptr;
        EXPECT(suite, ovr_filter_open(s, &policy, &f, &err) == OVR_OK);
        ovr_response r = response_of(html);
        ovr_action a;
        ovr_filter_head(f, &r, &a);
        ovr_filter_body(f, page.data(), page.size(), &a);
        EXPECT(suite, a.verb != OVR_PASS && a.released == 0);
        ovr_filter_body(f, page.data(), page.size(), &a);
        EXPECT(suite, a.verb != OVR_PASS && a.released == 0);

        r = response_of(json);
        ovr_filter_head(f, &r, &a);
        ovr_filter_body(f, " \n", 2, &a);
        EXPECT(suite, a.released == 0 && a.hold_ms > 0);
        ovr_filter_flush(f, &a);
        EXPECT(suite, a.released == 2 && a.release_head == 1 && a.hold_ms == 0);
        ovr_filter_body(f, "{\"a\":[1,2,3,4,5,6,7,8]}", 23, &a);
        EXPECT(suite, a.released == (hold ? 2 : 25));
        ovr_filter_close(f);
    }
    auto monitor = sized<ovr_policy>();
    monitor.mode = OVR_MODE_MONITOR;
    ovr_filter* f = nullptr;
    ovr_filter_open(s, &monitor, &f, &err);
    const ovr_response r = response_of(json);
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    ovr_filter_body(f, " \n", 2, &a);
    EXPECT(suite, a.hold_ms == 0);
    ovr_filter_close(f);
    ovr_scanner_free(s);

    Scan scan(nullptr);
    const ovr_response h = response_of(html);
    ovr_progress p{};
    ovr_stream_reset(scan.stream, &h);
    const std::string text(600, 't');
    ovr_stream_feed(scan.stream, text.data(), text.size(), &p);
    uint64_t fed = text.size();
    for (int i = 0; i < 200; i++, fed += 8) ovr_stream_feed(scan.stream, "\0\1typed!", 8, &p);
    EXPECT(suite, p.bits > 8 && !p.leaked && p.released == 0);
    ovr_stream_flush(scan.stream, &p);
    EXPECT(suite, p.released == 0);
    ovr_stream_feed(scan.stream, text.data(), text.size(), &p);
    ovr_stream_flush(scan.stream, &p);
    EXPECT(suite, p.released == fed + text.size());
}

// A budget's bits take the place of the tier; a caller of an older header has no such field.
void block_bits() {
    ovr_error err;
    ovr_scanner* s = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, nullptr, &s, &err) == OVR_OK);
    const std::string page = leaking_page(), type = "text/html; charset=utf-8";
    Scan scan(nullptr);
    const ovr_response r = response_of(type);
    ovr_verdict v;
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_feed(scan.stream, page.data(), page.size(), nullptr);
    ovr_stream_finish(scan.stream, &v);
    ovr_policy policy = policy_of(OVR_MODE_ENFORCE, OVR_TIER_WEAK, OVR_HOLD_DEFAULT);
    auto blocked = [&] {
        ovr_filter* f = nullptr;
        EXPECT(suite, ovr_filter_open(s, &policy, &f, &err) == OVR_OK);
        ovr_action a;
        ovr_filter_head(f, &r, &a);
        ovr_filter_body(f, page.data(), page.size(), &a);
        if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
        ovr_filter_close(f);
        return a.verb == OVR_BLOCK;
    };
    EXPECT(suite, blocked());
    policy.block_bits = v.bits + 0.5;
    EXPECT(suite, !blocked());
    policy.block_bits = v.bits - 0.5;
    EXPECT(suite, blocked());
    policy.block_bits = v.bits + 0.5;
    policy.struct_size = offsetof(ovr_policy, block_bits);
    EXPECT(suite, blocked());
    policy.struct_size = sizeof policy;
    ovr_filter* f = nullptr;
    for (const double bad : {-1.0, 1001.0, std::numeric_limits<double>::quiet_NaN()}) {
        policy.block_bits = bad;
        EXPECT(suite, ovr_filter_open(s, &policy, &f, &err) == OVR_E_ARGUMENT && std::strstr(err.message, "block_bits"));
    }
    policy.struct_size = 8;
    EXPECT(suite, ovr_filter_open(s, &policy, &f, &err) == OVR_E_ARGUMENT);
    ovr_scanner_free(s);
}

// Signs of the head: the reason phrase of JetLeak, the Allow header of Optionsbleed.
void heads() {
    Scan scan(nullptr);
    const std::string allow = "Allow", list = "GET,HEAD,OPTIONS,,HEAD,:09:44 GMT", good = "GET, HEAD";
    ovr_header h{bytes_of(allow), bytes_of(list)};
    const std::string type = "text/plain";
    ovr_response r = response_of(type);
    r.headers = &h;
    r.header_count = 1;
    ovr_verdict v;
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.bits > 0 && v.finding_count == 1 && v.findings[0].part == OVR_PART_HEADER && std::strcmp(v.findings[0].name, "Allow") == 0);
    // The rarest sign of a head decides, in whatever order they come.
    const std::string location = "Location", space = "/a b", server = "Server", control = "x\x01";
    const ovr_header loose{bytes_of(location), bytes_of(space)}, bytes{bytes_of(server), bytes_of(control)};
    const std::pair<ovr_header, int> cases[] = {{loose, 4}, {h, 5}, {bytes, 6}};
    double before = 0;
    for (const auto& [field, level] : cases) {
        const ovr_header both[] = {field, loose};
        r.headers = both;
        r.header_count = 2;
        ovr_stream_reset(scan.stream, &r);
        ovr_stream_finish(scan.stream, &v);
        EXPECT(suite, v.term_count == 1 && v.terms[0].level_index == level && v.bits >= before && v.bits > 0);
        before = v.bits;
    }
    r.headers = &h;
    r.header_count = 1;
    h.value = bytes_of(good);
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.bits == 0 && v.finding_count == 0);
}

// Trailers are judged as heads are, in the order of sending, and a filter can still stop the bytes it holds.
void trailers() {
    Scan scan(nullptr);
    const std::string type = "text/plain", allow = "Allow", list = "GET,HEAD,OPTIONS,,HEAD,:09:44 GMT", server = "Server", control = "x\x01";
    const std::string body = "x\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n";
    const ovr_header sign{bytes_of(allow), bytes_of(list)}, head{bytes_of(server), bytes_of(control)};
    ovr_response r = response_of(type);
    r.headers = &head;
    r.header_count = 1;
    ovr_verdict v;
    ovr_progress before{}, after{};
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_feed(scan.stream, body.data(), body.size(), &before);
    EXPECT(suite, ovr_stream_trailers(scan.stream, nullptr, 1, nullptr) == OVR_E_ARGUMENT);
    EXPECT(suite, ovr_stream_trailers(scan.stream, &sign, 1, &after) == OVR_OK && after.bits >= before.bits);
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.finding_count >= 3 && v.findings[0].part == OVR_PART_HEADER && v.findings[1].part == OVR_PART_BODY);
    const ovr_finding& last = v.findings[v.finding_count - 1];
    EXPECT(suite, last.part == OVR_PART_TRAILER && std::strcmp(last.name, "Allow") == 0 && last.offset == 17);
    EXPECT(suite, ovr_stream_trailers(scan.stream, &sign, 1, nullptr) == OVR_E_FINISHED);
    r.headers = nullptr;
    r.header_count = 0;
    ovr_stream_reset(scan.stream, &r);
    ovr_stream_trailers(scan.stream, &sign, 1, nullptr);
    ovr_stream_finish(scan.stream, &v);
    EXPECT(suite, v.bits > 0 && v.finding_count == 1 && v.first_offset == OVR_NO_OFFSET);
}

}  // namespace

int main(int argc, char** argv) {
    const bool slow = argc < 2 || std::strcmp(argv[1], "--short") != 0;
    for (size_t k = 0; ovr_kernel_name(k); k++) {
        const std::string name = ovr_kernel_name(k);
        suite.run((name + ": every one-cut and two-cut split, and byte by byte").c_str(), [&] { exhaustive_splits(name.c_str()); });
        suite.run((name + ": random many-cut splits equal the scalar whole").c_str(), [&] { random_splits(name.c_str(), slow ? 100 : 12); });
        suite.run((name + ": wrong characters at the edges of units").c_str(), [&] { wrong_characters_at_edges(name.c_str()); });
        suite.run((name + ": chunks at guard pages").c_str(), [&] { over_reads_nothing(name.c_str()); });
    }
    suite.run("a leaking page is found, a clean one silent", found_and_silent);
    suite.run("own request is exempt and lowers nothing", own_request);
    suite.run("heads", heads);
    suite.run("trailers", trailers);
    suite.run("bad input", bad_input);
    suite.run("filter under monitor and enforce", filter_policy);
    suite.run("what is held", holding);
    suite.run("a budget's bits block", block_bits);
    if (slow) suite.run("offsets beyond 4 GiB", beyond_4_gib);
    std::printf("kernels run:");
    for (size_t k = 0; ovr_kernel_name(k); k++) std::printf(" %s", ovr_kernel_name(k));
    std::printf("\n");
    return suite.close();
}
