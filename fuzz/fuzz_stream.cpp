// Any split on any kernel must equal the scalar kernel on the whole body.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "overread.h"

namespace {

const char* const TYPES[] = {"text/html; charset=utf-8", "text/html", "application/json", "application/javascript", "image/png", "image/jpeg", "image/gif", "",
                             "text/event-stream", "text/plain; charset=iso-8859-1",
                             // First bytes from 128 on: kept inputs keep their type.
                             "text/html; charset=shift_jis", "text/html; charset=euc-jp", "text/plain; charset=gbk", "font/woff2"};

ovr_stream* streams[16];  // one a kernel, the scalar reference first
size_t stream_count = 0;

ovr_stream* open_stream(const char* kernel) {
    ovr_scanner_options o{};
    o.struct_size = sizeof o;
    o.hold = OVR_HOLD_DEFAULT;
    o.kernel = kernel;
    ovr_scanner* scanner = nullptr;
    ovr_stream* stream = nullptr;
    if (ovr_scanner_new(nullptr, &o, &scanner, nullptr) != OVR_OK || ovr_stream_open(scanner, nullptr, &stream, nullptr) != OVR_OK) std::abort();
    return stream;
}

std::string describe(ovr_stream* s) {
    ovr_verdict v;
    ovr_stream_finish(s, &v);
    std::string d = std::to_string(v.bits) + v.content_class + std::to_string(v.first_offset);
    for (size_t i = 0; i < v.finding_count; i++)
        d += std::string("\n") + v.findings[i].rule + std::to_string(v.findings[i].offset) + "+" + std::to_string(v.findings[i].length);
    return d;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (stream_count == 0) {
        streams[stream_count++] = open_stream("scalar");
        for (size_t k = 0; ovr_kernel_name(k); k++) streams[stream_count++] = open_stream(ovr_kernel_name(k));
    }
    if (size < 4) return 0;
    const std::string type = TYPES[data[0] < 128 ? data[0] % 10 : 10 + data[0] % 4];
    const size_t a = data[1] * 7u, b = data[2] * 29u, step = data[3];
    data += 4;
    size -= 4;
    ovr_response r{};
    r.struct_size = sizeof r;
    r.content_type = {reinterpret_cast<const uint8_t*>(type.data()), type.size()};
    std::string want;
    for (size_t k = 0; k < stream_count; k++) {
        ovr_stream_reset(streams[k], &r);
        size_t at = 0;
        auto feed = [&](size_t to) {
            if (to > size) to = size;
            if (to <= at) return;
            // A copy of its own: the sanitizer sees any byte read beyond the chunk.
            std::unique_ptr<uint8_t[]> chunk(new uint8_t[to - at]);
            std::copy(data + at, data + to, chunk.get());
            ovr_stream_feed(streams[k], chunk.get(), to - at, nullptr);
            at = to;
        };
        if (k) {
            feed(a);
            feed(b);
            if (step)
                while (at < size) feed(at + step);
        }
        feed(size);
        const std::string got = describe(streams[k]);
        if (k == 0)
            want = got;
        else if (got != want) {
            std::fprintf(stderr, "kernel %s disagrees with scalar:\n%s\n-- scalar --\n%s\n", ovr_kernel_name(k - 1), got.c_str(), want.c_str());
            std::abort();
        }
    }
    return 0;
}
