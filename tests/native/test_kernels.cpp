// Every kernel equals the scalar reference, and none touches a byte outside its input.
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

bool same_structure(const Kernel& kernel, const uint8_t* p, size_t n) {
    StructureUnit a[TILE_UNITS], b[TILE_UNITS];
    kernel.structure(p, n, a);
    structure_scalar(p, n, b);
    return std::memcmp(a, b, (n + UNIT - 1) / UNIT * sizeof a[0]) == 0;
}

// Text rich in anchors' pieces, control and high bytes: random bytes alone would hit few buckets.
std::vector<uint8_t> adversarial(std::mt19937_64& rng, size_t n) {
    static const char* const PIECES[] = {"Cookie",  "ookie:",  "\r\nauthorization", " HTTP/1.",     "eyJ", "AKIA",
                                         "</html>", "bearer ", "session=",          "{\"a\\\\\":[", "]}"};
    std::vector<uint8_t> v;
    while (v.size() < n) {
        const uint64_t r = rng();
        if (r % 4 == 0) {
            const char* p = PIECES[(r >> 8) % 11];
            v.insert(v.end(), p, p + std::strlen(p));
        } else if (r % 4 == 1) {
            v.push_back(uint8_t(r >> 16));
        } else {
            v.push_back(uint8_t('a' + (r >> 16) % 26));
        }
    }
    v.resize(n);
    return v;
}

}  // namespace

int main() {
    Suite suite;
    std::string why;
    const ovr_bytes blob = ovr_ruleset_default_blob();
    const auto own = load_ruleset(blob.data, blob.size, why);
    auto a = std::make_unique<KernelOutput>(), b = std::make_unique<KernelOutput>();
    GuardPage guard(TILE + 64);
    for (size_t k = 0; kernel_at(k); k++) {
        const Kernel& kernel = *kernel_at(k);
        suite.run((std::string(kernel.name) + ": every length 0-300 at every alignment, guard pages on both sides").c_str(), [&] {
            std::mt19937_64 rng(20170218);
            for (size_t n = 0; n <= 300; n++)
                for (size_t align = 0; align < 64; align += n < 140 ? 1 : 9) {
                    const std::vector<uint8_t> text = adversarial(rng, n + align);
                    // Ends at the unreadable page; its start takes every alignment as n runs.
                    const uint8_t* p = guard.at_end(text.data(), n);
                    kernel.scan(own->fingerprint, p, n, n, *a);
                    scan_scalar(own->fingerprint, p, n, n, *b);
                    EXPECT_SEED(suite, same(*a, *b) && same_structure(kernel, p, n), n * 64 + align);
                    p = guard.at_start(text.data(), n + align) + align;
                    kernel.scan(own->fingerprint, p, n, n, *a);
                    scan_scalar(own->fingerprint, p, n, n, *b);
                    EXPECT_SEED(suite, same(*a, *b) && same_structure(kernel, p, n), n * 64 + align);
                }
        });
        suite.run((std::string(kernel.name) + ": random and adversarial tiles").c_str(), [&] {
            for (uint64_t seed = 0; seed < 400; seed++) {
                std::mt19937_64 rng(seed);
                const size_t n = rng() % (TILE + 1), extra = rng() % WINDOW;
                std::vector<uint8_t> text = adversarial(rng, n + extra);
                if (seed % 3 == 0)
                    for (uint8_t& c : text) c = uint8_t(rng());
                const uint8_t* p = guard.at_end(text.data(), n + extra);
                kernel.scan(own->fingerprint, p, n, n + extra, *a);
                scan_scalar(own->fingerprint, p, n, n + extra, *b);
                EXPECT_SEED(suite, same(*a, *b) && same_structure(kernel, p, n), seed);
            }
        });
    }
    return suite.close();
}
