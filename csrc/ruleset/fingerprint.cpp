// Chooses each anchor's window and bucket so that clean text raises few candidates.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "ruleset/ruleset.h"
#include "ruleset/trigrams.h"

namespace overread {
namespace {

// Occurrences per 65,536 bytes (at least 1), counted over 45 MB of HTML, JS, CSS, JSON and SVG as shipped in
// Debian documentation and npm packages. Only an estimate is needed: a wrong value costs speed, not findings.
const uint16_t FREQUENCY[256] = {
    1,   1,    1,   1,   1,    1,   1,     1,    1,    67,  2091, 1,    1,    1,   1,   1,   1,   1,   1,   1,    1,   1,    1,    1,    1,   1,
    1,   1,    1,   1,   1,    1,   11276, 23,   3448, 158, 85,   5,    49,   115, 212, 212, 50,  32,  942, 451,  713, 951,  220,  221,  195, 97,
    123, 98,   122, 60,  103,  59,  1049,  122,  932,  442, 954,  20,   11,   264, 70,  219, 136, 168, 97,  53,   40,  212,  20,   33,   164, 100,
    125, 124,  186, 23,  152,  271, 209,   67,   67,   61,  23,   16,   20,   147, 65,  146, 20,  222, 23,  2731, 480, 1368, 1353, 4235, 743, 847,
    853, 2524, 154, 210, 1826, 924, 2308,  2186, 1382, 66,  2518, 2528, 3230, 902, 287, 234, 391, 552, 70,  415,  30,  415,  4,    1,    7,   3,
    3,   3,    3,   3,   3,    3,   4,     3,    3,    3,   3,    3,    3,    3,   3,   3,   3,   3,   6,   4,    4,   3,    3,    5,    3,   3,
    4,   3,    3,   3,   99,   3,   3,     3,    4,    3,   3,    3,    3,    3,   3,   3,   3,   3,   3,   3,    3,   3,    3,    3,    3,   3,
    3,   3,    4,   4,   4,    4,   3,     4,    3,    4,   1,    1,    98,   3,   1,   1,   1,   1,   1,   1,    1,   1,    1,    1,    1,   1,
    1,   1,    1,   1,   1,    1,   1,     1,    1,    1,   1,    1,    1,    1,   1,   1,   1,   1,   7,   1,    3,   16,   17,   15,   15,  12,
    1,   3,    3,   1,   1,    2,   3,     1,    1,    1,   1,    1,    1,    1,   1,   1,   1,   1,   1,   1,    1,   1,
};

// What the table does not list, as a share of all windows of the text it was counted on: there bytes count as independent.
constexpr double UNLISTED = 0.19;

constexpr size_t WORDS = TRIGRAM_COUNT / 64;
constexpr size_t TRIED = 12;  // windows of an anchor that are tried in every bucket: its rarest
constexpr size_t ROUNDS = 2;  // of moving single anchors to a better bucket

// The kernel's tables of windows of ASCII, and the entry of each that three bytes lead to.
constexpr size_t TABLES = 2 * TABLE_BYTES + 1, JOINT = TABLES - 1;
uint8_t entry(size_t table, const uint8_t (&bytes)[TABLE_BYTES]) {
    if (table == JOINT) return (bytes[1] ^ bytes[2]) & 15;
    const uint8_t b = bytes[table / 2];
    return table % 2 ? b >> 3 & 15 : b & 15;
}

struct Bits {
    uint64_t word[WORDS];
};

// The listed sequences by each entry they lead to, and their rates.
struct Listed {
    Bits with[TABLES][16], none;
    float rate[TRIGRAM_COUNT];
    Listed() {
        std::memset(this, 0, sizeof *this);
        for (size_t i = 0; i < TRIGRAM_COUNT; i++) {
            rate[i] = float(std::exp2((TRIGRAMS[i] >> 24) / 8.0 - 24));
            const uint8_t bytes[TABLE_BYTES] = {uint8_t(TRIGRAMS[i]), uint8_t(TRIGRAMS[i] >> 8), uint8_t(TRIGRAMS[i] >> 16)};
            if ((bytes[0] | bytes[1] | bytes[2]) & 0x80) continue;
            for (size_t j = 0; j < TABLES; j++) with[j][entry(j, bytes)].word[i / 64] |= uint64_t(1) << (i % 64);
        }
    }
    // Share of windows that are exactly these three bytes.
    double of(uint8_t a, uint8_t b, uint8_t c) const {
        const uint32_t key = uint32_t(a) | uint32_t(b) << 8 | uint32_t(c) << 16;
        const uint32_t* end = TRIGRAMS + TRIGRAM_COUNT;
        const uint32_t* at = std::lower_bound(TRIGRAMS, end, key, [](uint32_t word, uint32_t k) { return (word & 0xffffff) < k; });
        if (at != end && (*at & 0xffffff) == key) return double(rate[at - TRIGRAMS]);
        return UNLISTED * (FREQUENCY[a] / 65536.0) * (FREQUENCY[b] / 65536.0) * (FREQUENCY[c] / 65536.0);
    }
};

const Listed& listed() {
    static const Listed table;
    return table;
}

// What may stand before a header's name.
const uint8_t LINE_ENDS[] = {'\n', '\r', 0};

// Each byte that may stand at a place of an anchor in the body; -1 is the line's end before it.
template <class F>
void for_each_byte(const Anchor& a, int at, F f) {
    if (at < 0) {
        for (const uint8_t b : LINE_ENDS) f(b);
        return;
    }
    const uint8_t b = a.stride == 1 ? a.bytes[at] : at % 2 ? uint8_t(0) : a.bytes[at / 2];  // of a wide anchor every second byte is zero
    const uint8_t folded = b | 0x20;
    f(b);
    if (a.nocase && folded >= 'a' && folded <= 'z') f(uint8_t(b ^ 0x20));
}

// Each three bytes that a window of the anchor at `at` may begin with.
template <class F>
void for_each_start(const Anchor& a, int at, F f) {
    for_each_byte(a, at, [&](uint8_t x) { for_each_byte(a, at + 1, [&](uint8_t y) { for_each_byte(a, at + 2, [&](uint8_t z) { f({x, y, z}); }); }); });
}

bool is_ascii(const Anchor& a, int at) {
    uint8_t any = 0;
    for_each_start(a, at, [&](const uint8_t(&bytes)[TABLE_BYTES]) { any |= bytes[0] | bytes[1] | bytes[2]; });
    return any < 0x80;
}

// Its rate in web text.
double window_rate(const Anchor& a, int at) {
    double sum = 0;
    for_each_start(a, at, [&](const uint8_t(&bytes)[TABLE_BYTES]) { sum += listed().of(bytes[0], bytes[1], bytes[2]); });
    return sum;
}

// The entries of windows: of one, or of all in a bucket.
struct Entries {
    uint16_t in[TABLES] = {};
    Entries() = default;
    Entries(const Anchor& a, int at) {
        for_each_start(a, at, [&](const uint8_t(&bytes)[TABLE_BYTES]) {
            for (size_t j = 0; j < TABLES; j++) in[j] = uint16_t(in[j] | 1u << entry(j, bytes));
        });
    }
    void add(const Entries& o) {
        for (size_t j = 0; j < TABLES; j++) in[j] |= o.in[j];
    }
    bool operator==(const Entries& o) const { return std::memcmp(in, o.in, sizeof in) == 0; }
    // Of byte j's values in web text, those whose entries are all there.
    double share(size_t j) const {
        uint32_t sum = 0;
        for (uint32_t b = 0; b < 0x80; b++)
            if (in[2 * j] >> (b & 15) & in[2 * j + 1] >> (b >> 3) & 1) sum += FREQUENCY[b];
        return sum / 65536.0;
    }
};

// A set of windows as the kernel sees it: every mix of their entries.
struct Bucket {
    Entries entries;
    Bits any[TABLES] = {}, hit = {};

    // What the window adds to the share of windows that become candidates; at least `enough` when it is more than that.
    double cost(const Entries& w, double enough) const {
        const Listed& t = listed();
        Entries more, all = entries;
        all.add(w);
        if (all == entries) return 0;
        for (size_t j = 0; j < TABLES; j++) more.in[j] = w.in[j] & ~entries.in[j];
        double before = UNLISTED, after = UNLISTED;
        for (size_t j = 0; j < TABLE_BYTES; j++) {
            before *= entries.share(j);
            after *= all.share(j);
        }
        double sum = after - before;
        for (size_t i = 0; i < WORDS && sum < enough; i++) {
            uint64_t m = ~hit.word[i];
            for (size_t j = 0; j < TABLES && m; j++) {
                uint64_t some = any[j].word[i];
                for (uint32_t x = more.in[j]; x; x &= x - 1) some |= t.with[j][__builtin_ctz(x)].word[i];
                m &= some;
            }
            for (; m; m &= m - 1) sum += double(t.rate[i * 64 + size_t(__builtin_ctzll(m))]);
        }
        return sum;
    }
    void add(const Entries& w) {
        Entries all = entries;
        all.add(w);
        if (!(all == entries)) rebuild(all);
    }
    // From its entries alone.
    void rebuild(const Entries& from) {
        const Listed& t = listed();
        *this = Bucket();
        entries = from;
        std::memset(hit.word, 0xff, sizeof hit.word);
        for (size_t j = 0; j < TABLES; j++)
            for (size_t i = 0; i < WORDS; i++) {
                for (uint32_t x = from.in[j]; x; x &= x - 1) any[j].word[i] |= t.with[j][__builtin_ctz(x)].word[i];
                hit.word[i] &= any[j].word[i];
            }
    }
};

struct Choice {
    uint32_t anchor = 0;
    Entries window[TRIED];  // rarest first
    double rate[TRIED] = {};
    uint8_t offset[TRIED] = {};
    uint8_t windows = 0, chosen = 0, bucket = 0;
};

Choice rarest_windows(const Anchor& a, uint32_t index) {
    Choice c;
    c.anchor = index;
    const size_t bytes = std::min<size_t>(WINDOW, a.length);
    for (size_t at = 0; at + bytes <= a.length; at++) {
        if (!is_ascii(a, int(at))) continue;
        const double rate = window_rate(a, int(at));
        size_t slot = c.windows;
        if (slot == TRIED && c.rate[TRIED - 1] <= rate) continue;
        if (slot == TRIED)
            slot--;
        else
            c.windows++;
        for (; slot && c.rate[slot - 1] > rate; slot--) {
            c.window[slot] = c.window[slot - 1];
            c.rate[slot] = c.rate[slot - 1];
            c.offset[slot] = c.offset[slot - 1];
        }
        c.window[slot] = Entries(a, int(at));
        c.rate[slot] = rate;
        c.offset[slot] = uint8_t(at);
    }
    return c;
}

void place(Choice& c, std::vector<Bucket>& buckets) {
    double best = 1e9;
    for (uint8_t s = 0; s < c.windows; s++)
        for (uint8_t b = 0; b < TEXT_BUCKETS; b++) {
            const double cost = buckets[b].cost(c.window[s], best);
            if (cost < best) {
                best = cost;
                c.bucket = b;
                c.chosen = s;
            }
        }
    buckets[c.bucket].add(c.window[c.chosen]);
}

// Greedy, the anchors with the commonest windows first, then single anchors move to where they cost least. The same
// anchors always give the same choice.
void choose(Ruleset& r, const std::vector<uint32_t>& open, const Entries (&given)[BUCKETS]) {
    std::vector<Choice> choices;
    for (const uint32_t i : open) choices.push_back(rarest_windows(r.anchors[i], i));
    std::stable_sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) { return a.rate[0] > b.rate[0]; });
    std::vector<Bucket> buckets(TEXT_BUCKETS);
    for (size_t b = 0; b < TEXT_BUCKETS; b++) buckets[b].rebuild(given[b]);
    for (Choice& c : choices) place(c, buckets);
    // A ruleset of thousands of rules saturates the table whatever is done: there moving is not worth its time.
    for (size_t round = 0; round < ROUNDS && choices.size() <= 1000; round++)
        for (Choice& c : choices) {
            Entries without = given[c.bucket];
            for (const Choice& o : choices)
                if (&o != &c && o.bucket == c.bucket) without.add(o.window[o.chosen]);
            Bucket& from = buckets[c.bucket];
            if (!(without == from.entries)) {
                from.rebuild(without);
                place(c, buckets);
            }
        }
    for (const Choice& c : choices) {
        r.anchors[c.anchor].bucket = int8_t(c.bucket);
        r.anchors[c.anchor].window = c.offset[c.chosen];
    }
}

// The class of the characters that may stand directly before the anchor, or NO_CLASS.
uint16_t leads(const Ruleset& r, const Anchor& a) {
    const Rule& rule = r.rules[a.rule];
    if (rule.check == Check::header_line || rule.before_count == 0) return NO_CLASS;
    const Element& e = r.elements[rule.before_first + rule.before_count - 1];
    return e.min ? e.cls : NO_CLASS;
}

// So many characters behind an anchor are looked at before its verifier runs.
constexpr uint16_t MAX_FOLLOW = 8;

// The same for those behind it: where the rule's `after` goes on with one at once.
uint16_t follows(const Ruleset& r, const Anchor& a) {
    const Rule& rule = r.rules[a.rule];
    switch (rule.check) {
        case Check::none:
        case Check::jwt:
        case Check::entropy:
        case Check::github_crc:
        case Check::basic:
        case Check::session_cookie:
        case Check::pem:
        case Check::letters:
            break;
        default:
            return NO_CLASS;
    }
    if (rule.after_count == 0) return NO_CLASS;
    const Element& e = r.elements[rule.after_first];
    return e.min && !(e.flags & ELEMENT_EDGE) ? e.cls : NO_CLASS;
}

}  // namespace

FieldName::FieldName(const uint8_t* p, size_t n, size_t stride) {
    struct Folded {
        uint8_t of[256] = {};  // 0: stands in no field name
        constexpr Folded() {
            for (int c = 0; c < 256; c++) {
                const int lower = c | 0x20;
                if (lower >= 'a' && lower <= 'z')
                    of[c] = uint8_t(lower);
                else if (c >= '0' && c <= '9')
                    of[c] = uint8_t(c);
            }
            for (const char c : {'!', '#', '$', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) of[uint8_t(c)] = uint8_t(c);
        }
    };
    static constexpr Folded FOLDED;
    const size_t most = n < sizeof bytes ? n : sizeof bytes;
    for (; size < most; size++) {
        const uint8_t c = FOLDED.of[p[size * stride]];
        if (!c || (stride == 2 && p[size * stride + 1])) break;
        bytes[size] = c;
    }
}

// The first and the last four bytes and the length tell nearly all names apart.
uint32_t FieldName::hash() const {
    uint32_t first = 0, last = 0;
    std::memcpy(&first, bytes, size < 4 ? size : 4);
    if (size > 4) std::memcpy(&last, bytes + size - 4, 4);
    const uint64_t mixed = (uint64_t(last) << 32 | first) * 0x9E3779B97F4A7C15u + size * 0xC2B2AE3D27D4EB4Fu;
    return uint32_t((mixed ^ mixed >> 29) >> 16);
}

bool FieldName::is(const Anchor& a) const {
    if (a.length != size) return false;
    for (size_t i = 0; i < size; i++)
        if (Ruleset::fold(a.bytes[i]) != bytes[i]) return false;
    return true;
}

void choose_fingerprints(Ruleset& r) {
    Entries entries[BUCKETS];
    std::vector<uint32_t> open;
    for (size_t i = 0; i < r.anchors.size(); i++) {
        Anchor& a = r.anchors[i];
        const bool header = r.rules[a.rule].check == Check::header_line;
        if (a.stride == 2 && header) {
            a.window = 1;  // behind its first letter: from there its whole name is looked up
            a.bucket = LINE_BUCKET;
        } else if (a.stride == 2) {
            // From the NUL behind the first of two letters on, the rarest ones: no such window stands in web text.
            const auto rarity = [&](int k) { return double(FREQUENCY[a.bytes[k + 1]]) * FREQUENCY[a.bytes[k + 2]]; };
            int best = 0;
            for (int k = 1; k + 3 <= a.length; k++)
                if (rarity(k) < rarity(best)) best = k;
            a.window = int16_t(2 * best + 1);
            a.bucket = LINE_BUCKET;
        } else if (header || a.bytes[0] == 0) {
            // A header's name stands at the start of a line, and so do names behind a NUL: hundreds share few such windows.
            a.window = header ? -1 : 0;
            a.bucket = LINE_BUCKET;
        }
        if (a.bucket < 0) {
            // Where no three bytes of it are ASCII, the first ones are as good as any.
            a.bucket = HIGH_BUCKET;
            a.window = 0;
            for (int at = 0; at + int(std::min<size_t>(WINDOW, a.length)) <= a.length; at++)
                if (is_ascii(a, at)) a.bucket = -1;
        } else if (!is_ascii(a, a.window)) {
            a.bucket = HIGH_BUCKET;
        }
        if (a.bucket < 0)
            open.push_back(uint32_t(i));
        else if (a.bucket != HIGH_BUCKET)
            entries[a.bucket].add(Entries(a, a.window));
    }
    if (!open.empty()) choose(r, open, entries);
    for (const uint32_t i : open) entries[r.anchors[i].bucket].add(Entries(r.anchors[i], r.anchors[i].window));

    FingerprintTable& table = r.fingerprint;
    std::memset(&table, 0, sizeof table);
    std::memcpy(table.first_low, CONTROL_LOW, sizeof table.first_low);
    std::memcpy(table.first_upper, CONTROL_UPPER, sizeof table.first_upper);
    for (uint32_t& h : r.window_head) h = NO_ANCHOR;
    size_t slots = 1;
    while (slots < 2 * r.anchors.size()) slots *= 2;
    r.fields.assign(slots, NO_ANCHOR);
    for (size_t i = 0; i < r.anchors.size(); i++) {
        Anchor& a = r.anchors[i];
        const int span = a.length * a.stride;
        for (int k = 0; k < 8 && k < span; k++) {
            const uint8_t b = a.stride == 2 && k % 2 ? uint8_t(0) : a.bytes[k / a.stride], folded = b | 0x20;
            const bool letter = a.nocase && folded >= 'a' && folded <= 'z';
            a.mask |= uint64_t(0xff) << (8 * k);
            a.fold |= uint64_t(letter ? 0x20 : 0) << (8 * k);
            a.head |= uint64_t(letter ? folded : b) << (8 * k);
        }
        uint8_t four[WINDOW] = {'\n'};
        for (int j = a.window < 0; j < int(WINDOW); j++) {
            const int k = a.window + j;
            four[j] = k >= span || (a.stride == 2 && k % 2) ? uint8_t(0) : a.bytes[k / a.stride];
        }
        const bool beyond = a.window + int(WINDOW) > span;
        a.lead = leads(r, a);
        a.follow = follows(r, a);
        if (a.follow != NO_CLASS) a.follow_count = uint8_t(std::min<uint16_t>(r.elements[r.rules[a.rule].after_first].min, MAX_FOLLOW));
        const CharClass* next = beyond && a.follow != NO_CLASS ? &r.classes[a.follow] : nullptr;
        for (const uint8_t first : {four[0], uint8_t('\r'), uint8_t(0)}) {
            if (first != four[0] && a.window >= 0) continue;
            for (int last = 0; last < 256; last++) {
                if (beyond ? next && !next->has(uint8_t(last)) : last != four[3]) continue;
                table.set(uint32_t(first) | uint32_t(four[1]) << 8 | uint32_t(four[2]) << 16 | uint32_t(last) << 24);
            }
        }
        const bool header = r.rules[a.rule].check == Check::header_line;
        uint32_t& head =
            header ? r.fields[FieldName(a.bytes, a.length, 1).hash() & (slots - 1)] : r.window_head[Ruleset::window_hash(four[0], four[1], four[2])];
        a.next = head;
        head = uint32_t(i);
    }
    for (size_t b = 0; b < BUCKETS; b++)
        for (size_t x = 0; x < 16; x++) {
            const auto bit = [&](size_t j) { return uint8_t((entries[b].in[j] >> x & 1) << b); };
            for (size_t j = 0; j < TABLE_BYTES; j++) {
                table.low[j][x] |= bit(2 * j);
                table.upper[j][x] |= bit(2 * j + 1);
            }
            table.joint[x] |= bit(JOINT);
        }
    for (const Anchor& a : r.anchors)
        if (a.bucket != HIGH_BUCKET) {
            for_each_start(a, a.window, [&](const uint8_t(&bytes)[TABLE_BYTES]) {
                const uint8_t bit = uint8_t(1u << a.bucket);
                for (size_t j = 0; j < TABLE_BYTES; j++) table.bytes[j][bytes[j]] |= bit;
                table.pairs[FingerprintTable::pair(bytes[1], bytes[2])] |= bit;
                table.triples[FingerprintTable::triple(bytes[0], bytes[1], bytes[2])] |= bit;
            });
        } else {
            r.high_windows |= r.rules[a.rule].where;
            for_each_byte(a, a.window, [&](uint8_t b) {
                table.first_low[b & 15] |= HIGH;
                table.first_upper[b >> 3 & 15] |= HIGH;
            });
            for_each_byte(a, a.window + 1, [&](uint8_t b) {
                table.second_low[b & 15] |= HIGH;
                table.second_upper[b >> 3 & 15] |= HIGH;
            });
        }
}

}  // namespace overread
