// What verifiers have read of a body: neighbouring candidates ask for the same runs and tokens again, and what is
// remembered here is read once however many of them ask. Everything is a function of the body alone: nothing remembered
// changes an answer.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"

namespace overread {

constexpr size_t LOOK_BEHIND = 192;  // bytes before a window that a verifier may read: anchor (48), target (96), method (12)
constexpr size_t LOOK_AHEAD = 640;   // bytes from the anchor's start on: anchor (48) + spaces + the longest run (512)

// What stands for a wide unit above U+00FF: no verifier takes it for text.
constexpr uint8_t NO_BYTE = 0x7f;

// Which text offsets count in. Narrowed text begins at either parity; decoded text begins anew with every candidate.
enum class Space : uint8_t { body, narrow_even, narrow_odd, decoded };

// A contiguous piece of the body with its place in it.
struct View {
    const uint8_t* data;
    uint64_t base;  // body offset of data[0]
    size_t size;
    bool final;  // nothing follows
    Space space = Space::body;
    uint64_t end() const { return base + size; }
    const uint8_t* at(uint64_t offset) const { return data + (offset - base); }
};

// Text around a UTF-16LE anchor, one byte per code unit, so that verifiers see it as they see other text.
struct NarrowText {
    View view;
    uint64_t start, limit;  // of the anchor, in the view's offsets
    uint64_t body;          // the anchor's place in the body
    uint64_t offset(uint64_t narrow) const { return body + 2 * (narrow - start); }
};

class Reading {
  public:
    // A new body begins.
    void reset() { epoch_++; }
    // Where the run of characters of class `cls` that stands at `at` ends, at most at `until`. Precondition: the view
    // holds [at, until).
    uint64_t run_end(const Ruleset&, uint16_t cls, const View&, uint64_t at, uint64_t until);
    // Around the anchor at body offset `at`, of which `limit` is the last that may be read; of what is there, up to `until`
    // is enough for now. It holds until the next call.
    NarrowText narrow(const View&, uint64_t at, uint64_t until, uint64_t limit);
    // True for tokens that look random: at least 48 bits by their own byte histogram, and not a word, a counter or a
    // placeholder. wants_digit: letters and a digit, else both cases of letters.
    bool random_looking(const View&, uint64_t start, size_t size, bool wants_digit);

  private:
    static constexpr size_t RUNS = 64;   // the default rules' long elements have 40 classes
    static constexpr size_t TOKEN = 64;  // bytes of a token that are looked at
    uint64_t key(Space space, uint16_t cls) const { return epoch_ << 18 | uint64_t(cls) << 2 | uint64_t(space); }
    void slide(const View&, uint64_t start, size_t size);
    bool placeholder(const View&, uint64_t start, size_t size);

    struct Run {
        uint64_t key = 0, from = 0, to = 0;
    };
    // Units [from, to) of the wide text of one parity. Twice what one anchor may ask for, so that it seldom moves.
    struct Narrowed {
        uint64_t key = 0, from = 0, to = 0;
        uint8_t bytes[2 * (WIDE_BEHIND + (LOOK_AHEAD + LOOK_BEHIND) / 2)];
    };
    uint64_t epoch_ = 0;
    Run runs_[RUNS];
    // The histogram of the bytes of window_; sum_ is that of n log2 n over it, kinds_ counts digits and letters.
    Run window_;
    uint8_t seen_[256] = {};
    uint32_t sum_ = 0, kinds_ = 0;
    Run plain_;  // no placeholder begins here
    Narrowed narrowed_[2];
};

}  // namespace overread
