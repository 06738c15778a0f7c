// Speed of the C ABI beside Hyperscan, memcpy and memchr on the same bytes, in one run: rounds are interleaved and medians
// reported, so that a noisy machine slows all alike. Prints one JSON object.
//
// bench TYPE PACK PATTERNS LEAK: PACK holds bodies of one type (u32 little-endian length, bytes, ...), PATTERNS a Hyperscan
// expression a line behind its flags, LEAK a piece of memory that is put behind each body for the row on bodies that leak.
#include <hs.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "kernel/kernel.h"
#include "overread.h"
#include "ruleset/ruleset.h"

namespace {

constexpr int ROUNDS = 15;
constexpr size_t CHUNK = 16384, HOT_CHUNKS = 8, SMALL = 4096;

// CPU time of this thread: what other processes take does not count.
double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}
double wall() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

std::string slurp(const char* path) {
    std::ifstream f(path, std::ios::binary);
    if (!f) {
        std::fprintf(stderr, "bench: %s cannot be read\n", path);
        std::exit(2);
    }
    return {std::istreambuf_iterator<char>(f), {}};
}

struct Body {
    const char* data;
    size_t size;
};

struct Overread {
    ovr_scanner* scanner = nullptr;
    ovr_stream* stream = nullptr;
    ovr_response response{};
    explicit Overread(const std::string& type) {
        ovr_error error;
        response.struct_size = sizeof response;
        response.content_type = {reinterpret_cast<const uint8_t*>(type.data()), type.size()};
        if (ovr_scanner_new(nullptr, nullptr, &scanner, &error) || ovr_stream_open(scanner, &response, &stream, &error)) {
            std::fprintf(stderr, "bench: %s\n", error.message);
            std::exit(2);
        }
    }
    ~Overread() {
        ovr_stream_close(stream);
        ovr_scanner_free(scanner);
    }
    double scan(const Body& b, size_t chunk) {
        ovr_verdict v;
        ovr_stream_reset(stream, &response);
        for (size_t at = 0; at < b.size; at += chunk) ovr_stream_feed(stream, b.data + at, std::min(chunk, b.size - at), nullptr);
        ovr_stream_finish(stream, &v);
        return v.bits;
    }
};

struct Hyperscan {
    hs_database_t* database = nullptr;
    hs_scratch_t* scratch = nullptr;
    uint64_t hits = 0;
    explicit Hyperscan(const char* path) {
        std::vector<std::string> lines;
        std::ifstream f(path);
        for (std::string line; std::getline(f, line);) lines.push_back(line);
        std::vector<const char*> expressions;
        std::vector<unsigned> flags, ids;
        for (const std::string& line : lines) {
            char* rest = nullptr;
            flags.push_back(unsigned(std::strtoul(line.c_str(), &rest, 10)));
            expressions.push_back(rest + 1);
            ids.push_back(unsigned(ids.size()));
        }
        hs_compile_error_t* error = nullptr;
        if (hs_compile_multi(expressions.data(), flags.data(), ids.data(), unsigned(ids.size()), HS_MODE_BLOCK, nullptr, &database, &error) ||
            hs_alloc_scratch(database, &scratch)) {
            std::fprintf(stderr, "bench: Hyperscan: %s\n", error ? error->message : "no scratch");
            std::exit(2);
        }
    }
    ~Hyperscan() {
        hs_free_scratch(scratch);
        hs_free_database(database);
    }
    static int hit(unsigned, unsigned long long, unsigned long long, unsigned, void* self) {
        static_cast<Hyperscan*>(self)->hits++;
        return 0;
    }
    void scan(const Body& b) { hs_scan(database, b.data, unsigned(b.size), 0, scratch, hit, this); }
};

// Seconds of the median of interleaved rounds, one figure a contender.
std::vector<double> race(const std::vector<std::function<void()>>& contenders, double (*clock)()) {
    std::vector<std::vector<double>> times(contenders.size());
    for (int round = -1; round < ROUNDS; round++)
        for (size_t i = 0; i < contenders.size(); i++) {
            const double start = clock();
            contenders[i]();
            if (round >= 0) times[i].push_back(clock() - start);  // the first warms up
        }
    std::vector<double> medians;
    for (auto& t : times) {
        std::sort(t.begin(), t.end());
        medians.push_back(t[t.size() / 2]);
    }
    return medians;
}

bool first_row = true;
void row(const char* name, double overread, double hyperscan, double memcpy_rate, double memchr_rate) {
    std::printf("%s\n  \"%s\": {\"overread\": %.4g, \"hyperscan\": %.4g, \"memcpy\": %.4g, \"memchr\": %.4g}", first_row ? "" : ",", name, overread, hyperscan,
                memcpy_rate, memchr_rate);
    first_row = false;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "bench TYPE PACK PATTERNS LEAK\n");
        return 2;
    }
    const std::string type = argv[1], pack = slurp(argv[2]), leak = slurp(argv[4]);
    std::vector<Body> files;
    size_t total = 0, largest = 0;
    for (size_t at = 0; at + 4 <= pack.size();) {
        uint32_t size;
        std::memcpy(&size, pack.data() + at, 4);
        files.push_back({pack.data() + at + 4, size});
        at += 4 + size;
        total += size;
        largest = std::max<size_t>(largest, size);
    }
    std::vector<Body> hot;
    for (const Body& f : files)
        if (f.size >= CHUNK && hot.size() < HOT_CHUNKS) hot.push_back({f.data, CHUNK});
    std::vector<std::string> leaking;
    for (const Body& f : files)
        if (f.size > 1024 && leaking.size() < 200) leaking.push_back(std::string(f.data, f.size) + leak);
    std::vector<Body> leaks;
    size_t leak_bytes = 0;
    for (const std::string& s : leaking) {
        leaks.push_back({s.data(), s.size()});
        leak_bytes += s.size();
    }
    Overread ours(type);
    Hyperscan theirs(argv[3]);
    std::vector<char> buffer(std::max(largest, leak.size() + largest) + 1);
    const volatile void* sink = nullptr;
    auto all = [&](const std::vector<Body>& bodies, size_t times, size_t chunk) {
        return race({[&] {
                         for (size_t k = 0; k < times; k++)
                             for (const Body& b : bodies) ours.scan(b, chunk);
                     },
                     [&] {
                         for (size_t k = 0; k < times; k++)
                             for (const Body& b : bodies) theirs.scan(b);
                     },
                     [&] {
                         for (size_t k = 0; k < times; k++)
                             for (const Body& b : bodies) {
                                 std::memcpy(buffer.data(), b.data, b.size);
                                 sink = buffer.data();
                             }
                     },
                     [&] {
                         for (size_t k = 0; k < times; k++)
                             for (const Body& b : bodies) sink = std::memchr(b.data, 1, b.size);
                     }},
                    now);
    };
    std::printf("{\n  \"hyperscan\": \"%s\", \"kernel\": \"%s\", \"files\": %zu, \"bytes\": %zu,", hs_version(), ovr_scanner_kernel(ours.scanner), files.size(),
                total);
    std::printf("\n  \"GB/s\": {");
    auto rates = [&](const char* name, const std::vector<Body>& bodies, size_t times, size_t chunk, double bytes) {
        if (bodies.empty()) return;
        const auto t = all(bodies, times, chunk);
        const double gb = bytes * double(times) / 1e9;
        row(name, gb / t[0], gb / t[1], gb / t[2], gb / t[3]);
    };
    rates("hot 16 KiB", hot, 100, CHUNK, double(hot.size() * CHUNK));
    rates("whole files", files, 1, SIZE_MAX / 2, double(total));
    rates("whole files, 4 KiB chunks", files, 1, SMALL, double(total));
    rates("files that leak", leaks, 1, SIZE_MAX / 2, double(leak_bytes));
    std::printf("\n  },\n  \"ns\": {");
    first_row = true;
    const Body tiny{files[0].data, std::min<size_t>(64, files[0].size)};
    constexpr int CALLS = 2000;
    const auto fixed = race({[&] {
                                 for (int i = 0; i < CALLS; i++) {
                                     ovr_stream* s = nullptr;
                                     ovr_error e;
                                     ovr_verdict v;
                                     ovr_stream_open(ours.scanner, &ours.response, &s, &e);
                                     ovr_stream_feed(s, tiny.data, tiny.size, nullptr);
                                     ovr_stream_finish(s, &v);
                                     ovr_stream_close(s);
                                 }
                             },
                             [&] {
                                 for (int i = 0; i < CALLS; i++) ours.scan(tiny, CHUNK);
                             },
                             [&] {
                                 for (int i = 0; i < CALLS; i++) theirs.scan(tiny);
                             }},
                            now);
    std::printf("\"open, 64 B, close\": %.0f, \"reset, 64 B, finish\": %.0f, \"hyperscan, 64 B\": %.0f},", fixed[0] / CALLS * 1e9, fixed[1] / CALLS * 1e9,
                fixed[2] / CALLS * 1e9);
    // Two threads, each over all files; wall clock, because two cores are what is asked about.
    const auto threads = race({[&] {
                                   for (const Body& b : files) ours.scan(b, SIZE_MAX / 2);
                               },
                               [&] {
                                   auto work = [&] {
                                       Overread own(type);
                                       for (const Body& b : files) own.scan(b, SIZE_MAX / 2);
                                   };
                                   std::thread other(work);
                                   work();
                                   other.join();
                               }},
                              wall);
    std::printf("\n  \"two threads over one\": %.2f,", 2 * threads[0] / threads[1]);
    // What the kernel hands over, and what its nibble tables alone would: places a KiB.
    std::string why;
    const ovr_bytes blob = ovr_ruleset_default_blob();
    const auto rules = overread::load_ruleset(blob.data, blob.size, why);
    auto every = rules->fingerprint;
    std::memset(every.windows, 0xff, sizeof every.windows);
    double candidates = 0, tables = 0;
    static overread::KernelOutput out;
    for (const Body& b : files)
        for (size_t at = 0; at < b.size; at += overread::TILE) {
            const auto* p = reinterpret_cast<const uint8_t*>(b.data) + at;
            const size_t n = std::min(overread::TILE, b.size - at);
            overread::kernel_default()->scan(rules->fingerprint, p, n, n, 0, out);
            candidates += out.candidate_count;
            overread::kernel_default()->scan(every, p, n, n, 0, out);
            tables += out.candidate_count;
        }
    std::printf("\n  \"candidates a KiB\": {\"tables\": %.2f, \"kernel\": %.2f},", tables * 1024 / double(total), candidates * 1024 / double(total));
    size_t found = 0;
    for (const Body& b : leaks) found += ours.scan(b, CHUNK) >= 14;
    theirs.hits = 0;
    for (const Body& b : files) theirs.scan(b);
    const uint64_t clean_hits = theirs.hits;
    theirs.hits = 0;
    size_t hyperscan_found = 0;
    for (const Body& b : leaks) {
        const uint64_t before = theirs.hits;
        theirs.scan(b);
        hyperscan_found += theirs.hits > before;
    }
    size_t alarms = 0;
    for (const Body& b : files) alarms += ours.scan(b, CHUNK) >= 22;
    std::printf(
        "\n  \"leaks\": {\"planted\": %zu, \"overread at 14 bits\": %zu, \"hyperscan, any hit\": %zu}, \"clean\": {\"overread at 22 bits\": %zu, \"hyperscan "
        "hits\": %llu}\n}\n",
        leaks.size(), found, hyperscan_found, alarms, static_cast<unsigned long long>(clean_hits));
    return sink == nullptr && argc == 0;
}
