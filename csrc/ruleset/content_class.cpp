#include "ruleset/content_class.h"

#include <cstring>
#include <string_view>

namespace overread {
namespace {

const char* const NAMES[CONTENT_CLASS_COUNT] = {"html",   "js",    "css", "json",    "svg",   "xml",  "text",      "event-stream",
                                                "legacy", "utf16", "png", "jpeg",    "gif",   "webp", "woff",      "woff2",
                                                "ttf",    "wasm",  "pdf", "archive", "other", "head", "text-pool", "container-pool"};

struct TypeName {
    std::string_view type;
    ContentClass cls;
};
// WHATWG MIME Sniffing and the IANA registry; a suffix (+json, +xml) is handled below.
const TypeName TYPES[] = {{"text/html", ContentClass::html},
                          {"application/xhtml+xml", ContentClass::html},
                          {"text/javascript", ContentClass::js},
                          {"application/javascript", ContentClass::js},
                          {"application/x-javascript", ContentClass::js},
                          {"application/typescript", ContentClass::js},
                          {"text/css", ContentClass::css},
                          {"application/json", ContentClass::json},
                          {"text/json", ContentClass::json},
                          {"application/manifest+json", ContentClass::json},
                          {"image/svg+xml", ContentClass::svg},
                          {"text/xml", ContentClass::xml},
                          {"application/xml", ContentClass::xml},
                          {"text/event-stream", ContentClass::event_stream},
                          {"application/yaml", ContentClass::text},
                          {"application/x-ndjson", ContentClass::json},
                          {"application/jsonl", ContentClass::json},
                          {"image/png", ContentClass::png},
                          {"image/jpeg", ContentClass::jpeg},
                          {"image/gif", ContentClass::gif},
                          {"image/webp", ContentClass::webp},
                          {"font/woff", ContentClass::woff},
                          {"font/woff2", ContentClass::woff2},
                          {"font/ttf", ContentClass::ttf},
                          {"font/otf", ContentClass::ttf},
                          {"application/wasm", ContentClass::wasm},
                          {"application/pdf", ContentClass::pdf},
                          {"application/gzip", ContentClass::archive},
                          {"application/zip", ContentClass::archive},
                          {"application/zstd", ContentClass::archive},
                          {"application/octet-stream", ContentClass::other}};

bool contains(const char* s, size_t n, const char* what) { return std::string_view(s, n).find(what) != std::string_view::npos; }

bool ends_with(const char* s, size_t n, std::string_view what) { return n >= what.size() && std::string_view(s + n - what.size(), what.size()) == what; }

struct Magic {
    const char* bytes;
    size_t size;
    ContentClass cls;
    const char* name;
};
const Magic MAGICS[] = {{"\x89PNG", 4, ContentClass::png, "png"},
                        {"\xff\xd8\xff", 3, ContentClass::jpeg, "jpeg"},
                        {"GIF87a", 6, ContentClass::gif, "gif"},
                        {"GIF89a", 6, ContentClass::gif, "gif"},
                        {"wOFF", 4, ContentClass::woff, "woff"},
                        {"wOF2", 4, ContentClass::woff2, "woff2"},
                        {"\0asm\1\0\0\0", 8, ContentClass::wasm, "wasm"},
                        {"%PDF-", 5, ContentClass::pdf, "pdf"},
                        {"OTTO\0", 5, ContentClass::ttf, "otf"},
                        {"ttcf\0", 5, ContentClass::ttf, "ttc"},
                        {"PK\3\4", 4, ContentClass::archive, "zip"},
                        {"\x28\xb5\x2f\xfd", 4, ContentClass::archive, "zstd"},
                        {"\xfd"
                         "7zXZ\0",
                         6, ContentClass::archive, "xz"},
                        {"7z\xbc\xaf\x27\x1c", 6, ContentClass::archive, "7z"},
                        {"\x7f"
                         "ELF",
                         4, ContentClass::other, "elf"},
                        {"OggS\0", 5, ContentClass::other, "ogg"},
                        {"SQLite format 3\0", 16, ContentClass::other, "sqlite"},
                        {"PACK\0\0\0\2", 8, ContentClass::other, "git pack"},
                        {"\xd4\xc3\xb2\xa1", 4, ContentClass::other, "pcap"},
                        {"\xa1\xb2\xc3\xd4", 4, ContentClass::other, "pcap"},
                        {"ID3", 3, ContentClass::other, "mp3"},
                        {"fLaC", 4, ContentClass::other, "flac"},
                        // Formats whose head is text and whose body is bytes. Dumps hold whatever their tables hold.
                        {"-- MySQL dump", 13, ContentClass::other, "mysql dump"},
                        {"-- MariaDB dump", 15, ContentClass::other, "mariadb dump"},
                        {"-- phpMyAdmin SQ", 16, ContentClass::other, "phpmyadmin dump"},
                        {"PRAGMA foreign_k", 16, ContentClass::other, "sqlite dump"},
                        {"PGDMP", 5, ContentClass::other, "postgresql dump"},
                        {"WARC/1.", 7, ContentClass::archive, "warc"},
                        {"__CURSOR=", 9, ContentClass::other, "journal export"},
                        {"/* XPM */", 9, ContentClass::other, "xpm"},
                        {"! XPM2", 6, ContentClass::other, "xpm"},
                        {"go object ", 10, ContentClass::archive, "go object"},
                        {"ply\nformat", 10, ContentClass::other, "ply"},
                        {"NRRD000", 7, ContentClass::other, "nrrd"},
                        {"SIMPLE  =", 9, ContentClass::other, "fits"},
                        {"!<arch>\n", 8, ContentClass::archive, "ar"},
                        {"MATLAB ", 7, ContentClass::other, "mat"},
                        {"#?RADIANCE", 10, ContentClass::other, "radiance"},
                        {"# .PCD ", 7, ContentClass::other, "point cloud"},
                        {"{\\rtf", 5, ContentClass::other, "rtf"},
                        {"# vtk DataFile", 14, ContentClass::other, "vtk"},
                        {";ELC", 4, ContentClass::other, "elc"},
                        {"%!PS", 4, ContentClass::other, "postscript"},
                        {"# Sphinx invento", 16, ContentClass::other, "sphinx inventory"},
                        {"zlib.\nx", 7, ContentClass::other, "sphinx inventory"}};

// RFC 1952: magic, deflate, no reserved flag, a level hint of 0, 2 or 4, a known system.
bool is_gzip(const uint8_t* p, size_t n) {
    return n >= 10 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && p[3] < 0x20 && (p[8] == 0 || p[8] == 2 || p[8] == 4) && (p[9] <= 13 || p[9] == 255);
}

// "BZh", a block size, and the first block's mark: pi, or the square root of pi in an empty file.
bool is_bzip2(const uint8_t* p, size_t n) {
    return n >= 10 && std::memcmp(p, "BZh", 3) == 0 && p[3] >= '1' && p[3] <= '9' &&
           (std::memcmp(p + 4, "1AY&SY", 6) == 0 || std::memcmp(p + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0);
}

// OpenType specification, table directory: version 1.0, a number of tables and the search range that follows from it.
bool is_ttf(const uint8_t* p, size_t n) {
    if (n < 12 || std::memcmp(p, "\0\1\0\0\0", 5) != 0 || p[5] == 0) return false;
    unsigned range = 16, selector = 0;
    while (range * 2 <= 16u * p[5]) range *= 2, selector++;
    return unsigned(p[6] << 8 | p[7]) == range && unsigned(p[8] << 8 | p[9]) == selector;
}

// ICONDIR and the first ICONDIRENTRY: reserved bytes clear, at least one image, a depth that exists.
bool is_ico(const uint8_t* p, size_t n) {
    if (n < 14 || std::memcmp(p, "\0\0\1\0", 4) != 0 || p[4] == 0 || p[5] != 0 || p[9] != 0 || p[10] > 1 || p[11] != 0 || p[13] != 0) return false;
    return p[12] == 0 || p[12] == 1 || p[12] == 4 || p[12] == 8 || p[12] == 16 || p[12] == 24 || p[12] == 32;
}

// A saved HTTP message: what stands behind its head is whatever was sent. RFC 9112, section 4; curl writes HTTP/2 and HTTP/3 so too.
bool is_message(const uint8_t* p, size_t n) {
    static const char* const STARTS[] = {"HTTP/1.1 ", "HTTP/1.0 ", "HTTP/2 ", "HTTP/3 "};
    for (const char* s : STARTS) {
        const size_t m = std::strlen(s);
        if (n >= m + 3 && std::memcmp(p, s, m) == 0 && p[m] >= '1' && p[m] <= '5') return true;
    }
    return false;
}

}  // namespace

const char* content_class_name(ContentClass c) { return size_t(c) < CONTENT_CLASS_COUNT ? NAMES[size_t(c)] : ""; }

namespace {

// First bytes of all magics but those that are told by later ones: most bodies begin with none.
struct FirstBytes {
    bool any[256] = {};
    FirstBytes() {
        for (const Magic& m : MAGICS) any[uint8_t(m.bytes[0])] = true;
        for (const char c : {'\x1f', 'B', '\0', 'R', 'P'}) any[uint8_t(c)] = true;  // gzip, bzip2, TrueType and icons, RIFF, Netpbm
    }
};

}  // namespace

const char* known_magic(const uint8_t* p, size_t size, ContentClass* cls) {
    static const FirstBytes first;
    const bool iso = size >= 12 && std::memcmp(p + 4, "ftyp", 4) == 0;
    const bool eot = size >= 36 && p[34] == 'L' && p[35] == 'P' && p[10] == 2 && p[11] == 0;
    if (size == 0 || !(first.any[p[0]] || iso || eot)) return nullptr;
    for (const Magic& m : MAGICS)
        if (size >= m.size && p[0] == uint8_t(m.bytes[0]) && std::memcmp(p, m.bytes, m.size) == 0) {
            if (cls) *cls = m.cls;
            return m.name;
        }
    // The magics of these formats are short and stand in any heap: an integer 1 or 65,536. Their fixed fields must fit too.
    if (is_gzip(p, size) || is_bzip2(p, size)) {
        if (cls) *cls = ContentClass::archive;
        return p[0] == 'B' ? "bzip2" : "gzip";
    }
    if (is_ttf(p, size)) {
        if (cls) *cls = ContentClass::ttf;
        return "ttf";
    }
    if (is_ico(p, size)) {
        if (cls) *cls = ContentClass::other;
        return "ico";
    }
    if (size >= 12 && std::memcmp(p, "RIFF", 4) == 0 && std::memcmp(p + 8, "WEBP", 4) == 0) {
        if (cls) *cls = ContentClass::webp;
        return "webp";
    }
    if (iso) {
        if (cls) *cls = ContentClass::other;
        return "iso media";
    }
    // Netpbm: magic, white space, then a number or a comment.
    if (size >= 4 && p[0] == 'P' && p[1] >= '1' && p[1] <= '7' && (p[2] == '\n' || p[2] == ' ') && (p[3] == '#' || (p[3] >= '0' && p[3] <= '9'))) {
        if (cls) *cls = ContentClass::other;
        return "netpbm";
    }
    // Embedded OpenType has its version at byte 8 and its magic, "LP", at byte 34.
    if (eot) {
        if (cls) *cls = ContentClass::ttf;
        return "eot";
    }
    return nullptr;
}

namespace {

// The labels of WHATWG Encoding, section 4.2, that pages use.
Charset legacy_charset(const char* parameters, size_t size) {
    static const struct {
        const char* label;
        Charset charset;
    } LABELS[] = {{"euc-jp", Charset::euc_jp},
                  {"shift_jis", Charset::shift_jis},
                  {"shift-jis", Charset::shift_jis},
                  {"sjis", Charset::shift_jis},
                  {"windows-31j", Charset::shift_jis},
                  {"gbk", Charset::gbk},
                  {"gb2312", Charset::gbk},
                  {"gb18030", Charset::gbk},
                  {"euc-kr", Charset::euc_kr},
                  {"ks_c_5601", Charset::euc_kr},
                  {"big5", Charset::big5}};
    for (const auto& l : LABELS)
        if (contains(parameters, size, l.label)) return l.charset;
    return Charset::legacy;
}

bool is_space(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Text that begins with a tag, a declaration or a comment; in JSON with an object or a list and what may stand in it first.
bool begins_as(ContentClass cls, const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((p[i] < 0x20 && !is_space(p[i]) && p[i] != '\f') || p[i] == 0x7f) return false;
    size_t i = n >= 3 && std::memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < n && is_space(p[i])) i++;
    if (i == n) return false;
    const uint8_t opens = p[i++];
    if (cls == ContentClass::json) {
        if (opens != '{' && opens != '[') return false;
        while (i < n && is_space(p[i])) i++;
        return i == n || p[i] == '"' || p[i] == (opens == '{' ? '}' : ']') || (opens == '[' && (p[i] == '{' || p[i] == '['));
    }
    if (opens != '<' || i == n) return false;
    return p[i] == '!' || p[i] == '?' || uint8_t((p[i] | 0x20) - 'a') < 26;
}

}  // namespace

Content classify_type(const uint8_t* type, size_t size) {
    char buffer[128];
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof buffer; i++) {
        const uint8_t c = type[i];
        if (c == ' ' || c == '\t' || c == '"') continue;
        buffer[n++] = char(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    size_t m = 0;
    while (m < n && buffer[m] != ';') m++;
    Content r{ContentClass::other, Charset::unknown, true, false, false};
    bool known = false;
    for (const TypeName& t : TYPES)
        if (t.type == std::string_view(buffer, m)) {
            r.cls = t.cls;
            known = true;
            break;
        }
    if (!known && m > 0) {
        if (ends_with(buffer, m, "+json"))
            r.cls = ContentClass::json;
        else if (ends_with(buffer, m, "+xml"))
            r.cls = ContentClass::xml;
        else if (m > 5 && std::memcmp(buffer, "text/", 5) == 0)
            r.cls = ContentClass::text;
    }
    r.lines = contains(buffer, m, "ndjson") || contains(buffer, m, "jsonl") || contains(buffer, m, "json-seq");
    bool legacy = false;
    const bool names_charset = contains(buffer + m, n - m, "charset=");
    if (contains(buffer + m, n - m, "charset=utf-8") || contains(buffer + m, n - m, "charset=utf8"))
        r.charset = Charset::utf8;
    else if (contains(buffer + m, n - m, "charset=utf-16"))
        r.charset = Charset::utf16;
    else if (names_charset && !contains(buffer + m, n - m, "charset=us-ascii"))
        r.charset = legacy_charset(buffer + m, n - m), legacy = true;
    else if (r.cls != ContentClass::html && r.cls != ContentClass::text && is_text(r.cls))
        r.charset = Charset::utf8;  // the default of JSON (RFC 8259), XML, CSS and event streams
    if (is_text(r.cls) && legacy) r.cls = ContentClass::legacy;
    if (is_text(r.cls) && r.charset == Charset::utf16) r.cls = ContentClass::utf16;
    if (m == 0) r.cls = ContentClass::count;  // untyped: the first bytes decide
    return r;
}

Content sniff(Content c, const uint8_t* p, size_t n) {
    ContentClass magic;
    c.sniff = false;
    const bool untyped = c.cls == ContentClass::count;
    if (known_magic(p, n, &magic)) {
        c.cls = magic;
        return c;
    }
    // Only where plain text was declared: a page that begins with a status line shows another response's head.
    if (c.cls == ContentClass::text && is_message(p, n)) {
        c.cls = ContentClass::other;
        return c;
    }
    const bool bom16 = n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff));
    size_t even = 0, odd = 0;
    if (std::memchr(p, 0, n))
        for (size_t i = 0; i < n; i++)
            if (p[i] == 0) (i % 2 ? odd : even)++;
    const bool wide = n >= 8 && ((even == n / 2 && odd == 0) || (odd == n / 2 && even == 0));
    if ((is_text(c.cls) || untyped) && (bom16 || wide)) {
        c.cls = ContentClass::utf16;
        c.charset = Charset::utf16;
        return c;
    }
    if (untyped) {
        size_t i = 0;
        while (i < n && is_space(p[i])) i++;
        bool text = true;
        for (size_t j = 0; j < n; j++) text &= p[j] >= 0x20 || p[j] == '\t' || p[j] == '\n' || p[j] == '\r' || p[j] == '\f';
        if (!text)
            c.cls = ContentClass::other;
        else if (i < n && p[i] == '<')
            c.cls = ContentClass::html;
        else if (i < n && (p[i] == '{' || p[i] == '['))
            c.cls = ContentClass::json;
        else
            c.cls = ContentClass::text;
        c.charset = c.cls == ContentClass::json ? Charset::utf8 : Charset::unknown;
    } else if (c.cls >= ContentClass::png && c.cls < ContentClass::other) {
        c.cls = ContentClass::other;  // declared binary without its magic: nothing is known of its bytes
    }
    if (n >= 3 && std::memcmp(p, "\xef\xbb\xbf", 3) == 0 && is_text(c.cls) && c.charset == Charset::unknown) c.charset = Charset::utf8;
    switch (c.cls) {
        case ContentClass::html:
        case ContentClass::xml:
        case ContentClass::svg:
        case ContentClass::legacy:
        case ContentClass::json:
            c.markup = n == SNIFF_BYTES && begins_as(c.cls, p, n);
            break;
        default:
            break;  // scripts, styles and plain text have no beginning that tells them from other files
    }
    return c;
}

}  // namespace overread
