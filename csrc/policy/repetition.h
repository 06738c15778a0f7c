// What comes again: signs on one path that are too many for chance, and the same sign at the same place of every fetch, which is
// what a page publishes. docs/evidence.md, Repetition and Sameness.
//
// Tables of fixed size in memory that processes may share. No lock is held and nothing is a pointer: entries carry a checksum, and one
// that two writers tore, or that a process left half written, counts as none.
#pragma once
#include <atomic>
#include <cstdint>

#include "overread.h"
#include "policy/exchange.h"
#include "stream/stream.h"

namespace overread {

constexpr uint32_t DAY = 86400;  // seconds after which all of it is forgotten

// An alarm when the events of `bits` or more on one path are more than responses * 2^-bits explain with a probability of 2^-22.
struct Repeated {
    int bits;  // 0: no alarm
    uint64_t count, responses;
};

// By host and folder: responses of the last day, and those that reached each of so many bits.
class Paths {
  public:
    static constexpr int LEVELS[] = {8, 10, 12, 14, 16, 18, 20, 22};
    static constexpr int COUNT = sizeof LEVELS / sizeof LEVELS[0];
    static constexpr size_t ENTRIES = 4096, WAYS = 4;
    // One response at `now`, with evidence of so many bits that is no repetition of what stood there before.
    Repeated count(uint64_t prefix, uint32_t now, double bits);
    // log2 of the probability of `count` events or more where `mean` are expected, count > mean.
    static double log2_tail(double mean, uint64_t count);

  private:
    struct Entry {
        std::atomic<uint64_t> key, since;  // since: seconds, and in the lowest bit whether it alarmed
        std::atomic<uint64_t> responses, events[COUNT];
    };
    Entry* entry(uint64_t prefix, uint32_t now);
    Entry entries_[ENTRIES];
};

// By path the digest of the sign that was seen there last, how often in a row, since when, and by which workers; and by that digest
// whether it was seen there at all. A digest is of the sign's first bytes, their offset and the path.
class Signs {
  public:
    static constexpr size_t ENTRIES = 8192, WAYS = 4;
    struct Sign {
        uint64_t key = 0, digest = 0;
        uint32_t first = 0, last = 0;
        uint32_t count = 0, workers = 0;  // workers: a bit each, of 16
        bool published() const;
    };
    // What is known under the key; count 0: nothing, or nothing any more.
    Sign find(uint64_t key, uint32_t now) const;
    // A fresh response shows this sign. True: it is the one that was seen last.
    bool see(uint64_t key, uint64_t digest, uint32_t now, uint32_t worker);

  private:
    struct Entry {
        std::atomic<uint64_t> words[4];
    };
    static Sign read(const Entry& entry);
    static void write(Entry& entry, const Sign& sign);
    Entry entries_[ENTRIES];
};

// Of one response.
class Repetition {
  public:
    struct Tables {
        Paths& paths;
        Signs& signs;
        DigestKey key;    // of all who share the tables
        uint32_t worker;  // a number of this process's scanner
    };
    void head(const Tables& tables, const ovr_response& response, uint32_t watch);
    // Whether the stream's evidence is what this place has shown in every fetch.
    bool same(const Tables& tables, const Stream& stream);
    // The response is over, and counted once.
    Repeated end(const Tables& tables, const Stream& stream, bool stopped);
    uint32_t times() const { return times_; }

  private:
    uint64_t digest(const Tables& tables, const RawSign& sign) const;

    Where where_{};
    uint32_t now_ = 0, watch_ = 0, times_ = 0;
    bool fresh_ = false;
};

}  // namespace overread
