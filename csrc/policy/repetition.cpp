#include "policy/repetition.h"

#include <algorithm>
#include <cmath>

#include "evidence/evidence.h"

namespace overread {
namespace {

constexpr double ALARM_BITS = 22;  // surprise from which a repetition is an alarm, of a path in a day
constexpr uint64_t TAKEN = 1;      // a path's entry while it changes hands; no digest is 1 but by a chance of 2^-63

// A sign in so many fresh fetches, over so long, seen by so many workers, and never another one there: an idle server's memory may
// stay as it is for some requests, not for an hour of them.
constexpr uint32_t SAME_TIMES = 8, SAME_SECONDS = 3600;
constexpr int SAME_WORKERS = 2;
// Different bytes among a sign's first 48, fewer of which are no mark of a text: every second window of memory that begins with NULs
// begins as the others do. With 8, one pair of windows in 1,661 begins alike (python -m calibration.repetition).
constexpr int SAME_VARIED = 8;

bool is_varied(const RawSign& sign) {
    uint64_t seen[4] = {};
    for (size_t i = RawSign::BEFORE; i < sign.size; i++) seen[sign.bytes[i] / 64] |= uint64_t(1) << sign.bytes[i] % 64;
    int varied = 0;
    for (const uint64_t s : seen) varied += __builtin_popcountll(s);
    return varied >= SAME_VARIED;
}

uint64_t mix(uint64_t x) {  // the finalizer of SplitMix64 (Steele, Lea, Flood 2014)
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

double log_factorial(uint64_t n) {  // Stirling's series
    if (n < 2) return 0;
    const double x = double(n);
    return x * std::log(x) - x + 0.5 * std::log(6.283185307179586 * x) + 1 / (12 * x) - 1 / (360 * x * x * x);
}

constexpr uint64_t NO_SIGN = 1;  // no digest of one

// A response that began later may have ended first, so `then` may lie ahead.
bool is_past(uint32_t then, uint32_t now) { return then < now && now - then >= DAY; }

}  // namespace

double Paths::log2_tail(double mean, uint64_t count) {
    // The first term of the sum, times what the others add to it: they fall by mean / (count + i).
    double rest = 1, term = 1;
    for (int i = 1; term > 1e-12 && i < 1000; i++) rest += term *= mean / (double(count) + i);
    return (double(count) * std::log(mean) - mean - log_factorial(count) + std::log(rest)) / std::log(2.0);
}

Paths::Entry* Paths::entry(uint64_t prefix, uint32_t now) {
    Entry* set = entries_ + mix(prefix) % (ENTRIES / WAYS) * WAYS;
    auto expired = [now](const Entry& e) { return is_past(uint32_t(e.since.load(std::memory_order_relaxed) >> 1), now); };
    Entry* least = set;
    for (Entry* e = set; e < set + WAYS; e++) {
        if (e->key.load(std::memory_order_acquire) == prefix && !expired(*e)) return e;
        auto worth = [&](const Entry& x) {
            return x.key.load(std::memory_order_relaxed) <= TAKEN || expired(x) ? 0 : x.responses.load(std::memory_order_relaxed);
        };
        // The path itself, a day later, comes first.
        if (e->key.load(std::memory_order_relaxed) == prefix) {
            least = e;
            break;
        }
        if (worth(*e) < worth(*least)) least = e;
    }
    // Who dies here leaves an entry that is nobody's, and is taken as any other.
    uint64_t held = least->key.load(std::memory_order_relaxed);
    if (!least->key.compare_exchange_strong(held, TAKEN, std::memory_order_relaxed)) return nullptr;
    least->since.store(uint64_t(now) << 1, std::memory_order_relaxed);
    least->responses.store(0, std::memory_order_relaxed);
    for (auto& events : least->events) events.store(0, std::memory_order_relaxed);
    least->key.store(prefix, std::memory_order_release);
    return least;
}

Repeated Paths::count(uint64_t prefix, uint32_t now, double bits) {
    Entry* e = entry(prefix, now);
    if (!e) return {0, 0, 0};  // another one takes it just now
    const uint64_t responses = e->responses.fetch_add(1, std::memory_order_relaxed) + 1;
    Repeated most{0, 0, 0};
    for (int i = 0; i < COUNT && bits >= LEVELS[i]; i++) {
        const uint64_t count = e->events[i].fetch_add(1, std::memory_order_relaxed) + 1;
        const double mean = std::ldexp(double(responses), -LEVELS[i]);
        if (count < 2 || double(count) <= mean) continue;
        // Asked at every event and for every level: the count-th question takes 1 / (count (count + 1)) of the level's share, and
        // these sum up to less than 1.
        const double share = std::log2(double(COUNT) * double(count) * double(count + 1));
        if (log2_tail(mean, count) < -ALARM_BITS - share) most = {LEVELS[i], count, responses};
    }
    if (!most.bits) return most;
    const bool before = e->since.fetch_or(1, std::memory_order_relaxed) & 1;
    return before ? Repeated{0, 0, 0} : most;
}

bool Signs::Sign::published() const { return count >= SAME_TIMES && last - first >= SAME_SECONDS && __builtin_popcount(workers) >= SAME_WORKERS; }

Signs::Sign Signs::read(const Entry& e) {
    uint64_t w[4];
    for (int i = 0; i < 4; i++) w[i] = e.words[i].load(std::memory_order_relaxed);
    const uint32_t check = uint32_t(mix(mix(mix(w[0]) ^ w[1]) ^ w[2]) ^ mix(w[3] >> 32));
    if (w[0] == 0 || uint32_t(w[3]) != check) return {};
    return {w[0], w[1], uint32_t(w[2] >> 32), uint32_t(w[2]), uint32_t(w[3] >> 48), uint32_t(w[3] >> 32) & 0xffff};
}

void Signs::write(Entry& e, const Sign& s) {
    const uint64_t w[] = {s.key, s.digest, uint64_t(s.first) << 32 | s.last, uint64_t(std::min<uint32_t>(s.count, 0xffff)) << 48 | uint64_t(s.workers) << 32};
    const uint32_t check = uint32_t(mix(mix(mix(w[0]) ^ w[1]) ^ w[2]) ^ mix(w[3] >> 32));
    for (int i = 0; i < 3; i++) e.words[i].store(w[i], std::memory_order_relaxed);
    e.words[3].store(w[3] | check, std::memory_order_relaxed);
}

Signs::Sign Signs::find(uint64_t key, uint32_t now) const {
    const Entry* set = entries_ + mix(key) % (ENTRIES / WAYS) * WAYS;
    for (const Entry* e = set; e < set + WAYS; e++) {
        const Sign s = read(*e);
        if (s.count && s.key == key && !is_past(s.last, now)) return s;
    }
    return {};
}

bool Signs::see(uint64_t key, uint64_t digest, uint32_t now, uint32_t worker) {
    Entry* set = entries_ + mix(key) % (ENTRIES / WAYS) * WAYS;
    Entry* best = set;
    uint64_t least = UINT64_MAX;
    for (Entry* e = set; e < set + WAYS; e++) {
        Sign s = read(*e);
        const bool live = s.count && !is_past(s.last, now);
        if (live && s.key == key) {
            const bool stood = s.digest == digest;
            if (!stood) s = {key, digest, now, now, 0, 0};
            s.count++;
            s.last = std::max(s.last, now);
            s.workers |= 1u << worker % 16;
            write(*e, s);
            return stood;
        }
        const uint64_t worth = live ? uint64_t(s.count) << 32 | s.last : 0;
        if (worth < least) {
            least = worth;
            best = e;
        }
    }
    write(*best, {key, digest, now, now, 1, 1u << worker % 16});
    return false;
}

void Repetition::head(const Tables& tables, const ovr_response& response, uint32_t watch) {
    now_ = uint32_t(response.unix_ms / 1000);
    times_ = 0;
    // Without a clock nothing could be forgotten.
    watch_ = now_ ? watch & (OVR_WATCH_REPETITION | OVR_WATCH_SAMENESS) : 0;
    if (!watch_) return;
    where_ = where(tables.key, response.request);
    if (!where_.path) watch_ = 0;
    fresh_ = watch_ && is_fresh(response);
}

// Of the bytes and their offset. The path is the key, so that one published text is not looked for on every path.
uint64_t Repetition::digest(const Tables& tables, const RawSign& sign) const {
    uint64_t digest = keyed_digest({tables.key.k0 ^ where_.path, tables.key.k1 ^ sign.first}, sign.bytes, sign.size);
    return std::max(NO_SIGN + 1, digest);
}

bool Repetition::same(const Tables& tables, const Stream& stream) {
    if (!(watch_ & OVR_WATCH_SAMENESS) || stream.bits() < WEAK_BITS) return false;
    const RawSign sign = stream.raw_sign();
    if (!sign.size || !sign.alone || !is_varied(sign)) return false;
    const Signs::Sign known = tables.signs.find(where_.path, now_);
    const bool same = known.published() && known.digest == digest(tables, sign);
    times_ = same ? known.count : 0;
    return same;
}

Repeated Repetition::end(const Tables& tables, const Stream& stream, bool stopped) {
    if (!watch_ || !fresh_ || !stream.has_body()) return {0, 0, 0};
    const RawSign sign = stream.raw_sign();
    double bits = 0;
    if (sign.size) {
        const uint64_t found = digest(tables, sign);
        // What was stopped was not published: who asks for a leak again and again must not make it pass. It breaks a row all the same.
        const Signs::Sign known = tables.signs.find(where_.path, now_);
        if (!stopped || (known.count && known.digest != found)) tables.signs.see(where_.path, stopped ? NO_SIGN : found, now_, tables.worker);
        const bool stood = tables.signs.see(found, found, now_, tables.worker);
        if (!stood) bits = sign.bits;
    } else if (tables.signs.find(where_.path, now_).count) {
        tables.signs.see(where_.path, NO_SIGN, now_, tables.worker);  // a fetch without it: the row is broken
    }
    return watch_ & OVR_WATCH_REPETITION ? tables.paths.count(where_.prefix, now_, bits) : Repeated{0, 0, 0};
}

}  // namespace overread
