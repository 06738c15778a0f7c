// Finds what may be a secret in text that comes in pieces: runs of its characters, with escapes read (percent, HTML's numbers, JSON),
// as blocks of plain characters. Wherever the pieces end, the blocks are the same.
#pragma once
#include <algorithm>
#include <cstring>

#include "kernel/kernel.h"
#include "registry/window.h"

namespace overread {

// A run's characters, or those of a part of it.
struct RunBlock {
    const uint8_t* text;
    size_t size;
    bool first, last;  // of its run
    // Where character i stands, and where the one before it ends; i <= size.
    uint64_t at(size_t i) const { return base + (offset ? offset[i] : i); }
    uint64_t base;
    const uint32_t* offset;  // nullptr: the characters stand side by side
};

class TokenRuns {
  public:
    void reset() { open_ = false, size_ = 0, escape_size_ = 0, first_ = true; }
    // The next bytes; sink(const RunBlock&) is called for every block with a window that is dense.
    template <class Sink>
    void feed(const Kernel& kernel, const uint8_t* data, size_t size, uint64_t offset, Sink&& sink);
    // A text that is whole, as feed() and finish() read it; most are short, and hold no run of a secret's length.
    template <class Sink>
    static void whole(const Kernel& kernel, const uint8_t* data, size_t size, Sink&& sink);
    // The text ends here, at `end`.
    template <class Sink>
    void finish(uint64_t end, Sink&& sink);

  private:
    template <class Sink>
    static void run(const uint8_t* data, size_t size, uint64_t offset, Sink&& sink);
    template <class Sink>
    void region(const uint8_t* data, size_t size, uint64_t offset, Sink&& sink);
    template <class Sink>
    void step(uint8_t c, uint64_t at, Sink&& sink);
    template <class Sink>
    void no_escape(uint64_t end, Sink&& sink);
    template <class Sink>
    void end_region(uint64_t end, Sink&& sink);
    template <class Sink>
    void push(uint8_t c, uint64_t from, uint64_t to, Sink&& sink);
    template <class Sink>
    void push_plain(const uint8_t* data, size_t size, uint64_t from, Sink&& sink);
    template <class Sink>
    void make_room(Sink&& sink);
    template <class Sink>
    void end_run(Sink&& sink);

    bool open_ = false;  // a region goes on behind what was fed, and the run holds its characters
    bool first_ = true;  // the run's first character is in text_
    uint8_t escape_size_ = 0;
    uint16_t size_ = 0;
    uint8_t escape_[MAX_TOKEN_ESCAPE];
    uint64_t base_ = 0;
    uint8_t text_[SECRET_BLOCK];
    uint32_t offset_[SECRET_BLOCK + 1];
};

// Windows of a block, ascending, each once.
class WindowSet {
  public:
    // Those by which a value is known: where its run begins and ends, and the chosen ones.
    WindowSet(const RunBlock& b, Block& block) : block_(block) {
        if (!block.windows()) return;
        if (b.first) want(0);
        if (b.last) want(block.windows() - 1);
        block.choose([this](size_t i) { add(i); });
    }
    // If it tells a secret.
    void want(size_t i) {
        if (block_.secret(i)) add(i);
    }
    template <class F>
    void each(F&& look) const {
        for (size_t u = 0; u < SECRET_BLOCK / 64; u++)
            for (uint64_t m = bits_[u]; m; m &= m - 1) look(u * 64 + size_t(__builtin_ctzll(m)));
    }

  private:
    void add(size_t i) { bits_[i / 64] |= uint64_t(1) << (i % 64); }
    const Block& block_;
    uint64_t bits_[SECRET_BLOCK / 64] = {};
};

// Calls look(i) for the windows of a block by which a secret in it is found: besides, what stands beside the marks that join values.
template <class F>
void windows_to_look_up(const RunBlock& b, Block& block, F&& look) {
    WindowSet set(b, block);
    constexpr uint64_t ONES = 0x0101010101010101u;
    for (size_t from = 0; block.marks() && from < b.size; from += 8) {
        uint64_t eight = 0;
        std::memcpy(&eight, b.text + from, std::min<size_t>(8, b.size - from));
        static_assert(('.' | 1) == '/', "bytes alike but for their last bit");
        const uint64_t other = ((eight | ONES) ^ '/' * ONES) + 0x7f * ONES;  // the sign of each byte that is neither
        for (uint64_t joins = ~other & 0x80 * ONES; joins; joins &= joins - 1) {
            const size_t i = from + size_t(__builtin_ctzll(joins)) / 8;
            if (i + 1 < block.windows()) set.want(i + 1);
            if (i >= SECRET_WINDOW) set.want(i - SECRET_WINDOW);
        }
    }
    set.each(look);
}

template <class Sink>
void TokenRuns::make_room(Sink&& sink) {
    if (size_ < SECRET_BLOCK) return;
    sink(RunBlock{text_, size_, first_, false, base_, offset_});
    constexpr size_t GOES = SECRET_BLOCK - BLOCK_OVERLAP;
    const uint32_t shift = offset_[GOES];
    std::memmove(text_, text_ + GOES, BLOCK_OVERLAP);
    for (size_t i = 0; i < BLOCK_OVERLAP; i++) offset_[i] = offset_[GOES + i] - shift;
    base_ += shift;
    size_ = BLOCK_OVERLAP;
    first_ = false;
}

template <class Sink>
void TokenRuns::push(uint8_t c, uint64_t from, uint64_t to, Sink&& sink) {
    make_room(sink);
    if (size_ == 0) base_ = from;
    text_[size_] = c;
    offset_[size_++] = uint32_t(from - base_);
    offset_[size_] = uint32_t(to - base_);
}

// Characters that stand side by side.
template <class Sink>
void TokenRuns::push_plain(const uint8_t* data, size_t size, uint64_t from, Sink&& sink) {
    while (size) {
        make_room(sink);
        if (size_ == 0) base_ = from;
        const size_t n = std::min<size_t>(size, SECRET_BLOCK - size_);
        const uint32_t at = uint32_t(from - base_);
        std::memcpy(text_ + size_, data, n);
        for (size_t i = 0; i <= n; i++) offset_[size_ + i] = at + uint32_t(i);
        size_ = uint16_t(size_ + n);
        data += n;
        from += n;
        size -= n;
    }
}

template <class Sink>
void TokenRuns::region(const uint8_t* data, size_t size, uint64_t offset, Sink&& sink) {
    for (size_t i = 0; i < size;) {
        size_t plain = i;
        while (!escape_size_ && plain < size && char_kind(data[plain]) != CHAR_NONE) plain++;
        push_plain(data + i, plain - i, offset + i, sink);
        i = plain;
        if (i < size) step(data[i], offset + i, sink), i++;
    }
}

template <class Sink>
void TokenRuns::end_run(Sink&& sink) {
    if (size_ >= SECRET_WINDOW) sink(RunBlock{text_, size_, first_, true, base_, offset_});
    size_ = 0;
    escape_size_ = 0;
    first_ = true;
}

// What waits for the rest of an escape is none.
template <class Sink>
void TokenRuns::end_region(uint64_t end, Sink&& sink) {
    while (escape_size_) no_escape(end, sink);
    end_run(sink);
}

// What may be an escape waits until it is whole, or cannot become one.
template <class Sink>
void TokenRuns::step(uint8_t c, uint64_t at, Sink&& sink) {
    if (escape_size_) {
        escape_[escape_size_++] = c;
        uint8_t character;
        if (token_escape(escape_, escape_size_, &character)) {
            const uint64_t from = at + 1 - escape_size_;
            escape_size_ = 0;
            push(character, from, at + 1, sink);
        } else if (escape_size_ == MAX_TOKEN_ESCAPE) {
            no_escape(at + 1, sink);
        }
    } else if (char_kind(c) != CHAR_NONE) {
        push(c, at, at + 1, sink);
    } else if (c == '%' || c == '&' || c == '\\') {
        escape_[escape_size_++] = c;
    } else {
        end_run(sink);
    }
}

// Its characters are read on their own, but for a secret's behind a backslash.
template <class Sink>
void TokenRuns::no_escape(uint64_t end, Sink&& sink) {
    uint8_t text[MAX_TOKEN_ESCAPE];
    const uint8_t size = escape_size_, skip = escape_[0] == '\\' && size > 1 && char_kind(escape_[1]) != CHAR_NONE ? 2 : 1;
    std::memcpy(text, escape_, size);
    end_run(sink);
    for (uint8_t i = skip; i < size; i++) step(text[i], end - size + i, sink);
}

// A run without escapes, where it is: its blocks are those that step() makes of it.
template <class Sink>
void TokenRuns::run(const uint8_t* data, size_t size, uint64_t offset, Sink&& sink) {
    constexpr size_t STEP = SECRET_BLOCK - BLOCK_OVERLAP;
    size_t at = 0;
    for (; size - at > SECRET_BLOCK; at += STEP) sink(RunBlock{data + at, SECRET_BLOCK, at == 0, false, offset + at, nullptr});
    sink(RunBlock{data + at, size - at, at == 0, true, offset + at, nullptr});
}

template <class Sink>
void TokenRuns::feed(const Kernel& kernel, const uint8_t* data, size_t size, uint64_t offset, Sink&& sink) {
    for (size_t tile = 0; tile < size; tile += TILE) {
        TokenOutput found;
        const uint8_t* p = data + tile;
        const size_t n = size - tile < TILE ? size - tile : TILE;
        const uint64_t base = offset + tile;
        kernel.tokens(p, n, found);
        const size_t head = open_ ? found.head : 0;
        if (open_) {
            region(p, head, base, sink);
            if (head == n) continue;
            end_region(base + head, sink);
        }
        for (uint32_t i = 0; i < found.count; i++) {
            const TokenRegion& r = found.regions[i];
            if (r.from < head) continue;
            if (!r.escaped) {
                run(p + r.from, size_t(r.to - r.from), base + r.from, sink);
                continue;
            }
            region(p + r.from, size_t(r.to - r.from), base + r.from, sink);
            end_region(base + r.to, sink);
        }
        // The region that reaches the tile's end may go on behind it: its characters are kept.
        open_ = found.tail < n;
        if (open_) region(p + found.tail, n - found.tail, base + found.tail, sink);
    }
}

template <class Sink>
void TokenRuns::whole(const Kernel& kernel, const uint8_t* data, size_t size, Sink&& sink) {
    size_t plain = 0, longest = 0, region = 0;  // characters since the last other one, and since the last one of no region
    for (size_t i = 0; i < size && size <= SECRET_BLOCK; i++) {
        const bool token = char_kind(data[i]) != CHAR_NONE;
        plain += token;
        region = token || data[i] == '%' || data[i] == '&' || data[i] == '#' || data[i] == ';' || data[i] == '\\' ? region + 1 : 0;
        longest = region > longest ? region : longest;
    }
    if (size <= SECRET_BLOCK && longest < SECRET_WINDOW) return;
    if (size <= SECRET_BLOCK && plain == size) return run(data, size, 0, sink);
    TokenRuns runs;
    runs.reset();
    runs.feed(kernel, data, size, 0, sink);
    runs.finish(size, sink);
}

template <class Sink>
void TokenRuns::finish(uint64_t end, Sink&& sink) {
    end_region(end, sink);
    open_ = false;
}

}  // namespace overread
