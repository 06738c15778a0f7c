// Masks what was found in a body that goes out all the same: bytes in, as many bytes out.
//
// The output is one whatever the body's chunks: it depends on where evidence reached the policy's bits (`from`), on matches, and
// on the bytes themselves, never on what came in one piece.
#pragma once
#include "stream/spans.h"
#include "stream/stream.h"

namespace overread {

constexpr uint8_t MASK_BYTE = '*';  // stands in every text format's strings, and ends none

class Redaction {
  public:
    Spans spans;  // of matches

    void reset() {
        spans.clear();
        active_ = false;
    }
    // Spans are masked from `from` on. So are the raw bytes of a text, each with the TEXT_RUN bytes behind it: what stands among
    // NULs and pointers is as foreign as these.
    void begin(uint64_t from, Stream::Text text);
    // Behind a document's end everything is masked but white space.
    void tail(uint64_t offset) { tail_ = offset; }
    bool active() const { return active_; }
    // Overwrites what is to be masked of the body's bytes at `offset`, and returns how many. Each byte must come once, in order.
    uint64_t mask(uint64_t offset, uint8_t* data, size_t size);

  private:
    bool is_raw(uint8_t byte);

    bool active_ = false;
    Stream::Text text_ = Stream::Text::no;
    bool led_ = false;                       // its first byte was seen
    uint8_t need_ = 0, low_ = 0, high_ = 0;  // of an open character
    Rest rest_ = Rest::none;                 // of the span that ended last
    bool in_rest_ = false;
    uint64_t covered_ = 0;  // end of the last span
    uint64_t from_ = 0, tail_ = UINT64_MAX, until_ = 0;
};

}  // namespace overread
