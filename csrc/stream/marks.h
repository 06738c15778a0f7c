// Which coded bytes may go out: those in front of a mark behind which nothing decoded is undecided.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

class Marks {
  public:
    // `coded` bytes decode to `decoded` bytes, neither less than at the last call.
    void add(uint64_t coded, uint64_t decoded) {
        if (count_ && marks_[count_ - 1].decoded == decoded) {
            marks_[count_ - 1].coded = coded;
            return;
        }
        if (count_ == MAX) thin();
        marks_[count_++] = {coded, decoded};
    }
    // Coded bytes that decode to at most `decoded` bytes, as far as marks tell; those before are forgotten.
    uint64_t up_to(uint64_t decoded) {
        size_t passed = 0;
        while (passed < count_ && marks_[passed].decoded <= decoded) passed++;
        if (passed) last_ = marks_[passed - 1].coded;
        if (passed > 1) drop(passed - 1);  // the last one may still grow
        return last_;
    }

  private:
    // Enough for the delay line: where it holds more, bytes go out in larger pieces.
    static constexpr size_t MAX = 64;
    struct Mark {
        uint64_t coded, decoded;
    };
    void drop(size_t n) {
        for (size_t i = n; i < count_; i++) marks_[i - n] = marks_[i];
        count_ -= n;
    }
    void thin() {
        for (size_t i = 0; i < MAX / 2; i++) marks_[i] = marks_[2 * i + 1];
        count_ = MAX / 2;
    }

    Mark marks_[MAX];
    size_t count_ = 0;
    uint64_t last_ = 0;
};

}  // namespace overread
