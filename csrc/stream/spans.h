// Where matches stand in a body, for a policy that masks them. Grows with what is found: a clean body's fits without memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace overread {

// What a match goes on with behind the bytes that its verifier looked at: nothing, the rest of a line, or more of a PEM block.
enum class Rest : uint8_t { none, line, pem };

struct Span {
    uint64_t begin, end;
    Rest rest;
};

class Spans {
  public:
    Spans() = default;
    Spans(const Spans&) = delete;
    Spans& operator=(const Spans&) = delete;
    ~Spans() { std::free(spans_); }

    void add(uint64_t begin, uint64_t end, Rest rest) {
        if (count_ == capacity_ && !grow()) return;
        spans_[count_++] = {begin, end, rest};
    }
    size_t count() const { return count_; }
    // Takes back those that were added last.
    void shorten(size_t count) { count_ = count; }
    void clear() { count_ = next_ = sorted_ = 0, lost_ = false; }
    // A span found no memory: the body cannot be masked.
    bool lost() const { return lost_; }
    // Forgets those that end at `offset` or before it; no order is needed.
    void forget(uint64_t offset) {
        count_ = size_t(std::remove_if(spans_, spans_ + count_, [offset](const Span& s) { return s.end <= offset; }) - spans_);
    }
    // The first span that ends behind `offset`, of spans without overlap; offsets must not fall between two calls.
    const Span* behind(uint64_t offset) {
        if (sorted_ != count_) sort();
        while (next_ < count_ && spans_[next_].end <= offset) next_++;
        if (next_ < count_) return spans_ + next_;
        count_ = next_ = sorted_ = 0;
        return nullptr;
    }

  private:
    bool grow() {
        const size_t wanted = capacity_ ? 2 * capacity_ : 64;
        void* more = std::realloc(spans_, wanted * sizeof *spans_);
        if (!more) {
            lost_ = true;
            return false;
        }
        spans_ = static_cast<Span*>(more);
        capacity_ = wanted;
        return true;
    }
    void sort() {
        std::move(spans_ + next_, spans_ + count_, spans_);
        count_ -= next_;
        next_ = 0;
        std::sort(spans_, spans_ + count_, [](const Span& a, const Span& b) { return a.begin < b.begin; });
        size_t kept = 0;
        for (size_t i = 1; i < count_; i++) {
            if (spans_[i].begin <= spans_[kept].end) {
                if (spans_[i].end > spans_[kept].end) spans_[kept].rest = Rest::none;
                if (spans_[i].end >= spans_[kept].end) spans_[kept].rest = std::max(spans_[kept].rest, spans_[i].rest);
                spans_[kept].end = std::max(spans_[kept].end, spans_[i].end);
            } else
                spans_[++kept] = spans_[i];
        }
        if (count_) count_ = kept + 1;
        sorted_ = count_;
    }

    Span* spans_ = nullptr;
    size_t count_ = 0, capacity_ = 0, next_ = 0, sorted_ = 0;
    bool lost_ = false;
};

}  // namespace overread
