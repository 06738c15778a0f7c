#include "verify/reading.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace overread {
namespace {

constexpr uint32_t DIGIT = 1, UPPER = 1 << 8, LOWER = 1 << 16;
constexpr size_t LONGEST_PLACEHOLDER = 11;
// What documentation and examples put where a secret would stand. In random text the shortest of these, in any case, is
// seen once in 100,000 tokens.
constexpr const char* PLACEHOLDERS[] = {"example", "xxxx", "00000", "abcdefg", "changeme", "redacted", "your_", "your-", "placeholder", "dummy"};

struct Tables {
    uint32_t kind[256] = {};                     // DIGIT, UPPER, LOWER or none
    uint16_t first[256] = {}, second[256] = {};  // bit i: in PLACEHOLDERS[i] that byte, of either case, stands there
    uint32_t entropy[65] = {}, step[65] = {};    // n log2 n in units of 2^-20, and what the next of n equal bytes adds to it
    Tables() {
        for (int c = 0; c < 256; c++) kind[c] = c >= '0' && c <= '9' ? DIGIT : c >= 'A' && c <= 'Z' ? UPPER : c >= 'a' && c <= 'z' ? LOWER : 0;
        for (size_t i = 0; i < sizeof PLACEHOLDERS / sizeof PLACEHOLDERS[0]; i++)
            for (int c = 0; c < 256; c++) {
                if (Ruleset::fold(uint8_t(c)) == PLACEHOLDERS[i][0]) first[c] |= uint16_t(1u << i);
                if (Ruleset::fold(uint8_t(c)) == PLACEHOLDERS[i][1]) second[c] |= uint16_t(1u << i);
            }
        for (int n = 1; n < 65; n++) entropy[n] = uint32_t(std::lround(n * std::log2(double(n)) * (1 << 20)));
        for (int n = 0; n < 64; n++) step[n] = entropy[n + 1] - entropy[n];
    }
};
const Tables TABLES;

// Bits of a random-looking token, and what rounding may take from the logarithms of 64 bytes.
constexpr uint64_t BITS = uint64_t(48) << 20, SLACK = 64;

bool begins_placeholder(const uint8_t* p, size_t n) {
    for (const char* word : PLACEHOLDERS) {
        size_t j = 0;
        while (word[j] && j < n && Ruleset::fold(p[j]) == uint8_t(word[j])) j++;
        if (!word[j]) return true;
    }
    return false;
}

}  // namespace

uint64_t Reading::run_end(const Ruleset& rs, uint16_t cls, const View& v, uint64_t at, uint64_t until) {
    const uint64_t k = key(v.space, cls);
    Run fresh;
    Run& run = v.space == Space::decoded ? fresh : runs_[(cls + 21 * size_t(v.space)) % RUNS];
    if (run.key != k || at < run.from || at > run.to) run = {k, at, at};
    const CharClass& c = rs.classes[cls];
    const uint8_t* p = v.data - v.base;
    uint64_t to = run.to;
    while (to < until && c.has(p[to])) to++;
    run.to = to;
    return std::min(to, until);
}

// Makes the histogram that of [start, start + size): tokens of a flood overlap, and most of it stays.
void Reading::slide(const View& v, uint64_t start, size_t size) {
    const uint64_t end = start + size, k = key(v.space, 0);
    if (window_.key != k || start < window_.from || start >= window_.to || window_.from < v.base || window_.to > v.end()) {
        std::memset(seen_, 0, sizeof seen_);
        sum_ = kinds_ = 0;
        window_ = {k, start, start};
    }
    uint32_t sum = sum_, kinds = kinds_;
    auto take = [&](uint8_t c) {
        kinds -= TABLES.kind[c];
        sum -= TABLES.step[--seen_[c]];
    };
    const uint8_t *from = v.at(window_.from), *to = v.at(window_.to), *const new_from = v.at(start), *const new_to = v.at(end);
    // Before what is new: no count may pass TOKEN.
    while (from < new_from) take(*from++);
    while (to > new_to) take(*--to);
    for (; to < new_to; to++) {
        kinds += TABLES.kind[*to];
        sum += TABLES.step[seen_[*to]++];
    }
    sum_ = sum;
    kinds_ = kinds;
    window_.from = start;
    window_.to = end;
}

bool Reading::placeholder(const View& v, uint64_t start, size_t size) {
    const uint64_t end = start + size, k = key(v.space, 0);
    if (plain_.key != k || start < plain_.from || start > plain_.to) plain_ = {k, start, start};
    bool sure = true;
    for (uint64_t i = plain_.to; i + 1 < end; i++) {
        const uint8_t* p = v.at(i);
        if (TABLES.first[p[0]] & TABLES.second[p[1]]) {
            if (begins_placeholder(p, size_t(end - i))) return true;
            // Behind this token's end a word may go on that counts for another one.
            sure = sure && end - i >= LONGEST_PLACEHOLDER;
        }
        if (sure) plain_.to = i + 1;
    }
    return false;
}

bool Reading::random_looking(const View& v, uint64_t start, size_t size, bool wants_digit) {
    if (size < 16) return false;
    const size_t n = std::min(size, TOKEN);
    slide(v, start, n);
    const bool digit = kinds_ & 0xff * DIGIT, upper = kinds_ & 0xff * UPPER, lower = kinds_ & 0xff * LOWER;
    if (wants_digit ? !digit || !(upper || lower) : !upper || !lower) return false;
    if (uint64_t(TABLES.entropy[n] - sum_ + SLACK) * size < BITS * n) return false;
    return !placeholder(v, start, n);
}

}  // namespace overread
