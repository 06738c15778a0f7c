#include <cstdio>
#include <cstring>

#include "ruleset/ruleset.h"

namespace overread {

uint32_t crc32(const uint8_t* data, size_t size) {
    static const auto table = [] {
        struct T {
            uint32_t v[256];
        } t;
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int j = 0; j < 8; j++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            t.v[i] = c;
        }
        return t;
    }();
    uint32_t c = ~0u;
    for (size_t i = 0; i < size; i++) c = table.v[(c ^ data[i]) & 255] ^ (c >> 8);
    return ~c;
}

namespace {

uint16_t u16(const uint8_t* p) { return uint16_t(p[0] | p[1] << 8); }
uint32_t u32(const uint8_t* p) { return uint32_t(p[0]) | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16 | uint32_t(p[3]) << 24; }
float f32(const uint8_t* p) {
    const uint32_t v = u32(p);
    float f;
    std::memcpy(&f, &v, 4);
    return f;
}

enum Section { STRINGS, CLASSES, ELEMENTS, ANCHORS, RULES, WEIGHTS, PARAMETERS, SECTIONS };
const size_t ENTRY[SECTIONS] = {1, 32, 8, 12, 32, 24, 8};
const char* const SECTION_NAME[SECTIONS] = {"strings", "classes", "elements", "anchors", "rules", "weights", "parameters"};
constexpr size_t HEADER = 24 + SECTIONS * 8;

}  // namespace

std::unique_ptr<Ruleset> load_ruleset(const uint8_t* blob, size_t size, std::string& why) {
    auto bad = [&](const std::string& text) {
        why = "ruleset blob: " + text + "; compile it again with `overread rules compile`";
        return nullptr;
    };
    if (size < HEADER) return bad("truncated: " + std::to_string(size) + " bytes, the header alone has " + std::to_string(HEADER));
    if (std::memcmp(blob, "OVRBLOB1", 8) != 0) return bad("no overread blob: wrong magic at byte 0");
    if (u32(blob + 8) != 2) return bad("version " + std::to_string(u32(blob + 8)) + " found, version 2 expected");
    if (u32(blob + 12) != size) return bad("size field says " + std::to_string(u32(blob + 12)) + " bytes, " + std::to_string(size) + " are there");
    if (u32(blob + 20) != 0) return bad("reserved field at byte 20 is not zero");
    if (u32(blob + 16) != crc32(blob + 24, size - 24)) return bad("checksum mismatch: the bytes are damaged");

    auto r = std::make_unique<Ruleset>();
    r->blob.assign(blob, blob + size);
    const uint8_t* base = r->blob.data();
    const uint8_t* at[SECTIONS];
    size_t count[SECTIONS];
    for (int s = 0; s < SECTIONS; s++) {
        const size_t offset = u32(base + 24 + s * 8);
        count[s] = u32(base + 28 + s * 8);
        if (offset < HEADER || offset > size || count[s] > (size - offset) / ENTRY[s])
            return bad(std::string("section ") + SECTION_NAME[s] + " lies outside the blob");
        at[s] = base + offset;
    }
    if (count[RULES] == 0 || count[RULES] > 20000) return bad("rule count must be 1 to 20,000");
    if (count[ANCHORS] > 60000 || count[CLASSES] > 60000 || count[ELEMENTS] > 60000) return bad("more than 60,000 entries in a section");
    if (count[STRINGS] == 0 || at[STRINGS][count[STRINGS] - 1] != 0) return bad("strings do not end with NUL");
    auto string_at = [&](uint32_t o) { return o < count[STRINGS] ? reinterpret_cast<const char*>(at[STRINGS] + o) : nullptr; };

    r->classes.resize(count[CLASSES]);
    for (size_t i = 0; i < count[CLASSES]; i++)
        for (int c = 0; c < 256; c++) r->classes[i].in[c] = at[CLASSES][i * 32 + c / 8] >> c % 8 & 1;
    r->value_class = uint16_t(count[CLASSES]);
    CharClass value;
    for (int c = 0; c < 256; c++) value.in[c] = c >= 0x20 && c != 0x7f;
    r->classes.push_back(value);
    for (size_t i = 0; i < count[ELEMENTS]; i++) {
        const uint8_t* p = at[ELEMENTS] + i * 8;
        Element e{u16(p), u16(p + 2), u16(p + 4), u16(p + 6)};
        if (e.cls >= count[CLASSES] || e.min > e.max || e.max == 0 || e.max > MAX_REPEAT || e.flags > 1)
            return bad("element " + std::to_string(i) + " is malformed");
        r->elements.push_back(e);
    }
    for (uint16_t& b : r->builtin_rule) b = UINT16_MAX;
    std::vector<bool> wide(count[RULES]);
    std::vector<size_t> reach(count[RULES]);  // back, in characters
    for (size_t i = 0; i < count[RULES]; i++) {
        const uint8_t* p = at[RULES] + i * 32;
        const std::string place = "rule " + std::to_string(i);
        Rule rule{string_at(u32(p)), string_at(u32(p + 4)), string_at(u32(p + 8)), Family(p[12]), Check(p[13]), Builtin(u16(p + 14)),
                  u32(p + 16),       u16(p + 20),           u16(p + 22),           u16(p + 24),   u16(p + 26)};
        if (!rule.id || !rule.title || !rule.reference) return bad(place + ": a text lies outside the strings");
        if (p[12] > uint8_t(Family::foreign) || p[13] >= uint8_t(Check::count) || u16(p + 14) >= uint16_t(Builtin::count))
            return bad(place + ": unknown family, check or builtin");
        if (size_t(rule.before_first) + rule.before_count > count[ELEMENTS] || size_t(rule.after_first) + rule.after_count > count[ELEMENTS])
            return bad(place + ": elements outside the section");
        size_t before = 0, after = 0;
        for (size_t e = 0; e < rule.before_count; e++) before += r->elements[rule.before_first + e].max;
        for (size_t e = 0; e < rule.after_count; e++) after += r->elements[rule.after_first + e].max;
        if (u32(p + 28) > RULE_WIDE) return bad(place + ": unknown flags");
        wide[i] = u32(p + 28) == RULE_WIDE;
        reach[i] = before < 2 ? 2 : before;
        if (before > 64 || after > MAX_REPEAT) return bad(place + ": reaches further than 64 bytes back or 512 ahead");
        if (rule.builtin != Builtin::none) r->builtin_rule[size_t(rule.builtin)] = uint16_t(i);
        r->rules.push_back(rule);
    }
    for (size_t i = 0; i < count[ANCHORS]; i++) {
        const uint8_t* p = at[ANCHORS] + i * 12;
        const uint32_t o = u32(p);
        const uint16_t length = u16(p + 4);
        if (length < MIN_ANCHOR || length > MAX_ANCHOR || o > count[STRINGS] || length > count[STRINGS] - o || u16(p + 6) >= count[RULES] || p[8] > 1)
            return bad("anchor " + std::to_string(i) + " is malformed");
        const uint16_t rule = u16(p + 6);
        const bool header = r->rules[rule].check == Check::header_line;
        if (header && FieldName(at[STRINGS] + o, length, 1).size != length) return bad("anchor " + std::to_string(i) + " is no field name");
        if (header) r->header_names[at[STRINGS][o] % 32].push_back(uint32_t(r->anchors.size()));
        // A chosen window lies in the anchor, but for its fourth byte, and its bucket is one of those for text.
        const int8_t bucket = int8_t(p[9] - 1);
        if (p[9] > TEXT_BUCKETS || (bucket < 0 ? p[10] != 0 : p[10] + MIN_ANCHOR > length || header))
            return bad("anchor " + std::to_string(i) + " has a window outside it");
        r->anchors.push_back({at[STRINGS] + o, length, rule, p[8] == 1, 1, bucket, p[10], NO_ANCHOR});
        if (!wide[rule]) continue;
        const Check check = r->rules[rule].check;
        if (length + reach[rule] > WIDE_BEHIND || check == Check::request_line || check == Check::field || check >= Check::replacement_run)
            return bad("anchor " + std::to_string(i) + " cannot be looked for in UTF-16");
        if (header) r->header_names[at[STRINGS][o] % 32].push_back(uint32_t(r->anchors.size()));
        r->anchors.push_back({at[STRINGS] + o, length, rule, p[8] == 1, 2, -1, 0, NO_ANCHOR});
    }
    for (size_t i = 0; i < count[WEIGHTS]; i++) {
        const uint8_t* p = at[WEIGHTS] + i * 24;
        const float bits = f32(p + 4);
        if (p[0] >= CONTENT_CLASS_COUNT || p[1] >= GROUP_COUNT || p[2] == 0 || p[2] > MAX_LEVEL || p[3] > 2 || p[20] >= CONTENT_CLASS_COUNT ||
            !(bits >= 0 && bits <= 64))
            return bad("weight " + std::to_string(i) + " is malformed");
        r->weights[p[0]][p[1]][p[2]] = {bits, u32(p + 8), u32(p + 12), u32(p + 16), p[3], p[20]};
    }
    for (size_t i = 0; i < count[PARAMETERS]; i++) {
        const uint8_t* p = at[PARAMETERS] + i * 8;
        const float value = f32(p + 4);
        if (u32(p) >= CONTENT_CLASS_COUNT || !(value >= 0 && value <= 64)) return bad("parameter " + std::to_string(i) + " is malformed");
        r->pair_cap[u32(p)] = value;
    }
    choose_fingerprints(*r);
    return r;
}

}  // namespace overread
