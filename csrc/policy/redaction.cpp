#include "policy/redaction.h"

namespace overread {
namespace {

// Whether a byte behind a match's bound may belong to the same line, or to the same block of base64 (also in a JSON string).
bool goes_on(Rest rest, uint8_t b) {
    const bool base64 = (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z') || b == '+' || b == '/' || b == '=' || b == '-';
    if (rest == Rest::pem) return base64 || b == '\r' || b == '\n' || b == '\\' || b == ' ';
    return b >= 0x20 && b != '<' && b != '"' && b != 0x7f;
}

}  // namespace

void Redaction::begin(uint64_t from, Stream::Text text) {
    active_ = true;
    from_ = from;
    text_ = text;
    tail_ = UINT64_MAX;
    until_ = covered_ = 0;
    in_rest_ = false;
    // The first bytes may go on with a character that began before.
    led_ = false;
    need_ = text == Stream::Text::utf8 ? 3 : 0;
    low_ = 0x80;
    high_ = 0xbf;
}

// A control byte, or one that begins or continues no character. A lead byte without its character shows at the byte behind it.
bool Redaction::is_raw(uint8_t b) {
    if (b < 0x80 && need_ == 0) return is_control(b);
    if (text_ != Stream::Text::utf8) return false;
    if (need_ && b >= low_ && b <= high_) {
        need_--;
        low_ = 0x80;
        high_ = 0xbf;
        return false;
    }
    const bool cut = need_ && led_;
    need_ = 0;
    if (b < 0x80) return cut || is_control(b);
    if (!is_lead(b)) return true;
    led_ = true;
    need_ = continuations(b);
    low_ = lowest_second(b);
    high_ = highest_second(b);
    return cut;
}

uint64_t Redaction::mask(uint64_t offset, uint8_t* data, size_t size) {
    if (!active_) return 0;
    uint64_t masked = 0;
    for (size_t i = 0; i < size; i++) {
        const uint64_t at = offset + i;
        if (at < from_) continue;
        const uint8_t b = data[i];
        if (text_ != Stream::Text::no && is_raw(b))
            until_ = at + 1 + TEXT_RUN;
        else if (until_ && at == until_ && b >= 0x80 && b < 0xc0)
            until_ = at + 1;  // no character is left halved
        const Span* span = spans.behind(at);
        const bool matched = span && span->begin <= at;
        if (matched) {
            covered_ = span->end;
            rest_ = span->rest;
            in_rest_ = false;
        } else if (at == covered_ && covered_) {
            in_rest_ = rest_ != Rest::none;
        }
        if (in_rest_ && !goes_on(rest_, b)) in_rest_ = false;
        const bool in_tail = at >= tail_ && b != ' ' && b != '\t' && b != '\n' && b != '\r';
        if (at < until_ || matched || in_rest_ || in_tail) {
            data[i] = MASK_BYTE;
            masked++;
        }
    }
    return masked;
}

}  // namespace overread
