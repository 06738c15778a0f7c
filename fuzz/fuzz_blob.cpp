// The blob loader on hostile bytes, with the checksum made right so that the checks behind it are reached.
#include <cstring>
#include <vector>

#include "overread.h"
#include "ruleset/ruleset.h"

namespace {

void store(uint8_t* p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = uint8_t(v >> (8 * i));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    ovr_ruleset* rules = nullptr;
    ovr_error err;
    ovr_ruleset_load(data, size, &rules, &err);
    ovr_ruleset_free(rules);
    // Patches of (offset, value) on the shipped blob: close to valid, so deep in the loader.
    const ovr_bytes shipped = ovr_ruleset_default_blob();
    std::vector<uint8_t> blob(shipped.data, shipped.data + shipped.size);
    for (size_t i = 0; i + 3 <= size; i += 3) blob[(data[i] | data[i + 1] << 8) % blob.size()] = data[i + 2];
    std::memcpy(blob.data(), shipped.data, 24);  // magic, version and size as this loader wants them
    store(&blob[16], overread::crc32(blob.data() + 24, blob.size() - 24));
    if (ovr_ruleset_load(blob.data(), blob.size(), &rules, &err) != OVR_OK) return 0;
    ovr_scanner* scanner = nullptr;
    ovr_stream* stream = nullptr;
    ovr_verdict v;
    if (ovr_scanner_new(rules, nullptr, &scanner, &err) == OVR_OK && ovr_stream_open(scanner, nullptr, &stream, &err) == OVR_OK) {
        const char text[] = "x\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nAuthorization: Bearer Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\n</html>tail \0\0\xff";
        ovr_stream_feed(stream, text, sizeof text, nullptr);
        ovr_stream_finish(stream, &v);
    }
    ovr_stream_close(stream);
    ovr_scanner_free(scanner);
    ovr_ruleset_free(rules);
    return 0;
}
