// Every kernel equals the scalar reference, and none touches a byte outside its input.
// Usage: test_kernels [--short] [KERNEL...]: a smaller grid, for emulators; the named kernels instead of all this CPU can run.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "check.h"
#include "examples.h"
#include "guard_page.h"
#include "kernel/kernel.h"
#include "overread.h"
#include "ruleset/ruleset.h"

using namespace overread;

namespace {

bool same(const KernelOutput& a, const KernelOutput& b) {
    if (a.candidate_count != b.candidate_count || a.class_units != b.class_units) return false;
    if (std::memcmp(a.candidates, b.candidates, a.candidate_count * sizeof a.candidates[0]) != 0) return false;
    for (uint32_t i = 0; i < a.class_units; i++)
        if (a.classes[i].unit != b.classes[i].unit || a.classes[i].control != b.classes[i].control || a.classes[i].high != b.classes[i].high) return false;
    return true;
}

// From inside and outside a string, shallow and deep, with the first byte escaped or not.
bool same_json(const Kernel& kernel, const uint8_t* p, size_t n) {
    for (const uint32_t depth : {1u, 3u, 100u})
        for (const uint64_t in_string : {uint64_t(0), ~uint64_t(0)})
            for (const uint64_t escaped : {0, 1}) {
                JsonState a{in_string, escaped, depth, JsonState::none}, b = a;
                const size_t read = kernel.json(p, n, a);
                if (read != json_scalar(p, n, b) || a.event != b.event) return false;
                // Behind an event nothing is read on.
                if (!a.event && (a.in_string != b.in_string || a.escaped != b.escaped || a.depth != b.depth)) return false;
            }
    return true;
}

const char* const PIECES[] = {"Cookie", "ookie:", "\r\nauthorization",       " HTTP/1.", "eyJ", "AKIA", "</html>", "bearer ", "session=", "{\"a\\\\\":[",
                              "]}",     "\\\\\\", "\xef\xbf\xbd\xef\xbf\xbd"};

// Text rich in anchors' pieces, control and, in half of it, high bytes: random bytes alone would hit few buckets.
std::vector<uint8_t> adversarial(std::mt19937_64& rng, size_t n) {
    std::vector<uint8_t> v;
    const uint8_t random_bits = rng() % 2 ? 0xff : 0x7f;
    while (v.size() < n) {
        const uint64_t r = rng();
        if (r % 4 == 0) {
            const char* p = PIECES[(r >> 8) % (sizeof PIECES / sizeof *PIECES)];
            v.insert(v.end(), p, p + std::strlen(p));
        } else if (r % 4 == 1) {
            v.push_back(uint8_t(r >> 16) & random_bits);
        } else {
            v.push_back(uint8_t('a' + (r >> 16) % 26));
        }
    }
    v.resize(n);
    return v;
}

}  // namespace

int main(int argc, char** argv) {
    Suite suite;
    std::string why;
    const ovr_bytes blob = ovr_ruleset_default_blob();
    const auto own = load_ruleset(blob.data, blob.size, why);
    // The second lets every window pass the filter, which would hide what the tables before it let through.
    FingerprintTable tables[2] = {own->fingerprint, own->fingerprint};
    std::memset(tables[1].windows, 0xff, sizeof tables[1].windows);
    auto a = std::make_unique<KernelOutput>(), b = std::make_unique<KernelOutput>();
    GuardPage guard(TILE + 64);
    const bool brief = argc > 1 && std::strcmp(argv[1], "--short") == 0;
    std::vector<const Kernel*> kernels;
    for (int i = brief ? 2 : 1; i < argc; i++) {
        kernels.push_back(kernel_named(argv[i]));
        if (!kernels.back()) {
            std::printf("kernel %s cannot run here\n", argv[i]);
            return 1;
        }
    }
    for (size_t k = 0; argc == (brief ? 2 : 1) && kernel_at(k); k++) kernels.push_back(kernel_at(k));
    std::vector<size_t> lengths;
    for (size_t n = 0; n <= (brief ? 130 : 300); n++) lengths.push_back(n);
    for (size_t n = 4090; n <= 4102; n++) lengths.push_back(n);  // where the last unit begins to be a whole one
    const char* grid = brief ? ": lengths 0-130 and about 4096 at 16 alignments, guard pages on both sides"
                             : ": every length 0-300 at every alignment and about 4096, guard pages on both sides";
    for (const Kernel* each : kernels) {
        const Kernel& kernel = *each;
        suite.run((std::string(kernel.name) + grid).c_str(), [&] {
            std::mt19937_64 rng(20170218);
            for (const size_t n : lengths)
                for (size_t align = brief ? n % 4 : 0; align < 64; align += brief ? 4 : n < 140 ? 1 : 9) {
                    const std::vector<uint8_t> text = adversarial(rng, n + align);
                    const uint8_t wanted = uint8_t((n + align) % 4);
                    // Ends at the unreadable page; its start takes every alignment as n runs.
                    const uint8_t* p = guard.at_end(text.data(), n);
                    kernel.scan(tables[0], p, n, n, wanted, *a);
                    scan_scalar(tables[0], p, n, n, wanted, *b);
                    EXPECT_SEED(suite, same(*a, *b) && same_json(kernel, p, n), n * 64 + align);
                    p = guard.at_start(text.data(), n + align) + align;
                    kernel.scan(tables[1], p, n, n, wanted, *a);
                    scan_scalar(tables[1], p, n, n, wanted, *b);
                    EXPECT_SEED(suite, same(*a, *b) && same_json(kernel, p, n), n * 64 + align);
                }
        });
        suite.run((std::string(kernel.name) + ": one high byte in ASCII text, in a window or beside it, at every place of two units").c_str(), [&] {
            for (const char* piece : PIECES)
                for (size_t at = 0; at < 2 * UNIT; at++)
                    for (size_t high = 0; high <= WINDOW; high++) {
                        std::vector<uint8_t> text(3 * UNIT, 'x');
                        std::memcpy(text.data() + at, piece, std::strlen(piece));
                        text[at + high] |= 0x80;
                        const uint8_t* p = guard.at_end(text.data(), text.size());
                        kernel.scan(tables[1], p, text.size(), text.size(), WANT_CLASSES | WANT_HIGH_WINDOWS, *a);
                        scan_scalar(tables[1], p, text.size(), text.size(), WANT_CLASSES | WANT_HIGH_WINDOWS, *b);
                        EXPECT_SEED(suite, same(*a, *b), at * 8 + high);
                    }
        });
        suite.run((std::string(kernel.name) + ": JSON of brackets, quotes and backslashes").c_str(), [&] {
            for (uint64_t seed = 0; seed < (brief ? 2000 : 20000); seed++) {
                std::mt19937_64 rng(seed);
                const size_t n = rng() % 260;
                std::vector<uint8_t> text(n);
                for (uint8_t& c : text) c = uint8_t("{}[]\"\\\\\\aa,:\n "[rng() % (seed % 2 ? 14 : 12)]);
                EXPECT_SEED(suite, same_json(kernel, guard.at_end(text.data(), n), n), seed);
            }
        });
        suite.run((std::string(kernel.name) + ": sequences of four high bytes' kinds are UTF-8 or not").c_str(), [&] {
            static const uint8_t KINDS[] = {'a',  0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0,
                                            0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
            const size_t kinds = sizeof KINDS;
            std::vector<uint8_t> text(UNIT + 3, 'x');
            for (size_t i = 0; i < kinds * kinds * kinds * kinds; i += brief ? 11 : 1)
                for (const size_t at : {size_t(0), size_t(30), UNIT - 1}) {
                    if (at && i % 7) continue;
                    size_t rest = i;
                    for (size_t j = at; j < at + 4; j++, rest /= kinds) text[j] = KINDS[rest % kinds];
                    const uint8_t* p = guard.at_end(text.data(), text.size()) + 3;
                    EXPECT_SEED(suite, kernel.utf8(p) == utf8_scalar(p), i);
                    std::fill_n(text.begin() + std::ptrdiff_t(at), 4, uint8_t('x'));
                }
            std::mt19937_64 rng(1);
            for (uint64_t seed = 0; seed < (brief ? 2000 : 20000); seed++) {
                for (uint8_t& c : text) c = KINDS[rng() % kinds];
                const size_t broken = rng() % text.size();
                // Mostly whole characters, one byte changed.
                for (size_t j = 0; j + 3 <= text.size() && seed % 4; j += 3) text[j] = 0xe4, text[j + 1] = 0xb8, text[j + 2] = 0xad;
                if (seed % 4 > 1) text[broken] = KINDS[rng() % kinds];
                const uint8_t* p = guard.at_end(text.data(), text.size()) + 3;
                EXPECT_SEED(suite, kernel.utf8(p) == utf8_scalar(p), seed);
            }
        });
        suite.run((std::string(kernel.name) + ": where secrets may be").c_str(), [&] {
            auto one = std::make_unique<TokenOutput>(), other = std::make_unique<TokenOutput>();
            for (uint64_t seed = 0; seed < (brief ? 3000 : 30000); seed++) {
                std::mt19937_64 rng(seed);
                const size_t n = seed % 50 ? rng() % 300 : rng() % (TILE + 1);
                static const char* const ALPHABETS[] = {"aB3", "abcDEF0123456789-_./ ", "aB3c%&#;\\/ux4", "aB3dEf7h9 \"<"};
                const char* abc = ALPHABETS[rng() % 4];
                std::vector<uint8_t> text(n);
                const size_t kinds = std::strlen(abc);
                const uint64_t breaks = 1 + rng() % 60;
                for (uint8_t& c : text) c = rng() % breaks ? uint8_t(abc[rng() % kinds]) : uint8_t(rng());
                const uint8_t* p = guard.at_end(text.data(), n);
                kernel.tokens(p, n, *one);
                tokens_scalar(p, n, *other);
                bool equal = one->count == other->count && one->head == other->head && one->tail == other->tail;
                for (uint32_t i = 0; equal && i < one->count; i++)
                    equal = one->regions[i].from == other->regions[i].from && one->regions[i].to == other->regions[i].to &&
                            one->regions[i].escaped == other->regions[i].escaped;
                EXPECT_SEED(suite, equal, seed);
            }
        });
        suite.run((std::string(kernel.name) + ": random and adversarial tiles").c_str(), [&] {
            for (uint64_t seed = 0; seed < (brief ? 40 : 400); seed++) {
                std::mt19937_64 rng(seed);
                const size_t n = rng() % (TILE + 1), extra = rng() % WINDOW;
                const uint8_t wanted = uint8_t(seed % 4);
                std::vector<uint8_t> text = adversarial(rng, n + extra);
                if (seed % 3 == 0)
                    for (uint8_t& c : text) c = uint8_t(rng());
                const uint8_t* p = guard.at_end(text.data(), n + extra);
                for (const FingerprintTable& table : tables) {
                    kernel.scan(table, p, n, n + extra, wanted, *a);
                    scan_scalar(table, p, n, n + extra, wanted, *b);
                    EXPECT_SEED(suite, same(*a, *b), seed);
                }
                EXPECT_SEED(suite, same_json(kernel, p, n), seed);
            }
        });
    }
    return suite.close();
}
