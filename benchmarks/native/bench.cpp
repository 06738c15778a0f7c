// Speed of the C ABI beside Hyperscan, Vectorscan, memcpy and memchr on the same bytes, in one run. Prints one JSON object.
//
// bench TYPE PACK PATTERNS LEAK HYPERSCAN VECTORSCAN: PACK holds bodies of one type, LEAK is a piece of memory that is put
// behind each body for the row on bodies that leak, the last two are libraries.
#include <thread>

#include "expressions.h"
#include "kernel/kernel.h"
#include "ours.h"
#include "ruleset/ruleset.h"

using namespace bench;

namespace {

constexpr int ROUNDS = 15;
constexpr size_t CHUNK = 16384, HOT_CHUNKS = 8, SMALL = 4096;
constexpr size_t SPINS = 20000000;
constexpr size_t THREAD_BYTES = 64 << 20;  // beyond what caches hold

// Places a KiB: what the kernel's tables alone let through, and what it hands over.
std::pair<double, double> candidates(const std::vector<Body>& files) {
    uint64_t tables = 0, handed = 0;
    for (const Body& b : files) {
        uint64_t past_tables = 0, left = 0;
        ovr_ruleset_candidates(ovr_ruleset_default(), b.data, b.size, &past_tables, &left);
        tables += past_tables;
        handed += left;
    }
    const double kib = double(bytes_of(files)) / 1024;
    return {double(tables) / kib, double(handed) / kib};
}

// Cycles for 64 hot bytes in the kernel's parts. A cycle is what one of many additions takes of which each needs the one before.
struct Cycles {
    double tables, filter, binary, json;
};
Cycles cycles(const std::vector<Body>& hot) {
    std::string why;
    const ovr_bytes blob = ovr_ruleset_default_blob();
    const auto rules = overread::load_ruleset(blob.data, blob.size, why);
    const overread::FingerprintTable nothing{};
    const overread::Kernel& kernel = *overread::kernel_default();
    static overread::KernelOutput out;
    constexpr int TIMES = 50, ADDITIONS = 1000000;
    auto tiles = [&](auto each) {
        return [&hot, each] {
            for (int k = 0; k < TIMES; k++)
                for (const Body& b : hot)
                    for (size_t at = 0; at < b.size; at += overread::TILE)
                        each(reinterpret_cast<const uint8_t*>(b.data) + at, std::min(overread::TILE, b.size - at));
        };
    };
    constexpr uint8_t ALL = overread::WANT_CLASSES | overread::WANT_HIGH_WINDOWS;
    const auto t = race({tiles([&](const uint8_t* p, size_t n) { kernel.scan(nothing, p, n, n, ALL, out); }),
                         tiles([&](const uint8_t* p, size_t n) { kernel.scan(rules->fingerprint, p, n, n, ALL, out); }),
                         tiles([&](const uint8_t* p, size_t n) { kernel.scan(rules->fingerprint, p, n, n, 0, out); }),
                         [&] {
                             for (int k = 0; k < TIMES; k++)
                                 for (const Body& b : hot) {
                                     overread::JsonState state;
                                     state.depth = 1;
                                     kernel.json(reinterpret_cast<const uint8_t*>(b.data) + 1, b.size - 1, state);
                                 }
                         },
                         [] {
                             uint64_t x = 0;
                             for (int k = 0; k < ADDITIONS; k++) {
                                 x += 1;
                                 __asm__ volatile("" : "+r"(x));
                             }
                         }},
                        now, ROUNDS);
    const double of_64 = ADDITIONS / t[4] * 64 / (double(bytes_of(hot)) * TIMES);
    return {t[0] * of_64, t[1] * of_64, t[2] * of_64, t[3] * of_64};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 7) fail("usage: bench TYPE PACK PATTERNS LEAK HYPERSCAN VECTORSCAN");
    const std::string type = argv[1], pack = slurp(argv[2]), leak = slurp(argv[4]);
    const std::vector<Body> files = bodies_of(pack.data(), pack.size());
    const size_t total = bytes_of(files);
    std::vector<Body> hot, leaks;
    std::vector<std::string> leaking;
    for (const Body& f : files) {
        if (f.size >= CHUNK && hot.size() < HOT_CHUNKS) hot.push_back({f.data, CHUNK});
        if (f.size > 1024 && leaking.size() < 200) leaking.push_back(std::string(f.data, f.size) + leak);
    }
    size_t largest = 0;
    for (const Body& f : files) largest = std::max(largest, f.size);
    for (const std::string& s : leaking) leaks.push_back({s.data(), s.size()});
    Ours ours(type);
    Expressions hyperscan(argv[5], argv[3]), vectorscan(argv[6], argv[3]);
    std::vector<char> buffer(leak.size() + largest);
    const void* volatile sink = nullptr;
    std::printf("{\n  \"kernel\": \"%s\", \"files\": %zu, \"bytes\": %zu,\n  \"GB/s\": {", ovr_scanner_kernel(ours.scanner), files.size(), total);
    const char* comma = "";
    auto rates = [&](const char* name, const std::vector<Body>& bodies, size_t times, size_t chunk) {
        if (bodies.empty()) return;
        auto each = [&bodies, times](auto scan) {
            return [&bodies, times, scan] {
                for (size_t k = 0; k < times; k++)
                    for (const Body& b : bodies) scan(b);
            };
        };
        const auto t = race({each([&](const Body& b) { ours.scan(b, chunk); }), each([&](const Body& b) { hyperscan.scan(b); }),
                             each([&](const Body& b) { vectorscan.scan(b); }), each([&](const Body& b) {
                                 std::memcpy(buffer.data(), b.data, b.size);
                                 sink = buffer.data();
                             }),
                             each([&](const Body& b) { sink = std::memchr(b.data, 1, b.size); })},
                            now, ROUNDS);
        const double gb = double(bytes_of(bodies) * times) / 1e9;
        std::printf("%s\n    \"%s\": {\"overread\": %.4g, \"hyperscan\": %.4g, \"vectorscan\": %.4g, \"memcpy\": %.4g, \"memchr\": %.4g}", comma, name,
                    gb / t[0], gb / t[1], gb / t[2], gb / t[3], gb / t[4]);
        comma = ",";
    };
    rates("hot 16 KiB", hot, 100, CHUNK);
    rates("whole files", files, 1, SIZE_MAX / 2);
    rates("whole files, 4 KiB chunks", files, 1, SMALL);
    rates("files that leak", leaks, 1, SIZE_MAX / 2);
    const Body tiny{files[0].data, std::min<size_t>(64, files[0].size)};
    constexpr int CALLS = 2000;
    auto calls = [](auto scan) {
        return [scan] {
            for (int i = 0; i < CALLS; i++) scan();
        };
    };
    const auto fixed = race({calls([&] {
                                 ovr_stream* s = nullptr;
                                 ovr_error e;
                                 ovr_verdict v;
                                 ovr_stream_open(ours.scanner, &ours.response, &s, &e);
                                 ovr_stream_feed(s, tiny.data, tiny.size, nullptr);
                                 ovr_stream_finish(s, &v);
                                 ovr_stream_close(s);
                             }),
                             calls([&] { ours.scan(tiny, CHUNK); }), calls([&] { hyperscan.scan(tiny); }), calls([&] { vectorscan.scan(tiny); })},
                            now, ROUNDS);
    std::printf("\n  },\n  \"ns\": {\"open, 64 B, close\": %.0f, \"reset, 64 B, finish\": %.0f, \"hyperscan\": %.0f, \"vectorscan\": %.0f},",
                fixed[0] / CALLS * 1e9, fixed[1] / CALLS * 1e9, fixed[2] / CALLS * 1e9, fixed[3] / CALLS * 1e9);
    // Two threads that share a scanner, each over all files; wall clock, because two cores are what is asked about.
    const size_t repeats = (THREAD_BYTES + total - 1) / total;
    Ours second(ours);
    auto work = [&](Ours& own) {
        for (size_t k = 0; k < repeats; k++)
            for (const Body& b : files) own.scan(b, SIZE_MAX / 2);
    };
    // A loop in registers beside it says how much of a second core this machine has to give.
    auto spin = [] {
        volatile uint64_t kept = 0;
        uint64_t x = 1;
        for (size_t k = 0; k < SPINS; k++) x = x * 6364136223846793005u + 1;
        kept = x;
        (void)kept;
    };
    auto both = [](auto first, auto other) {
        std::thread thread(other);
        first();
        thread.join();
    };
    const std::vector<std::function<void()>> one_and_two = {[&] { work(ours); }, [&] { both([&] { work(ours); }, [&] { work(second); }); }, [&] { spin(); },
                                                            [&] { both(spin, spin); }};
    const auto threads = race(one_and_two, wall, ROUNDS), cpu = race(one_and_two, all_threads, ROUNDS);
    std::printf("\n  \"two threads\": {\"bytes of one\": %zu, \"over one\": %.3f, \"a loop\": %.3f, \"by CPU time\": %.3f},", total * repeats,
                2 * threads[0] / threads[1], 2 * threads[2] / threads[3], 4 * cpu[0] / cpu[1]);
    if (!hot.empty()) {
        const Cycles c = cycles(hot);
        std::printf("\n  \"cycles for 64 B\": {\"tables\": %.1f, \"with filter\": %.1f, \"binary\": %.1f", c.tables, c.filter, c.binary);
        if (type == "application/json") std::printf(", \"JSON nesting\": %.1f", c.json);
        std::printf("},");
    }
    const auto places = candidates(files);
    std::printf("\n  \"candidates a KiB\": {\"tables\": %.2f, \"kernel\": %.2f},", places.first, places.second);
    size_t found = 0, alarms = 0;
    for (const Body& b : leaks) found += ours.scan(b, CHUNK).bits >= 14;
    for (const Body& b : files) alarms += ours.scan(b, CHUNK).bits >= 22;
    std::printf("\n  \"planted\": %zu, \"clean\": %zu,\n  \"peers\": {\n    \"overread\": {\"found at 14 bits\": %zu, \"clean bodies at 22 bits\": %zu}",
                leaks.size(), files.size(), found, alarms);
    for (auto [name, peer] : {std::pair<const char*, Expressions*>{"hyperscan", &hyperscan}, {"vectorscan", &vectorscan}}) {
        size_t with_hit = 0, clean = 0;
        for (const Body& b : leaks) with_hit += !peer->found(b).empty();
        for (const Body& b : files) clean += !peer->found(b).empty();
        std::printf(",\n    \"%s\": {\"version\": \"%s\", \"database\": \"%s\", \"options\": \"HS_MODE_BLOCK, SINGLEMATCH, CASELESS where the rule is\", ",
                    name, peer->version.c_str(), peer->info().c_str());
        std::printf("\"expressions\": %zu, \"expressions in the leak\": %zu, \"bodies with a hit\": %zu, \"clean bodies with a hit\": %zu}", peer->count,
                    peer->found({leak.data(), leak.size()}).size(), with_hit, clean);
    }
    std::printf("\n  }\n}\n");
    return 0;
}
