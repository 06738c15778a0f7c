#include "content/codings.h"

namespace overread {
namespace {

struct Name {
    const char* text;
    Coding coding;
};
// x-gzip: RFC 9110, section 8.4.1.3. zstd: RFC 8878. br: RFC 7932.
const Name NAMES[] = {{"gzip", Coding::gzip}, {"x-gzip", Coding::gzip}, {"deflate", Coding::deflate}, {"br", Coding::br}, {"zstd", Coding::zstd}};

bool is(const uint8_t* p, size_t n, const char* lower) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = p[i] >= 'A' && p[i] <= 'Z' ? uint8_t(p[i] | 0x20) : p[i];
        if (c == 0 || c != uint8_t(lower[i])) return false;
    }
    return lower[n] == 0;
}

}  // namespace

void Codings::add(const uint8_t* value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        size_t first = i;
        while (i < size && value[i] != ',') i++;
        size_t last = i;
        while (first < last && value[first] <= ' ') first++;
        while (last > first && value[last - 1] <= ' ') last--;
        const size_t n = last - first;
        if (n == 0 || is(value + first, n, "identity")) continue;
        Coding coding = Coding::other;
        for (const Name& name : NAMES)
            if (is(value + first, n, name.text)) coding = name.coding;
        if (coding == Coding::other || count == MAX_CODINGS)
            unknown = true;
        else
            applied[count++] = coding;
    }
}

}  // namespace overread
