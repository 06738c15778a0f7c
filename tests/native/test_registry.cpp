// The registry where processes share it: forks, segments, workers that are killed, what is in memory and in a core; and its parts against
// plain references.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "abi.h"
#include "check.h"
#include "guard_page.h"
#include "huffman_code.h"
#include "overread.h"
#include "registry/coded_text.h"
#include "registry/table.h"
#include "registry/token_runs.h"

namespace {

using namespace overread;

Suite suite;
constexpr uint64_t NOW = 1'700'000'000'000;
const std::string KEY = "0123456789abcdef";

std::string token(uint64_t seed, size_t size = 43) {
    static const char ABC[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::mt19937_64 rng(seed);
    std::string s;
    for (size_t i = 0; i < size; i++) s += ABC[rng() % 64];
    return s;
}

struct Options : ovr_registry_options {
    Options() : ovr_registry_options() {
        struct_size = sizeof(ovr_registry_options);
        memory = 1 << 20;
    }
};

ovr_registry* open_registry(const Options& options, std::string* why = nullptr) {
    ovr_registry* r = nullptr;
    ovr_error e{};
    const int status = ovr_registry_open(&options, &r, &e);
    if (why) *why = e.message;
    EXPECT(suite, (status == OVR_OK) == (r != nullptr));
    return r;
}

void issue(ovr_registry* registry, const std::string& owner, const std::string& session, uint64_t ms = NOW) {
    const std::string name = "Set-Cookie", field = "sid=" + session + "; HttpOnly; Path=/";
    const ovr_header h{bytes_of(name), bytes_of(field)};
    auto r = sized<ovr_response>();
    r.headers = &h;
    r.header_count = 1;
    r.owner = bytes_of(owner);
    r.unix_ms = ms;
    EXPECT(suite, ovr_registry_observe_response(registry, &r, {nullptr, 0}) == OVR_OK);
}

double bits_for(ovr_registry* registry, const std::string& owner, const std::string& text, uint64_t ms = NOW) {
    auto o = sized<ovr_scanner_options>();
    o.registry = registry;
    ovr_scanner* scanner = nullptr;
    EXPECT(suite, ovr_scanner_new(nullptr, &o, &scanner, nullptr) == OVR_OK);
    auto r = sized<ovr_response>();
    const std::string type = "text/html", body = "<p>words of a page " + text + " and more of them</p>";
    r.content_type = bytes_of(type);
    r.owner = bytes_of(owner);
    r.unix_ms = ms;
    ovr_stream* stream = nullptr;
    EXPECT(suite, ovr_stream_open(scanner, &r, &stream, nullptr) == OVR_OK);
    ovr_stream_feed(stream, body.data(), body.size(), nullptr);
    ovr_verdict v;
    ovr_stream_finish(stream, &v);
    ovr_stream_close(stream);
    ovr_scanner_free(scanner);
    return v.bits;
}

ovr_registry_state state_of(const ovr_registry* r) {
    auto s = sized<ovr_registry_state>();
    EXPECT(suite, ovr_registry_state_of(r, NOW, &s) == OVR_OK);
    return s;
}

std::string temporary(const char* name) { return "/dev/shm/overread-test-" + std::to_string(getpid()) + "-" + name; }

int wait_for(pid_t pid) {
    int status = 0;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadow is terabytes, and what is freed stays
// Everything of this process that could be read from a core or by another's over-read: its writable mappings.
std::string own_memory() {
    std::ifstream maps("/proc/self/maps");
    std::ifstream memory("/proc/self/mem", std::ios::binary);
    std::string out, line;
    while (std::getline(maps, line)) {
        unsigned long from, to;
        char rights[5];
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights) != 3 || rights[1] != 'w' || line.find("[stack]") != line.npos) continue;
        std::string piece(to - from, 0);
        memory.clear();
        memory.seekg(std::streamoff(from));
        if (memory.read(&piece[0], std::streamsize(piece.size()))) out += piece;
    }
    return out;
}
#endif

void forks() {
    suite.run("what one worker learns, those forked from the same process know", [] {
        ovr_registry* r = open_registry(Options());
        const pid_t child = fork();
        if (child == 0) {
            issue(r, "alice", token(1));
            _exit(suite.failed != 0);
        }
        EXPECT(suite, wait_for(child) == 0);
        EXPECT(suite, bits_for(r, "bob", token(1)) == 30);
        EXPECT(suite, bits_for(r, "alice", token(1)) == 0);
        ovr_registry_close(r);
    });
    suite.run("workers that are killed at any time leave a registry that works, and accuse nobody", [] {
        Options o;
        o.memory = 256 << 10;  // full: writers meet all the time
        ovr_registry* r = open_registry(o);
        std::mt19937_64 rng(7);
        for (int round = 0; round < 20; round++) {
            pid_t workers[4];
            for (int w = 0; w < 4; w++) {
                workers[w] = fork();
                if (workers[w]) continue;
                for (uint64_t i = 0;; i++) {
                    const std::string session = token(uint64_t(round) << 32 | uint64_t(w) << 24 | i % 4000);
                    issue(r, "owner" + std::to_string(w), session, NOW + i);
                    if (bits_for(r, "owner" + std::to_string(w), session) != 0) _exit(3);
                }
            }
            usleep(useconds_t(2000 + rng() % 20000));
            for (const pid_t w : workers) kill(w, SIGKILL);
            for (const pid_t w : workers) {
                const int status = wait_for(w);
                EXPECT_SEED(suite, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, uint64_t(round));
            }
            // A place that a killed writer holds is taken again; nobody waits.
            issue(r, "alice", token(uint64_t(round) + 1000), NOW + 5000);
            EXPECT_SEED(suite, bits_for(r, "alice", token(uint64_t(round) + 1000), NOW + 5000) == 0, uint64_t(round));
        }
        ovr_registry_close(r);
    });
    suite.run("threads that write and look up together never see another's value as theirs, nor theirs as another's", [] {
        Options o;
        o.memory = 128 << 10;
        ovr_registry* r = open_registry(o);
        std::vector<std::thread> threads;
        std::atomic<int> wrong{0};
        for (int t = 0; t < 4; t++)
            threads.emplace_back([&, t] {
                const std::string owner = "owner" + std::to_string(t);
                for (uint64_t i = 0; i < 3000; i++) {
                    const std::string session = token(uint64_t(t) << 32 | i % 700);
                    issue(r, owner, session, NOW + i);
                    wrong += bits_for(r, owner, session, NOW + i) != 0;
                }
            });
        for (std::thread& t : threads) t.join();
        EXPECT(suite, wrong == 0);
        ovr_registry_close(r);
    });
}

void segments() {
    suite.run("a segment is shared by processes with its key, and refused with another, or changed", [] {
        const std::string path = temporary("segment"), other = "fedcba9876543210";
        unlink(path.c_str());
        Options o;
        o.segment = path.c_str();
        o.key = bytes_of(KEY);
        ovr_registry* one = open_registry(o);
        struct stat s;
        EXPECT(suite, stat(path.c_str(), &s) == 0 && (s.st_mode & 0777) == 0600);
        issue(one, "alice", token(1));
        const pid_t child = fork();
        if (child == 0) {
            ovr_registry* again = open_registry(o);
            _exit(bits_for(again, "bob", token(1)) == 30 ? 0 : 1);
        }
        EXPECT(suite, wait_for(child) == 0);
        std::string why;
        Options foreign = o;
        foreign.key = bytes_of(other);
        EXPECT(suite, !open_registry(foreign, &why) && why.find("another key") != why.npos);
        Options larger = o;
        larger.memory = 2 << 20;
        EXPECT(suite, !open_registry(larger, &why) && why.find("bytes") != why.npos);
        Options longer = o;
        longer.life_ms = 60000;
        EXPECT(suite, !open_registry(longer, &why) && why.find("life") != why.npos);
        EXPECT(suite, chmod(path.c_str(), 0644) == 0);
        EXPECT(suite, !open_registry(o, &why) && why.find("0600") != why.npos);
        EXPECT(suite, chmod(path.c_str(), 0600) == 0);
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.put('x');
        file.close();
        EXPECT(suite, !open_registry(o, &why) && why.find("version") != why.npos);
        unlink(path.c_str());
        EXPECT(suite, symlink("/etc/passwd", path.c_str()) == 0);
        EXPECT(suite, !open_registry(o, &why));
        unlink(path.c_str());
        ovr_registry_close(one);
    });
    suite.run("whatever stands in a segment's table, looking up and writing go on", [] {
        const std::string path = temporary("noise");
        for (uint64_t seed = 0; seed < 40; seed++) {
            unlink(path.c_str());
            Options o;
            o.memory = 64 << 10;
            o.segment = path.c_str();
            o.key = bytes_of(KEY);
            ovr_registry* r = open_registry(o);
            const int fd = open(path.c_str(), O_RDWR);
            std::mt19937_64 rng(seed);
            std::vector<uint64_t> noise(1 << 12);
            for (uint64_t& w : noise) w = seed % 2 ? rng() : rng() & 0xffff;
            for (size_t at = 512; at + noise.size() * 8 <= 60 << 10; at += noise.size() * 8)
                EXPECT_SEED(suite, pwrite(fd, noise.data(), noise.size() * 8, off_t(at)) == ssize_t(noise.size() * 8), seed);
            close(fd);
            for (uint64_t i = 0; i < 200; i++) issue(r, "alice", token(i), NOW + i);
            EXPECT_SEED(suite, bits_for(r, "alice", token(199)) == 0, seed);
            std::vector<uint8_t> records(1 << 16);
            size_t size = 1;
            for (int i = 0; i < 100 && size; i++) EXPECT_SEED(suite, ovr_registry_export(r, NOW, records.data(), records.size(), &size) == OVR_OK, seed);
            for (uint8_t& b : records) b = uint8_t(rng());
            EXPECT_SEED(suite, ovr_registry_import(r, records.data(), OVR_REGISTRY_RECORD * 500, NOW) == OVR_OK, seed);
            EXPECT_SEED(suite, ovr_registry_import(r, records.data(), 25, NOW) == OVR_E_ARGUMENT, seed);
            ovr_registry_close(r);
        }
        unlink(path.c_str());
    });
}

void privacy() {
    suite.run("neither the segment nor what a core would hold has a value, a plain part of it, or the key", [] {
        const std::string path = temporary("privacy");
        unlink(path.c_str());
        // The planted values come from another process, so that this one never had them but through the registry's calls.
        int ends[2];
        EXPECT(suite, pipe(ends) == 0);
        const pid_t child = fork();
        if (child == 0) {
            Options o;
            o.segment = path.c_str();
            o.key = bytes_of(KEY);
            ovr_registry* r = open_registry(o);
            for (uint64_t i = 0; i < 500; i++) {
                std::string session = token(i);
                issue(r, "owner" + std::to_string(i), session);
                std::fill(session.begin(), session.end(), 'x');
            }
            char c;
            _exit(read(ends[0], &c, 1) == 1 ? 0 : 1);
        }
        for (int tries = 0; tries < 500; tries++) {
            usleep(10000);
            std::ifstream f(path, std::ios::binary | std::ios::ate);
            if (f && f.tellg() > 0 && tries > 20) break;
        }
        std::ifstream file(path, std::ios::binary);
        std::stringstream content;
        content << file.rdbuf();
        const std::string segment = content.str();
        size_t found = 0, planted = 0;
        for (uint64_t i = 0; i < 500; i++) {
            const std::string session = token(i);
            planted++;
            for (size_t at = 0; at + 12 <= session.size(); at++) found += segment.find(session.substr(at, 12)) != segment.npos;
        }
        EXPECT(suite, planted == 500 && found == 0 && segment.size() > 1000);
        EXPECT(suite, segment.find(KEY) == segment.npos);
        EXPECT(suite, write(ends[1], "x", 1) == 1);
        EXPECT(suite, wait_for(child) == 0);
        unlink(path.c_str());
    });
    suite.run("the key lies in a page that no core has, and is wiped when the registry is closed", [] {
        std::ifstream before("/proc/self/smaps");
        auto left_out = [](std::ifstream& smaps) {
            size_t pages = 0;
            std::string line;
            while (std::getline(smaps, line)) pages += line.rfind("VmFlags:", 0) == 0 && line.find(" dd") != line.npos;
            return pages;
        };
        const size_t had = left_out(before);
        ovr_registry* r = open_registry(Options());
        std::ifstream after("/proc/self/smaps");
        EXPECT(suite, left_out(after) >= had + 2);  // the key's page and the table
        ovr_registry_close(r);
    });
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    suite.run("after it was observed a value is nowhere in the process", [] {
        Options o;
        ovr_registry* r = open_registry(o);
        const uint64_t seed = 987654321;
        const std::string owner = "alice";
        {
            std::string session = token(seed);
            issue(r, owner, session);
            std::fill(session.begin(), session.end(), 'x');
        }
        std::string memory = own_memory();
        // The value is made again only now, in parts and inverted, so that the search does not find itself.
        std::string part = token(seed).substr(10, 12);
        size_t found = 0;
        for (size_t at = memory.find(part); at != memory.npos; at = memory.find(part, at + 1)) found++;
        EXPECT(suite, memory.size() > 1 << 20);
        EXPECT(suite, found <= 1);  // what issue() built its field in, which the allocator keeps
        ovr_registry_close(r);
    });
#endif
}

// Every window that is dense in a text, by the definition, and the least of each 32.
void parts() {
    suite.run("a place that is being written is another's after a minute only, for clocks differ", [] {
        alignas(overread::Bucket) static uint8_t memory[2 * overread::BUCKET_MEMORY];
        auto* const buckets = reinterpret_cast<overread::Bucket*>(memory);
        for (int b = 0; b < 2; b++)
            for (auto& e : buckets[b].rest) e.meta = overread::Meta{overread::FLAG_ISSUED | overread::FLAG_PRESENTED, 1000, 1000}.word();
        buckets[1].rest[7].meta = overread::Meta{overread::FLAG_BUSY, 1000, 1000}.word();
        overread::Table table;
        table.take(buckets, 2, 900);
        const auto taken = [&](uint32_t now) {
            int n = 0;
            for (uint64_t i = 0; i < 16; i++) n += table.insert({i << 60, 1}, 1, {overread::FLAG_ISSUED, now, now});
            return n;
        };
        EXPECT(suite, taken(1003) == 0);
        EXPECT(suite, taken(1061) == 1);
    });
    suite.run("what is issued takes the place of the oldest that was issued and never sent, and of nothing else", [] {
        alignas(overread::Bucket) static uint8_t memory[2 * overread::BUCKET_MEMORY];
        auto* const buckets = reinterpret_cast<overread::Bucket*>(memory);
        for (const uint16_t stays : {overread::FLAG_PRESENTED, overread::FLAG_SHARED, overread::FLAG_BURNT, overread::FLAG_PLANTED, overread::FLAG_PLACE})
            for (const uint16_t newcomer : {overread::FLAG_ISSUED, overread::FLAG_PRESENTED, overread::FLAG_PROBATION}) {
                const uint16_t in_use = overread::FLAG_ISSUED | stays;
                for (int b = 0; b < 2; b++)
                    for (auto& e : buckets[b].rest) e.meta = overread::Meta{in_use, 1000, 1000}.word();
                // Two are in the part that a client's values may have as well.
                buckets[0].rest[1].meta = overread::Meta{overread::FLAG_ISSUED, 1000, 1020}.word();
                buckets[1].rest[2].meta = overread::Meta{overread::FLAG_ISSUED | overread::FLAG_OWNER, 3, 1010}.word();
                buckets[1].rest[6].meta = overread::Meta{overread::FLAG_ISSUED | overread::FLAG_EXPOSED, 1000, 1030}.word();
                overread::Table table;
                table.take(buckets, 2, 900);
                const auto seen = [&](int b, int i) { return overread::Meta::of(buckets[b].rest[i].meta).seen; };
                int taken = 0;
                for (uint64_t i = 0; i < 8; i++) taken += table.insert({i << 60, 1}, 1, {newcomer, 1030, 1030});
                // In their own second none goes.
                const int wanted = newcomer == overread::FLAG_ISSUED ? 2 : 0;
                EXPECT_SEED(suite, taken == wanted && seen(1, 6) == 1030, stays);
                EXPECT_SEED(suite, (seen(0, 1) == 1030) == (wanted > 0) && (seen(1, 2) == 1030) == (wanted > 0), stays);
                // The oldest first.
                buckets[0].rest[1].meta = overread::Meta{overread::FLAG_ISSUED, 1000, 1020}.word();
                buckets[1].rest[2].meta = overread::Meta{overread::FLAG_ISSUED, 1000, 1010}.word();
                EXPECT_SEED(suite, table.insert({uint64_t(9) << 60, 1}, 1, {newcomer, 1030, 1030}) == (wanted > 0), stays);
                EXPECT_SEED(suite, seen(0, 1) == 1020 && seen(1, 2) == (wanted ? 1030u : 1010u), stays);
            }
    });
    suite.run("chosen windows are the least of each 32 after each other, and any 47 bytes hold one", [] {
        const overread::SecretKey key(reinterpret_cast<const uint8_t*>(KEY.data()));
        for (uint64_t seed = 0; seed < 2000; seed++) {
            std::mt19937_64 rng(seed);
            std::string text = token(seed, 16 + rng() % 241);
            if (seed % 3 == 0)
                for (char& c : text) c = "0123456789abcdef"[uint8_t(c) % 16];
            // Stretches of too few different characters, and periods: windows that are alike are equally great.
            if (seed % 5 == 0)
                for (size_t i = 0; i < text.size(); i++) text[i] = i / 40 % 2 ? "a1B2c3"[uint8_t(text[i]) % 6] : "a1B2c3D4e5F6"[i % 12];
            overread::Block block(*key, reinterpret_cast<const uint8_t*>(text.data()), text.size());
            const overread::Block untouched = block;
            std::set<size_t> chosen, expected;
            block.choose([&](size_t i) { chosen.insert(i); });
            for (size_t i = 0; i < block.windows(); i++) {
                EXPECT_SEED(suite, block.secret(i) == untouched.secret(i), seed);
                EXPECT_SEED(suite, block.secret(i) == overread::is_secret_window(reinterpret_cast<const uint8_t*>(text.data()) + i), seed);
            }
            const size_t span = std::min(overread::CHOSEN_OF, block.windows());
            for (size_t from = 0; from + span <= block.windows(); from++) {
                size_t least = SIZE_MAX;
                for (size_t i = from; i < from + span; i++)
                    if (untouched.secret(i) && (least == SIZE_MAX || untouched.order(i) <= untouched.order(least))) least = i;
                if (least != SIZE_MAX) expected.insert(least);
            }
            EXPECT_SEED(suite, chosen == expected, seed);
        }
    });
    suite.run("runs and escapes are the same however a text is split", [] {
        const overread::Kernel* kernel = overread::kernel_at(0);
        static const char* const PIECES[] = {"aB3xY9",  "%2B",     "%2",  "%zz",  "&#43;", "&#x2F;", "&#4",      "&amp;", "\\/",
                                             "\\u002b", "\\u00e9", "\\n", "\\\\", " ",     "=",      "zQ81kLm7", "."};
        for (uint64_t seed = 0; seed < 4000; seed++) {
            std::mt19937_64 rng(seed);
            std::string text;
            const size_t pieces = 1 + rng() % 200;
            for (size_t i = 0; i < pieces; i++) text += PIECES[rng() % (sizeof PIECES / sizeof *PIECES - (seed % 2 ? 4 : 0))];
            const auto read = [&](size_t step) {
                std::vector<std::string> out;
                overread::TokenRuns runs;
                runs.reset();
                const auto sink = [&](const overread::RunBlock& b) {
                    // Only what has a dense window counts: other runs may be left out.
                    const std::string run(reinterpret_cast<const char*>(b.text), b.size);
                    bool dense = false;
                    for (size_t from = 0; from + overread::SECRET_WINDOW <= run.size(); from++) {
                        uint32_t pairs = 0;
                        for (size_t i = from + 1; i < from + overread::SECRET_WINDOW; i++)
                            pairs += overread::is_odd_pair(overread::char_kind(uint8_t(run[i - 1])), overread::char_kind(uint8_t(run[i])));
                        dense |= pairs >= overread::MIN_ODD_PAIRS;
                    }
                    if (!dense) return;
                    out.push_back(run + "@" + std::to_string(b.at(0)) + "-" + std::to_string(b.at(b.size)) + (b.first ? "f" : "") + (b.last ? "l" : ""));
                };
                for (size_t at = 0; at < text.size();) {
                    const size_t n = std::min(text.size() - at, step ? step : 1 + size_t(rng() % 40));
                    runs.feed(*kernel, reinterpret_cast<const uint8_t*>(text.data()) + at, n, at, sink);
                    at += n;
                }
                runs.finish(text.size(), sink);
                return out;
            };
            const auto whole = read(text.size());
            EXPECT_SEED(suite, read(1) == whole, seed);
            EXPECT_SEED(suite, read(0) == whole, seed);
        }
    });
    suite.run("poison is written where it is asked for, and nowhere else", [] {
        const auto* key = reinterpret_cast<const uint8_t*>(KEY.data());
        for (size_t size = 0; size < 70; size++) {
            std::vector<uint8_t> buffer(128, 7);
            ovr_poison(buffer.data() + 16, size, key);
            for (size_t i = 0; i < 128; i++) EXPECT_SEED(suite, (i < 16 || i >= 16 + size) == (buffer[i] == 7), size);
        }
        ovr_poison(nullptr, 10, key);
    });
}

// A string that is whole, read by the table.
std::string decoded(const std::string& coded, bool* whole) {
    GuardPage page(coded.size());
    const uint8_t* const data = page.at_end(reinterpret_cast<const uint8_t*>(coded.data()), coded.size());
    std::string out;
    uint8_t state = 0;
    for (size_t i = 0; i < coded.size(); i++) {
        for (const int nibble : {data[i] >> 4, data[i] & 15}) {
            const HuffmanStep& step = HUFFMAN.step[state][nibble];
            state = step.state;
            if (step.count) out += char(step.symbol);
        }
    }
    *whole = HUFFMAN.padding[state];
    return out;
}

std::string unhex(const std::string& hex) {
    std::string out;
    for (size_t i = 0; i < hex.size(); i += 2) out += char(std::stoi(hex.substr(i, 2), nullptr, 16));
    return out;
}

// What would be looked up of a body that stands coded: where each window stands, and what it is.
std::set<std::string> windows_in(const std::string& body, std::mt19937_64* rng) {
    const Kernel& kernel = *kernel_default();
    RegistryKeys keys{};
    std::memcpy(keys.order, "0123456789abcdef", 16);
    std::set<std::string> out;
    const auto add = [&](const uint8_t* window, uint64_t from, uint64_t end, uint64_t to) {
        out.insert(std::to_string(from) + " " + std::to_string(end) + " " + std::to_string(to) + " " +
                   std::string(reinterpret_cast<const char*>(window), SECRET_WINDOW));
    };
    const auto look = [&](const RunBlock& b) {
        Block block(keys, b.text, b.size);
        windows_to_look_up(b, block, [&](size_t i) { add(b.text + i, b.at(0), b.at(i + SECRET_WINDOW), b.at(b.size)); });
    };
    const auto edge = [&](const CodedWindow& w) {
        if (Block(keys, w.text, SECRET_WINDOW).secret(0)) add(w.text, w.from, w.end, w.to);
    };
    CodedText text;
    text.begin(0);
    for (size_t at = 0, n; at < body.size(); at += n) {
        n = std::min<size_t>(body.size() - at, rng ? 1 + (*rng)() % 700 : body.size());
        GuardPage page(n);
        text.feed(kernel, page.at_end(reinterpret_cast<const uint8_t*>(body.data()) + at, n), n, look, edge);
    }
    text.end(look, edge);
    return out;
}

void coded() {
    suite.run("the examples of RFC 7541, C.4 and C.6, are read", [] {
        const struct {
            const char *text, *hex;
        } examples[] = {{"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"},
                        {"no-cache", "a8eb10649cbf"},
                        {"custom-key", "25a849e95ba97d7f"},
                        {"custom-value", "25a849e95bb8e8b4bf"},
                        {"302", "6402"},
                        {"private", "aec3771a4b"},
                        {"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"},
                        {"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"},
                        {"307", "640eff"},
                        {"Mon, 21 Oct 2013 20:13:22 GMT", "d07abe941054d444a8200595040b8166e084a62d1bff"},
                        {"gzip", "9bd9ab"},
                        {"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                         "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"}};
        for (const auto& e : examples) {
            bool whole = false;
            EXPECT(suite, decoded(unhex(e.hex), &whole) == e.text && whole);
            EXPECT(suite, huffman_coded(e.text) == unhex(e.hex));
        }
    });

    suite.run("every character is read, at every bit, and none is made up of what ends in the middle of one", [] {
        std::mt19937_64 rng(1);
        for (int c = 0; c < 256; c++) {
            for (int before = 0; before < 8; before++) {
                // Five bits each: every place in a byte.
                const std::string text = std::string(size_t(before), 'a') + char(c), coded = huffman_coded(text);
                bool whole = false;
                EXPECT_SEED(suite, decoded(coded, &whole) == text && whole, uint64_t(c));
                if (HUFFMAN_CODE[c].length <= 8) continue;
                decoded(coded.substr(0, coded.size() - 1), &whole);
                EXPECT_SEED(suite, !whole || decoded(coded.substr(0, coded.size() - 1), &whole) != text, uint64_t(c));
            }
        }
        bool whole = true;
        decoded("\xff", &whole);  // eight ones are no padding
        EXPECT(suite, !whole);
        decoded(std::string(1, '\0'), &whole);  // "0" and three zeros
        EXPECT(suite, !whole);
        for (int i = 0; i < 2000; i++) {
            std::string text;
            for (size_t n = rng() % 60; n; n--) text += char(rng());
            EXPECT_SEED(suite, decoded(huffman_coded(text), &whole) == text && whole, uint64_t(i));
        }
    });

    suite.run("decoding at a wrong bit falls into step: half of the values after 10 characters, 99 of 100 after 50", [] {
        for (const char* abc : {"0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"}) {
            std::mt19937_64 rng(7);
            std::vector<size_t> lost;
            for (int i = 0; i < 2000; i++) {
                std::string value;
                for (int k = 0; k < 160; k++) value += abc[rng() % std::strlen(abc)];
                // Bytes of a page before it, so that the decoder comes at whatever bit chance has.
                std::string before;
                for (int k = 0; k < 20; k++) before += char('a' + rng() % 26);
                bool whole;
                const std::string text = decoded(before + huffman_coded(value), &whole);
                size_t same = 0;
                while (same < value.size() && same < text.size() && text[text.size() - 1 - same] == value[value.size() - 1 - same]) same++;
                lost.push_back(value.size() - same);
            }
            std::sort(lost.begin(), lost.end());
            EXPECT(suite, lost[1000] <= 10 && lost[1980] <= 50);
        }
    });

    suite.run("raw stretches are the bytes near control bytes, however a body comes", [] {
        for (uint64_t seed = 0; seed < 300; seed++) {
            std::mt19937_64 rng(seed);
            std::string body(1 + rng() % 40000, 'x');
            for (auto& c : body) c = char('a' + rng() % 26);
            for (size_t n = rng() % 30; n; n--) body[rng() % body.size()] = '\1';
            if (seed % 3 == 0)
                for (size_t i = 0, at = rng() % body.size(); i < 5000 && at < body.size(); i++) body[at++] = '\0';
            std::set<size_t> want, got;
            uint64_t until = 0;
            for (size_t i = 0; i < body.size(); i++) {
                if (uint8_t(body[i]) >= 0x20) continue;
                const size_t from = i > until + RawStretches::LEAD ? i - RawStretches::LEAD : until, to = i + 1 + RawStretches::HOLD;
                for (size_t k = from; k < std::min(to, body.size()); k++) want.insert(k);
                until = to;
            }
            while (want.size() > RawStretches::MOST) want.erase(std::prev(want.end()));
            RawStretches stretches;
            stretches.reset(0);
            uint64_t last = 0;
            for (size_t at = 0, n; at < body.size(); at += n) {
                n = std::min<size_t>(body.size() - at, std::min<size_t>(TILE, 1 + rng() % 9000));
                const std::string lead = body.substr(at - std::min<size_t>(at, RawStretches::LEAD), std::min<size_t>(at, RawStretches::LEAD));
                GuardPage page(n), before(lead.size());
                const uint8_t* data = page.at_end(reinterpret_cast<const uint8_t*>(body.data()) + at, n);
                const uint8_t* lead_begin = before.at_start(reinterpret_cast<const uint8_t*>(lead.data()), lead.size());
                std::vector<ClassUnit> units;
                for (size_t unit = 0; unit * UNIT < n; unit++) {
                    ClassUnit u{uint32_t(unit), 0, 0};
                    for (size_t i = unit * UNIT; i < std::min(n, (unit + 1) * UNIT); i++) u.control |= uint64_t(data[i] < 0x20) << i % UNIT;
                    if (u.control || rng() % 4 == 0) units.push_back(u);
                }
                if (!stretches.wants(at, units.data(), uint32_t(units.size()))) continue;
                stretches.feed(data, n, at, lead_begin + lead.size(), units.data(), uint32_t(units.size()),
                               [&](const uint8_t* p, size_t size, uint64_t from, bool fresh) {
                                   EXPECT_SEED(suite, std::memcmp(p, body.data() + from, size) == 0, seed);
                                   EXPECT_SEED(suite, got.empty() || fresh == (from != last) || (fresh && from == 0), seed);
                                   for (size_t k = 0; k < size; k++) EXPECT_SEED(suite, got.insert(from + k).second, seed);
                                   last = from + size;
                               });
            }
            EXPECT_SEED(suite, got == want, seed);
        }
    });

    suite.run("coded text is the same however it comes, and whole strings' values are read from their first character to their last", [] {
        size_t missed = 0, values = 0;
        for (uint64_t seed = 0; seed < 200; seed++) {
            std::mt19937_64 rng(seed);
            std::string body;
            std::vector<std::string> wanted;
            for (int i = 0; i < 12; i++) {
                for (size_t n = rng() % 400; n; n--) body += char(rng() % (seed % 2 ? 256 : 64));
                const std::string value = token(seed * 100 + uint64_t(i), 43), text = huffman_coded("sid=" + value);
                body += "\x60";
                body += char(0x80 | text.size());
                const size_t first = body.size() + (5 + 6 + 6 + 6) / 8;  // behind the bits of "sid="
                body += text;
                // " ": it tells no secret.
                const auto tells = [&](size_t at) {
                    return Block(RegistryKeys{}, reinterpret_cast<const uint8_t*>(value.data()) + at, SECRET_WINDOW).secret(0);
                };
                wanted.push_back(tells(0) ? std::to_string(first) + " " : " ");
                wanted.push_back(tells(27) ? " " + std::to_string(body.size()) + " " + std::to_string(body.size()) + " " + value.substr(27) : " ");
            }
            const std::set<std::string> whole = windows_in(body, nullptr), split = windows_in(body, &rng);
            EXPECT_SEED(suite, whole == split, seed);
            for (size_t i = 0; i < wanted.size(); i++) {
                if (wanted[i] == " ") continue;
                values++;
                missed += std::none_of(whole.begin(), whole.end(), [&](const std::string& w) {
                    return i % 2 ? w.size() > wanted[i].size() && w.compare(w.size() - wanted[i].size(), wanted[i].size(), wanted[i]) == 0
                                 : w.compare(0, wanted[i].size(), wanted[i]) == 0 && w.substr(w.size() - 16) == token(seed * 100 + i / 2, 43).substr(0, 16);
                });
            }
        }
        EXPECT(suite, values > 4000 && missed == 0);
    });
}

void arguments() {
    suite.run("what cannot be used is refused with a reason", [] {
        std::string why;
        Options o;
        o.memory = 100;
        EXPECT(suite, !open_registry(o, &why) && why.find("memory") != why.npos);
        o = Options();
        o.life_ms = 10;
        EXPECT(suite, !open_registry(o, &why) && why.find("life_ms") != why.npos);
        o = Options();
        o.key = {reinterpret_cast<const uint8_t*>("abc"), 3};
        EXPECT(suite, !open_registry(o, &why) && why.find("16 bytes") != why.npos);
        o = Options();
        o.name_count = 1;
        EXPECT(suite, !open_registry(o, &why) && why.find("names") != why.npos);
        ovr_registry* r = open_registry(Options());
        auto q = sized<ovr_request>();
        EXPECT(suite, ovr_registry_observe_request(r, {nullptr, 0}, &q, 0) == OVR_E_ARGUMENT);
        EXPECT(suite, ovr_registry_observe_request(r, {nullptr, 3}, &q, NOW) == OVR_E_ARGUMENT);
        EXPECT(suite, ovr_registry_observe_request(nullptr, {nullptr, 0}, &q, NOW) == OVR_E_ARGUMENT);
        EXPECT(suite, ovr_registry_plant(r, "password", 8, NOW) == OVR_E_ARGUMENT);
        EXPECT(suite, state_of(r).stored == 0);
        ovr_registry_close(r);
        ovr_registry_close(nullptr);
    });
}

}  // namespace

int main() {
    parts();
    coded();
    forks();
    segments();
    privacy();
    arguments();
    return suite.close();
}
