// What is done with a response: every action on every kind of body, and the law of redaction: any split gives the same output.
#include <cstring>
#include <random>

#include "abi.h"
#include "check.h"
#include "examples.h"
#include "overread.h"

namespace {

Suite suite;
ovr_scanner* scanner = nullptr;

ovr_policy policy_of(int weak, int strong, int certain, uint32_t hold = OVR_HOLD_DEFAULT, int mode = OVR_MODE_ENFORCE) {
    auto p = sized<ovr_policy>();
    p.mode = mode;
    p.hold = hold;
    p.action[OVR_TIER_WEAK] = weak;
    p.action[OVR_TIER_STRONG] = strong;
    p.action[OVR_TIER_CERTAIN] = certain;
    return p;
}

// What a client gets, from an adapter that does what it is told.
struct Got {
    int verb = OVR_PASS;
    bool no_store = false, flowed = false;
    std::string body, event;
};

// cuts: ends of chunks. flush: after each of them. head: a field of the response beside its type.
Got send(const ovr_policy& policy, const Example& x, const std::vector<size_t>& cuts, bool flush = false, const std::string& head = "") {
    ovr_filter* f = nullptr;
    ovr_error err;
    Got got;
    EXPECT(suite, ovr_filter_open(scanner, &policy, &f, &err) == OVR_OK);
    if (!f) return got;
    const std::string name = "x-note";
    const ovr_header field{bytes_of(name), bytes_of(head)};
    auto r = sized<ovr_response>();
    r.status = 200;
    r.content_type = bytes_of(x.type);
    r.headers = &field;
    r.header_count = head.empty() ? 0 : 1;
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    size_t fed = 0;
    bool event = a.wants_event;
    auto obey = [&] {
        event |= a.wants_event != 0;
        got.verb = a.verb;
        got.no_store = a.no_store;
        if (a.verb == OVR_BLOCK || a.verb == OVR_CUT) return;
        const size_t sent = got.body.size(), until = size_t(std::min<uint64_t>(a.released, fed));
        EXPECT(suite, until >= sent);
        if (until <= sent) return;
        std::string piece = x.body.substr(sent, until - sent);
        if (a.redact) ovr_filter_redact(f, sent, &piece[0], piece.size());
        got.body += piece;
        got.flowed |= fed < x.body.size();
    };
    obey();
    for (size_t i = 0; i <= cuts.size() && a.verb == OVR_PASS; i++) {
        const size_t end = i < cuts.size() ? cuts[i] : x.body.size();
        const std::string chunk = x.body.substr(fed, end - fed);  // its own memory: the sanitizer sees a read behind it
        ovr_filter_body(f, chunk.data(), chunk.size(), &a);
        fed = end;
        obey();
        if (flush && a.verb == OVR_PASS) {
            ovr_filter_flush(f, &a);
            obey();
        }
    }
    if (a.verb == OVR_PASS) {
        ovr_filter_end(f, &a);
        obey();
    }
    if (event) {
        char json[8192];
        auto e = sized<ovr_exchange>();
        EXPECT(suite, ovr_filter_event(f, &e, json, sizeof json, nullptr) == OVR_OK);
        got.event = json;
    }
    ovr_filter_close(f);
    return got;
}

bool did(const Got& got, const char* action) { return got.event.find("\"action\":\"" + std::string(action) + "\"") != std::string::npos; }

const char* const SECRETS[] = {"Zk3Yx8QmZr7LwPvB2nHs5TdJ", "Qk3Yx8QmZr7LwPvB2nHs5TdX", "W\0k\0003\0Y\0x\0008"};

bool holds_secret(const std::string& s) {
    for (const char* secret : SECRETS)
        if (s.find(secret) != std::string::npos) return true;
    return s.find(wide("Wk3Yx8QmZr7LwPvB2nHs5TdY")) != std::string::npos;
}

Example page(size_t before, size_t behind, const std::string& leak) {
    std::string s = "<!DOCTYPE html>\n<html><body>\n";
    while (s.size() < before) s += "<p>An ordinary paragraph of an ordinary page, caf\xc3\xa9 and all.</p>\n";
    s += leak;
    const size_t at = s.size();
    while (s.size() < at + behind) s += "<p>More of the page, \xe6\x9d\xb1\xe4\xba\xac.</p>\n";
    return {"text/html; charset=utf-8", s + "</body></html>\n"};
}

Example image() {
    return {"image/png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\x02IDATab....\0\0\0\0IEND\xae"
                               "B`\x82") +
                             memory() + memory()};
}
constexpr size_t IMAGE_SIZE = 8 + 14 + 12;

void each_action() {
    const Example leak = page(3000, 800, memory() + memory());
    const Got blocked = send(policy_of(0, 0, 0), leak, {});
    EXPECT(suite, blocked.verb == OVR_BLOCK && blocked.body.empty() && did(blocked, "block"));
    for (const int quiet : {OVR_DO_LOG, OVR_DO_NO_STORE}) {
        const Got got = send(policy_of(OVR_DO_LOG, quiet, quiet), leak, {});
        EXPECT(suite, got.verb == OVR_PASS && got.body == leak.body && got.no_store == (quiet == OVR_DO_NO_STORE));
        EXPECT(suite, did(got, quiet == OVR_DO_LOG ? "log" : "no-store"));
    }
    const Got redacted = send(policy_of(0, OVR_DO_REDACT, OVR_DO_REDACT), leak, {});
    EXPECT(suite, redacted.verb == OVR_PASS && redacted.no_store && did(redacted, "redact"));
    EXPECT(suite, redacted.body.size() == leak.body.size() && !holds_secret(redacted.body));
    EXPECT(suite, redacted.body.substr(0, 2900) == leak.body.substr(0, 2900));
    EXPECT(suite, redacted.body.substr(redacted.body.size() - 100) == leak.body.substr(leak.body.size() - 100));
    const Got shorter = send(policy_of(0, OVR_DO_TRUNCATE, OVR_DO_TRUNCATE), leak, {});
    EXPECT(suite, shorter.verb == OVR_END && shorter.no_store && did(shorter, "truncate"));
    EXPECT(suite, shorter.body.size() >= 2900 && shorter.body.size() < 3100 && shorter.body == leak.body.substr(0, shorter.body.size()));
    // Only containers have an end behind which a tail can be dropped.
    EXPECT(suite, send(policy_of(0, OVR_DO_TRIM, OVR_DO_TRIM), leak, {}).verb == OVR_BLOCK);
    const Got trimmed = send(policy_of(0, OVR_DO_TRIM, OVR_DO_TRIM), image(), {});
    EXPECT(suite, trimmed.verb == OVR_END && did(trimmed, "trim") && trimmed.body == image().body.substr(0, IMAGE_SIZE));
    // The first byte leaks: what is left is no page.
    const Example all{"text/html; charset=utf-8", memory() + memory() + memory()};
    EXPECT(suite, send(policy_of(OVR_DO_TRUNCATE, 0, 0), all, {}).verb == OVR_BLOCK);
}

// What has left has left: later the connection is cut, or the body ends where it has come to.
void late() {
    const Example leak = page(40000, 100, memory() + memory());
    std::vector<size_t> cuts;
    for (size_t i = 1000; i < leak.body.size(); i += 1000) cuts.push_back(i);
    const Got cut = send(policy_of(0, 0, 0), leak, cuts, true);
    EXPECT(suite, cut.verb == OVR_CUT && did(cut, "cut") && cut.event.find("\"head_sent\":true") != std::string::npos);
    const Got shorter = send(policy_of(0, OVR_DO_TRUNCATE, OVR_DO_TRUNCATE), leak, cuts, true);
    EXPECT(suite, shorter.verb == OVR_END && !holds_secret(shorter.body) && shorter.body == leak.body.substr(0, shorter.body.size()));
    const Got redacted = send(policy_of(0, OVR_DO_REDACT, OVR_DO_REDACT), leak, cuts, true);
    EXPECT(suite, redacted.verb == OVR_PASS && redacted.body.size() == leak.body.size() && !holds_secret(redacted.body));
}

// Bytes that were allowed to leave but did not, because more was fed before any was sent: the client got a 502, and the event says so.
void allowed_and_kept() {
    const Example leak = page(40000, 30000, memory() + memory());
    const ovr_policy policy = policy_of(0, 0, 0);
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(scanner, &policy, &f, nullptr) == OVR_OK);
    auto r = sized<ovr_response>();
    r.content_type = bytes_of(leak.type);
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    ovr_filter_body(f, leak.body.data(), 29000, &a);
    EXPECT(suite, a.release_head && a.released > 0);
    ovr_filter_body(f, leak.body.data() + 29000, leak.body.size() - 29000, &a);
    EXPECT(suite, a.verb == OVR_CUT && std::string(ovr_filter_done(f)) == "cut");
    ovr_filter_unsent(f);
    char json[8192];
    auto e = sized<ovr_exchange>();
    EXPECT(suite, ovr_filter_event(f, &e, json, sizeof json, nullptr) == OVR_OK && std::string(ovr_filter_done(f)) == "block");
    Got got;
    got.event = json;
    EXPECT(suite, did(got, "block") && got.event.find("\"head_sent\":false") != got.event.npos && got.event.find("\"released\":0,") != got.event.npos);
    ovr_filter_close(f);
}

// Nothing but whole bodies of plain bytes can be masked or shortened.
void what_cannot_be_altered() {
    const Example leak = page(3000, 800, memory() + memory());
    const std::string bad = BYTES("ok\0\0\0\0\x01\x02\xff");
    for (const int action : {OVR_DO_REDACT, OVR_DO_TRIM, OVR_DO_TRUNCATE})
        EXPECT(suite, send(policy_of(0, action, action), leak, {}, false, bad).verb == OVR_BLOCK);
}

void monitor_alters_nothing() {
    const Example leak = page(3000, 800, memory() + memory());
    for (const int action : {OVR_DO_LOG, OVR_DO_NO_STORE, OVR_DO_REDACT, OVR_DO_TRUNCATE, OVR_DO_BLOCK}) {
        const Got got = send(policy_of(0, action, action, OVR_HOLD_DEFAULT, OVR_MODE_MONITOR), leak, {1, 1000, 3100});
        static const char* const NAME[] = {"", "log", "no-store", "redact", "trim", "truncate", "block"};
        EXPECT(suite, got.verb == OVR_PASS && !got.no_store && got.body == leak.body && did(got, "log"));
        EXPECT(suite, got.event.find("\"would\":\"" + std::string(NAME[action]) + "\"") != std::string::npos);
    }
}

void budget() {
    const Example leak = page(3000, 800, memory() + memory());
    ovr_policy p = policy_of(0, 0, 0);
    p.block_bits = 1000;
    const Got got = send(p, leak, {});
    EXPECT(suite, got.verb == OVR_PASS && got.no_store && got.body == leak.body);
    p.action[OVR_TIER_CERTAIN] = OVR_DO_REDACT;
    EXPECT(suite, !holds_secret(send(p, leak, {}).body));
    p.block_bits = 22;
    EXPECT(suite, send(p, leak, {}).verb == OVR_BLOCK);
    ovr_filter* f = nullptr;
    ovr_error err;
    for (const int bad : {-1, 8}) {
        p.action[OVR_TIER_STRONG] = bad;
        EXPECT(suite, ovr_filter_open(scanner, &p, &f, &err) == OVR_E_ARGUMENT && std::strstr(err.message, "action"));
    }
}

std::vector<Example> leaks() {
    const std::string two_ends = "</body></html>\n<p>Of another page.</p>\n</body></html>\n" + memory() + "</html> " + memory();
    std::vector<Example> all = {page(3000, 300, two_ends), page(3000, 800, memory() + memory()), page(100, 3000, memory() + memory()),
                                page(20000, 3000, memory()), image()};
    std::string events, note = "data: {\"text\": \"hello, \xe4\xba\xac\"}\n\n";
    for (int i = 0; i < 30; i++) events += note;
    events += "data: " + memory() + "\n\n";
    for (int i = 0; i < 60; i++) events += note + (i % 10 ? "" : "data: Cookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n\r\n");
    all.push_back({"text/event-stream", events});
    all.push_back({"text/plain; charset=utf-8", std::string(900, 'x') + memory() + std::string(100, 'y') + memory() + std::string(2000, 'z')});
    // Signs that left before the bits were there stay as they were.
    std::string slow = "\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://shop.example/cart\r\n";
    for (int i = 0; i < 9; i++) slow += "<p>A line between.</p>\n";
    all.push_back(page(2900, 800, slow + memory() + memory()));
    all.push_back({"application/json", "{\"a\": [1, 2, 3]}" + memory() + memory()});
    for (Example x : short_examples()) {
        all.push_back(x);
        x.body = std::string(700, ' ') + memory() + x.body;
        all.push_back(x);
    }
    return all;
}

void any_split_gives_the_same() {
    std::mt19937 rng(7);
    size_t altered = 0;
    for (const uint32_t hold : {0u, 100u, OVR_HOLD_DEFAULT})
        for (const Example& x : leaks())
            for (const int tier : {OVR_TIER_WEAK, OVR_TIER_STRONG}) {
                const ovr_policy p = policy_of(tier == OVR_TIER_WEAK ? OVR_DO_REDACT : 0, OVR_DO_REDACT, OVR_DO_REDACT, hold);
                const Got whole = send(p, x, {});
                EXPECT(suite, whole.verb != OVR_PASS || whole.body.size() == x.body.size());
                altered += whole.body != x.body;
                std::vector<std::vector<size_t>> splits(1);
                for (size_t i = 1; i < x.body.size(); i++) splits[0].push_back(i);
                for (const size_t most : {3u, 40u, 700u, 5000u}) {
                    splits.emplace_back();
                    for (size_t at = 1 + rng() % most; at < x.body.size(); at += 1 + rng() % most) splits.back().push_back(at);
                }
                for (const auto& cuts : splits) {
                    const Got got = send(p, x, cuts);
                    EXPECT(suite, got.body == whole.body && got.verb == whole.verb);
                    if (got.body != whole.body) {
                        size_t i = 0;
                        while (i < got.body.size() && i < whole.body.size() && got.body[i] == whole.body[i]) i++;
                        std::printf("%s of %zu bytes, hold %u, tier %d: differs at %zu of %zu, chunks of about %zu\n", x.type.c_str(), x.body.size(), hold,
                                    tier, i, got.body.size(), x.body.size() / (cuts.size() + 1));
                    }
                }
            }
    EXPECT(suite, altered > 20);
}

// Event streams flow while they are masked: a whole event goes at once.
void events_flow() {
    const Example x = leaks()[5];
    const ovr_policy p = policy_of(0, OVR_DO_REDACT, OVR_DO_REDACT);
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(scanner, &p, &f, nullptr) == OVR_OK);
    auto r = sized<ovr_response>();
    r.content_type = bytes_of(x.type);
    ovr_action a;
    ovr_filter_head(f, &r, &a);
    size_t at = 0;
    while (at < x.body.size()) {
        const size_t end = x.body.find("\n\n", at);
        if (end == std::string::npos) break;
        ovr_filter_body(f, x.body.data() + at, end + 2 - at, &a);
        at = end + 2;
        EXPECT(suite, a.verb == OVR_PASS && a.released == at);
    }
    EXPECT(suite, a.redact == 1);
    ovr_filter_close(f);
}

// A token's echo is found at any split, in coded bodies too, only under its key and only in the response to its own request.
void test_tokens() {
    const uint8_t key[16] = {1, 2, 3}, other[16] = {9};
    char token[OVR_TEST_TOKEN + 1], foreign[OVR_TEST_TOKEN + 1];
    EXPECT(suite, ovr_test_token(key, sizeof key, token) == OVR_OK && std::strlen(token) == OVR_TEST_TOKEN);
    EXPECT(suite, ovr_test_token(other, sizeof other, foreign) == OVR_OK && ovr_test_token(key, 15, token) == OVR_E_ARGUMENT);
    ovr_policy p = policy_of(0, 0, 0);
    p.test_key = {key, sizeof key};
    auto verb_of = [&](const std::string& target, const std::string& value, const std::string& body, size_t step) {
        ovr_filter* f = nullptr;
        EXPECT(suite, ovr_filter_open(scanner, &p, &f, nullptr) == OVR_OK);
        const std::string name = "Overread-Test", type = "text/html; charset=utf-8";
        const ovr_header field{bytes_of(name), bytes_of(value)};
        auto q = sized<ovr_request>();
        q.target = bytes_of(target);
        q.headers = &field;
        q.header_count = 1;
        auto r = sized<ovr_response>();
        r.content_type = bytes_of(type);
        r.request = &q;
        ovr_action a;
        ovr_filter_head(f, &r, &a);
        for (size_t i = 0; i < body.size() && a.verb == OVR_PASS; i += step) ovr_filter_body(f, body.data() + i, std::min(step, body.size() - i), &a);
        if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
        char json[8192];
        auto e = sized<ovr_exchange>();
        EXPECT(suite, a.test == (a.verb != OVR_PASS) && ovr_filter_event(f, &e, json, sizeof json, nullptr) == OVR_OK);
        EXPECT(suite, (std::strstr(json, "\"test\":true") != nullptr) == (a.verb != OVR_PASS) && !std::strstr(json, token));
        ovr_filter_close(f);
        return a.verb;
    };
    const std::string t = token, page = "<!DOCTYPE html>\n<p>You looked for: ", end = " and nothing was found.</p>\n";
    for (const size_t step : {1u, 2u, 7u, 37u, 38u, 39u, 1000u}) {
        EXPECT(suite, verb_of("/search?q=" + t, "", page + t + end, step) == OVR_BLOCK);
        EXPECT(suite, verb_of("/", t, page + t + t + end, step) == OVR_BLOCK);
        EXPECT(suite, verb_of("/?q=ovrt1-" + t, "ovrt1-", page + "ovrt1-" + t, step) == OVR_BLOCK);
        EXPECT(suite, verb_of("/?q=" + t, "", page + end, step) == OVR_PASS);
        EXPECT(suite, verb_of("/", "", page + t + end, step) == OVR_PASS);
        EXPECT(suite, verb_of("/?q=" + std::string(foreign), "", page + foreign + end, step) == OVR_PASS);
        std::string wrong = t;
        wrong.back() = wrong.back() == '0' ? '1' : '0';
        EXPECT(suite, verb_of("/?q=" + wrong, "", page + wrong + end, step) == OVR_PASS);
        EXPECT(suite, verb_of("/?q=" + t, "", page + t.substr(0, 37) + end + t.substr(1) + t.substr(0, 20), step) == OVR_PASS);
    }
    ovr_filter* f = nullptr;
    p.test_key.size = 15;
    EXPECT(suite, ovr_filter_open(scanner, &p, &f, nullptr) == OVR_E_ARGUMENT);
}

// Verifiers stop at bounds, evidence at the first of its kind; masks do not.
void masks_go_to_the_end() {
    const ovr_policy p = policy_of(0, OVR_DO_REDACT, OVR_DO_REDACT);
    std::string token;
    while (token.size() < 2000) token += "Zk3Yx8QmZr7LwPvB2nHs5TdJ";
    std::string key = "-----BEGIN RSA PRIVATE KEY-----\n";
    for (int i = 0; i < 25; i++) key += token.substr(size_t(i) * 64, 64) + "\n";
    key += "-----END RSA PRIVATE KEY-----\n";
    std::string escaped;
    for (int i = 0; i < 100; i++) escaped += "q%0D%0ACookie%3A%20sid%3DZk3Yx8QmZr7LwPvB" + std::to_string(i) + "%0D%0A ";
    for (const std::string& secret : {"\r\nCookie: session=" + token + "\r\n", "\r\nAuthorization: Bearer " + token + "\r\n", key, escaped}) {
        const std::string behind = "<p>The page goes on, with an ordinary paragraph of some length.</p>\n";
        std::string quiet;
        for (int i = 0; i < 12; i++) quiet += behind;
        const Example x = page(3000, 0, memory() + memory() + quiet + secret + quiet + quiet);
        for (const std::vector<size_t>& cuts : {std::vector<size_t>{}, std::vector<size_t>{3500, 4000, 4700, 5100, 5700}}) {
            const Got got = send(p, x, cuts);
            EXPECT(suite, got.verb == OVR_PASS && got.body.size() == x.body.size());
            EXPECT(suite, got.body.find("Zk3Yx8QmZr7LwPvB") == std::string::npos);
            EXPECT(suite, got.body.find("goes on", got.body.size() - 200) != std::string::npos);
        }
    }
    // Another page's end in what follows the first.
    const std::string foreign = "<p>What another visitor wrote.</p>\n";
    for (const int action : {OVR_DO_REDACT, OVR_DO_TRUNCATE}) {
        Example x = page(3000, 0, "");
        const size_t end = x.body.size();
        x.body += foreign + "</body></html>\n" + memory() + memory();
        const Got got = send(policy_of(0, action, action), x, {});
        EXPECT(suite,
               got.verb == (action == OVR_DO_REDACT ? OVR_PASS : OVR_END) && got.body.size() >= end - 1 && got.body.find("another") == std::string::npos);
    }
    // A secret inside the image stays when its tail goes: such an image is blocked.
    const std::string lines = "\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nAuthorization: Bearer Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n\r\n";
    const std::string comment = "tEXtComment" + BYTES("\0") + lines + "....";
    const std::string size = std::string(3, '\0') + char(comment.size() - 8);
    Example inside = image();
    inside.body.insert(8, size + comment);
    const Got trimmed = send(policy_of(OVR_DO_LOG, OVR_DO_TRIM, OVR_DO_TRIM), inside, {});
    EXPECT(suite, did(send(policy_of(0, OVR_DO_LOG, OVR_DO_LOG), inside, {}), "log"));
    EXPECT(suite, trimmed.verb == OVR_BLOCK && trimmed.body.empty());
}

// Above a share of stopped responses all filters of a scanner only monitor, until a whole window has fewer.
void breaker() {
    ovr_scanner* s = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, nullptr, &s, nullptr) == OVR_OK);
    ovr_policy p = policy_of(0, 0, 0);
    p.most_blocked = 0.01;
    const Example leak = page(3000, 800, memory() + memory()), clean = page(500, 0, "");
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(s, &p, &f, nullptr) == OVR_OK);
    auto verb_of = [&](const Example& x) {
        auto r = sized<ovr_response>();
        r.content_type = bytes_of(x.type);
        ovr_action a;
        ovr_filter_head(f, &r, &a);
        ovr_filter_body(f, x.body.data(), x.body.size(), &a);
        if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
        if (a.verb == OVR_PASS) EXPECT(suite, a.released >= x.body.size() && !a.no_store);
        return a.verb;
    };
    auto event_says = [&](const char* what) {
        char json[8192];
        auto e = sized<ovr_exchange>();
        EXPECT(suite, ovr_filter_event(f, &e, json, sizeof json, nullptr) == OVR_OK);
        return std::strstr(json, what) != nullptr;
    };
    for (int i = 0; i < 11; i++) EXPECT(suite, !ovr_scanner_breaker_open(s) && verb_of(leak) == OVR_BLOCK);
    EXPECT(suite, ovr_scanner_breaker_open(s) && !event_says("breaker"));
    EXPECT(suite, verb_of(leak) == OVR_PASS && event_says("\"breaker\":true") && event_says("\"would\":\"block\"") && event_says("\"mode\":\"monitor\""));
    // The rest of this window, one that would be stopped too often as well, and one that would not.
    for (int i = 12; i < 1000; i++) verb_of(clean);
    for (int i = 0; i < 1000; i++) verb_of(i % 50 ? clean : leak);
    EXPECT(suite, ovr_scanner_breaker_open(s));
    for (int i = 0; i < 1000; i++) {
        EXPECT(suite, ovr_scanner_breaker_open(s));
        verb_of(i % 100 ? clean : leak);
    }
    EXPECT(suite, !ovr_scanner_breaker_open(s) && verb_of(leak) == OVR_BLOCK);
    for (int i = 0; i < 30; i++) verb_of(leak);
    EXPECT(suite, ovr_scanner_breaker_open(s));
    ovr_scanner_breaker_close(s);
    EXPECT(suite, !ovr_scanner_breaker_open(s) && verb_of(leak) == OVR_BLOCK);
    ovr_filter_close(f);
    p.most_blocked = 1.5;
    EXPECT(suite, ovr_filter_open(s, &p, &f, nullptr) == OVR_E_ARGUMENT);
    ovr_scanner_free(s);
}

}  // namespace

int main(int argc, char** argv) {
    if (ovr_scanner_new(nullptr, nullptr, &scanner, nullptr) != OVR_OK) return 1;
    (void)argc, (void)argv;
    suite.run("each action", each_action);
    suite.run("late", late);
    suite.run("allowed and kept", allowed_and_kept);
    suite.run("what cannot be altered", what_cannot_be_altered);
    suite.run("monitor alters nothing", monitor_alters_nothing);
    suite.run("budget", budget);
    suite.run("any split gives the same", any_split_gives_the_same);
    suite.run("event streams flow", events_flow);
    suite.run("test tokens", test_tokens);
    suite.run("masks go to the end", masks_go_to_the_end);
    suite.run("breaker", breaker);
    ovr_scanner_free(scanner);
    return suite.close();
}
