#include "registry/huffman.h"

namespace overread {
namespace {

// Appendix B by its lengths alone: the code is canonical, so that characters of one length have codes after each other.
constexpr size_t SYMBOLS = 257, END_OF_STRING = 256, LONGEST = 30;
constexpr uint8_t LENGTH[SYMBOLS] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6,  10, 10, 12, 13,
    6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,
    5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27,
    27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
};

struct Node {
    uint16_t child[2];
};
constexpr uint16_t LEAF = 0x8000;

struct Tree {
    Node node[HUFFMAN_STATES];
    uint8_t depth[HUFFMAN_STATES];
};

constexpr Tree make_tree() {
    Tree t{};
    uint16_t used = 1;
    uint32_t code = 0;
    for (size_t length = HUFFMAN_SHORTEST; length <= LONGEST; length++) {
        code <<= 1;
        for (size_t symbol = 0; symbol < SYMBOLS; symbol++) {
            if (LENGTH[symbol] != length) continue;
            uint16_t at = 0;
            for (size_t bit = length; bit-- > 1;) {
                uint16_t& next = t.node[at].child[code >> bit & 1];
                if (!next) {
                    t.depth[used] = uint8_t(t.depth[at] + 1);
                    next = used++;
                }
                at = next;
            }
            t.node[at].child[code & 1] = uint16_t(LEAF | symbol);
            code++;
        }
    }
    return t;
}

constexpr HuffmanTable make_table() {
    const Tree t = make_tree();
    HuffmanTable out{};
    for (size_t state = 0; state < HUFFMAN_STATES; state++) {
        for (unsigned nibble = 0; nibble < 16; nibble++) {
            HuffmanStep s{};
            uint16_t at = uint16_t(state);
            for (int bit = 3; bit >= 0; bit--) {
                at = t.node[at].child[nibble >> bit & 1];
                if (!(at & LEAF)) continue;
                // The end's code stands in no string: what it is read as is no character of a secret.
                const uint16_t symbol = uint16_t(at & ~LEAF);
                s.symbol = symbol == END_OF_STRING ? uint8_t(0) : uint8_t(symbol);
                s.count = 1;
                at = 0;
            }
            s.state = uint8_t(at);
            s.open = t.depth[at];
            out.step[state][nibble] = s;
        }
    }
    uint16_t ones = 0;
    for (size_t bits = 0; bits < 8; bits++) {
        out.padding[ones] = true;
        ones = t.node[ones].child[1];
    }
    return out;
}

}  // namespace

constexpr HuffmanTable HUFFMAN = make_table();

}  // namespace overread
