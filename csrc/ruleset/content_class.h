// Content classes: the rows of the weight table.
#pragma once
#include <cstddef>
#include <cstdint>

namespace overread {

enum class ContentClass : uint8_t {
    html,
    js,
    css,
    json,
    svg,
    xml,
    text,
    event_stream,
    legacy,
    utf16,
    png,
    jpeg,
    gif,
    webp,
    woff,
    woff2,
    ttf,
    wasm,
    pdf,
    archive,
    other,
    head,
    text_pool,
    container_pool,
    count
};
constexpr size_t CONTENT_CLASS_COUNT = size_t(ContentClass::count);

// legacy: one byte a character, so that every byte is text. The multi-byte ones have bytes that no text of theirs holds.
enum class Charset : uint8_t { utf8, unknown, legacy, utf16, euc_jp, shift_jis, gbk, euc_kr, big5 };
inline bool is_multibyte(Charset c) { return c >= Charset::euc_jp; }

const char* content_class_name(ContentClass);
inline bool is_text(ContentClass c) { return c <= ContentClass::legacy; }
// Formats whose end is followed: what stands behind it is a tail that no decoder reads.
inline bool is_container(ContentClass c) { return c >= ContentClass::png && c <= ContentClass::woff2; }

struct Content {
    ContentClass cls;
    Charset charset;
    bool sniff;           // the first bytes may still change the class
    bool lines;           // newline-delimited JSON: many documents in a row
    bool markup = false;  // the first SNIFF_BYTES are text that begins as its class does: an element, an object
};

// From the Content-Type alone; `type` may be empty.
Content classify_type(const uint8_t* type, size_t size);
// Corrected by the body's first bytes (at most SNIFF_BYTES, fewer only when the body ends there).
constexpr size_t SNIFF_BYTES = 16;
Content sniff(Content declared, const uint8_t* first, size_t size);
// A known format's magic at p, or nullptr.
const char* known_magic(const uint8_t* p, size_t size, ContentClass* cls);

}  // namespace overread
