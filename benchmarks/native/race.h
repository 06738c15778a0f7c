// Clocks, bodies and interleaved rounds: what every program of this folder measures with.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

namespace bench {

// CPU time of this thread: what other processes take does not count.
inline double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}
// CPU time of all threads of this process.
inline double all_threads() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}
inline double wall() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "bench: %s\n", what.c_str());
    std::exit(2);
}

inline std::string slurp(const char* path) {
    std::ifstream f(path, std::ios::binary);
    if (!f) fail(std::string(path) + " cannot be read");
    return {std::istreambuf_iterator<char>(f), {}};
}

struct Body {
    const char* data;
    size_t size;
};

// The bodies of a pack of corpora.py: u32 little-endian length, bytes, ...
inline std::vector<Body> bodies_of(const char* pack, size_t pack_size) {
    std::vector<Body> bodies;
    for (size_t at = 0; at + 4 <= pack_size;) {
        uint32_t size;
        std::memcpy(&size, pack + at, 4);
        bodies.push_back({pack + at + 4, size});
        at += 4 + size;
    }
    return bodies;
}

inline size_t bytes_of(const std::vector<Body>& bodies) {
    size_t n = 0;
    for (const Body& b : bodies) n += b.size;
    return n;
}

inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Seconds of the median of interleaved rounds, one figure a contender: a noisy machine slows all alike.
inline std::vector<double> race(const std::vector<std::function<void()>>& contenders, double (*clock)(), int rounds) {
    std::vector<std::vector<double>> times(contenders.size());
    for (int round = -1; round < rounds; round++)
        for (size_t i = 0; i < contenders.size(); i++) {
            const double start = clock();
            contenders[i]();
            if (round >= 0) times[i].push_back(clock() - start);  // the first warms up
        }
    std::vector<double> medians;
    for (auto& t : times) medians.push_back(median(t));
    return medians;
}

}  // namespace bench
