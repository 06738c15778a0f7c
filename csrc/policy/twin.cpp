#include "policy/twin.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace overread {
namespace {

// Of an object one block stays unseen where something was inserted: a sixteenth at most.
constexpr uint64_t LEAST_BLOCK = 64, LEAST_LENGTH = 16 * LEAST_BLOCK, MOST_LENGTH = uint64_t(1) << 36;
// Differences of fewer bytes are none: a number in a page that keeps its ETag grows by a digit.
constexpr uint64_t LEAST_MORE = 16;

__extension__ typedef unsigned __int128 Wide;
uint64_t multiplied(uint64_t a, uint64_t b) {
    const Wide product = Wide(a) * b;
    return uint64_t(product) ^ uint64_t(product >> 64);
}

uint64_t check_of(const uint64_t* words, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < n; i++) h = multiplied(h ^ words[i], 0xbf58476d1ce4e5b9u) + i;
    return h;
}

bool is_strong(const ovr_bytes& etag) { return etag.size > 2 && etag.size <= 256 && etag.data[0] == '"' && etag.data[etag.size - 1] == '"'; }

// Of decimal digits; 0: it is no length.
uint64_t length_of(const ovr_bytes& value) {
    uint64_t n = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || n > MOST_LENGTH) return 0;
        n = n * 10 + (value.data[i] - '0');
    }
    return n;
}

// Whether a response may be compared with others of its ETag: the whole of an object (no part, no head alone), not coded (what codes
// on the way may code the same bytes otherwise each time), not made for one visitor. With Vary, RFC 9110 wants an ETag of its own for
// each variant, but many origins have one for all.
bool is_object(const ovr_response& r) {
    const auto named = [&r](const char* name) { return field(r.headers, r.header_count, name); };
    const ovr_request* q = r.request;
    if (r.status != 200 || !q || !name_is(q->method.data, q->method.size, "get")) return false;
    if (field(q->headers, q->header_count, "range").size || named("content-range").size || named("set-cookie").size) return false;
    const ovr_bytes coding = named("content-encoding"), vary = named("vary"), cache = named("cache-control");
    if (coding.size && !name_is(coding.data, coding.size, "identity")) return false;
    if (vary.size && !name_is(vary.data, vary.size, "accept-encoding") && !name_is(vary.data, vary.size, "origin")) return false;
    return !has_word(cache, "no-store") && !has_word(cache, "private");
}

}  // namespace

bool Twins::read(const Entry& e, TwinObject* out) {
    uint64_t w[WORDS];
    for (size_t i = 0; i < WORDS; i++) w[i] = e.words[i].load(std::memory_order_relaxed);
    if (w[0] == 0 || w[WORDS - 1] != check_of(w, WORDS - 1)) return false;
    out->key = w[0];
    out->etag = w[1];
    out->length = w[2];
    out->flags = uint32_t(w[3] >> 32);
    out->seen = uint32_t(w[3]);
    std::memcpy(out->blocks, w + 4, sizeof out->blocks);
    return true;
}

bool Twins::find(uint64_t key, TwinObject* out) const {
    const Entry* set = entries_ + key % (ENTRIES / WAYS) * WAYS;
    for (const Entry* e = set; e < set + WAYS; e++)
        if (read(*e, out) && out->key == key) return true;
    return false;
}

void Twins::put(const TwinObject& object) {
    Entry* set = entries_ + object.key % (ENTRIES / WAYS) * WAYS;
    Entry* best = set;
    uint32_t oldest = UINT32_MAX;
    for (Entry* e = set; e < set + WAYS; e++) {
        TwinObject there;
        const bool holds = read(*e, &there);
        if (holds && there.key == object.key) {
            best = e;
            break;
        }
        const uint32_t seen = holds ? there.seen : 0;
        if (seen < oldest) {
            oldest = seen;
            best = e;
        }
    }
    uint64_t w[WORDS] = {object.key, object.etag, object.length, uint64_t(object.flags) << 32 | object.seen};
    std::memcpy(w + 4, object.blocks, sizeof object.blocks);
    w[WORDS - 1] = check_of(w, WORDS - 1);
    for (size_t i = 0; i < WORDS; i++) best->words[i].store(w[i], std::memory_order_relaxed);
}

void Twin::head(const Twins& twins, const DigestKey& key, const ovr_response& r, uint32_t watch) {
    looks_ = Looks::nowhere;
    if (!(watch & OVR_WATCH_TWINS) || !is_object(r)) return;
    const ovr_bytes etag = field(r.headers, r.header_count, "etag");
    length_ = length_of(field(r.headers, r.header_count, "content-length"));
    if (!is_strong(etag) || length_ < LEAST_LENGTH || length_ > MOST_LENGTH) return;
    const uint64_t target = where(key, r.request).target;
    if (!target) return;
    const uint64_t tag = keyed_digest(key, etag.data, etag.size);
    key_ = key;
    at_ = differs_at_ = 0;
    const bool known = twins.find(target, &object_) && object_.etag == tag;
    shrunk_ = known && object_.length > length_;
    looks_ = known && !shrunk_ ? Looks::start : Looks::own;
    if (looks_ == Looks::own) {
        const uint32_t flags = shrunk_ ? object_.flags : 0;
        object_ = TwinObject();
        object_.key = target;
        object_.etag = tag;
        object_.length = length_;
        object_.flags = flags;
    }
    object_.seen = uint32_t(r.unix_ms / 1000);
    more_ = length_ - object_.length;
    const uint64_t even = (object_.length + TwinObject::BLOCKS - 1) / TwinObject::BLOCKS;
    block_size_ = std::max<uint64_t>(LEAST_BLOCK, (even + 7) / 8 * 8);
    blocks_ = size_t((object_.length + block_size_ - 1) / block_size_);
    open_block(0);
}

void Twin::open_block(size_t block) {
    block_ = block;
    if (block == blocks_) return;
    next_ = block * block_size_;
    left_ = std::min(block_size_, object_.length - next_);
    if (looks_ == Looks::behind) next_ += more_;
    for (uint64_t& lane : lanes_) lane = key_.k0;
    lane_ = 0;
    held_ = 0;
    held_size_ = 0;
}

void Twin::word(uint64_t w) {
    lanes_[lane_] = multiplied(lanes_[lane_] ^ w, key_.k1 | 1) + w;
    lane_ = (lane_ + 1) % LANES;
}

void Twin::take(const uint8_t* p, size_t n) {
    for (; n && held_size_; p++, n--) {
        held_ |= uint64_t(*p) << 8 * held_size_;
        held_size_ = uint8_t((held_size_ + 1) % 8);
        if (held_size_ == 0) word(held_), held_ = 0;
    }
    uint64_t w[LANES];
    for (; n >= 8 && (lane_ || n < sizeof w); p += 8, n -= 8) {
        std::memcpy(w, p, 8);
        word(w[0]);
    }
    if (lane_ == 0) {
        const uint64_t factor = key_.k1 | 1;
        uint64_t lanes[LANES];
        std::memcpy(lanes, lanes_, sizeof lanes);
        for (; n >= sizeof w; p += sizeof w, n -= sizeof w) {
            std::memcpy(w, p, sizeof w);
            for (size_t i = 0; i < LANES; i++) lanes[i] = multiplied(lanes[i] ^ w[i], factor) + w[i];
        }
        std::memcpy(lanes_, lanes, sizeof lanes);
    }
    for (; n >= 8; p += 8, n -= 8) {
        std::memcpy(w, p, 8);
        word(w[0]);
    }
    for (; n; p++, n--) held_ |= uint64_t(*p) << 8 * held_size_++;
}

void Twin::close_block() {
    if (held_size_) word(held_);
    uint64_t whole = 0;
    for (const uint64_t lane : lanes_) whole = multiplied(whole ^ lane, key_.k0 | 1) + lane;
    const uint32_t digest = uint32_t(whole ^ whole >> 32);
    if (looks_ == Looks::own) {
        object_.blocks[block_] = digest;
    } else if (object_.blocks[block_] != digest) {
        // What is more was put into this block, or else the two differ otherwise.
        const bool inserted = looks_ == Looks::start && more_ >= LEAST_MORE;
        looks_ = inserted ? Looks::behind : Looks::done;
        differs_at_ = block_;
    }
    open_block(block_ + 1);
}

void Twin::feed(const uint8_t* data, size_t size) {
    uint64_t at = at_;
    at_ += size;
    while (size && looks_ != Looks::nowhere && looks_ != Looks::done && block_ < blocks_) {
        const bool before = at < next_;
        const size_t n = size_t(std::min<uint64_t>(before ? next_ - at : left_, size));
        if (!before) {
            take(data, n);
            next_ += n;
            left_ -= n;
        }
        at += n;
        data += n;
        size -= n;
        if (left_ == 0) close_block();
    }
}

Twin::Difference Twin::end(Twins& twins) {
    Difference out;
    // A body that is not whole says nothing of the object.
    if (looks_ == Looks::nowhere || at_ != length_) return out;
    if (looks_ != Looks::own && looks_ != Looks::done && more_ >= LEAST_MORE) {
        const bool tail = looks_ == Looks::start;
        out.is = tail ? Is::tail : Is::insertion;
        out.offset = tail ? object_.length : differs_at_ * block_size_;
        out.length = more_;
        out.sign = {uint8_t(out.is), 0, uint32_t(twins.differed.load(std::memory_order_relaxed)), uint32_t(twins.compared.load(std::memory_order_relaxed))};
        // The upper 95 % bound of a Poisson rate from k events, never below the exact one: 3 for none, 5.65 (4.74) for one.
        const double k = out.sign.k, bound = k + 3 + 1.645 * std::sqrt(k);
        out.sign.bits = std::max(0.0, std::min(TWIN_CAP, std::log2(std::max<double>(1, out.sign.n) / bound)));
    }
    const bool compared = looks_ != Looks::own || shrunk_, differed = shrunk_ || looks_ == Looks::done || more_ > 0;
    auto once = [this](bool now, uint32_t flag, std::atomic<uint64_t>& counter) {
        if (!now || object_.flags & flag) return;
        object_.flags |= flag;
        counter.fetch_add(1, std::memory_order_relaxed);
    };
    once(compared, COMPARED, twins.compared);
    once(differed, DIFFERED, twins.differed);
    twins.put(object_);
    looks_ = Looks::nowhere;
    return out;
}

}  // namespace overread
