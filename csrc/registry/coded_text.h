// Header fields as HTTP/2 and HTTP/3 send them, in raw bytes: their strings are Huffman coded (RFC 7541, section 5.2), and whatever keeps
// received frames leaks them in that form. Which bytes are looked at, and what they say.
#pragma once
#include <algorithm>
#include <cstring>

#include "registry/huffman.h"
#include "registry/token_runs.h"

namespace overread {

// Which bytes of a text are raw: what stands near control bytes. Coded strings have one every 8 to 14 bytes, and the head of the frame
// before them has NULs. All is told in places of the body, so that it is the same however the body is split.
class RawStretches {
  public:
    // Before a control byte, and behind one. Of 1,000 gaps between those of coded cookies 53 to 117 bytes are the longest.
    static constexpr uint64_t LEAD = 64, HOLD = 128;
    // So many bytes of a response are decoded: as much as a record of TLS or a buffer of a proxy's leaks at once, and some. Binary bodies
    // under a text type pass at the kernel's speed behind them.
    static constexpr uint64_t MOST = 32 << 10;
    void reset(uint64_t origin) { at_ = until_ = origin, left_ = MOST, fresh_ = true; }
    // Whether one goes on at `offset`, or begins in what the units tell of.
    bool wants(uint64_t offset, const ClassUnit* units, uint32_t count) const {
        return left_ && (offset < until_ || std::any_of(units, units + count, [](const ClassUnit& u) { return u.control != 0; }));
    }
    bool over() const { return !left_; }
    // Calls take(data, size, offset, fresh) for what is in one, in order, each once; fresh: it does not follow what was taken before.
    // `lead` ends with the LEAD bytes before `offset`, or as many as there are behind the origin.
    template <class Take>
    void feed(const uint8_t* data, size_t size, uint64_t offset, const uint8_t* lead_end, const ClassUnit* units, uint32_t count, Take&& take);

  private:
    uint64_t at_ = 0, until_ = 0;  // first byte that was not taken, end of the stretch so far
    uint64_t left_ = 0;
    bool fresh_ = true;
};

template <class Take>
void RawStretches::feed(const uint8_t* data, size_t size, uint64_t offset, const uint8_t* lead_end, const ClassUnit* units, uint32_t count, Take&& take) {
    auto piece = [&](const uint8_t* p, uint64_t to) {
        const size_t n = size_t(std::min(to - at_, left_));
        if (!n) return;
        take(p, n, at_, fresh_);
        fresh_ = false;
        at_ += n;
        left_ -= n;
    };
    auto advance = [&](uint64_t to) {
        if (at_ < to && at_ < offset) piece(lead_end - (offset - at_), std::min(to, offset));
        if (at_ < to && left_) piece(data + (at_ - offset), to);
    };
    for (uint32_t i = 0; i < count && left_; i++) {
        if (!units[i].control) continue;
        const uint64_t base = offset + uint64_t(units[i].unit) * UNIT;
        const uint64_t first = base + uint64_t(__builtin_ctzll(units[i].control)), last = base + 63 - uint64_t(__builtin_clzll(units[i].control));
        if (first > until_ + LEAD) {
            advance(until_);
            at_ = first - LEAD;
            fresh_ = true;
        }
        until_ = last + 1 + HOLD;
    }
    advance(std::min(until_, offset + size));
}

// A window of a string that is whole: its characters, its bytes, and those of the run it stands in.
struct CodedWindow {
    const uint8_t* text;
    uint64_t start, end, from, to;
};

// Decodes raw stretches. Where a code begins is not known: decoding anywhere falls into step after some characters, for the code is
// Huffman's, and reads the rest as it was written. Strings that are whole are read once more from their first bit, which shows their
// first characters and where they end.
class CodedText {
  public:
    // What follows begins at `offset`, in a stretch of its own.
    void begin(uint64_t offset);
    // The stretch's next bytes. look(const RunBlock&) is called for what is found in them, in bytes of the body, and
    // window(const CodedWindow&) for the edges of values in strings that are whole.
    template <class Look, class Window>
    void feed(const Kernel& kernel, const uint8_t* data, size_t size, Look&& look, Window&& window);
    // No more of the stretch follows.
    template <class Look, class Window>
    void end(Look&& look, Window&& window);

  private:
    static constexpr size_t PIECE = 512;
    // Bytes of a string: 16 characters of five bits at least, and what a length of one byte can say (section 5.1). Longer ones are in step
    // long before they end, and hold a chosen window.
    static constexpr size_t SHORTEST = 10, LONGEST = 126;
    // In so many bytes decoding is in step, so that what is wrong with a string's end is wrong.
    static constexpr size_t IN_STEP = 32;
    static constexpr size_t BYTES_KEPT = LONGEST + 2, BYTES = BYTES_KEPT + 2 * PIECE;
    // Of the text, the longest block, each of its characters an escape.
    static constexpr size_t TEXT_KEPT = (SECRET_BLOCK + 1) * MAX_TOKEN_ESCAPE, TEXT = 4096;
    static_assert(TEXT_KEPT + huffman_characters(PIECE) <= TEXT && huffman_characters(BYTES_KEPT) <= SECRET_BLOCK);

    void make_room(size_t bytes);
    void decode(const uint8_t* data, size_t size);
    // Where a character of the stretch begins, in bits of the body.
    uint64_t bit_at(uint64_t index) const {
        const uint64_t end = (base_ + size_) * 8;
        return end - uint32_t(uint32_t(end) - bit_[index - index_]);
    }
    // A byte that any bit of a character stands in is its own.
    template <class Bit, class Look>
    static void look_in_bytes(const RunBlock& b, Bit&& bit, Look&& look);
    // A string that is whole, and how it was read from its first bit.
    struct String {
        size_t size = 0, own = 0;  // characters, and those before decoding was in step
        size_t behind = 0;         // where the first one behind these is kept
        uint8_t text[SECRET_BLOCK];
        uint16_t bit[SECRET_BLOCK + 1];  // where its own begin, and the one behind them
    };
    // Whether byte `at` is the length of one.
    bool read_string(size_t at, String& s) const;
    template <class Window>
    void strings(size_t until, Window&& window);

    uint8_t state_ = 0;
    uint64_t base_ = 0, index_ = 0;           // where the first kept byte stands in the body, and the first kept character in the text
    size_t size_ = 0, chars_ = 0, next_ = 0;  // kept bytes and characters, and the first byte that was not tried as a length
    TokenRuns runs_;
    uint8_t byte_[BYTES], reached_[BYTES];  // and the state behind each
    uint16_t behind_[BYTES];                // characters that ended by its end
    uint8_t text_[TEXT];
    uint32_t bit_[TEXT + 1];  // the lower bits of bit_at()
};

template <class Bit, class Look>
void CodedText::look_in_bytes(const RunBlock& b, Bit&& bit, Look&& look) {
    const uint64_t base = bit(b.at(0)) / 8;
    uint32_t offset[SECRET_BLOCK + 1];
    offset[0] = 0;
    for (size_t i = 1; i <= b.size; i++) offset[i] = uint32_t((bit(b.at(i)) + 7) / 8 - base);
    look(RunBlock{b.text, b.size, b.first, b.last, base, offset});
}

template <class Look, class Window>
void CodedText::feed(const Kernel& kernel, const uint8_t* data, size_t size, Look&& look, Window&& window) {
    while (size) {
        const size_t n = std::min(size, PIECE);
        make_room(n);
        const size_t before = chars_;
        decode(data, n);
        runs_.feed(kernel, text_ + before, chars_ - before, index_ + before,
                   [&](const RunBlock& b) { look_in_bytes(b, [this](uint64_t at) { return bit_at(at); }, look); });
        if (size_ > LONGEST) strings(size_ - LONGEST, window);
        data += n;
        size -= n;
    }
}

template <class Look, class Window>
void CodedText::end(Look&& look, Window&& window) {
    runs_.finish(index_ + chars_, [&](const RunBlock& b) { look_in_bytes(b, [this](uint64_t at) { return bit_at(at); }, look); });
    strings(size_, window);
}

// What a value begins with before decoding is in step, and what it ends with: as the string is whole, so are its values.
template <class Window>
void CodedText::strings(size_t until, Window&& window) {
    for (; next_ < until; next_++) {
        String s;
        if (!read_string(next_, s)) continue;
        const auto bit = [&](size_t i) { return i <= s.own ? (base_ + next_ + 1) * 8 + s.bit[i] : bit_at(index_ + s.behind + i - s.own); };
        const auto tell = [&](size_t at, size_t from, size_t to) {
            window(CodedWindow{s.text + at, bit(at) / 8, (bit(at + SECRET_WINDOW) + 7) / 8, bit(from) / 8, (bit(to) + 7) / 8});
        };
        size_t end = 0;
        for (size_t at = 0; at <= s.own && at < s.size; at = end + 1) {
            end = at;
            while (end < s.size && char_kind(s.text[end]) != CHAR_NONE) end++;
            if (end - at < SECRET_WINDOW) continue;
            tell(at, at, end);
            if (end <= s.own + SECRET_WINDOW && end < s.size) tell(end - SECRET_WINDOW, at, end);
        }
        size_t begin = s.size;
        while (begin && char_kind(s.text[begin - 1]) != CHAR_NONE) begin--;
        if (s.size - begin > SECRET_WINDOW || (s.size - begin == SECRET_WINDOW && begin > s.own)) tell(s.size - SECRET_WINDOW, begin, s.size);
    }
}

}  // namespace overread
