// Where a body shows others' secrets that stand Huffman coded in it. They are found in no order, and one by more than one reading: they are
// told at its end, in the order of their places.
#pragma once
#include <algorithm>
#include <cstring>
#include <tuple>

#include "registry/foreign_scan.h"

namespace overread {

class CodedPlaces {
  public:
    void reset() { count_ = 0; }
    // A secret's windows, which lie side by side or in one run, are one place; of many places the first ones are kept.
    void add(ForeignPlace place) {
        constexpr uint64_t BESIDE = SECRET_WINDOW;
        size_t kept = 0;
        for (size_t i = 0; i < count_; i++) {
            const ForeignPlace& other = places_[i];
            const bool beside = other.start <= place.end + BESIDE && place.start <= other.end + BESIDE,
                       same_run = other.from < place.to && place.from < other.to;
            if (!beside && !same_run) {
                places_[kept++] = other;
                continue;
            }
            if (key(other) < key(place)) place.print = other.print;
            place.level = std::max(place.level, other.level);
            place.start = std::min(place.start, other.start);
            place.end = std::max(place.end, other.end);
            place.from = std::min(place.from, other.from);
            place.to = std::max(place.to, other.to);
        }
        count_ = kept;
        size_t at = count_;
        while (at && places_[at - 1].start > place.start) at--;
        if (at == MOST) return;
        if (count_ == MOST) count_--;
        std::memmove(places_ + at + 1, places_ + at, (count_ - at) * sizeof *places_);
        places_[at] = place;
        count_++;
    }
    const ForeignPlace* begin() const { return places_; }
    const ForeignPlace* end() const { return places_ + count_; }

  private:
    // More than findings of a rule are kept.
    static constexpr size_t MOST = 8;
    static std::tuple<uint64_t, uint64_t> key(const ForeignPlace& p) { return {p.start, p.print.low}; }
    size_t count_ = 0;
    ForeignPlace places_[MOST];
};

}  // namespace overread
