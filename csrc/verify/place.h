// Where a document ends, and whether bytes follow: JSON, PNG, JPEG, GIF. Each byte is looked at once.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ruleset/ruleset.h"

namespace overread {

struct PlaceState {
    uint8_t level = 0;  // 0 none, 1 after </html>, 2 after JSON or a line break inside a JSON string, 3 after an image
    Builtin sign = Builtin::none;
    uint64_t first = 0;
};

class PlaceTracker {
  public:
    void reset(const Content& content);
    void feed(const uint8_t* data, size_t size);
    const PlaceState& state() const { return state_; }

  private:
    void json(const uint8_t* data, size_t size);
    void png(const uint8_t* data, size_t size);
    void jpeg(const uint8_t* data, size_t size);
    void gif(const uint8_t* data, size_t size);
    void tail(uint64_t offset, uint8_t level, Builtin sign);

    enum class Kind : uint8_t { none, json, png, jpeg, gif };
    Kind kind_ = Kind::none;
    uint8_t step_ = 0;  // of the format's own state machine
    uint8_t flags_ = 0;
    uint32_t depth_ = 0;  // JSON nesting, or header bytes gathered
    uint64_t skip_ = 0;   // bytes to pass over unseen
    uint64_t at_ = 0;
    uint8_t head_[16];
    PlaceState state_;
};

}  // namespace overread
