// What verifiers have read of a body: neighbouring candidates ask for the same runs and tokens again, and what is
// remembered here is read once however many of them ask. Everything is a function of the body alone: nothing remembered
// changes an answer.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"

namespace overread {

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

class Reading {
  public:
    // A new body begins.
    void reset() { epoch_++; }
    // Where the run of characters of class `cls` that stands at `at` ends, at most at `until`. Precondition: the view
    // holds [at, until).
    uint64_t run_end(const Ruleset&, uint16_t cls, const View&, uint64_t at, uint64_t until);
    // True for tokens that look random: at least 48 bits by their own byte histogram, and not a word, a counter or a
    // placeholder. wants_digit: letters and a digit, else both cases of letters.
    bool random_looking(const View&, uint64_t start, size_t size, bool wants_digit);

  private:
    static constexpr size_t RUNS = 64;   // the default rules' long elements have 40 classes
    static constexpr size_t TOKEN = 64;  // bytes of a token that are looked at
    uint64_t key(Space space, uint16_t cls) const { return epoch_ << 18 | uint64_t(cls) << 2 | uint64_t(space); }
    void count(uint8_t byte, bool in);
    void slide(const View&, uint64_t start, size_t size);
    bool placeholder(const View&, uint64_t start, size_t size);

    struct Run {
        uint64_t key = 0, from = 0, to = 0;
    };
    uint64_t epoch_ = 0;
    Run runs_[RUNS];
    // The histogram of the bytes of window_; copied_ is the sum of n log2 n over it.
    Run window_;
    uint8_t seen_[256] = {};
    uint32_t copied_ = 0;
    uint8_t digits_ = 0, uppers_ = 0, lowers_ = 0;
    Run plain_;  // no placeholder begins here
};

}  // namespace overread
