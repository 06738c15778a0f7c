// What clients and servers send into a registry, what a segment and a fleet's records hold, and pages that are looked up: whatever stands
// there, no crash, no byte read beside it, and no verdict that depends on how a page is split.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "../tests/native/huffman_code.h"
#include "overread.h"

namespace {

constexpr uint64_t NOW = 1'700'000'000'000;
const uint8_t KEY[16] = {1, 2, 3};

ovr_bytes bytes_of(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

// A part of the input up to a zero byte.
std::string part(const uint8_t*& data, size_t& size) {
    const auto* end = size ? static_cast<const uint8_t*>(std::memchr(data, 0, size)) : nullptr;
    const size_t n = end ? size_t(end - data) : size;
    const std::string out(reinterpret_cast<const char*>(data), n);
    data += n + (end != nullptr);
    size -= n + (end != nullptr);
    return out;
}

ovr_verdict scan(ovr_scanner* scanner, const std::string& body, size_t step, std::string* places) {
    ovr_response r{};
    r.struct_size = sizeof r;
    const std::string owner = "reader", type = "text/html";
    r.owner = bytes_of(owner);
    r.content_type = bytes_of(type);
    r.unix_ms = NOW;
    ovr_stream* stream = nullptr;
    if (ovr_stream_open(scanner, &r, &stream, nullptr) != OVR_OK) std::abort();
    for (size_t at = 0; at < body.size(); at += step) ovr_stream_feed(stream, body.data() + at, std::min(step, body.size() - at), nullptr);
    ovr_verdict v;
    ovr_stream_finish(stream, &v);
    for (size_t i = 0; i < v.finding_count; i++)
        *places += std::string(v.findings[i].rule) + "@" + std::to_string(v.findings[i].offset) + "+" + std::to_string(v.findings[i].length) + " ";
    ovr_stream_close(stream);
    return v;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (!size) return 0;
    const uint8_t what = *data++;
    size--;
    ovr_registry_options options{};
    options.struct_size = sizeof options;
    options.memory = 64 << 10;
    options.key = {KEY, sizeof KEY};
    std::string path;
    if (what & 1) {
        // A segment of any content.
        path = "/dev/shm/overread-fuzz-" + std::to_string(getpid());
        options.segment = path.c_str();
        const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (what & 2) {
            ovr_registry* fresh = nullptr;
            if (ovr_registry_open(&options, &fresh, nullptr) != OVR_OK) std::abort();
            ovr_registry_close(fresh);
        }
        const off_t at = what & 4 ? 0 : 64 * (1 + (what >> 3));
        if (pwrite(fd, data, size, at) < 0) std::abort();
        close(fd);
    }
    ovr_registry* registry = nullptr;
    ovr_error err{};
    if (ovr_registry_open(&options, &registry, &err) != OVR_OK) {
        if (registry || !err.message[0] || !(what & 1)) std::abort();
        unlink(path.c_str());
        return 0;
    }
    ovr_scanner_options scanning{};
    scanning.struct_size = sizeof scanning;
    scanning.registry = registry;
    scanning.key = {KEY, sizeof KEY};
    ovr_scanner* scanner = nullptr;
    if (ovr_scanner_new(nullptr, &scanning, &scanner, nullptr) != OVR_OK) std::abort();

    const std::string owner = part(data, size), name = part(data, size), value = part(data, size), target = part(data, size), body = part(data, size);
    const ovr_header fields[] = {{bytes_of(name), bytes_of(value)}};
    ovr_request q{};
    q.struct_size = sizeof q;
    q.headers = fields;
    q.header_count = 1;
    q.target = bytes_of(target);
    q.body = bytes_of(body);
    ovr_response r{};
    r.struct_size = sizeof r;
    r.headers = fields;
    r.header_count = 1;
    r.request = &q;
    r.owner = bytes_of(owner);
    r.unix_ms = NOW;
    for (uint64_t second = 0; second < 2; second++) {
        if (ovr_registry_observe_request(registry, r.owner, &q, NOW + second * 1000) != OVR_OK) std::abort();
        if (ovr_registry_observe_response(registry, &r, bytes_of(body)) != OVR_OK) std::abort();
    }
    ovr_registry_plant(registry, value.data(), value.size(), NOW);
    // The value as HTTP/2 has it, cut by what stands before it and behind it.
    const std::string coded = huffman_coded(name + "=" + value);
    const std::string string = std::string(4, 0) + char(0x60) + char(0x80 | (coded.size() & 0x7f)) + coded;
    const std::string page = "<p>" + value + " " + body + string + std::string(reinterpret_cast<const char*>(data), size) + "</p>";
    std::string whole, split;
    const double one = scan(scanner, page, page.size(), &whole).bits, other = scan(scanner, page, 1 + what % 7, &split).bits;
    if (one != other || whole != split) std::abort();
    if (ovr_registry_import(registry, data, size, NOW) != (size % OVR_REGISTRY_RECORD ? OVR_E_ARGUMENT : OVR_OK)) std::abort();
    uint8_t records[OVR_REGISTRY_RECORD * 64];
    size_t exported = 0;
    if (ovr_registry_export(registry, NOW, records, sizeof records, &exported) != OVR_OK || exported > sizeof records) std::abort();
    ovr_registry_retire(registry, value.data(), value.size());
    ovr_scanner_free(scanner);
    ovr_registry_close(registry);
    if (!path.empty()) unlink(path.c_str());
    return 0;
}
