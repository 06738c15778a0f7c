#include "registry/token_runs.h"

namespace overread {

uint64_t TokenRuns::pending(uint64_t end) const {
    constexpr size_t SHORT = 8;  // with fewer characters it is a word's beginning
    if (!open_ || size_ < SHORT) return end;
    uint32_t pairs = 0;
    for (size_t i = 1; i < size_; i++) pairs += is_odd_pair(char_kind(text_[i - 1]), char_kind(text_[i]));
    return pairs >= MIN_ODD_PAIRS / 2 ? base_ : end;
}

}  // namespace overread
