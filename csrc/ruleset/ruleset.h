// Rule model in memory, and the checked reading of a compiled blob.
//
// Blob, version 2, little-endian, offsets from its start:
//   0  magic "OVRBLOB1"      8  u32 version      12 u32 total size
//   16 u32 CRC-32 of bytes [24, total)           20 u32 zero
//   24 seven sections of (u32 offset, u32 count): strings (bytes), classes (32 B bitmaps),
//      elements (8 B), anchors (12 B), rules (32 B), weights (24 B), parameters (8 B); data from byte 80
//   element  u16 class, u16 min, u16 max, u16 flags (1: the edge of the body satisfies it)
//   anchor   u32 string offset, u16 length, u16 rule, u8 nocase, u8 bucket + 1 (0: the loader chooses), u8 window, u8 zero
//   rule     u32 id, u32 title, u32 reference (string offsets), u8 family, u8 check, u16 builtin,
//            u32 where, u16 before first, u16 before count, u16 after first, u16 after count, u32 flags (1: UTF-16LE too)
//   weight   u8 class, u8 group, u8 level, u8 basis, f32 bits, u32 n, u32 k, u32 sources, u8 counted class, u8[3] zero
//   parameter u32 id, f32 value
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "ruleset/content_class.h"

namespace overread {

constexpr uint16_t MAX_REPEAT = 512;  // longest run one element may take: bounds the look-ahead
constexpr size_t MAX_ANCHOR = 48;
constexpr size_t MIN_ANCHOR = 3;
// Of the kernel's buckets: windows that start with a line's end or a NUL do not share one with others, for their mixes would
// let through most text. Windows with bytes above ASCII are in none of them.
constexpr uint8_t TEXT_BUCKETS = BUCKETS - 1, LINE_BUCKET = BUCKETS - 1, HIGH_BUCKET = BUCKETS;

enum class Family : uint8_t { raw = 0, http = 1, secret = 2, place = 3, foreign = 4 };
enum class Check : uint8_t {
    none = 0,
    header_line = 1,
    request_line = 2,
    status_line = 3,
    jwt = 4,
    entropy = 5,
    github_crc = 6,
    basic = 7,
    session_cookie = 8,
    pem = 9,
    html_end = 10,
    field = 11,
    letters = 12,
    replacement_run = 13,
    escaped_run = 14,
    escaped_header = 15,
    count = 16
};
// Signs found by native verifiers rather than by an anchor; a rule names one so that it has an id and a page.
enum class Builtin : uint16_t {
    none = 0,
    raw_utf8 = 1,
    raw_control = 2,
    raw_nul = 3,
    raw_pointer_pair = 4,
    raw_after_text = 5,
    raw_mixed = 6,
    json_tail = 7,
    html_tail = 8,
    png_tail = 9,
    jpeg_tail = 10,
    gif_tail = 11,
    json_string_break = 12,
    head_grammar = 13,
    head_reason = 14,
    head_control = 15,
    webp_tail = 16,
    font_tail = 17,
    png_break = 18,
    jpeg_break = 19,
    head_list = 20,
    head_cookie = 21,
    raw_file = 22,
    foreign_session = 23,
    foreign_value = 24,
    foreign_canary = 25,
    count = 26
};
enum Group : uint8_t { GROUP_RAW = 0, GROUP_HTTP = 1, GROUP_PLACE = 2, GROUP_HTTP_GIVEN_RAW = 3, GROUP_ESCAPED = 4, GROUP_COUNT = 5 };
constexpr Group GROUP_FOREIGN = GROUP_COUNT;  // its weights are no counts
constexpr uint8_t MAX_LEVEL = 8;

// A byte each, not a bit: long runs are read byte by byte.
struct CharClass {
    bool in[256];
    bool has(uint8_t c) const { return in[c]; }
};
struct Element {
    uint16_t cls, min, max, flags;
};
constexpr uint16_t ELEMENT_EDGE = 1;

constexpr uint16_t NO_CLASS = UINT16_MAX;

struct Anchor {
    const uint8_t* bytes;
    uint16_t length, rule;
    bool nocase;
    uint8_t stride;  // bytes of the body per byte of the anchor: 1, or 2 for UTF-16LE
    int8_t bucket;   // of the kernel's tables; -1: not chosen yet
    int16_t window;  // in the body, from the anchor's start; -1: it begins at the line end before
    uint32_t next;   // next anchor of the same window hash, or of the same field name's, or NO_ANCHOR
    // Classes that must hold the character directly before it and the first few behind it, or NO_CLASS.
    uint16_t lead = NO_CLASS, follow = NO_CLASS;
    uint8_t follow_count = 0;
    // Its first eight bytes in the body: (bytes | fold) & mask == head. Most candidates of a window end here.
    uint64_t head = 0, mask = 0, fold = 0;
};
constexpr uint32_t NO_ANCHOR = UINT32_MAX;

// The field name at a place (RFC 9110, section 5.6.2, without % and &, which begin escapes), letters of both cases alike.
// Hundreds of header lines begin with the same few bytes, so their anchors are looked up by their whole name.
struct FieldName {
    size_t size = 0;                // up to MAX_ANCHOR + 1
    uint8_t bytes[MAX_ANCHOR + 1];  // folded
    // Of p[0, n) in characters, `stride` bytes each.
    FieldName(const uint8_t* p, size_t n, size_t stride);
    uint32_t hash() const;
    bool is(const Anchor& a) const;
};

struct Rule {
    const char *id, *title, *reference;
    Family family;
    Check check;
    Builtin builtin;
    uint32_t where;  // bit per ContentClass
    uint16_t before_first, before_count, after_first, after_count;
};
constexpr uint32_t RULE_WIDE = 1;  // its anchors are looked for in UTF-16LE as well
// Characters that a wide rule may read before its window: the stream keeps two bytes for each.
constexpr size_t WIDE_BEHIND = 96;

struct Weight {
    float bits = 0;
    uint32_t n = 0, k = 0, sources = 0;
    uint8_t basis = 0, counted_class = 0;
};

struct Ruleset {
    std::vector<uint8_t> blob;
    std::vector<CharClass> classes;
    std::vector<Element> elements;
    std::vector<Anchor> anchors;
    std::vector<uint32_t> header_names[32];  // anchors of header lines, by their first byte modulo 32: letters of both cases alike
    std::vector<uint32_t> fields;            // the same by the hash of their name
    uint16_t value_class = 0;                // what stands in a line: neither control characters nor DEL
    std::vector<Rule> rules;
    Weight weights[CONTENT_CLASS_COUNT][GROUP_COUNT][MAX_LEVEL + 1];
    float pair_cap[CONTENT_CLASS_COUNT] = {};
    uint16_t builtin_rule[size_t(Builtin::count)];  // index of the rule that names it, or UINT16_MAX

    FingerprintTable fingerprint;
    uint32_t window_head[1 << 12];  // by window_hash()
    uint32_t high_windows = 0;      // bit per ContentClass in which a rule has a window with bytes above ASCII

    // First of the anchors that may be this name, for Anchor::next.
    uint32_t field_head(const FieldName& name) const { return fields[name.hash() & (fields.size() - 1)]; }
    // Of a window's first three bytes, letters of both cases alike and a line's ends, with NUL, too.
    static uint32_t window_hash(uint8_t a, uint8_t b, uint8_t c) {
        const uint8_t first = a == '\r' || a == 0 ? uint8_t('\n') : a;
        return FingerprintTable::hash(uint32_t(first) | uint32_t(b) << 8 | uint32_t(c) << 16) >> 20;
    }
    static uint8_t fold(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }
};

// Checks every offset, count and reference of a hostile blob before use. On failure returns nullptr and says why.
std::unique_ptr<Ruleset> load_ruleset(const uint8_t* blob, size_t size, std::string& why);

// Chooses the window and the bucket of each anchor that has none yet, and fills the kernel's table and the window hash.
void choose_fingerprints(Ruleset&);

uint32_t crc32(const uint8_t* data, size_t size);

extern const uint8_t DEFAULT_BLOB[];
extern const size_t DEFAULT_BLOB_SIZE;

}  // namespace overread
