// One text looked for in a body, whatever its chunks: the echo of a test token.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace overread {

class Sighting {
  public:
    static constexpr size_t MOST = 64;  // bytes
    void reset() { size_ = tail_size_ = 0, seen_ = false; }
    void look_for(const uint8_t* text, size_t size) {
        std::memcpy(text_, text, size);
        size_ = size;
    }
    bool wanted() const { return size_ && !seen_; }
    bool seen() const { return seen_; }
    void feed(const uint8_t* data, size_t size) {
        uint8_t seam[2 * MOST];
        const size_t more = std::min(size, size_ - 1);
        std::memcpy(seam, tail_, tail_size_);
        if (more) std::memcpy(seam + tail_size_, data, more);
        seen_ = holds(seam, tail_size_ + more) || holds(data, size);
        // The tail is the last bytes of what was fed, as many as may begin the text.
        if (size >= size_ - 1) {
            tail_size_ = size_ - 1;
            std::memcpy(tail_, data + size - tail_size_, tail_size_);
            return;
        }
        const size_t kept = std::min(tail_size_, size_ - 1 - size);
        std::memmove(tail_, tail_ + tail_size_ - kept, kept);
        if (size) std::memcpy(tail_ + kept, data, size);
        tail_size_ = kept + size;
    }

  private:
    bool holds(const uint8_t* data, size_t size) const { return size >= size_ && std::search(data, data + size, text_, text_ + size_) != data + size; }

    uint8_t text_[MOST], tail_[MOST];
    size_t size_ = 0, tail_size_ = 0;
    bool seen_ = false;
};

}  // namespace overread
