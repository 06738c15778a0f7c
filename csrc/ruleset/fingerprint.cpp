// Chooses each anchor's 3-byte window and bucket so that clean text raises few candidates.
#include <cmath>
#include <cstring>

#include "ruleset/ruleset.h"

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

struct ByteSet {
    uint16_t low = 0, high = 0;  // nibbles present; the set is their product, as the kernel sees it
    void add(uint8_t b) {
        low |= uint16_t(1u << (b & 15));
        high |= uint16_t(1u << (b >> 4));
    }
    double weight() const {
        uint32_t sum = 0;
        for (int h = 0; h < 16; h++)
            if (high >> h & 1)
                for (int l = 0; l < 16; l++)
                    if (low >> l & 1) sum += FREQUENCY[h * 16 + l];
        return sum / 65536.0;
    }
};

struct Bucket {
    ByteSet at[3];
    bool used = false;
    double rate() const { return used ? at[0].weight() * at[1].weight() * at[2].weight() : 0; }
};

void add_window(Bucket& b, const uint8_t* w, bool nocase) {
    b.used = true;
    for (int j = 0; j < 3; j++) {
        b.at[j].add(w[j]);
        const uint8_t folded = w[j] | 0x20;
        if (nocase && folded >= 'a' && folded <= 'z') {
            b.at[j].add(folded);
            b.at[j].add(folded & ~0x20);
        }
    }
}

}  // namespace

void choose_fingerprints(Ruleset& r) {
    Bucket buckets[8];
    std::memset(&r.fingerprint, 0, sizeof r.fingerprint);
    for (uint32_t& h : r.window_head) h = NO_ANCHOR;
    for (size_t i = 0; i < r.anchors.size(); i++) {
        Anchor& a = r.anchors[i];
        double best = 1e9;
        size_t bucket = 0;
        // Only the three rarest windows are tried in every bucket: enough, and linear in the anchor's length.
        uint16_t tried[3];
        size_t candidates = 0;
        double alone[3];
        for (uint16_t w = 0; w + 3 <= a.length; w++) {
            Bucket single;
            add_window(single, a.bytes + w, a.nocase);
            const double rate = single.rate();
            size_t slot = candidates < 3 ? candidates++ : 3;
            if (slot == 3) {
                slot = 0;
                for (size_t s = 1; s < 3; s++)
                    if (alone[s] > alone[slot]) slot = s;
                if (alone[slot] <= rate) continue;
            }
            tried[slot] = w;
            alone[slot] = rate;
        }
        for (size_t s = 0; s < candidates; s++)
            for (size_t b = 0; b < 8; b++) {
                Bucket with = buckets[b];
                add_window(with, a.bytes + tried[s], a.nocase);
                const double cost = with.rate() - buckets[b].rate();
                if (cost < best) {
                    best = cost;
                    bucket = b;
                    a.window = tried[s];
                }
            }
        add_window(buckets[bucket], a.bytes + a.window, a.nocase);
        const uint32_t hash = Ruleset::window_hash(a.bytes + a.window);
        a.next = r.window_head[hash];
        r.window_head[hash] = uint32_t(i);
    }
    for (size_t b = 0; b < 8; b++)
        for (size_t j = 0; j < 3; j++)
            for (size_t x = 0; x < 16; x++) {
                if (buckets[b].used && buckets[b].at[j].low >> x & 1) r.fingerprint.low[j][x] |= uint8_t(1u << b);
                if (buckets[b].used && buckets[b].at[j].high >> x & 1) r.fingerprint.high[j][x] |= uint8_t(1u << b);
            }
}

}  // namespace overread
