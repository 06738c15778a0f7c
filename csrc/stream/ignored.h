// What an operator has declared harmless: signs of a rule, of a family, or one value. They are left out of a response's evidence.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ruleset/ruleset.h"

namespace overread {

constexpr size_t MAX_IGNORED = 64;  // one bit each

struct Ignored {
    enum class What : uint8_t { rule, family, digest };
    What what;
    Family family;
    uint64_t digest;
    char rule[48];
};

// Those that apply to one response.
struct Ignoring {
    const Ignored* entries = nullptr;
    uint64_t active = 0;   // bit i: entries[i]
    bool digests = false;  // of these one is a digest: only then one need be computed

    // Bits of those that name this sign.
    uint64_t of(const Rule& rule, uint64_t digest) const {
        uint64_t hit = 0;
        for (uint64_t left = active; left; left &= left - 1) {
            const int i = __builtin_ctzll(left);
            const Ignored& entry = entries[i];
            const bool is = entry.what == Ignored::What::rule     ? std::strcmp(entry.rule, rule.id) == 0
                            : entry.what == Ignored::What::family ? entry.family == rule.family
                                                                  : digest && entry.digest == digest;
            if (is) hit |= uint64_t(1) << i;
        }
        return hit;
    }
};

}  // namespace overread
