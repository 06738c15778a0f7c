#include "verify/raw.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace overread {
namespace {

constexpr size_t HISTORY = 16;      // "%PDF-1.7\r\n%" ends 11 bytes before its first raw byte
constexpr size_t MAGIC_REACH = 24;  // a magic and what of a file stands close behind it: the CRC of a ZIP entry

// Bytes that a visitor may have typed: UTF-8, perhaps cut at the end. Longer forms than needed are not looked for.
bool may_be_typed(const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n;) {
        const uint8_t b = p[i++];
        if (b < 0x80) continue;
        if (!is_lead(b)) return false;
        for (int need = continuations(b); need && i < n; need--)
            if ((p[i++] & 0xc0) != 0x80) return false;
    }
    return true;
}

bool all_nul(const uint8_t* p) {
    uint64_t any = 0, word;
    for (size_t i = 0; i < UNIT; i += sizeof word) {
        std::memcpy(&word, p + i, sizeof word);
        any |= word;
    }
    return any == 0;
}

}  // namespace

void RawTracker::reset(const Content& content, const Kernel* kernel) {
    new (this) RawTracker;  // what the constructor sets, and no more, in place
    kernel_ = kernel;
    cls_ = content.cls;
    charset_ = content.charset;
    if (content.markup) text_head_ = MARKUP_HEAD;
}

void RawTracker::start_tail(ContentClass cls, uint64_t offset) {
    reset({cls, Charset::utf8, false, false}, kernel_);
    tail_ = true;
    origin_ = at_ = offset;
}

void RawTracker::raw_event(uint64_t offset, uint8_t kind, bool cut) {
    const bool behind = offset >= document_end_;
    if (kind != RAW_UTF8 && offset < text_head_ && !behind) starts_raw_ = true;
    const uint64_t before = raw_seen_ ? last_raw_ + 1 : 0;
    if (!in_region_ || (offset > before && offset - before >= TEXT_RUN)) {
        in_region_ = true;
        after_text_ = tail_ || behind || (!starts_raw_ && offset >= before && offset - before >= (raw_seen_ ? TEXT_RUN : text_head_));
        region_ = offset;
        kinds_ = 0;
        invalid_ = false;
        head_size_ = 0;
        pointer_count_ = 0;
    }
    raw_seen_ = true;
    if (offset > last_raw_) last_raw_ = offset;
    // More of what the region has shown: floods of NULs and control bytes change nothing but its end.
    if (kinds_ & kind && (kind != RAW_UTF8 || cut || invalid_)) {
        if (best_.first == region_) best_.last = last_raw_;
        settle();
        return;
    }
    kinds_ |= kind;
    // Sites that shorten text by bytes cut characters, and a visitor can choose where: only what no cut leaves is no text.
    if (kind == RAW_UTF8 && !cut) invalid_ = true;
    judge();
    settle();
}

void RawTracker::settle() {
    if (best_.first != region_ || last_raw_ - region_ < SETTLES_AFTER) return;
    // What stands behind a JSON document counts however the body began, and where it ends is not known yet.
    const uint8_t most = starts_raw_ && !tail_ && cls_ != ContentClass::json ? 2 : embedded_ ? 3 : 4;
    settled_ = best_.level == most && (best_.invalid_utf8 || charset_ == Charset::legacy);
}

// The settled region goes on while control and high bytes stand less than TEXT_RUN apart; bit i of `mask`: one stands at base + i.
void RawTracker::extend(uint64_t base, uint64_t mask) {
    if (closed_ || !mask) return;
    closed_ = base + uint64_t(__builtin_ctzll(mask)) > last_raw_ + TEXT_RUN;
    if (closed_) return;
    last_raw_ = std::max(last_raw_, base + 63 - uint64_t(__builtin_clzll(mask)));
    best_.last = last_raw_;
}

// Levels as listed in docs/evidence.md, strongest region wins.
void RawTracker::judge() {
    auto several = [](unsigned kinds) { return (kinds & (kinds - 1)) != 0; };
    const bool two = several(kinds_ & ~unsigned(RAW_RUN));
    // Lone NULs and control bytes beside broken UTF-8 stand in test files and mangled attachments; runs and pointers do not.
    const bool memory = kinds_ & (RAW_RUN | RAW_PAIR) && several(kinds_ & ~unsigned(RAW_NUL));
    uint8_t level = kinds_ & (RAW_NUL | RAW_CONTROL) ? 2 : 1;
    // Minified scripts hold single control bytes in string tables (33 of 63,050 files): there one kind says little.
    const bool js = cls_ == ContentClass::js;
    // A single stray control byte stands in clean pages too (listings made by hand); a NUL or a second kind does not.
    if (after_text_ && level == 2 && (two || (!js && kinds_ & RAW_NUL))) level = 3;
    // Whether a format begins here is not known before the region's first 48 bytes are seen.
    const bool seen = head_size_ == sizeof head_ || final_;
    if (level == 3 && memory && seen && !embedded_) level = 4;
    if (level > best_.level || (level == best_.level && !best_.invalid_utf8 && invalid_)) {
        best_.level = level;
        best_.first = region_;
    }
    if (best_.first == region_) {
        best_.level = level;  // a magic seen later takes the fourth level back
        best_.kinds = kinds_;
        best_.invalid_utf8 = invalid_;
        best_.file = file_;
        best_.open = !seen;
        best_.last = last_raw_;
        sign_size_ = seen && !several_ ? head_size_ : 0;
        std::memcpy(sign_, head_, sign_size_);
    } else if (level >= 2) {
        several_ = true;  // no one sign tells of all that stands here
        sign_size_ = 0;
    }
}

void RawTracker::nul_byte(uint64_t offset) {
    const uint64_t word = __builtin_bswap64(recent_);  // little-endian value of the last 8 bytes
    if (offset - origin_ >= 3 && uint32_t(recent_) == 0) raw_event(offset, RAW_RUN);
    if (offset - origin_ >= 7 && user_pointer(word)) pointer(offset - 7, word);
    raw_event(offset, RAW_NUL);
}

void RawTracker::pointer(uint64_t offset, uint64_t value) {
    for (size_t i = 0; i < pointer_count_; i++)
        if (offset - pointers_[i].offset <= 256 && offset % 8 == pointers_[i].offset % 8 && pointers_[i].value >> 24 == value >> 24) {
            raw_event(offset, RAW_PAIR);
            break;
        }
    if (pointer_count_ == 4)
        std::memmove(pointers_, pointers_ + 1, 3 * sizeof pointers_[0]);
    else
        pointer_count_++;
    pointers_[pointer_count_ - 1].offset = offset;
    pointers_[pointer_count_ - 1].value = value;
}

// An error is placed at the sequence's first byte. `alone`: control bytes stand directly before and behind the sequence. Before
// what a cut leaves stands the text that was cut, or behind it what the site adds; a byte of an address has neither.
void RawTracker::utf8_byte(uint64_t offset, uint8_t b, bool alone) {
    if (utf8_need_) {
        if (offset == utf8_next_ && b >= utf8_low_ && b <= utf8_high_) {
            utf8_need_--;
            utf8_next_ = offset + 1;
            utf8_low_ = 0x80;
            utf8_high_ = 0xbf;
            return;
        }
        utf8_need_ = 0;
        // Without a declared charset single high bytes are most likely Latin-1 text: they count only beside other signs.
        if (charset_ == Charset::utf8 || region_open()) raw_event(utf8_start_, RAW_UTF8, !alone);
    }
    if (b < 0x80) return;
    utf8_start_ = offset;
    utf8_next_ = offset + 1;
    if (is_lead(b)) {
        utf8_need_ = continuations(b);
        utf8_low_ = lowest_second(b);
        utf8_high_ = highest_second(b);
    } else if (charset_ == Charset::utf8 || region_open()) {
        raw_event(offset, RAW_UTF8);
    }
}

// Bytes that begin no character and stand for none in the declared charset; WHATWG Encoding, sections 10 to 13. They count
// only beside other raw bytes: a wrong charset is common. What a cut leaves, half a character, does not count.
void RawTracker::multibyte(uint64_t offset, uint8_t b) {
    if (!region_open()) {
        utf8_need_ = 0;
        return;
    }
    const bool euc_jp = charset_ == Charset::euc_jp;
    if (utf8_need_) {
        if (offset == utf8_next_ && b != 0x7f && b != 0xff && b >= (euc_jp ? 0xa1 : 0x30)) {
            utf8_need_--;
            utf8_next_ = offset + 1;
            return;
        }
        utf8_need_ = 0;
    }
    if (b < 0x80) return;
    bool never = b == 0xff, single = false;
    if (euc_jp) {
        never = b == 0xff || (b <= 0xa0 && b != 0x8e && b != 0x8f);
    } else if (charset_ == Charset::shift_jis) {
        never = b == 0xa0 || b >= 0xfd;
        single = b == 0x80 || (b >= 0xa1 && b <= 0xdf);
    } else if (charset_ == Charset::gbk) {
        single = b == 0x80;  // the euro sign
    } else {
        never = b == 0x80 || b == 0xff;
    }
    if (never) {
        raw_event(offset, RAW_UTF8);
    } else if (!single) {
        utf8_need_ = euc_jp && b == 0x8f ? 2 : 1;
        utf8_next_ = offset + 1;
    }
}

// Whether data[begin, end), without control bytes, is valid and may be passed over; the state is then that behind it.
bool RawTracker::valid_text(const uint8_t* data, uint64_t base, size_t begin, size_t end) {
    uint8_t need = utf8_need_, low = utf8_low_, high = utf8_high_;
    size_t start = end;
    if (need && utf8_next_ != base + begin) return false;
    for (size_t j = begin; j < end; j++) {
        const uint8_t b = data[j];
        if (need) {
            if (b < low || b > high) return false;
            need--;
            low = 0x80;
            high = 0xbf;
        } else if (b >= 0x80) {
            if (!is_lead(b)) return false;
            start = j;
            need = continuations(b);
            low = lowest_second(b);
            high = highest_second(b);
        }
    }
    utf8_need_ = need;
    utf8_low_ = low;
    utf8_high_ = high;
    utf8_next_ = base + end;
    if (start < end) utf8_start_ = base + start;
    return true;
}

// The same for a whole unit at once, when three bytes before it are there.
bool RawTracker::valid_unit(const uint8_t* data, uint64_t base, size_t begin, size_t end) {
    if (begin < 3 || end - begin != UNIT || !kernel_->utf8(data + begin)) return valid_text(data, base, begin, end);
    // A wrong character before the unit is over: what would continue it stands alone.
    if (!utf8_need_ && data[begin] >= 0x80 && data[begin] < 0xc0) return false;
    // A character that the unit cuts stays open.
    uint8_t need = 0;
    for (size_t back = 1; back <= 3 && !need; back++) {
        const uint8_t b = data[end - back];
        if (b >= 0x80 && b < 0xc0) continue;
        if (b < 0x80 || continuations(b) < back) break;
        if (!is_lead(b)) return valid_text(data, base, begin, end);
        need = uint8_t(continuations(b) - back + 1);
        utf8_start_ = base + end - back;
        utf8_low_ = back > 1 ? 0x80 : lowest_second(b);
        utf8_high_ = back > 1 ? 0xbf : highest_second(b);
    }
    utf8_need_ = need;
    utf8_next_ = base + end;
    return true;
}

// The last 16 bytes before data[end], from the state at data[0].
void RawTracker::remember(const uint8_t* data, size_t end, uint64_t recent, uint64_t older) {
    if (end >= HISTORY) {
        std::memcpy(&older_, data + end - 16, 8);
        std::memcpy(&recent_, data + end - 8, 8);
        older_ = __builtin_bswap64(older_);
        recent_ = __builtin_bswap64(recent_);
        return;
    }
    recent_ = recent;
    older_ = older;
    for (size_t j = 0; j < end; j++) shift(data[j]);
}

void RawTracker::fill_head(const uint8_t* data, uint64_t base, size_t size) {
    if (!in_region_ || head_size_ < HISTORY || head_size_ == sizeof head_ || head_next_ < base) return;
    while (head_size_ < sizeof head_ && head_next_ - base < size) head_[head_size_++] = data[head_next_++ - base];
    if (head_size_ == sizeof head_) {
        find_magic();
        judge();
    }
}

void RawTracker::find_magic() {
    // A format begins where the raw bytes do; all but PDF's and a few others' first byte is raw itself.
    for (size_t i = 0; i <= HISTORY && i + 3 <= head_size_; i++) {
        if (!known_magic(head_ + i, head_size_ - i, nullptr)) continue;
        embedded_ = true;
        // "PK\3\4" in a search field makes no file: a thief must not be able to take headers' weight away.
        if (!may_be_typed(head_ + i, head_size_ - i < MAGIC_REACH ? head_size_ - i : MAGIC_REACH)) file_ = true;
    }
}

void RawTracker::finish() {
    final_ = true;
    if (!in_region_) return;
    find_magic();
    judge();
}

// One byte of a unit that is not clean. recent_ and older_ hold what stands before it.
void RawTracker::step(uint64_t offset, uint8_t byte, bool control) {
    const uint64_t before = recent_, before_that = older_;
    shift(byte);
    at_ = offset;
    const bool had_region = in_region_;
    const uint64_t region = region_;
    if (is_multibyte(charset_))
        multibyte(offset, byte);
    else if (charset_ != Charset::legacy && (byte >= 0x80 || utf8_need_))
        utf8_byte(offset, byte, control && utf8_need_ && utf8_start_ > origin_ && is_control(uint8_t(before >> 8 * (utf8_next_ - utf8_start_))));
    if (control) {
        if (byte == 0)
            nul_byte(offset);
        else
            raw_event(offset, RAW_CONTROL);
    }
    if (in_region_ && (!had_region || region != region_)) {
        for (int s = 0; s < 8; s++) head_[s] = uint8_t(before_that >> (56 - 8 * s));
        for (int s = 0; s < 8; s++) head_[8 + s] = uint8_t(before >> (56 - 8 * s));
        head_size_ = HISTORY;
        head_next_ = offset;
    }
}

// Whether a unit of the open region adds at most to its length: its kinds are seen already, and it holds neither a run nor a
// pointer that is still missing. Floods of raw bytes, compressed ones above all, pass so at a few bytes a nanosecond.
bool RawTracker::shows_nothing_new(const uint8_t* data, uint64_t base, size_t begin, const ClassUnit& unit) const {
    if (!in_region_ || is_multibyte(charset_)) return false;
    // Only the last control byte is looked at: no text may seem to end the region before it.
    if (base + begin + 63 - uint64_t(__builtin_clzll(unit.control)) - last_raw_ > TEXT_RUN) return false;
    const bool broken = charset_ == Charset::legacy || (kinds_ & RAW_UTF8 && invalid_);
    if ((unit.high || utf8_need_) && !broken) return false;
    constexpr uint8_t ALL = RAW_NUL | RAW_CONTROL | RAW_RUN | RAW_PAIR;
    if ((kinds_ & ALL) == ALL) return true;
    uint64_t last = recent_;  // up to data[at - 1], where less than a word of this chunk stands before
    size_t at = begin;
    for (uint64_t m = unit.control; m; m &= m - 1) {
        const size_t next = begin + size_t(__builtin_ctzll(m));
        if (!(kinds_ & (data[next] == 0 ? RAW_NUL : RAW_CONTROL))) return false;
        if (data[next] != 0) continue;
        uint64_t word;  // as nul_byte() will see it
        if (next >= 7) {
            std::memcpy(&word, data + next - 7, sizeof word);
        } else {
            for (; at <= next; at++) last = last << 8 | data[at];
            word = __builtin_bswap64(last);
        }
        if (!(kinds_ & RAW_RUN) && word >> 32 == 0) return false;
        if (!(kinds_ & RAW_PAIR) && user_pointer(word)) return false;
    }
    return true;
}

void RawTracker::feed(const uint8_t* data, size_t size, const ClassUnit* classes, size_t class_count) {
    const uint64_t base = at_;
    const uint64_t recent_before = recent_, older_before = older_;
    fill_head(data, base, size);
    // A sequence that is open where clean, skipped bytes begin is broken by the first of them.
    auto skip_to = [&](size_t end) {
        if (!settled_ && utf8_need_ && utf8_next_ < base + end) {
            const size_t j = size_t(utf8_next_ - base);
            remember(data, j, recent_before, older_before);
            step(utf8_next_, data[j], false);
            fill_head(data, base, size);
        }
    };
    for (size_t i = 0; i < class_count; i++) {
        const size_t begin = size_t(classes[i].unit) * UNIT;
        const size_t end = begin + UNIT < size ? begin + UNIT : size;
        const uint64_t bytes = classes[i].control | classes[i].high;
        if (settled_) {
            extend(base + begin, bytes);
            continue;
        }
        skip_to(begin);
        if (settled_) {  // by a sequence that the skipped bytes broke
            extend(base + begin, bytes);
            continue;
        }
        if (classes[i].control == 0) {
            if (charset_ == Charset::legacy) continue;
            if (is_multibyte(charset_) ? !in_region_ || base + begin - last_raw_ >= TEXT_RUN : valid_unit(data, base, begin, end)) continue;
        }
        remember(data, begin, recent_before, older_before);
        constexpr uint8_t NULS = RAW_NUL | RAW_RUN;
        if (classes[i].control == ~uint64_t(0) && recent_ == 0 && (kinds_ & NULS) == NULS && !utf8_need_ && last_raw_ + 1 == base + begin &&
            all_nul(data + begin)) {
            // The middle of a run: all but its end is known.
            last_raw_ = at_ = base + end - 1;
            if (best_.first == region_) best_.last = last_raw_;
            settle();
            fill_head(data, base, size);
            continue;
        }
        size_t from = begin;
        if (classes[i].control && shows_nothing_new(data, base, begin, classes[i])) {
            // The last control byte ends any open character and stands behind whatever came before it.
            from = begin + 63 - size_t(__builtin_clzll(classes[i].control));
            remember(data, from, recent_before, older_before);
            utf8_need_ = 0;
        }
        for (size_t j = from; j < end && !settled_; j++) {
            step(base + j, data[j], classes[i].control >> (j - begin) & 1);
            if (settled_) extend(base + begin, bytes & ~uint64_t(1) << (j - begin));
        }
        fill_head(data, base, size);
    }
    skip_to(size);
    at_ = base + size;
    remember(data, size, recent_before, older_before);
}

}  // namespace overread
