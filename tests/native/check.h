// A few lines instead of a framework: named checks, a seed in every failure, one closing line.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

struct Suite {
    int passed = 0, failed = 0;
    void run(const char* name, const std::function<void()>& body) {
        const int before = failed;
        body();
        if (failed == before) passed++;
        std::printf("%s %s\n", failed == before ? "ok  " : "FAIL", name);
    }
    void expect(bool good, const char* what, const char* file, int line, uint64_t seed = 0) {
        if (good) return;
        failed++;
        if (failed < 50) std::printf("%s:%d: expected %s (seed %llu)\n", file, line, what, static_cast<unsigned long long>(seed));
    }
    int close() const {
        std::printf("%d passed, %d failed\n", passed, failed);
        return failed ? 1 : 0;
    }
};
#define EXPECT(suite, condition) (suite).expect((condition), #condition, __FILE__, __LINE__)
#define EXPECT_SEED(suite, condition, seed) (suite).expect((condition), #condition, __FILE__, __LINE__, seed)
