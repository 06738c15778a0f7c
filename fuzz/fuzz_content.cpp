// Hostile coded bytes: any split must give what the whole gives, nothing is read beyond a chunk, and what may go out never
// decodes to more than was judged. Seeds are coded bodies; those that begin with 0 are coded here, so that mutations reach
// what stands behind checksums.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "../tests/native/encode.h"
#include "overread.h"

namespace {

const char* const FIELDS[] = {"gzip", "deflate", "br", "zstd", "gzip, br", "zstd, gzip", "br, deflate, zstd", "gzip, gzip"};
const char* const WAYS[] = {"gzip", "deflate", "br", "zstd"};

ovr_stream* stream = nullptr;

struct Said {
    std::string text;
    uint64_t size;
};

void open_body(const std::string& field) {
    static const std::string name = "content-encoding", type = "text/html; charset=utf-8";
    const ovr_header h{{reinterpret_cast<const uint8_t*>(name.data()), name.size()}, {reinterpret_cast<const uint8_t*>(field.data()), field.size()}};
    ovr_response r{};
    r.struct_size = sizeof r;
    r.content_type = {reinterpret_cast<const uint8_t*>(type.data()), type.size()};
    r.headers = &h;
    r.header_count = 1;
    if (ovr_stream_reset(stream, &r) != OVR_OK) std::abort();
}

ovr_progress feed(const uint8_t* data, size_t size) {
    std::unique_ptr<uint8_t[]> chunk(new uint8_t[size]);  // of its own: the sanitizer sees any byte read beyond it
    std::copy(data, data + size, chunk.get());
    ovr_progress p{};
    if (ovr_stream_feed(stream, chunk.get(), size, &p) != OVR_OK) std::abort();
    return p;
}

Said finish() {
    ovr_verdict v;
    ovr_stream_finish(stream, &v);
    Said s{std::to_string(v.bits) + v.content_class + ovr_decode_name(v.decode) + std::to_string(v.first_offset) + "/" + std::to_string(v.body_bytes),
           v.body_bytes};
    for (size_t i = 0; i < v.finding_count; i++)
        s.text += std::string("\n") + v.findings[i].rule + std::to_string(v.findings[i].offset) + "+" + std::to_string(v.findings[i].length);
    return s;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (!stream) {
        ovr_scanner_options o{};
        o.struct_size = sizeof o;
        o.hold = 64;
        ovr_scanner* scanner = nullptr;
        if (ovr_scanner_new(nullptr, &o, &scanner, nullptr) != OVR_OK || ovr_stream_open(scanner, nullptr, &stream, nullptr) != OVR_OK) std::abort();
    }
    if (size < 3) return 0;
    std::string field = FIELDS[data[0] % 8];
    const size_t step = data[1] ? data[1] : 1;
    std::string made;
    if (data[2] == 0 && size > 5) {
        // A body coded here, with one byte changed.
        field = WAYS[data[0] % 4];
        made = encoded(std::string(reinterpret_cast<const char*>(data) + 5, size - 5), field);
        made[(data[3] * 257u + data[4]) % made.size()] ^= char(data[3]);
        data = reinterpret_cast<const uint8_t*>(made.data());
        size = made.size();
    } else {
        data += 2;
        size -= 2;
    }
    open_body(field);
    feed(data, size);
    const Said want = finish();
    open_body(field);
    uint64_t released = 0, clear = 0;
    for (size_t at = 0; at < size; at += step) {
        const ovr_progress p = feed(data + at, std::min(step, size - at));
        if (p.released < released || p.released > at + step) std::abort();
        released = p.released;
        if (!p.leaked) clear = released;
    }
    const Said got = finish();
    if (got.text != want.text) {
        std::fprintf(stderr, "%s in steps of %zu:\n%s\n-- whole --\n%s\n", field.c_str(), step, got.text.c_str(), want.text.c_str());
        std::abort();
    }
    open_body(field);
    if (clear) feed(data, size_t(clear));
    if (finish().size > want.size) std::abort();
    return 0;
}
