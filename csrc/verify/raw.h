// Raw memory inside text: control bytes, NULs, broken UTF-8, pointers, and the transition from text to them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel/kernel.h"
#include "ruleset/content_class.h"
#include "verify/text_bytes.h"

namespace overread {

// RAW_RUN: four NULs or more in a row, as small integers, unused fields and the upper halves of words leave them.
enum RawKind : uint8_t { RAW_NUL = 1, RAW_CONTROL = 2, RAW_UTF8 = 4, RAW_PAIR = 8, RAW_RUN = 16 };

// A raw region ends when this many bytes of text follow.
constexpr uint64_t TEXT_RUN = 512;
// So many bytes of text at a body's start make what follows a transition: longer than the text heads of most binary
// formats (ar has 68 bytes, binary STL an 80-byte free-text head and a count), shorter than nearly every page. What
// clean bodies show is counted. A body that begins as markup has shown itself text with the bytes that were sniffed: nothing
// a visitor has echoed in a page's title makes it a binary file.
constexpr uint64_t TEXT_HEAD = 96, MARKUP_HEAD = SNIFF_BYTES;

// Whether a little-endian word looks like a user-space pointer: x86-64, ARM64 and the Go heap by their fixed upper bytes.
inline bool user_pointer(uint64_t word) {
    const uint8_t top = uint8_t(word >> 40), next = uint8_t(word >> 32);
    const bool upper_clear = word >> 48 == 0;
    int zeros = 0;
    for (int i = 1; i < 5; i++) zeros += uint8_t(word >> (8 * i)) == 0;
    const bool x86 = upper_clear && (top == 0x7f || top == 0x55 || top == 0x56) && zeros <= 1;
    const bool arm = upper_clear && ((top == 0xff && next == 0xff) || (top == 0xaa && next == 0xaa)) && zeros <= 1 && uint32_t(word) != 0xffffffffu;
    const bool go = word >> 32 == 0xc0 && uint8_t(word >> 16) != 0;
    return x86 || arm || go;
}

// So many bytes into a region whose evidence cannot grow any more its bytes are no longer looked at one by one: binary
// bodies under a text type pass at the kernel's speed.
constexpr uint64_t SETTLES_AFTER = 4096;

// What the raw group has reached; levels as in docs/evidence.md.
struct RawState {
    uint8_t level = 0;          // 0 none, 1 broken UTF-8, 2 control or NUL, 3 after text or a complete document, 4 memory there
    uint8_t kinds = 0;          // RawKind bits of the best region
    bool file = false;          // a file of a known format begins there
    bool open = false;          // too little of it is seen to say whether one does
    bool invalid_utf8 = false;  // visitors can type control characters, but not broken UTF-8; cut characters do not count
    uint64_t first = 0;         // offset of the best region
    uint64_t last = 0;          // offset of its last raw byte
};

class RawTracker {
  public:
    void reset(const Content& content, const Kernel* kernel);
    // What follows a complete document at `offset`: no text need stand before it.
    void start_tail(ContentClass cls, uint64_t offset);
    // A document is complete at `offset`: no more text need stand before what follows, however short it was.
    void document_end(uint64_t offset) { document_end_ = offset; }
    // data[0, size) follows everything fed before; classes as the kernel reported them for it.
    void feed(const uint8_t* data, size_t size, const ClassUnit* classes, size_t class_count);
    // The body is over: a region too short to show a format's magic is judged as it is.
    void finish();
    const RawState& state() const { return best_; }
    // 16 bytes before the best region's first raw byte, and what follows; 0 until as many are seen, or the body is over.
    const uint8_t* sign() const { return sign_; }
    size_t sign_size() const { return sign_size_; }
    bool region_open() const { return in_region_ && at_ - last_raw_ < TEXT_RUN; }

  private:
    void step(uint64_t offset, uint8_t byte, bool control);
    void raw_event(uint64_t offset, uint8_t kind, bool cut = false);
    void utf8_byte(uint64_t offset, uint8_t byte, bool alone);
    void multibyte(uint64_t offset, uint8_t byte);
    void nul_byte(uint64_t offset);
    void pointer(uint64_t offset, uint64_t value);
    void judge();
    void settle();
    void extend(uint64_t base, uint64_t mask);
    bool valid_text(const uint8_t* data, uint64_t base, size_t begin, size_t end);
    bool shows_nothing_new(const uint8_t* data, uint64_t base, size_t begin, const ClassUnit& unit) const;
    bool valid_unit(const uint8_t* data, uint64_t base, size_t begin, size_t end);
    void find_magic();
    void shift(uint8_t byte) {
        older_ = older_ << 8 | recent_ >> 56;
        recent_ = recent_ << 8 | byte;
    }
    void remember(const uint8_t* data, size_t end, uint64_t recent, uint64_t older);
    void fill_head(const uint8_t* data, uint64_t base, size_t size);

    const Kernel* kernel_ = nullptr;
    ContentClass cls_ = ContentClass::other;
    Charset charset_ = Charset::unknown;
    uint64_t text_head_ = TEXT_HEAD;
    uint64_t at_ = 0;                  // bytes seen
    uint64_t recent_ = 0, older_ = 0;  // the last 16 bytes, newest lowest in recent_
    uint64_t utf8_start_ = 0;          // offset of the open sequence's first byte
    uint8_t utf8_need_ = 0, utf8_low_ = 0x80, utf8_high_ = 0xbf;
    uint64_t utf8_next_ = 0;  // where the open sequence must go on
    uint64_t origin_ = 0;     // offset of the first byte seen
    uint64_t document_end_ = UINT64_MAX;
    bool tail_ = false;        // the bytes stand behind a complete document
    bool starts_raw_ = false;  // NUL or control bytes within the first text_head_ bytes: a binary file, whatever its type says
    bool in_region_ = false, after_text_ = false, raw_seen_ = false, invalid_ = false;
    uint8_t kinds_ = 0;
    uint64_t region_ = 0, last_raw_ = 0;
    uint8_t head_[64];  // 16 bytes before the region's first raw byte, and what follows: where a format's magic is
    uint8_t head_size_ = 0;
    uint64_t head_next_ = 0;  // offset of the next byte wanted for head_
    bool embedded_ = false;   // a known format began: its own text and bytes take turns from here on
    bool file_ = false;       // it cannot have been typed
    bool final_ = false;
    bool settled_ = false;  // no further byte can change the evidence
    bool closed_ = false;   // and the settled region has ended
    struct {
        uint64_t offset, value;
    } pointers_[4];
    uint8_t pointer_count_ = 0;
    RawState best_;
    uint8_t sign_[sizeof head_];  // head_ of the best region
    uint8_t sign_size_ = 0;
    bool several_ = false;  // regions
};

}  // namespace overread
