// Finds what may be a secret in text that comes in pieces: runs of its characters, with escapes read (percent, HTML's numbers, JSON),
// as blocks of plain characters. Wherever the pieces end, the blocks are the same.
#pragma once
#include "kernel/kernel.h"
#include "registry/window.h"

namespace overread {

// A run's characters, or those of a part of it.
struct RunBlock {
    const uint8_t* text;
    size_t size;
    bool first, last;  // of its run
    // Where character i stands, and where the one before it ends; i <= size.
    uint64_t at(size_t i) const { return base + offset[i]; }
    uint64_t base;
    const uint32_t* offset;
};

class TokenRuns {
  public:
    void reset() { open_ = false, size_ = 0, escape_size_ = 0, first_ = true; }
    // The next bytes; sink(const RunBlock&) is called for every block with a window that is dense.
    template <class Sink>
    void feed(const Kernel& kernel, const uint8_t* data, size_t size, uint64_t offset, Sink&& sink);
    // The text ends here.
    template <class Sink>
    void finish(Sink&& sink);
    // Where a run that may become a secret begins in what was fed up to `end`; `end`: none is open.
    uint64_t pending(uint64_t end) const;

  private:
    enum class Escape : uint8_t { more, none, ends, character };
    static constexpr size_t MAX_ESCAPE = 8;
    static bool may_be_dense(const uint8_t* data, const TokenUnit* units, size_t from, size_t to);
    Escape read_escape(uint8_t* character) const;
    template <class Sink>
    void region(const uint8_t* data, size_t size, uint64_t offset, Sink&& sink) {
        for (size_t i = 0; i < size; i++) step(data[i], offset + i, sink);
    }
    template <class Sink>
    void step(uint8_t c, uint64_t at, Sink&& sink);
    template <class Sink>
    void push(uint8_t c, uint64_t from, uint64_t to, Sink&& sink);
    template <class Sink>
    void end_run(Sink&& sink);

    bool open_ = false;  // a region goes on behind what was fed, and the run holds its characters
    bool first_ = true;  // the run's first character is in text_
    uint8_t escape_size_ = 0;
    uint16_t size_ = 0;
    uint8_t escape_[MAX_ESCAPE];
    uint64_t base_ = 0;
    uint8_t text_[SECRET_BLOCK];
    uint32_t offset_[SECRET_BLOCK + 1];
};

// Calls look(i) for the windows of a block by which a secret in it is found: where its run begins and ends, what stands beside the marks
// that join values, and the chosen ones; ascending, each once.
template <class F>
void windows_to_look_up(const RunBlock& b, const Block& block, F&& look) {
    const size_t count = block.windows();
    if (!count) return;
    uint64_t wanted[SECRET_BLOCK / 64] = {};
    auto want = [&](size_t i) {
        if (block.dense(i)) wanted[i / 64] |= uint64_t(1) << (i % 64);
    };
    if (b.first) want(0);
    if (b.last) want(count - 1);
    for (size_t i = 0; i < b.size; i++) {
        if (b.text[i] != '.' && b.text[i] != '/') continue;
        if (i + 1 < count) want(i + 1);
        if (i >= SECRET_WINDOW) want(i - SECRET_WINDOW);
    }
    block.choose(CHOSEN_OF, want);
    for (size_t u = 0; u < SECRET_BLOCK / 64; u++)
        for (uint64_t m = wanted[u]; m; m &= m - 1) look(u * 64 + size_t(__builtin_ctzll(m)));
}

template <class Sink>
void TokenRuns::push(uint8_t c, uint64_t from, uint64_t to, Sink&& sink) {
    if (size_ == SECRET_BLOCK) {
        sink(RunBlock{text_, size_, first_, false, base_, offset_});
        constexpr size_t GOES = SECRET_BLOCK - BLOCK_OVERLAP;
        const uint32_t shift = offset_[GOES];
        std::memmove(text_, text_ + GOES, BLOCK_OVERLAP);
        for (size_t i = 0; i < BLOCK_OVERLAP; i++) offset_[i] = offset_[GOES + i] - shift;
        base_ += shift;
        size_ = BLOCK_OVERLAP;
        first_ = false;
    }
    if (size_ == 0) base_ = from;
    text_[size_] = c;
    offset_[size_++] = uint32_t(from - base_);
    offset_[size_] = uint32_t(to - base_);
}

template <class Sink>
void TokenRuns::end_run(Sink&& sink) {
    if (size_ >= SECRET_WINDOW) sink(RunBlock{text_, size_, first_, true, base_, offset_});
    size_ = 0;
    escape_size_ = 0;
    first_ = true;
}

template <class Sink>
void TokenRuns::step(uint8_t c, uint64_t at, Sink&& sink) {
    if (escape_size_) {
        escape_[escape_size_++] = c;
        uint8_t character;
        const uint64_t from = at + 1 - escape_size_;
        switch (read_escape(&character)) {
            case Escape::more:
                return;
            case Escape::character:
                escape_size_ = 0;
                push(character, from, at + 1, sink);
                return;
            case Escape::ends:
                end_run(sink);
                return;
            case Escape::none: {
                // Its first character was none: the others are read on their own.
                uint8_t others[MAX_ESCAPE];
                const uint8_t n = uint8_t(escape_size_ - 1);
                std::memcpy(others, escape_ + 1, n);
                end_run(sink);
                for (uint8_t i = 0; i < n; i++) step(others[i], from + 1 + i, sink);
                return;
            }
        }
    }
    if (char_kind(c) != CHAR_NONE) {
        push(c, at, at + 1, sink);
    } else if (c == '%' || c == '&' || c == '\\') {
        escape_[0] = c;
        escape_size_ = 1;
    } else {
        end_run(sink);
    }
}

template <class Sink>
void TokenRuns::feed(const Kernel& kernel, const uint8_t* data, size_t size, uint64_t offset, Sink&& sink) {
    for (size_t tile = 0; tile < size; tile += TILE) {
        TokenUnit units[TILE_UNITS];
        const uint8_t* p = data + tile;
        const size_t n = size - tile < TILE ? size - tile : TILE;
        const uint64_t base = offset + tile;
        kernel.tokens(p, n, units);
        size_t start = 0;
        bool here = open_;  // a region is open, from `start` on in this tile
        for (size_t u = 0; u * UNIT < n; u++) {
            uint64_t m = units[u].region;
            const size_t at = u * UNIT;
            if (here) {
                if (m == ~uint64_t(0)) continue;
                const size_t end = at + size_t(__builtin_ctzll(~m));
                if (open_ || (end - start >= SECRET_WINDOW && may_be_dense(p, units, start, end))) {
                    region(p + start, end - start, base + start, sink);
                    end_run(sink);
                }
                here = open_ = false;
                m &= ~uint64_t(0) << (end - at);
            }
            // Regions of a window's size or more that lie wholly in the unit.
            uint64_t runs = m & m >> 1;
            runs &= runs >> 2;
            runs &= runs >> 4;
            runs &= runs >> 8;
            while (runs) {
                const size_t from = size_t(__builtin_ctzll(runs));
                if (m >> from == ~uint64_t(0) >> from) break;  // it reaches the unit's end
                const size_t to = from + size_t(__builtin_ctzll(~(m >> from)));
                if (may_be_dense(p, units, at + from, at + to)) {
                    region(p + at + from, to - from, base + at + from, sink);
                    end_run(sink);
                }
                runs &= ~uint64_t(0) << to;
            }
            if (m >> (UNIT - 1)) {
                here = true;
                start = m == ~uint64_t(0) ? at : at + UNIT - size_t(__builtin_clzll(~m));
            }
        }
        if (!here) continue;
        // The region may go on behind this tile: its characters are kept.
        region(p + start, n - start, base + start, sink);
        open_ = true;
    }
}

template <class Sink>
void TokenRuns::finish(Sink&& sink) {
    end_run(sink);
    open_ = false;
}

}  // namespace overread
