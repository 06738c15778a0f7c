#include "registry/coded_text.h"

#include <initializer_list>

namespace overread {

void CodedText::begin(uint64_t offset) {
    state_ = 0;
    base_ = offset;
    index_ = 0;
    size_ = chars_ = next_ = 0;
    runs_.reset();
    bit_[0] = uint32_t(offset * 8);
}

// What is kept moves once for many pieces.
void CodedText::make_room(size_t bytes) {
    if (size_ + bytes <= BYTES && chars_ + huffman_characters(bytes) <= TEXT) return;
    const size_t old_bytes = size_ - std::min(size_, BYTES_KEPT), old_chars = chars_ - std::min(chars_, TEXT_KEPT);
    size_ -= old_bytes;
    chars_ -= old_chars;
    std::memmove(byte_, byte_ + old_bytes, size_);
    std::memmove(reached_, reached_ + old_bytes, size_);
    for (size_t i = 0; i < size_; i++) behind_[i] = uint16_t(behind_[i + old_bytes] - old_chars);
    std::memmove(text_, text_ + old_chars, chars_);
    std::memmove(bit_, bit_ + old_chars, (chars_ + 1) * sizeof *bit_);
    base_ += old_bytes;
    index_ += old_chars;
    next_ -= old_bytes;
}

void CodedText::decode(const uint8_t* data, size_t size) {
    uint8_t state = state_;
    size_t chars = chars_;
    uint32_t bit = uint32_t((base_ + size_) * 8);
    for (size_t i = 0; i < size; i++) {
        // Written first and counted afterwards: where characters end is chance, which no branch foretells.
        const HuffmanStep& high = HUFFMAN.step[state][data[i] >> 4];
        text_[chars] = high.symbol;
        chars += high.count;
        bit += 4;
        bit_[chars] = bit - high.open;
        const HuffmanStep& low = HUFFMAN.step[high.state][data[i] & 15];
        text_[chars] = low.symbol;
        chars += low.count;
        bit += 4;
        bit_[chars] = bit - low.open;
        state = low.state;
        byte_[size_ + i] = data[i];
        reached_[size_ + i] = state;
        behind_[size_ + i] = uint16_t(chars);
    }
    state_ = state;
    chars_ = chars;
    size_ += size;
}

bool CodedText::read_string(size_t at, String& s) const {
    const size_t size = byte_[at] & 0x7f, start = at + 1, end = start + size;
    if (byte_[at] < 0x80 || size < SHORTEST || size > LONGEST || end > size_) return false;
    // Before a value's length stands the index of its name, a byte below 0x80, or the name, which may end in ones (section 6.2).
    if (at && byte_[at - 1] >= 0x80 && !(byte_[at - 1] & 1)) return false;
    const bool ends = HUFFMAN.padding[reached_[end - 1]];
    if (!ends && size > IN_STEP) return false;
    uint8_t state = 0;
    size_t n = 0, i = start;
    uint16_t bit = 0;
    bool seen = true;  // values of fields are of characters that can be seen
    s.bit[0] = 0;
    for (bool in_step = false; i < end && !in_step; i++) {
        for (const int nibble : {byte_[i] >> 4, byte_[i] & 15}) {
            const HuffmanStep& step = HUFFMAN.step[state][nibble];
            state = step.state;
            bit = uint16_t(bit + 4);
            seen &= !step.count | (uint8_t(step.symbol - 0x20) <= 0x7e - 0x20);
            s.text[n] = step.symbol;
            n += step.count;
            s.bit[n] = uint16_t(bit - step.open);
        }
        in_step = state == reached_[i];
    }
    if (!seen) return false;
    s.own = n;
    if (i == end) {
        s.size = n;
        return HUFFMAN.padding[state];
    }
    if (!ends) return false;
    s.behind = behind_[i - 1];
    s.size = n + behind_[end - 1] - s.behind;
    std::memcpy(s.text + n, text_ + s.behind, s.size - n);
    return true;
}

}  // namespace overread
