// Lines of "name=value" words with blanks between them: what operators write, in ignores and control files.
#pragma once
#include <cstdint>
#include <string_view>

namespace overread {

// The next word of a line, taken off it; an empty name at the end of the line. A word without '=' is a name alone.
struct Field {
    std::string_view name, value;
};

inline Field next_field(std::string_view& line) {
    while (!line.empty() && (line[0] == ' ' || line[0] == '\t' || line[0] == '\r')) line.remove_prefix(1);
    size_t n = 0;
    while (n < line.size() && line[n] != ' ' && line[n] != '\t' && line[n] != '\r') n++;
    const std::string_view word = line.substr(0, n);
    line.remove_prefix(n);
    const size_t equals = word.find('=');
    return {word.substr(0, equals), equals == word.npos ? std::string_view() : word.substr(equals + 1)};
}

// A number of decimal (or hexadecimal) digits and nothing else, of at most 63 bits.
inline bool read_number(std::string_view text, uint64_t& out, unsigned base = 10) {
    if (text.empty() || text.size() > (base == 16 ? 16 : 18)) return false;
    out = 0;
    for (const char c : text) {
        const unsigned digit = c >= '0' && c <= '9' ? unsigned(c - '0') : c >= 'a' && c <= 'f' ? unsigned(c - 'a' + 10) : 99;
        if (digit >= base) return false;
        out = out * base + digit;
    }
    return true;
}

}  // namespace overread
