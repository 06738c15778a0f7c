// Fingerprints and whose they are, in memory that threads and processes share. Nothing in it is a lock or a pointer: every entry is
// three words, and whoever ends between two of them leaves an entry that matches nothing until its place is taken again.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "registry/window.h"

namespace overread {

// What an entry says, in the third word: flags, 16 bits; when its value was first and last seen, 24 bits of seconds each, which turn
// after 194 days.
enum Flag : uint16_t {
    FLAG_ISSUED = 1,         // the server gave it to its owner
    FLAG_HTTP_ONLY = 2,      // in a cookie that no script, and so no body, shows
    FLAG_SESSION = 4,        // it stands for its owner
    FLAG_EXPOSED = 8,        // seen outside Cookie, Authorization and what issues it
    FLAG_SHARED = 16,        // seen with two owners: it tells nothing
    FLAG_PROBATION = 32,     // a client sent it, once
    FLAG_EDGE = 64,          // of a part of its value that a framework may give to all
    FLAG_OWNER = 128,        // no secret: an owner, or another name of one
    FLAG_PLANTED = 256,      // a planted token
    FLAG_POISON = 512,       // a buffer's poison
    FLAG_BURNT = 1024,       // a canary that was sighted
    FLAG_PLACE = 2048,       // no secret: where one was shown
    FLAG_PRESENTED = 4096,   // its owner sent it: somebody uses it
    FLAG_CHANGED = 1 << 14,  // since the last export
    FLAG_BUSY = 1 << 15,     // being written
};
// What is no client's value: nothing that is observed changes it.
constexpr uint16_t FLAGS_OURS = FLAG_PLANTED | FLAG_POISON | FLAG_OWNER | FLAG_PLACE;
// Of two copies of an entry, from two machines, what either says.
constexpr uint16_t FLAGS_MERGED = FLAG_ISSUED | FLAG_HTTP_ONLY | FLAG_SESSION | FLAG_EXPOSED | FLAG_SHARED | FLAG_BURNT | FLAG_PRESENTED;

struct Meta {
    uint16_t flags;
    uint32_t first, seen;  // seconds, 24 bits; of FLAG_OWNER and FLAG_PLACE `first` counts
    static Meta of(uint64_t word) { return {uint16_t(word), uint32_t(word >> 16) & 0xffffff, uint32_t(word >> 40)}; }
    uint64_t word() const { return uint64_t(flags) | uint64_t(first & 0xffffff) << 16 | uint64_t(seen & 0xffffff) << 40; }
};
// Seconds from a to b, of the times above; an a that is later by as much as clocks differ is 0. What is left of long ago must stay old, or
// it would fill the table again.
inline uint32_t seconds_between(uint32_t a, uint32_t b) {
    constexpr uint32_t CLOCKS = 3600;
    const uint32_t d = (b - a) & 0xffffff;
    return d > 0xffffff - CLOCKS ? 0 : d;
}

constexpr size_t BUCKET = 8;
struct alignas(64) Bucket {
    std::atomic<uint64_t> low[BUCKET];
    struct {
        std::atomic<uint64_t> high, meta;  // high: 32 bits of the fingerprint, then the owner's
    } rest[BUCKET];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(Bucket) == 192, "an entry is 24 bytes beside its tag, and a process may end anywhere");
// Beside it a byte of each fingerprint, eight a word (as Swiss tables and F14 keep them): most look-ups end there, in a part of the memory
// that is small enough for the caches.
using Tags = std::atomic<uint64_t>;
constexpr size_t BUCKET_MEMORY = sizeof(Bucket) + sizeof(Tags);

class Table {
  public:
    // A place in the table, whose entry may change or go at any time.
    struct Entry {
        Bucket* bucket;
        size_t i;
        uint32_t owner;
        Meta meta;
        explicit operator bool() const { return bucket != nullptr; }
    };
    enum class Class : uint8_t { probation, client, issued };  // who may fill how much of it

    // memory: buckets * BUCKET_MEMORY, zeroed or an equal table's.
    void take(Bucket* memory, size_t buckets, uint32_t life) {
        buckets_ = memory;
        tags_ = reinterpret_cast<Tags*>(memory + buckets);
        count_ = buckets;
        life_ = life;
    }
    size_t slots() const { return count_ * BUCKET; }
    // Inlined by force: GCC takes a function that only prefetches for one without effects, and drops its calls.
    [[gnu::always_inline]] void prefetch(const Fingerprint& f) const {
        const Places p = places(f);
        __builtin_prefetch(tags_ + p.first);
        __builtin_prefetch(tags_ + p.second);
    }
    // For what is likely to be there, or will be put there.
    [[gnu::always_inline]] void prefetch_all(const Fingerprint& f) const {
        prefetch(f);
        const Places p = places(f);
        for (const Bucket* b : {buckets_ + p.first, buckets_ + p.second}) {
            __builtin_prefetch(b->low);
            __builtin_prefetch(b->rest);
            __builtin_prefetch(b->rest + BUCKET / 2);
        }
    }
    // What lives at `now`; none when there is none.
    Entry find(const Fingerprint& f, uint32_t now) const;
    // Puts a fingerprint that find() did not find. False: no place, as what lives there is none that the newcomer's class may push out.
    bool insert(const Fingerprint& f, uint32_t owner, Meta meta);
    // Changes an entry to what change(meta) says, unless another was quicker or it has gone.
    template <class F>
    bool update(const Entry& e, F&& change) const;
    void remove(const Entry& e) const;
    bool lives(const Meta& m, uint32_t now) const {
        if (!m.flags || m.flags & FLAG_BUSY) return false;
        return m.flags & FLAG_PLANTED || seconds_between(m.seen, now) <= (m.flags & (FLAG_POISON | FLAG_BURNT) ? std::max(POISON_LIFE, life_) : life_);
    }
    Bucket& bucket(size_t i) const { return buckets_[i]; }
    size_t buckets() const { return count_; }
    uint32_t life() const { return life_; }

  private:
    // Seconds: buffers lie long, and a key's hour ends; and a canary that was sighted must not be one again while it is valid.
    static constexpr uint32_t POISON_LIFE = 4 * 3600;
    // Seconds after which who writes an entry is taken for dead: far more than clocks of workers differ by (one that waited for a disk has
    // its event loop's old time), for of two that write at once neither would know what it left.
    static constexpr uint32_t STALLED = 60;
    static Class class_of(uint16_t flags) {
        if (flags & (FLAG_ISSUED | FLAG_PLANTED | FLAG_POISON | FLAG_BURNT | FLAG_PLACE)) return Class::issued;
        return flags & FLAG_PROBATION ? Class::probation : Class::client;
    }
    // What servers issued and no client ever sent. It may be a bot's, which keeps no cookie: where there is no other place, the oldest makes
    // room for what is issued now. What is shared stays, for it keeps others from being accused.
    static bool is_unused(uint16_t flags) {
        constexpr uint16_t STAYS = FLAG_PRESENTED | FLAG_SHARED | FLAG_PLANTED | FLAG_POISON | FLAG_BURNT | FLAG_PLACE | FLAG_BUSY;
        return (flags & (FLAG_ISSUED | STAYS)) == FLAG_ISSUED;
    }
    // Every fifth bucket has no place for what is on probation; of a fingerprint's two one has.
    static bool takes_probation(size_t bucket) { return bucket % 5 != 0; }
    size_t at(uint64_t hash) const { return size_t(static_cast<Product>(hash) * count_ >> 64); }
    struct Places {
        size_t first, second;
    };
    Places places(const Fingerprint& f) const {
        const size_t first = at(f.low), second = at((f.low << 32 | f.low >> 32) * 0x9E3779B97F4A7C15u);
        if (takes_probation(first) || takes_probation(second)) return {first, second};
        return {first, second ? second - 1 : second + 1};
    }
    static uint64_t tag(const Fingerprint& f) { return f.high & 0xff; }
    void set_tag(size_t bucket, size_t i, const Fingerprint& f) const;
    bool may_take(size_t bucket, size_t slot, Class cls) const;
    bool write(size_t bucket, size_t i, uint64_t found, const Fingerprint& f, uint32_t owner, Meta meta) const;

    Bucket* buckets_ = nullptr;
    Tags* tags_ = nullptr;
    size_t count_ = 0;
    uint32_t life_ = 0;
};

template <class F>
bool Table::update(const Entry& e, F&& change) const {
    std::atomic<uint64_t>& meta = e.bucket->rest[e.i].meta;
    uint64_t found = meta.load(std::memory_order_relaxed);
    for (int tries = 0; tries < 8; tries++) {
        const Meta before = Meta::of(found);
        // Another entry may have taken the place: then the owner is another's, or it is new.
        if (before.flags & FLAG_BUSY || uint32_t(e.bucket->rest[e.i].high.load(std::memory_order_acquire)) != e.owner || before.first != e.meta.first)
            return false;
        const Meta after = change(before);
        if (after.word() == found || meta.compare_exchange_weak(found, after.word(), std::memory_order_release, std::memory_order_relaxed)) return true;
    }
    return false;
}

}  // namespace overread
