// A coded body is judged as what it decodes to, however its bytes are cut; broken ones and bombs have documented answers; no
// coded byte is released before all that it decodes to is decided.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "abi.h"
#include "check.h"
#include "encode.h"
#include "examples.h"
#include "overread.h"

namespace {

Suite suite;
bool quick = false;

const char* const WAYS[] = {"gzip", "deflate", "raw deflate", "br", "zstd"};
std::string field_of(const std::string& way) { return way == "raw deflate" ? "deflate" : way; }

std::string page(size_t size, uint64_t seed) {
    static const char* const WORDS[] = {"<p>", "basket", "</p>\n", "delivery", " of ", "the", " order ", "<b>", "42", "</b>", "caf\xc3\xa9", " and "};
    std::mt19937_64 rng(seed);
    std::string s = "<!DOCTYPE html>\n<html><body>\n";
    while (s.size() < size) s += WORDS[rng() % 12];
    return s;
}

std::string leaking(size_t before, size_t after, uint64_t seed) { return page(before, seed) + memory() + page(after, seed + 1); }

struct Answer {
    std::string text, content_class;
    double bits = 0;
    uint64_t first = 0, size = 0;
    int decode = 0;
};

struct Stream {
    ovr_scanner* scanner = nullptr;
    ovr_stream* stream = nullptr;
    explicit Stream(uint32_t hold = OVR_HOLD_DEFAULT, uint64_t max_decoded = 0, uint32_t max_ratio = 0) {
        auto o = sized<ovr_scanner_options>();
        o.hold = hold;
        o.max_decoded = max_decoded;
        o.max_ratio = max_ratio;
        if (ovr_scanner_new(nullptr, &o, &scanner, nullptr) != OVR_OK || ovr_stream_open(scanner, nullptr, &stream, nullptr) != OVR_OK) std::abort();
    }
    ~Stream() {
        ovr_stream_close(stream);
        ovr_scanner_free(scanner);
    }
    void begin(const std::string& codings, const std::string& type = "text/html; charset=utf-8") {
        const std::string name = "Content-Encoding";
        const ovr_header h{bytes_of(name), bytes_of(codings)};
        auto r = sized<ovr_response>();
        r.status = 200;
        r.content_type = bytes_of(type);
        r.headers = &h;
        r.header_count = codings.empty() ? 0 : 1;
        if (ovr_stream_reset(stream, &r) != OVR_OK) std::abort();
    }
    ovr_progress feed(const std::string& s, size_t from, size_t to) {
        ovr_progress p{};
        const std::vector<char> chunk(s.begin() + long(from), s.begin() + long(to));  // of its own: the sanitizer sees reads beyond it
        ovr_stream_feed(stream, chunk.data(), to - from, &p);
        return p;
    }
    Answer end() {
        ovr_verdict v;
        ovr_stream_finish(stream, &v);
        Answer a{std::string(v.content_class), v.content_class, v.bits, v.first_offset, v.body_bytes, v.decode};
        a.text += " " + std::to_string(v.bits) + " " + std::to_string(v.first_offset) + " " + std::to_string(v.body_bytes);
        for (size_t i = 0; i < v.finding_count; i++)
            a.text += std::string("\n") + v.findings[i].rule + " " + std::to_string(v.findings[i].offset) + "+" + std::to_string(v.findings[i].length);
        return a;
    }
    // step 0: whole; -1: cut at random.
    Answer run(const std::string& codings, const std::string& body, int step, uint64_t seed = 0) {
        begin(codings);
        std::mt19937_64 rng(seed);
        size_t most = 1 + rng() % 4000;
        for (size_t at = 0; at < body.size();) {
            const size_t to = std::min(body.size(), at + (step > 0 ? size_t(step) : step == 0 ? body.size() : 1 + rng() % most));
            feed(body, at, to);
            at = to;
        }
        return end();
    }
};

void every_coding() {
    Stream s;
    for (const size_t size : {size_t(0), size_t(1), size_t(15), size_t(700), size_t(70000)}) {
        for (const std::string& body : {page(size, size).substr(0, size), leaking(size, size / 3, size)}) {
            const Answer want = s.run("", body, 0);
            EXPECT(suite, want.decode == OVR_DECODE_NONE);
            for (const std::string way : WAYS) {
                const std::string coded = encoded(body, way);
                for (const int step : {0, 1, -1, -1, 1000}) {
                    const Answer got = s.run(field_of(way), coded, step, size + uint64_t(step + 2));
                    EXPECT_SEED(suite, got.text == want.text && got.decode == OVR_DECODE_OK, size);
                }
            }
        }
    }
    EXPECT(suite, s.run("gzip", "", 0).decode == OVR_DECODE_OK);  // as a response to HEAD has it
}

void stacks_and_members() {
    Stream s;
    const std::string a = page(9000, 1), b = memory(), c = page(5000, 2);
    const Answer want = s.run("", a + b + c, 0);
    EXPECT(suite, want.bits > 30);
    for (const std::string way : {"gzip", "zstd"}) {
        const std::string coded = encoded(a, way) + encoded(b, way) + encoded("", way) + encoded(c, way);
        for (const int step : {0, 1, -1}) {
            const Answer got = s.run(way, coded, step);
            EXPECT(suite, got.text == want.text && got.decode == OVR_DECODE_OK);
        }
    }
    const std::string skippable("\x5e\x2a\x4d\x18\x05\0\0\0abcde", 13);
    EXPECT(suite, s.run("zstd", skippable + encoded(a + b, "zstd") + skippable + encoded(c, "zstd"), -1).text == want.text);
    for (const std::string first : WAYS)
        for (const std::string second : WAYS) {
            const std::string coded = encoded(encoded(a + b + c, first), second), field = field_of(first) + ", identity,\t" + field_of(second);
            for (const int step : {0, 1, -1}) EXPECT(suite, s.run(field, coded, step).text == want.text);
        }
    const std::string thrice = encoded(encoded(encoded(a + b + c, "zstd"), "br"), "gzip");
    EXPECT(suite, s.run("zstd,BR, X-GZip", thrice, -1).text == want.text);
    EXPECT(suite, s.run("gzip,zstd,br,gzip", encoded(thrice, "gzip"), 0).decode == OVR_DECODE_UNKNOWN);
    EXPECT(suite, s.run("gzip, compress", thrice, 0).content_class == "encoded");
}

void bytes_behind() {
    Stream s;
    const std::string a = page(3000, 3), b = memory();
    const Answer want = s.run("", a + b, 0);
    for (const std::string way : WAYS)
        for (const int step : {0, 1, -1}) {
            const Answer got = s.run(field_of(way), encoded(a, way) + b, step);
            EXPECT(suite, got.text == want.text && got.decode == OVR_DECODE_TRAILING);
        }
    // What may be the first byte of another member is handed on when none comes.
    for (const char* rest : {"\x1f", "\x28\xb5\x2f"})
        for (const char* way : {"gzip", "zstd"}) {
            const Answer got = s.run(way, encoded(a, way) + rest, 1);
            EXPECT(suite, got.size == a.size() + std::strlen(rest) && got.decode == OVR_DECODE_TRAILING);
        }
}

void truncated() {
    Stream s;
    const std::string body = page(300, 4) + memory();
    for (const std::string way : WAYS) {
        const std::string coded = encoded(body, way);
        uint64_t before = 0;
        for (size_t n = 1; n < coded.size(); n++) {
            const std::string part = coded.substr(0, n);
            const Answer got = s.run(field_of(way), part, 0);
            EXPECT_SEED(suite, got.decode == OVR_DECODE_TRUNCATED && got.size >= before && got.size <= body.size(), n);
            EXPECT_SEED(suite, got.size ? got.text == s.run("", body.substr(0, got.size), 0).text : got.content_class == "encoded", n);
            EXPECT_SEED(suite, s.run(field_of(way), part, 1).text == got.text, n);
            before = got.size;
        }
    }
}

void damaged() {
    Stream s;
    const std::string body = leaking(4000, 2000, 5);
    size_t broken = 0, cut = 0;
    for (const std::string way : WAYS) {
        const std::string coded = encoded(body, way);
        std::mt19937_64 rng(6);
        for (int round = 0; round < (quick ? 60 : 600); round++) {
            std::string bad = coded;
            for (int flips = 1 + int(rng() % 3); flips-- > 0;) bad[rng() % (round % 2 ? 40 : bad.size())] ^= char(1 << rng() % 8);
            const Answer whole = s.run(field_of(way), bad, 0), bytewise = s.run(field_of(way), bad, 1), random = s.run(field_of(way), bad, -1, rng());
            EXPECT_SEED(suite, whole.text == bytewise.text && whole.decode == bytewise.decode, uint64_t(round));
            EXPECT_SEED(suite, whole.text == random.text && whole.decode == random.decode, uint64_t(round));
            broken += whole.decode == OVR_DECODE_BROKEN;
            cut += whole.decode == OVR_DECODE_TRUNCATED;
        }
    }
    EXPECT(suite, broken > 100 && cut > 0);
    // Far behind the start, where a decoder no longer has all it was fed.
    std::string large = page(3000, 8);
    std::mt19937_64 rng(9);
    while (large.size() < 400000) large += "0123456789abcdef"[rng() % 16];
    large += memory();
    size_t late = 0;
    for (const std::string way : {"br", "zstd"}) {
        const std::string coded = encoded(large, way);
        EXPECT(suite, coded.size() > 150000);
        for (int round = 0; round < (quick ? 4 : 30); round++) {
            std::string bad = coded;
            for (int i = 0; i < 3; i++) bad[60000 + rng() % (bad.size() - 60000)] ^= char(1 << rng() % 8);
            const Answer whole = s.run(way, bad, 0), bytewise = s.run(way, bad, 1), random = s.run(way, bad, -1, rng());
            EXPECT_SEED(suite, whole.text == bytewise.text && whole.decode == bytewise.decode, uint64_t(round));
            EXPECT_SEED(suite, whole.text == random.text && whole.decode == random.decode, uint64_t(round));
            late += whole.decode == OVR_DECODE_BROKEN;
        }
    }
    EXPECT(suite, late > 2);
    // A head that lies: the bytes are what they were without it known.
    for (const char* way : {"gzip", "zstd"})
        for (const int step : {0, 1, -1}) {
            const Answer got = s.run(way, body, step), unknown = s.run("own", body, step);
            EXPECT(suite, got.text == unknown.text && got.decode == OVR_DECODE_BROKEN && got.content_class == "encoded" && got.size == body.size());
        }
}

void bombs() {
    Stream s;
    const auto started = std::chrono::steady_clock::now();
    const std::string piece(1 << 20, '\0');
    for (const std::string way : {"gzip", "deflate", "zstd"}) {
        // Of 1 GiB of zeros: that of 64 MiB, in members where there are some, and deflate's own way.
        std::string coded = way == "deflate" ? encoded(std::string(256 << 20, '\0'), way) : encoded(std::string(16 << 20, '\0'), way);
        if (way != "deflate")
            for (int i = 0; i < 6; i++) coded += coded;
        const Answer whole = s.run(way, coded, 0);
        EXPECT(suite, whole.decode == OVR_DECODE_BOMB && whole.size >= 16 << 20 && whole.size < 128 << 20);
        EXPECT(suite, s.run(way, coded, -1).text == whole.text);
        EXPECT(suite, s.run(way + ", gzip", encoded(coded, "gzip"), 0).decode == OVR_DECODE_BOMB);
    }
    std::string out(1 << 16, '\0');
    size_t n = out.size();
    const std::string zeros(256 << 20, '\0');
    if (!BrotliEncoderCompress(1, 24, BROTLI_MODE_GENERIC, zeros.size(), reinterpret_cast<const uint8_t*>(zeros.data()), &n,
                               reinterpret_cast<uint8_t*>(&out[0])))
        std::abort();
    const Answer br = s.run("br", out.substr(0, n), 0);
    EXPECT(suite, br.decode == OVR_DECODE_BOMB && br.size == 16 << 20);
    EXPECT(suite, s.run("br", out.substr(0, n), 1).text == br.text);
    // A frame that asks for a window of 16 MiB; RFC 8878, section 3.1.1.1.2.
    EXPECT(suite, s.run("zstd", std::string("\x28\xb5\x2f\xfd\x00\x70\x01\0\0", 9), 1).decode == OVR_DECODE_BOMB);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    EXPECT(suite, seconds < 120);
}

void bounds_are_options() {
    const std::string much = encoded(std::string(64 << 20, '\0'), "gzip");  // 1,030 times its bytes
    EXPECT(suite, Stream().run("gzip", much, 0).decode == OVR_DECODE_BOMB);
    EXPECT(suite, Stream(OVR_HOLD_DEFAULT, 0, 2000).run("gzip", much, 0).decode == OVR_DECODE_OK);
    EXPECT(suite, Stream(OVR_HOLD_DEFAULT, 64 << 20, UINT32_MAX).run("gzip", much, 0).decode == OVR_DECODE_OK);
    const Answer cut = Stream(OVR_HOLD_DEFAULT, (64 << 20) - 1, UINT32_MAX).run("gzip", much, 0);
    EXPECT(suite, cut.decode == OVR_DECODE_BOMB && cut.size < 64 << 20);
    const std::string page = encoded(std::string(5000, 'x'), "gzip");
    EXPECT(suite, Stream(OVR_HOLD_DEFAULT, 4999).run("gzip", page, 0).decode == OVR_DECODE_BOMB);
    EXPECT(suite, Stream(OVR_HOLD_DEFAULT, 5000).run("gzip", page, 0).decode == OVR_DECODE_OK);
}

// What a client can decode of the first `released` bytes was decided: it stands before what may not leave.
void released() {
    Stream plain(0), s;
    for (uint64_t seed = 0; seed < (quick ? 40 : 300); seed++) {
        std::mt19937_64 rng(seed);
        const bool leaks = seed % 4 != 0;
        const size_t before = rng() % 60000;
        const std::string body = leaks ? leaking(before, rng() % 40000, seed) : page(before, seed);
        const std::string way = WAYS[rng() % 5], coded = encoded(body, way);
        const Answer all = s.run("", body, 0);
        s.begin(field_of(way));
        uint64_t last = 0;
        size_t at = 0;
        const size_t most = 1 + rng() % 3000;
        ovr_progress p{};
        while (at < coded.size()) {
            const size_t to = std::min(coded.size(), at + 1 + rng() % most);
            p = s.feed(coded, at, to);
            if (seed % 3 == 0) ovr_stream_flush(s.stream, &p);
            EXPECT_SEED(suite, p.released >= last && p.released <= to, seed);
            last = p.released;
            at = to;
            if (p.leaked) break;
            // The held part of the plain body is behind what the released coded bytes decode to.
            const Answer out = plain.run(field_of(way), coded.substr(0, last), 0);
            if (leaks && seed % 3) EXPECT_SEED(suite, out.size <= all.first, seed);
        }
        EXPECT_SEED(suite, p.leaked == leaks || at == coded.size(), seed);
        if (!leaks) {
            const uint64_t held = coded.size() - last;
            s.end();
            ovr_stream_progress(s.stream, &p);
            EXPECT_SEED(suite, p.released == coded.size(), seed);
            EXPECT_SEED(suite, held <= 16384 + 131072, seed);
        }
    }
}

// Without a delay a flushed event goes out at once.
void events_flow() {
    Stream s;
    z_stream z{};
    if (deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
    s.begin("gzip", "text/event-stream");
    std::string coded;
    for (int i = 0; i < 500; i++) {
        const std::string event = "data: tick " + std::to_string(i) + "\n\n";
        char out[256];
        z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(event.data()));
        z.avail_in = uInt(event.size());
        z.next_out = reinterpret_cast<Bytef*>(out);
        z.avail_out = sizeof out;
        deflate(&z, Z_SYNC_FLUSH);
        const size_t from = coded.size();
        coded.append(out, sizeof out - z.avail_out);
        EXPECT_SEED(suite, s.feed(coded, from, coded.size()).released == coded.size(), uint64_t(i));
    }
    deflateEnd(&z);
}

void on_error() {
    Stream s;
    const std::string name = "content-encoding", body = page(40000, 7);
    struct Case {
        std::string field, body;
        int decode;
    };
    const Case cases[] = {{"gzip", encoded(body, "gzip").substr(0, 300), OVR_DECODE_TRUNCATED},
                          {"gzip", body, OVR_DECODE_BROKEN},
                          {"own", body, OVR_DECODE_UNKNOWN},
                          {"gzip", encoded(std::string(64 << 20, ' '), "gzip"), OVR_DECODE_BOMB},
                          {"gzip", encoded(body, "gzip"), OVR_DECODE_OK}};
    for (const Case& c : cases)
        for (const int mode : {OVR_MODE_MONITOR, OVR_MODE_ENFORCE})
            for (const int on : {OVR_ON_ERROR_PASS, OVR_ON_ERROR_BLOCK}) {
                auto p = sized<ovr_policy>();
                p.mode = mode;
                p.hold = OVR_HOLD_DEFAULT;
                p.on_error = on;
                ovr_filter* f = nullptr;
                EXPECT(suite, ovr_filter_open(s.scanner, &p, &f, nullptr) == OVR_OK);
                const ovr_header h{bytes_of(name), bytes_of(c.field)};
                auto r = sized<ovr_response>();
                r.status = 200;
                r.headers = &h;
                r.header_count = 1;
                ovr_action a;
                ovr_filter_head(f, &r, &a);
                if (a.verb == OVR_PASS) ovr_filter_body(f, c.body.data(), c.body.size(), &a);
                if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
                const bool stops = mode == OVR_MODE_ENFORCE && on == OVR_ON_ERROR_BLOCK && c.decode >= OVR_DECODE_TRUNCATED;
                EXPECT(suite, a.verb == (stops ? OVR_BLOCK : OVR_PASS) && a.wants_event == stops);
                if (!stops) EXPECT(suite, a.released >= c.body.size());
                ovr_verdict v;
                ovr_filter_verdict(f, &v);
                EXPECT(suite, v.decode == c.decode);
                char event[8192];
                auto x = sized<ovr_exchange>();
                EXPECT(suite, ovr_filter_event(f, &x, event, sizeof event, nullptr) == OVR_OK);
                EXPECT(suite, std::strstr(event, ("\"decode\":\"" + std::string(ovr_decode_name(c.decode)) + "\"").c_str()) != nullptr);
                ovr_filter_close(f);
            }
    auto p = sized<ovr_policy>();
    p.on_error = 2;
    ovr_filter* f = nullptr;
    EXPECT(suite, ovr_filter_open(s.scanner, &p, &f, nullptr) == OVR_E_ARGUMENT);
    p.struct_size = offsetof(ovr_policy, on_error);  // an older caller's, with what stands behind it
    EXPECT(suite, ovr_filter_open(s.scanner, &p, &f, nullptr) == OVR_OK);
    ovr_filter_close(f);
}

}  // namespace

int main(int argc, char** argv) {
    quick = argc > 1 && std::strcmp(argv[1], "--short") == 0;
    suite.run("a body in every coding has the plain body's verdict, however it is cut", every_coding);
    suite.run("stacked codings and several members", stacks_and_members);
    suite.run("bytes behind the coded data are scanned", bytes_behind);
    suite.run("a body cut at every byte", truncated);
    suite.run("flipped bits and heads that lie", damaged);
    suite.run("bombs end in bounded time", bombs);
    suite.run("bounds are options", bounds_are_options);
    suite.run("released never runs ahead of what is decided", released);
    suite.run("events flow", events_flow);
    suite.run("on_error blocks what could not be decoded", on_error);
    return suite.close();
}
