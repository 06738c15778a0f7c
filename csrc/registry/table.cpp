#include "registry/table.h"

namespace overread {
namespace {

uint64_t high_word(const Fingerprint& f, uint32_t owner) { return uint64_t(f.high) << 32 | owner; }

}  // namespace

Table::Entry Table::find(const Fingerprint& f, uint32_t now) const {
    const Places p = places(f);
    for (const size_t bucket : {p.first, p.second}) {
        // A byte's upper bit: it is the tag, or stands above one that is.
        constexpr uint64_t ONES = 0x0101010101010101u;
        const uint64_t other = tags_[bucket].load(std::memory_order_acquire) ^ tag(f) * ONES;
        for (uint64_t same = (other - ONES) & ~other & (ONES << 7); same; same &= same - 1) {
            const size_t i = size_t(__builtin_ctzll(same)) / 8;
            Bucket* const b = buckets_ + bucket;
            if (b->low[i].load(std::memory_order_relaxed) != f.low) continue;
            const uint64_t meta = b->rest[i].meta.load(std::memory_order_acquire);
            const uint64_t high = b->rest[i].high.load(std::memory_order_acquire);
            const Meta m = Meta::of(meta);
            if (high >> 32 != f.high || !lives(m, now)) continue;
            // The three words are one entry's if none has changed since: who writes marks the third one first.
            std::atomic_thread_fence(std::memory_order_acquire);
            if (b->low[i].load(std::memory_order_relaxed) != f.low || (b->rest[i].meta.load(std::memory_order_relaxed) & FLAG_BUSY)) continue;
            return {b, i, uint32_t(high), m};
        }
    }
    return {};
}

// Half of every bucket is for what servers issued; of the rest a fifth, a tenth of the table, for what a client sent once.
bool Table::may_take(size_t bucket, size_t slot, Class cls) const {
    if (cls == Class::issued) return true;
    if (slot >= BUCKET / 2) return false;
    return cls == Class::client || (slot == 0 && takes_probation(bucket));
}

void Table::set_tag(size_t bucket, size_t i, const Fingerprint& f) const {
    const size_t shift = 8 * i;
    uint64_t word = tags_[bucket].load(std::memory_order_relaxed);
    while (!tags_[bucket].compare_exchange_weak(word, (word & ~(uint64_t(0xff) << shift)) | tag(f) << shift, std::memory_order_release,
                                                std::memory_order_relaxed)) {
    }
}

bool Table::write(size_t bucket, size_t i, uint64_t found, const Fingerprint& f, uint32_t owner, Meta meta) const {
    Bucket& b = buckets_[bucket];
    const uint64_t busy = Meta{FLAG_BUSY, meta.seen, meta.seen}.word() ^ (f.low & 0xff) << 16;  // tells one writer from another
    if (!b.rest[i].meta.compare_exchange_strong(found, busy, std::memory_order_acq_rel)) return false;
    b.low[i].store(f.low, std::memory_order_release);
    b.rest[i].high.store(high_word(f, owner), std::memory_order_release);
    set_tag(bucket, i, f);
    uint64_t mine = busy;
    return b.rest[i].meta.compare_exchange_strong(mine, meta.word(), std::memory_order_acq_rel);
}

bool Table::insert(const Fingerprint& f, uint32_t owner, Meta meta) {
    const Class cls = class_of(meta.flags);
    const Places places_of = places(f);
    meta.flags |= FLAG_CHANGED;
    for (int tries = 0; tries < 4; tries++) {
        // A free place, else one on probation, of two buckets the emptier one's; else, for what is issued, the oldest that nobody uses.
        size_t best = count_, slot = 0, most_free = 0;  // count_: none
        uint64_t found = 0;
        bool best_free = false;
        size_t unused = count_, unused_slot = 0;
        uint64_t unused_meta = 0;
        uint32_t oldest = 0;  // of the same second none goes: a value's windows would push out each other, and update() tells entries by seconds
        for (const size_t bucket : {places_of.first, places_of.second}) {
            size_t free = 0, here = BUCKET, probation = BUCKET;
            uint64_t here_meta = 0, probation_meta = 0;
            // What may take any place takes the last ones first, where others may not.
            for (size_t i = 0; i < BUCKET; i++) {
                const uint64_t word = buckets_[bucket].rest[i].meta.load(std::memory_order_relaxed);
                const Meta m = Meta::of(word);
                const bool dead = m.flags & FLAG_BUSY ? seconds_between(m.seen, meta.seen) > STALLED : !lives(m, meta.seen);
                if (!may_take(bucket, i, cls)) continue;
                if (dead) {
                    free++;
                    here = i;
                    here_meta = word;
                } else if (m.flags & FLAG_PROBATION && !(m.flags & FLAG_BUSY)) {
                    probation = i;
                    probation_meta = word;
                } else if (cls == Class::issued && is_unused(m.flags) && seconds_between(m.seen, meta.seen) > oldest) {
                    unused = bucket, unused_slot = i, unused_meta = word, oldest = seconds_between(m.seen, meta.seen);
                }
            }
            if (free > most_free) {
                best = bucket, slot = here, found = here_meta, most_free = free, best_free = true;
            } else if (!best_free && best == count_ && probation < BUCKET) {
                best = bucket, slot = probation, found = probation_meta;
            }
        }
        if (best == count_) best = unused, slot = unused_slot, found = unused_meta;
        if (best == count_) return false;
        if (write(best, slot, found, f, owner, meta)) return true;
    }
    return false;
}

void Table::remove(const Entry& e) const {
    update(e, [](Meta) { return Meta{0, 0, 0}; });
}

}  // namespace overread
