// The Huffman code of HTTP header fields (RFC 7541, section 5.2 and appendix B; QPACK has the same, RFC 9204, section 4.1.2), read four
// bits at a time.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

struct HuffmanStep {
    uint8_t state;   // the inner node of the code's tree that is reached; 0: its root, between two characters
    uint8_t symbol;  // the character that ended on the way, where one did
    uint8_t count;   // 1: one did; no character has fewer than five bits
    uint8_t open;    // bits of the one that goes on
};
constexpr size_t HUFFMAN_STATES = 256;  // a tree of 257 leaves has 256 inner nodes
struct HuffmanTable {
    HuffmanStep step[HUFFMAN_STATES][16];
    bool padding[HUFFMAN_STATES];  // a string may end here: fewer than eight bits are open, and all of them ones
};
extern const HuffmanTable HUFFMAN;

constexpr size_t HUFFMAN_SHORTEST = 5;  // bits
// So many characters end in `bytes` bytes at most.
constexpr size_t huffman_characters(size_t bytes) { return (bytes * 8 + 30) / HUFFMAN_SHORTEST; }

}  // namespace overread
