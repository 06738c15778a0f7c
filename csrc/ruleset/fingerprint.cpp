// Chooses each anchor's 3-byte window and bucket so that clean text raises few candidates.
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
constexpr size_t BUCKETS = 8;
// Windows that start with a line's end, wide ones with their NUL amid and all others do not share buckets: the products of
// their nibbles would let through most text.
constexpr uint8_t TEXT_BUCKETS = 6, LINE_BUCKETS = 1;
constexpr size_t TRIED = 12;  // windows of an anchor that are tried in every bucket: its rarest
constexpr size_t ROUNDS = 2;  // of moving single anchors to a better bucket

struct Bits {
    uint64_t word[WORDS];
};

// The listed sequences by each nibble of each of their bytes, and their rates.
struct Listed {
    Bits low[3][16], high[3][16], none;
    float rate[TRIGRAM_COUNT];
    Listed() {
        std::memset(this, 0, sizeof *this);
        for (size_t i = 0; i < TRIGRAM_COUNT; i++) {
            rate[i] = float(std::exp2((TRIGRAMS[i] >> 24) / 8.0 - 24));
            for (size_t j = 0; j < 3; j++) {
                const uint8_t b = uint8_t(TRIGRAMS[i] >> (8 * j));
                low[j][b & 15].word[i / 64] |= uint64_t(1) << (i % 64);
                high[j][b >> 4].word[i / 64] |= uint64_t(1) << (i % 64);
            }
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

// Three bytes, each one of a few: a letter in both cases, a line's ends. Such bytes share a nibble, so that the product of
// their nibbles is just they.
struct Window {
    uint16_t low[3] = {}, high[3] = {};  // nibbles
    double alone = 0;                    // its rate in web text
    Window() = default;
    // at: -1 for the line end before the anchor.
    Window(const Anchor& a, int at) {
        uint8_t any[3][3];
        size_t count[3];
        for (int j = 0; j < 3; j++) {
            uint8_t b = 0;  // of a wide anchor every second byte is zero
            if (a.stride == 1 && at + j >= 0)
                b = a.bytes[at + j];
            else if (a.stride == 2 && j != 1)
                b = a.bytes[at + j / 2];
            const uint8_t folded = b | 0x20;
            if (at + j < 0) {
                std::memcpy(any[j], LINE_ENDS, count[j] = sizeof LINE_ENDS);
            } else if (a.nocase && folded >= 'a' && folded <= 'z') {
                any[j][0] = folded;
                any[j][1] = folded & ~0x20;
                count[j] = 2;
            } else {
                any[j][0] = b;
                count[j] = 1;
            }
            for (size_t i = 0; i < count[j]; i++) {
                low[j] = uint16_t(low[j] | 1u << (any[j][i] & 15));
                high[j] = uint16_t(high[j] | 1u << (any[j][i] >> 4));
            }
        }
        for (size_t x = 0; x < count[0]; x++)
            for (size_t y = 0; y < count[1]; y++)
                for (size_t z = 0; z < count[2]; z++) alone += listed().of(any[0][x], any[1][y], any[2][z]);
    }
};

// A set of windows as the kernel sees it: per byte the product of its low and its high nibbles.
struct Bucket {
    uint16_t low[3] = {}, high[3] = {};
    Bits any_low[3] = {}, any_high[3] = {}, hit = {};
    double share[3] = {};  // of bytes in each set

    static double share_of(uint16_t low, uint16_t high) {
        uint32_t sum = 0;
        for (uint32_t h = 0; h < 16; h++)
            if (high >> h & 1)
                for (uint32_t l = 0; l < 16; l++)
                    if (low >> l & 1) sum += FREQUENCY[h * 16 + l];
        return sum / 65536.0;
    }
    // What the window adds to the share of windows that become candidates; at least `enough` when it is more than that.
    double cost(const Window& w, double enough) const {
        const Listed& t = listed();
        // Sequences with the new nibbles; a byte brings at most one low and two high ones, the line ends aside.
        const Bits *more_low[3], *more_high[3][2];
        bool same = true;
        double unlisted = UNLISTED, before = UNLISTED;
        for (size_t j = 0; j < 3; j++) {
            const uint32_t l = w.low[j] & ~low[j], h = w.high[j] & ~high[j];
            same &= !l && !h;
            before *= share[j];
            unlisted *= l || h ? share_of(low[j] | w.low[j], high[j] | w.high[j]) : share[j];
            more_low[j] = l ? &t.low[j][__builtin_ctz(l)] : &t.none;
            more_high[j][0] = h ? &t.high[j][__builtin_ctz(h)] : &t.none;
            more_high[j][1] = h & (h - 1) ? &t.high[j][__builtin_ctz(h & (h - 1))] : &t.none;
        }
        if (same) return 0;
        double sum = unlisted - before;
        for (size_t i = 0; i < WORDS && sum < enough; i++) {
            uint64_t m = ~hit.word[i];
            for (size_t j = 0; j < 3; j++)
                m &= (any_low[j].word[i] | more_low[j]->word[i]) & (any_high[j].word[i] | more_high[j][0]->word[i] | more_high[j][1]->word[i]);
            for (; m; m &= m - 1) sum += double(t.rate[i * 64 + size_t(__builtin_ctzll(m))]);
        }
        return sum;
    }
    void add(const Window& w) {
        uint16_t l[3], h[3];
        for (size_t j = 0; j < 3; j++) {
            l[j] = low[j] | w.low[j];
            h[j] = high[j] | w.high[j];
        }
        if (std::memcmp(l, low, sizeof l) != 0 || std::memcmp(h, high, sizeof h) != 0) rebuild(l, h);
    }
    static const Bits* unite(Bits& out, const Bits& any, const Bits (&nibble)[16], uint16_t which) {
        out = any;
        for (size_t x = 0; x < 16; x++)
            if (which >> x & 1)
                for (size_t i = 0; i < WORDS; i++) out.word[i] |= nibble[x].word[i];
        return &out;
    }
    // From its nibbles alone.
    void rebuild(const uint16_t (&l)[3], const uint16_t (&h)[3]) {
        const Listed& t = listed();
        *this = Bucket();
        for (size_t j = 0; j < 3; j++) {
            low[j] = l[j];
            high[j] = h[j];
            share[j] = share_of(l[j], h[j]);
            for (size_t x = 0; x < 16; x++)
                for (size_t i = 0; i < WORDS; i++) {
                    if (l[j] >> x & 1) any_low[j].word[i] |= t.low[j][x].word[i];
                    if (h[j] >> x & 1) any_high[j].word[i] |= t.high[j][x].word[i];
                }
        }
        for (size_t i = 0; i < WORDS; i++) {
            hit.word[i] = ~uint64_t(0);
            for (size_t j = 0; j < 3; j++) hit.word[i] &= any_low[j].word[i] & any_high[j].word[i];
        }
    }
};

struct Choice {
    Window window[TRIED];  // rarest first
    int16_t offset[TRIED];
    uint8_t windows = 0, chosen = 0, bucket = 0;
    uint8_t from = 0, to = 0;  // the buckets it may be in
};

Choice rarest_windows(const Anchor& a, bool header) {
    Choice c;
    // A header's name stands at the start of a line, and so do names behind a NUL: hundreds share few such windows.
    if ((header || a.bytes[0] == 0) && a.stride == 1) {
        const int at = header ? -1 : 0;
        c.window[0] = Window(a, at);
        c.offset[0] = int16_t(at);
        c.windows = 1;
        c.from = TEXT_BUCKETS;
        c.to = TEXT_BUCKETS + LINE_BUCKETS;
        return c;
    }
    c.from = a.stride == 2 ? TEXT_BUCKETS + LINE_BUCKETS : 0;
    c.to = a.stride == 2 ? BUCKETS : TEXT_BUCKETS;
    if (a.stride == 2) {
        for (size_t at = 0; at + 2 <= a.length; at++) {
            // The rarest letters by themselves: no such window stands in web text.
            const auto rarity = [&](size_t i) { return double(FREQUENCY[a.bytes[i]]) * FREQUENCY[a.bytes[i + 1]]; };
            if (at == 0 || rarity(at) < rarity(size_t(c.offset[0]))) c.offset[0] = int16_t(at);
        }
        c.window[0] = Window(a, c.offset[0]);
        c.windows = 1;
        return c;
    }
    const size_t bytes = 3;
    for (size_t at = 0; at + bytes <= a.length; at++) {
        const Window w(a, int(at));
        size_t slot = c.windows;
        if (slot == TRIED && c.window[TRIED - 1].alone <= w.alone) continue;
        if (slot == TRIED)
            slot--;
        else
            c.windows++;
        for (; slot && c.window[slot - 1].alone > w.alone; slot--) {
            c.window[slot] = c.window[slot - 1];
            c.offset[slot] = c.offset[slot - 1];
        }
        c.window[slot] = w;
        c.offset[slot] = int16_t(at);
    }
    return c;
}

void place(Choice& c, std::vector<Bucket>& buckets) {
    double best = 1e9;
    if (c.to - c.from == 1) {
        c.bucket = c.from;
        buckets[c.bucket].add(c.window[0]);
        return;
    }
    for (uint8_t s = 0; s < c.windows; s++)
        for (uint8_t b = c.from; b < c.to; b++) {
            const double cost = buckets[b].cost(c.window[s], best);
            if (cost < best) {
                best = cost;
                c.bucket = b;
                c.chosen = s;
            }
        }
    buckets[c.bucket].add(c.window[c.chosen]);
}

}  // namespace

// Greedy, the anchors with the commonest windows first, then single anchors move to where they cost least. The same
// anchors always give the same table.
void choose_fingerprints(Ruleset& r) {
    std::vector<Choice> choices;
    choices.reserve(r.anchors.size());
    for (const Anchor& a : r.anchors) choices.push_back(rarest_windows(a, r.rules[a.rule].check == Check::header_line));
    std::vector<uint32_t> order(choices.size());
    for (uint32_t i = 0; i < order.size(); i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return choices[a].window[0].alone > choices[b].window[0].alone; });
    std::vector<Bucket> buckets(BUCKETS);
    for (const uint32_t i : order) place(choices[i], buckets);
    // A ruleset of thousands of rules saturates the table whatever is done: there moving is not worth its time.
    for (size_t round = 0; round < ROUNDS && order.size() <= 1000; round++)
        for (const uint32_t i : order) {
            const uint8_t from = choices[i].bucket;
            if (choices[i].to - choices[i].from == 1) continue;
            uint16_t low[3] = {}, high[3] = {};
            for (const uint32_t o : order) {
                if (o == i || choices[o].bucket != from) continue;
                const Window& w = choices[o].window[choices[o].chosen];
                for (size_t j = 0; j < 3; j++) {
                    low[j] |= w.low[j];
                    high[j] |= w.high[j];
                }
            }
            if (std::memcmp(low, buckets[from].low, sizeof low) != 0 || std::memcmp(high, buckets[from].high, sizeof high) != 0) {
                buckets[from].rebuild(low, high);
                place(choices[i], buckets);
            }
        }

    std::memset(&r.fingerprint, 0, sizeof r.fingerprint);
    for (uint32_t& h : r.window_head) h = NO_ANCHOR;
    r.three = r.four = {};
    for (size_t i = 0; i < r.anchors.size(); i++) {
        Anchor& a = r.anchors[i];
        const int at = choices[i].offset[choices[i].chosen];
        a.window = int16_t(at * a.stride);
        const uint8_t first = at < 0 ? '\n' : a.bytes[at], second = a.stride == 2 ? 0 : a.bytes[at + 1], third = a.bytes[a.stride == 2 ? at + 1 : at + 2];
        const uint32_t hash = Ruleset::window_hash(first, second, third);
        const int fourth = at + (a.stride == 2 ? 2 : 3);
        if (a.stride == 1 && fourth < a.length)
            r.four.set(Ruleset::window_hash(first, second, third, a.bytes[fourth]));
        else if (a.stride == 2)
            r.four.set(Ruleset::window_hash(first, second, third, 0));
        else
            r.three.set(hash);
        a.next = r.window_head[hash % Ruleset::HASH_SIZE];
        r.window_head[hash % Ruleset::HASH_SIZE] = uint32_t(i);
    }
    for (size_t b = 0; b < BUCKETS; b++)
        for (size_t j = 0; j < 3; j++)
            for (size_t x = 0; x < 16; x++) {
                if (buckets[b].low[j] >> x & 1) r.fingerprint.low[j][x] |= uint8_t(1u << b);
                if (buckets[b].high[j] >> x & 1) r.fingerprint.high[j][x] |= uint8_t(1u << b);
            }
}

}  // namespace overread
