#include "verify/reading.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace overread {
namespace {

// n log2 n in units of 2^-20, so that sums do not hang on the order of their terms.
struct Logs {
    uint32_t value[65];
    Logs() {
        value[0] = 0;
        for (int n = 1; n < 65; n++) value[n] = uint32_t(std::lround(n * std::log2(double(n)) * (1 << 20)));
    }
};
const Logs LOGS;

// Bits of a random-looking token, and what rounding may take from the logarithms of 64 bytes.
constexpr uint64_t BITS = uint64_t(48) << 20, SLACK = 64;

// What documentation and examples put where a secret would stand. In random text the shortest of these, in any case, is
// seen once in 100,000 tokens.
constexpr const char* PLACEHOLDERS[] = {"example", "xxxx", "00000", "abcdefg", "changeme", "redacted", "your_", "your-", "placeholder", "dummy"};
constexpr size_t LONGEST_PLACEHOLDER = 11;

bool begins_placeholder(const uint8_t* p, size_t n) {
    if (n < 4) return false;
    // Nearly every byte ends here.
    switch (Ruleset::fold(p[0]) << 8 | Ruleset::fold(p[1])) {
        case 'e' << 8 | 'x':
        case 'x' << 8 | 'x':
        case '0' << 8 | '0':
        case 'a' << 8 | 'b':
        case 'c' << 8 | 'h':
        case 'r' << 8 | 'e':
        case 'y' << 8 | 'o':
        case 'p' << 8 | 'l':
        case 'd' << 8 | 'u':
            break;
        default:
            return false;
    }
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

void Reading::count(uint8_t byte, bool in) {
    uint8_t& n = seen_[byte];
    copied_ -= LOGS.value[n];
    const uint8_t one = in ? 1 : 0xff;
    n = uint8_t(n + one);
    copied_ += LOGS.value[n];
    if (byte >= '0' && byte <= '9') digits_ = uint8_t(digits_ + one);
    if (byte >= 'A' && byte <= 'Z') uppers_ = uint8_t(uppers_ + one);
    if (byte >= 'a' && byte <= 'z') lowers_ = uint8_t(lowers_ + one);
}

// Makes the histogram that of [start, start + size): tokens of a flood overlap, and most of it stays.
void Reading::slide(const View& v, uint64_t start, size_t size) {
    const uint64_t end = start + size, k = key(v.space, 0);
    if (window_.key != k || start < window_.from || start >= window_.to || window_.from < v.base) {
        std::memset(seen_, 0, sizeof seen_);
        copied_ = digits_ = uppers_ = lowers_ = 0;
        window_ = {k, start, start};
    }
    for (; window_.from < start; window_.from++) count(*v.at(window_.from), false);
    for (; window_.to < end; window_.to++) count(*v.at(window_.to), true);
    for (; window_.to > end; window_.to--) count(*v.at(window_.to - 1), false);
}

bool Reading::placeholder(const View& v, uint64_t start, size_t size) {
    const uint64_t end = start + size, k = key(v.space, 0);
    if (plain_.key != k || start < plain_.from || start > plain_.to) plain_ = {k, start, start};
    for (uint64_t i = plain_.to; i < end; i++) {
        if (begins_placeholder(v.at(i), size_t(end - i))) return true;
        // Behind the token's end a word may go on that counts for another one.
        if (end - i >= LONGEST_PLACEHOLDER) plain_.to = i + 1;
    }
    return false;
}

bool Reading::random_looking(const View& v, uint64_t start, size_t size, bool wants_digit) {
    if (size < 16) return false;
    const size_t n = std::min(size, TOKEN);
    slide(v, start, n);
    if (wants_digit ? !digits_ || !(uppers_ || lowers_) : !uppers_ || !lowers_) return false;
    if (uint64_t(LOGS.value[n] - copied_ + SLACK) * size < BITS * n) return false;
    return !placeholder(v, start, n);
}

}  // namespace overread
