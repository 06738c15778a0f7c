// Where a document ends, and whether bytes follow: JSON, PNG, JPEG, GIF, WebP, WOFF, WOFF2. Each byte is looked at once.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel/kernel.h"
#include "ruleset/ruleset.h"

namespace overread {

struct PlaceState {
    uint8_t level = 0;  // 0 none, 1 after </html> or an older image's rest, 2 after JSON or inside a document, 3 after a container
    Builtin sign = Builtin::none;
    uint64_t first = 0;
};

class PlaceTracker {
  public:
    void reset(const Content& content, const Kernel* kernel);
    void feed(const uint8_t* data, size_t size);
    // The body is over: only now is it known whether a tail is what an older, longer version of the file left behind.
    void finish();
    // Offset of the first byte behind a complete container and its padding, or UINT64_MAX. state() says level 1 once 16
    // bytes of it are no part of the file, and level 3 at the end.
    uint64_t tail_start() const { return tail_; }
    const PlaceState& state() const { return state_; }
    // Offset behind a complete JSON document, or UINT64_MAX.
    uint64_t document_end() const { return document_end_; }

  private:
    uint64_t document_end_ = UINT64_MAX;
    void json(const uint8_t* data, size_t size);
    void json_rest(const uint8_t* data, size_t from, size_t size);
    void png(const uint8_t* data, size_t size);
    void jpeg(const uint8_t* data, size_t size);
    void gif(const uint8_t* data, size_t size);
    void sized(const uint8_t* data, size_t size);
    void sign(uint64_t offset, uint8_t level, Builtin what);
    void tail(uint64_t offset);
    void gather(const uint8_t* data, size_t size);
    bool ends_itself() const;

    enum class Kind : uint8_t { none, json, png, jpeg, gif, webp, woff };
    const Kernel* kernel_ = nullptr;
    Kind kind_ = Kind::none;
    uint8_t step_ = 0;  // of the format's own state machine
    uint8_t flags_ = 0;
    JsonState json_;
    uint32_t depth_ = 0;  // header bytes gathered
    uint64_t skip_ = 0;   // bytes to pass over unseen
    uint64_t at_ = 0;
    uint64_t tail_ = UINT64_MAX;
    uint64_t last_ = 0;     // the last 8 bytes fed, newest lowest
    bool foreign_ = false;  // the tail does not begin as a part of the file does
    uint8_t head_[16];      // of a chunk, or of the tail
    PlaceState state_;
};

}  // namespace overread
