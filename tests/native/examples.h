// Bodies that reach every verifier; short ones for exhaustive splits.
#pragma once
#include <string>
#include <vector>

struct Example {
    std::string type;
    std::string body;
};

inline std::string bytes(const char* s, size_t n) { return std::string(s, n); }
#define BYTES(literal) bytes(literal, sizeof(literal) - 1)

// As Java, .NET and Node keep it.
inline std::string wide(const std::string& s) {
    std::string w;
    for (char c : s) (w += c) += '\0';
    return w;
}

inline std::vector<Example> short_examples() {
    return {
        {"text/html; charset=utf-8", ""},
        {"text/html; charset=utf-8", "<html><p>plain</p></html>"},
        {"text/html; charset=utf-8", BYTES("<p>x\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs\r\nReferer: https://a.example/\r\n\0\0\x01\xff more")},
        {"text/html", BYTES("<p>a\0Cookie\0 sid=0123456789abcdef\0\nAuthorization\0 Bearer Zk3Yx8QmZr7LwPvB2nHs5TdJf\0")},
        {"text/plain", "GET /cart HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8\r\n\r\nHTTP/1.1 200 OK\r\n"},
        {"text/plain; charset=utf-8", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xc3 \xe2\x82 \xff\xfe end"},
        {"application/json", "{\"a\":[1,2,{\"b\":\"}\\\"]\"}]}\r\nCookie: a=bcdefghi\r\n"},
        {"application/json", "{\"a\":\"x\r\ny\"}"},
        {"image/png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\x02IDATab....\0\0\0\0IEND\xae"
                            "B`\x82tail of 16 bytes\r\nCookie: session=x\r\n")},
        {"image/gif", BYTES("GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\1\0\0;a tail of 16 bytes")},
        {"image/jpeg", BYTES("\xff\xd8\xff\xe0\0\4ab\xff\xda\0\4cd\x11\x22\xff\0\x33\xff\xd9\0a tail of 16 bytes")},
        // Tails no longer than what is gathered of one, which end as the format does.
        {"image/png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\x02IDATab....\0\0\0\0IEND\xae"
                            "B`\x82its restIEND\xae"
                            "B`\x82")},
        {"image/jpeg", BYTES("\xff\xd8\xff\xe0\0\4ab\xff\xda\0\4cd\x11\x22\xff\0\x33\xff\xd9the older rest\xff\xd9")},
        {"", BYTES("\x1f\x8b\x08\0Cookie")},
        {"text/html", "<html></html>\n\n tail eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc \r\nCookie"},
        {"text/html; charset=utf-8", "x" + wide("\r\nCookie: sid=0123456789abcdef\r\n") + wide("\tsession=Zk3Yx8QmZr7LwPvB2nHs5 ")},
        {"text/plain; charset=utf-8", "Cookie: a=bcdefgh\nq=%0D%0ACookie%3A%20a%3Dbcdefghi%0d%0a &#13;\nVia: 1.1 &quot;a&#13;"},
        {"application/json", "{\"a\":\"\\r\\nCookie: a=bcdefghi\\r\\nx \\x00\\x00`\\x01\\u0000\\0\\0\\377\\x00\\x00\\x00 y\"}"},
        {"text/plain; charset=utf-8",
         BYTES("\x0b\0HTTP_COOKIE\5\0a=bcd \0PATH=/bin\0 \5:path\5/cart \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx")},
        {"text/event-stream", BYTES("data: x\n\n\0data: password=S3cr3tPass%21\n\n")},
    };
}

// What stands where a process's heap was read: pointers, NULs, parsed and wire heads.
inline std::string memory() {
    std::string s;
    const uint64_t pointers[] = {0x00007f34e1d2a010, 0x00007f34e1d2a460, 0x0000561be55c3e00, 0x21};
    s.append(reinterpret_cast<const char*>(pointers), sizeof pointers);
    s += BYTES("Cookie\0 session=Zk3Yx8QmZr7LwPvB2nHs5TdJ; theme=dark\0\nAuthorization\0 Bearer Zk3Yx8QmZr7LwPvB2nHs5TdJ\0\n\xff\xfe\x01\x02");
    s += wide("\r\nAuthorization: Bearer Wk3Yx8QmZr7LwPvB2nHs5TdY\r\n");
    s += "\r\nCookie: session=Qk3Yx8QmZr7LwPvB2nHs5TdX\r\nReferer: https://shop.example/cart\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\r\n";
    return s;
}

// A page of text, then process memory: pointers, NULs, a parsed head, page text again.
inline std::string leaking_page() {
    std::string s = "<html><body>";
    while (s.size() < 3000) s += "<p>An ordinary paragraph of an ordinary page.</p>\n";
    s += memory();
    while (s.size() < 6000) s += "more text of the page behind the leak; ";
    return s;
}

// Long bodies, each with a leak, that reach what short ones cannot: tiles, structure units, tails.
inline std::vector<Example> leaking_bodies() {
    const std::string html = "text/html; charset=utf-8";
    std::string pages = leaking_page();
    for (int i = 0; i < 3; i++) pages += pages.substr(0, 9000);
    std::string json = "{\"rows\":[";
    while (json.size() < 17000) json += "{\"a\":[1,{}],\"b\\\\\":\"}\\\"]\\u0041\\\\\",\"caf\xc3\xa9\":null},\n ";
    const std::string inside = json + "{\"c\":\"" + memory() + "\"}]}\n", behind = json + "0]} \n" + memory();
    std::string png = BYTES("\x89PNG\r\n\x1a\n\0\0\x40\0IDAT");
    for (uint32_t i = 0; i < 0x4000; i++) png += char(i * 2654435761u >> 24);
    png += "crc!";
    std::string broken = png + memory();
    png += BYTES(
               "\0\0\0\0IEND\xae"
               "B`\x82\0\0") +
           memory();
    std::string font = BYTES("wOF2\0\1\0\0\0\0\x20\0");
    font.resize(0x2000, 'f');
    // A region long enough to settle, text that leaves it open, text that ends it, and raw bytes after each.
    std::string settled = leaking_page().substr(0, 2000);
    for (int i = 0; i < 60; i++) settled += memory() + (i % 7 ? "" : std::string(size_t(i) * 8, 'e') + "\xe6\x9d\xb1");
    for (const size_t text : {size_t(300), size_t(600), size_t(511), size_t(513)}) settled += std::string(text, 't') + memory();
    // Raw from the start and for long, then complete: what follows is raw bytes behind a document.
    std::string raw = "{\"a\":\"";
    while (raw.size() < 5000) raw += BYTES("\0\1\xff ab");
    raw += "\",\"b\":\"" + std::string(700, 't') + "\"}\n" + std::string(700, ' ') + memory();
    // Nothing changes any more from the cut character at a unit's end on, which the clean unit behind it breaks.
    std::string cut(128, 't');
    cut += memory();
    while (cut.size() < 4096) cut += BYTES("\0\1\xff ab");
    cut.resize(4543, 'q');
    cut += "\xe6" + std::string(64, 'q') + "\xff\1" + std::string(62, 'q');
    std::string cjk = "<p>";
    while (cjk.size() < 9000) cjk += "\xe6\x9d\xb1\xe4\xba\xac, caf\xc3\xa9 \xf0\x9f\x98\x80.";
    return {{html, pages},
            {html, settled},
            {"text/html; charset=euc-jp", settled},
            {html, cjk + "\xe6\x9d" + memory() + cjk},
            {"application/json", inside},
            {"application/json", behind},
            {"application/json", raw},
            {html, cut},
            {"image/png", png},
            {"image/png", broken},
            {"font/woff2", font + memory() + memory()},
            {"image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\"><path d=\"" + memory() + memory()}};
}
