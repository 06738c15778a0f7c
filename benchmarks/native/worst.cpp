// Time a byte on hostile bodies, from 16 KiB to 64 MiB: it must not grow with the body. Prints one JSON object.
//
// worst ANCHORS: a pack of the shipped rules' anchors, the names a hostile body would be made of.
#include "ours.h"

using namespace bench;

namespace {

constexpr size_t SIZES[] = {16 << 10, 256 << 10, 4 << 20, 64 << 20};
constexpr size_t AT_LEAST = 4 << 20;  // bytes a round: less measures the clock
constexpr int ROUNDS = 3;
constexpr double SLOW = 5e-8;  // seconds a byte: from there on one round is long enough to be trusted, and to be waited for
constexpr size_t CHUNK = 16384;

// Seeded: the same bodies in every run.
struct Random {
    uint64_t state = 0x9e3779b97f4a7c15;
    uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

struct Input {
    const char *name, *type;
    std::function<void(std::string&)> grow;  // appends a piece
};

std::string wide(const std::string& text) {
    std::string all;
    for (const char c : text) all += c, all += '\0';
    return all;
}

std::string hex(const std::string& text) {
    std::string all;
    for (const unsigned char c : text) all += "0123456789abcdef"[c >> 4], all += "0123456789abcdef"[c & 15];
    return all;
}

std::string filled(const Input& input, size_t size) {
    std::string body;
    body.reserve(size + 4096);
    while (body.size() < size) input.grow(body);
    body.resize(size);
    return body;
}

// The piece that costs most when a body is nothing else: which one it is changes with the rules and the verifiers.
std::string costliest(const std::vector<std::string>& pieces, const char* type) {
    Ours ours(type);
    std::string worst;
    double most = 0;
    for (const std::string& piece : pieces) {
        const std::string body = filled({"", type, [&](std::string& s) { s += piece; }}, SIZES[0]);
        const double cost = race({[&] { ours.scan({body.data(), body.size()}, CHUNK); }}, now, 1)[0];
        if (cost > most) most = cost, worst = piece;
    }
    return worst;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) fail("usage: worst ANCHORS");
    const std::string pack = slurp(argv[1]);
    std::vector<std::string> anchors;
    for (const Body& b : bodies_of(pack.data(), pack.size())) anchors.emplace_back(b.data, b.size);
    Random random;
    auto any = [&](const auto& list) { return list[random.next() % std::size(list)]; };
    auto same = [](std::string piece) { return [piece](std::string& s) { s += piece; }; };
    using namespace std::string_literals;
    static const std::string separators[] = {":"s, ": "s, "\r\n"s, "\n"s, "\0"s, "\0\0"s, "="s, "\""s, " "s, "\\r\\n"s, "\\u0000"s, "%00"s, "x"s};
    const char *html = "text/html; charset=utf-8", *json = "application/json", *binary = "application/octet-stream";
    std::vector<std::string> wide_anchors;
    for (const std::string& a : anchors) wide_anchors.push_back(wide(a));
    const std::string worst = costliest(anchors, html), worst_wide = costliest(wide_anchors, html);
    const std::vector<Input> inputs = {
        {"NULs", html, same("\0"s)},
        {"NULs, binary", binary, same("\0"s)},
        {"control bytes", html, same("\1\2\3\4\5\6\7\x0e")},
        {"a control byte in 16", html, same("fifteen letters\1")},
        {"cut UTF-8", html, same("\xc3\xe2\x82\xf0\x9f")},
        {"compressed bytes", html,
         [&](std::string& s) {
             for (uint64_t r = random.next(), i = 0; i < 8; i++, r >>= 8) s += char(r);
         }},
        {"pointers", html,
         [&](std::string& s) {
             const uint64_t p = 0x7f3a00000000 | (random.next() & 0xfffff8);
             s.append(reinterpret_cast<const char*>(&p), 8);
         }},
        {"pointers, binary", binary,
         [&](std::string& s) {
             const uint64_t p = 0x7f3a00000000 | (random.next() & 0xfffff8);
             s.append(reinterpret_cast<const char*>(&p), 8);
         }},
        {"half anchors", html,
         [&](std::string& s) {
             const std::string a = any(anchors);
             s.append(a, 0, a.size() - 1);
         }},
        {"anchors", html, [&](std::string& s) { s += any(anchors); }},
        {"the costliest anchor alone", html, same(worst)},
        {"the costliest in UTF-16", html, same(worst_wide)},
        {"one header name", html, same("cookie")},
        {"header names, lines", html, same("\r\nCookie:\r\nReferer:\r\nAuthorization:")},
        {"header names, parsed", html, same("Cookie\0Referer\0Authorization\0"s)},
        {"header lines", html, same("\r\nCookie: a=bbbbbbbbbbbbbbbb\r\nReferer: https://a.example/")},
        {"request lines", html, same("GET / HTTP/1.1\r\n")},
        {"environment names", html, same("HTTP_COOKIE=\0HTTP_REFERER\0"s)},
        {"starts of tokens", html, same("eyJhbGciOi.eyJ.ghp_xoxb-AKIA")},
        {"escaped NULs", html, same("%00%00%00\\x00\\x00\\u0000\\u0000&#0;&#0;a")},
        {"escaped NULs, JSON", json, same("\"\\u0000\\u0000\\u0000\",")},
        {"escaped header names", json, same("\\r\\nCookie\\r\\nReferer:\\r\\nHost")},
        {"escaped header lines", json, same("\\r\\nCookie: a=b\\r\\nReferer: http")},
        {"escaped parsed names", json, same("\\u0000Cookie\\u0000 a=b\\u0000Referer\\u0000 http")},
        {"UTF-16 names", html, same(wide("\r\nCookie: Referer: eyJ"))},
        {"UTF-16 header lines", html, same(wide("\r\nCookie: a=b\r\nReferer: http"))},
        {"UTF-16 names and separators", html, [&](std::string& s) { s += wide(any(anchors) + any(separators)); }},
        {"U+FFFD", html, same("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")},
        {"document ends", html, same("</html></body><html>")},
        {"nesting", json, same("[{\"a\":")},
        {"names and separators", html, [&](std::string& s) { s += any(anchors) + any(separators); }},
        {"names and separators, JSON", json, [&](std::string& s) { s += any(anchors) + any(separators); }},
        {"names, separators and raw bytes", html,
         [&](std::string& s) {
             s += any(anchors) + any(separators);
             if (random.next() % 4 == 0) s += char(random.next());
         }},
    };
    std::printf("{\n  \"kernel\": \"%s\", \"sizes\": [%zu, %zu, %zu, %zu],\n  \"costliest\": [\"%s\", \"%s\"],\n  \"ns a byte\": {", ovr_kernel_active(),
                SIZES[0], SIZES[1], SIZES[2], SIZES[3], hex(worst).c_str(), hex(worst_wide).c_str());
    const char* comma = "";
    for (const Input& input : inputs) {
        random = {};
        const std::string body = filled(input, SIZES[3]);
        Ours ours(input.type);
        std::vector<std::function<void()>> runs;
        std::vector<double> scanned;
        for (const size_t size : SIZES) {
            const size_t times = std::max<size_t>(1, AT_LEAST / size);
            scanned.push_back(double(times * size));
            runs.push_back([&ours, &body, size, times] {
                for (size_t k = 0; k < times; k++) ours.scan({body.data() + k * size, size}, CHUNK);  // not one again: branches would be learned
            });
        }
        auto t = race({runs[0]}, now, 1);
        if (t[0] / scanned[0] < SLOW) {
            t = race(runs, now, ROUNDS);
        } else {
            t.clear();
            for (const auto& run : runs) {
                const double start = now();
                run();
                t.push_back(now() - start);
            }
        }
        std::printf("%s\n    \"%s\": {\"type\": \"%s\", \"ns\": [%.4g, %.4g, %.4g, %.4g]}", comma, input.name, input.type, t[0] / scanned[0] * 1e9,
                    t[1] / scanned[1] * 1e9, t[2] / scanned[2] * 1e9, t[3] / scanned[3] * 1e9);
        std::fflush(stdout);
        comma = ",";
    }
    std::printf("\n  }\n}\n");
    return 0;
}
