#include "verify/place.h"

#include <cstring>
#include <new>

namespace overread {

void PlaceTracker::reset(const Content& content, const Kernel* kernel) {
    new (this) PlaceTracker;  // what the constructor sets, and no more, in place
    kernel_ = kernel;
    switch (content.cls) {
        case ContentClass::json:
            kind_ = content.lines ? Kind::none : Kind::json;
            break;
        case ContentClass::png:
            kind_ = Kind::png;
            break;
        case ContentClass::jpeg:
            kind_ = Kind::jpeg;
            break;
        case ContentClass::gif:
            kind_ = Kind::gif;
            break;
        case ContentClass::webp:
            kind_ = Kind::webp;
            break;
        case ContentClass::woff:
        case ContentClass::woff2:
            kind_ = Kind::woff;
            break;
        default:
            kind_ = Kind::none;
    }
}

void PlaceTracker::sign(uint64_t offset, uint8_t level, Builtin what) { state_ = {level, what, offset}; }

void PlaceTracker::tail(uint64_t offset) {
    tail_ = offset;
    depth_ = 0;
}

namespace {

// Samsung's phones append blocks of tag, name length, name and value (ExifTool, Samsung trailer); the tag's zero bytes
// are passed over as padding.
bool vendor_block(const uint8_t* p) {
    const uint32_t name = uint32_t(p[2]) | uint32_t(p[3]) << 8 | uint32_t(p[4]) << 16 | uint32_t(p[5]) << 24;
    if (p[1] < 0x08 || p[1] > 0x0d || name == 0 || name > 64) return false;
    for (uint32_t i = 6; i < 16 && i < 6 + name; i++)
        if (!((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z') && !(p[i] >= '0' && p[i] <= '9') && p[i] != '_') return false;
    return true;
}

// MP4 begins with the length of its first box, in practice below 256: its three zero bytes are passed over as padding.
bool film(const uint8_t* p) { return std::memcmp(p + 1, "ftyp", 4) == 0; }

}  // namespace

// A tail with a format's own magic is a part of the file: a ZIP polyglot, the film of a motion photo, a second image.
void PlaceTracker::gather(const uint8_t* data, size_t size) {
    size_t i = tail_ > at_ ? size_t(tail_ - at_) : 0;
    while (i < size && depth_ < sizeof head_) head_[depth_++] = data[i++];
    if (depth_ < sizeof head_) return;
    foreign_ = !known_magic(head_, depth_, nullptr) && !vendor_block(head_) && !film(head_);
    if (!foreign_) {
        kind_ = Kind::none;
        return;
    }
    const Builtin tails[] = {Builtin::none, Builtin::none, Builtin::png_tail, Builtin::jpeg_tail, Builtin::gif_tail, Builtin::webp_tail, Builtin::font_tail};
    sign(tail_, 1, tails[size_t(kind_)]);
}

// A shorter version written over a longer one leaves the old one's end in place (as in CVE-2023-21036): then the body
// ends as its format does.
bool PlaceTracker::ends_itself() const {
    if (kind_ == Kind::png) return last_ == 0x49454e44ae426082;  // IEND and its CRC
    if (kind_ == Kind::jpeg) return (last_ & 0xffff) == 0xffd9;
    return kind_ == Kind::gif && (last_ & 0xffff) == 0x003b;
}

void PlaceTracker::finish() {
    if (foreign_ && !ends_itself()) state_.level = 3;
}

void PlaceTracker::feed(const uint8_t* data, size_t size) {
    if (state_.level == 0 && tail_ == UINT64_MAX) {
        switch (kind_) {
            case Kind::json:
                json(data, size);
                break;
            case Kind::png:
                png(data, size);
                break;
            case Kind::jpeg:
                jpeg(data, size);
                break;
            case Kind::gif:
                gif(data, size);
                break;
            case Kind::webp:
            case Kind::woff:
                sized(data, size);
                break;
            case Kind::none:
                break;
        }
    }
    if (tail_ != UINT64_MAX && kind_ != Kind::none && !foreign_) gather(data, size);
    // From the tail's start on: its first bytes may be its last ones.
    if (tail_ != UINT64_MAX)
        for (size_t i = size < 8 ? 0 : size - 8; i < size; i++) last_ = last_ << 8 | data[i];
    at_ += size;
}

// RFC 8259. Only the nesting of a top-level object or array is followed: step 0 before it, 1 inside, 4 complete.
void PlaceTracker::json(const uint8_t* data, size_t size) {
    size_t i = 0;
    for (; i < size && step_ == 0; i++) {
        const uint8_t c = data[i];
        if (c == '{' || c == '[')
            step_ = 1, json_.depth = 1;
        else if (c != ' ' && c != '\n' && c != '\r' && c != '\t' && !(at_ + i < 3 && c >= 0x80)) {  // a BOM is let pass
            kind_ = Kind::none;  // a scalar, a JSON sequence or a guard prefix: nothing to follow
            return;
        }
    }
    if (step_ == 1) {
        i += kernel_->json(data + i, size - i, json_);
        if (json_.event == JsonState::line_break) {
            sign(at_ + i - 1, 2, Builtin::json_string_break);
            return;
        }
        if (json_.event == JsonState::complete) step_ = 4, document_end_ = at_ + i;
    }
    if (step_ == 4) json_rest(data, i, size);
}

void PlaceTracker::json_rest(const uint8_t* data, size_t from, size_t size) {
    for (size_t i = from; i < size; i++)
        if (data[i] != ' ' && data[i] != '\n' && data[i] != '\r' && data[i] != '\t') {
            sign(at_ + i, 2, Builtin::json_tail);
            return;
        }
}

// PNG, third edition, section 5: signature, then chunks of length, type, data, CRC up to IEND.
void PlaceTracker::png(const uint8_t* data, size_t size) {
    if (at_ == 0) skip_ = 8;
    size_t i = 0;
    while (i < size) {
        if (skip_) {
            const uint64_t n = skip_ < size - i ? skip_ : size - i;
            skip_ -= n;
            i += size_t(n);
            continue;
        }
        if (step_ == 4) {
            if (data[i] == 0) {  // padding
                i++;
                continue;
            }
            tail(at_ + i);
            return;
        }
        head_[depth_++] = data[i++];
        if (depth_ == 8) {
            // A chunk's type is four ASCII letters (section 5.4): anything else means that bytes were put in before.
            for (int t = 4; t < 8; t++)
                if ((head_[t] | 0x20) < 'a' || (head_[t] | 0x20) > 'z') {
                    sign(at_ + i - 1, 2, Builtin::png_break);
                    return;
                }
            depth_ = 0;
            skip_ = (uint64_t(head_[0]) << 24 | uint64_t(head_[1]) << 16 | uint64_t(head_[2]) << 8 | head_[3]) + 4;
            if (std::memcmp(head_ + 4, "IEND", 4) == 0) step_ = 4;
        }
    }
}

// ITU T.81, annex B. step 0 marker prefix, 1 marker, 2-3 segment length, 5 entropy-coded data, 6 FF inside it, 4 complete.
void PlaceTracker::jpeg(const uint8_t* data, size_t size) {
    if (at_ == 0) skip_ = 2;
    size_t i = 0;
    while (i < size) {
        if (skip_) {
            const uint64_t n = skip_ < size - i ? skip_ : size - i;
            skip_ -= n;
            i += size_t(n);
            continue;
        }
        if (step_ == 5) {
            const void* ff = std::memchr(data + i, 0xff, size - i);
            if (!ff) return;
            i = size_t(static_cast<const uint8_t*>(ff) - data) + 1;
            step_ = 6;
            continue;
        }
        const uint8_t c = data[i];
        if (step_ == 4) {
            if (c == 0) {  // padding
                i++;
                continue;
            }
            // A second image (multi-picture format, gain map) is part of the file: CIPA DC-007.
            if (c == 0xff)
                kind_ = Kind::none;
            else
                tail(at_ + i);
            return;
        }
        i++;
        switch (step_) {
            case 0:
                if (c != 0xff) {
                    kind_ = Kind::none;
                    return;
                }
                step_ = 1;
                break;
            case 6:
                if (c == 0 || (c >= 0xd0 && c <= 0xd7)) {
                    step_ = 5;
                    break;
                }
                [[fallthrough]];
            case 1:
                if (c == 0xff) break;
                if (c == 0xd9)
                    step_ = 4;
                else if (c == 0x01 || (c >= 0xd0 && c <= 0xd8))
                    step_ = 0;
                else if (c < 0xc0) {  // reserved (table B.1): entropy-coded data never holds it
                    sign(at_ + i - 1, 2, Builtin::jpeg_break);
                    return;
                } else
                    flags_ = c == 0xda, step_ = 2;
                break;
            case 2:
                head_[0] = c, step_ = 3;
                break;
            default: {
                const uint32_t length = uint32_t(head_[0]) << 8 | c;
                skip_ = length > 2 ? length - 2 : 0;
                step_ = flags_ ? 5 : 0;
            }
        }
    }
}

// GIF89a specification. step 0 header and screen descriptor, 1 block label, 2 extension label, 3 sub-block size,
// 5 image descriptor, 6 LZW code size, 4 complete.
void PlaceTracker::gif(const uint8_t* data, size_t size) {
    size_t i = 0;
    while (i < size) {
        if (skip_) {
            const uint64_t n = skip_ < size - i ? skip_ : size - i;
            skip_ -= n;
            i += size_t(n);
            continue;
        }
        const uint8_t c = data[i];
        if (step_ == 4) {
            if (c == 0) {  // encoders pad with NULs
                i++;
                continue;
            }
            tail(at_ + i);
            return;
        }
        i++;
        switch (step_) {
            case 0:
                head_[depth_++] = c;
                if (depth_ == 13) {
                    depth_ = 0;
                    step_ = 1;
                    if (head_[10] & 0x80) skip_ = 3u << ((head_[10] & 7) + 1);
                }
                break;
            case 1:
                if (c == 0x3b)
                    step_ = 4;
                else if (c == 0x21)
                    step_ = 2;
                else if (c == 0x2c)
                    step_ = 5;
                else if (c != 0) {
                    kind_ = Kind::none;
                    return;
                }
                break;
            case 2:
                step_ = 3;
                break;
            case 3:
                if (c == 0) step_ = 1;
                skip_ = c;
                break;
            case 5:
                head_[depth_++] = c;
                if (depth_ == 9) {
                    depth_ = 0;
                    step_ = 6;
                    if (head_[8] & 0x80) skip_ = 3u << ((head_[8] & 7) + 1);
                }
                break;
            default:
                step_ = 3;
        }
    }
}

// Containers that name their own length: WebP (RIFF: little-endian, at byte 4, of what follows it, padded to even) and
// WOFF and WOFF2 (big-endian, at byte 8, of the whole file).
void PlaceTracker::sized(const uint8_t* data, size_t size) {
    size_t i = 0;
    while (i < size) {
        if (skip_) {
            const uint64_t n = skip_ < size - i ? skip_ : size - i;
            skip_ -= n;
            i += size_t(n);
            continue;
        }
        if (step_ == 4) {
            if (data[i] == 0) {  // padding
                i++;
                continue;
            }
            tail(at_ + i);
            return;
        }
        head_[depth_++] = data[i++];
        if (depth_ < 12) continue;
        auto word = [&](int at, bool little) {
            return little ? uint64_t(head_[at + 3]) << 24 | uint64_t(head_[at + 2]) << 16 | uint64_t(head_[at + 1]) << 8 | head_[at]
                          : uint64_t(head_[at]) << 24 | uint64_t(head_[at + 1]) << 16 | uint64_t(head_[at + 2]) << 8 | head_[at + 3];
        };
        const uint64_t whole = kind_ == Kind::webp ? 8 + word(4, true) + (word(4, true) & 1) : word(8, false);
        if (whole < 12) {
            kind_ = Kind::none;
            return;
        }
        skip_ = whole - 12;
        step_ = 4;
    }
}

}  // namespace overread
