// Looks a response's text up in the registry, in pieces as it comes.
#pragma once
#include <memory>
#include <new>

#include "registry/coded_text.h"
#include "registry/registry.h"
#include "registry/token_runs.h"

namespace overread {

// What a response holds of others' secrets so far.
struct ForeignSign {
    ForeignLevel level = ForeignLevel::none;
    uint8_t owners = 0;  // how many of them, of those to whom servers issued what was found; 3: three or more
    uint32_t lookups = 0;
};

// A secret's place in the body.
struct ForeignPlace {
    ForeignLevel level;
    uint64_t start, end;  // of one of its windows
    uint64_t from, to;    // of the run it stands in, at most a block of it
    Fingerprint print;    // of the window
};

class ForeignScan {
  public:
    explicit ForeignScan(Registry& registry) : registry_(&registry) {}
    ForeignScan(const ForeignScan&) = default;
    ForeignScan& operator=(const ForeignScan&) = default;
    // A response may be given up before its end.
    ~ForeignScan() { end_reply(false); }
    // owner: whose response it is; canary: what was planted in its request; now: seconds. What the client sent itself is not another's, nor
    // what the response sets: some cookies are the same for a user's devices, or for all.
    void reset(const Owner& owner, const ovr_response& response, const ovr_bytes& canary, uint32_t now);
    // The body's next bytes. found(const ForeignPlace&) is called for each window that is another's, in the order of their places, by the
    // time that settle() is: what feed() fetches from the registry has come when it is called again.
    template <class F>
    void feed(const uint8_t* data, size_t size, uint64_t offset, F&& found) {
        settle(found);
        poisoned_ = registry_->has_poison();
        runs_.feed(registry_->kernel(), data, size, offset, [&](const RunBlock& b) { look(b, found); });
    }
    template <class F>
    void settle(F&& found) {
        settle(waiting_count_, found);
    }
    // Bytes of a text that feed() was given, with the kernel's classes of them, for what stands Huffman coded where they are raw:
    // decoded(const ForeignPlace&) is called for each such window, in any order. `lead_end` as RawStretches::feed() wants it.
    template <class F, class D>
    void feed_raw(const uint8_t* data, size_t size, uint64_t offset, const uint8_t* lead_end, const KernelOutput& out, F&& found, D&& decoded);
    // Only what stands from `offset` on is such text.
    void start_raw(uint64_t offset) { stretches_.reset(offset); }
    template <class D>
    void finish_raw(D&& decoded);
    template <class F>
    void finish(uint64_t end, F&& found) {
        runs_.finish(end, [&](const RunBlock& b) { look(b, found); });
        settle(found);
    }
    // A field's value or another text that is whole.
    template <class F>
    void text(const uint8_t* data, size_t size, F&& found);
    const ForeignSign& sign() const { return sign_; }
    // The first bytes of a JSON body, which may be a reply that issues tokens.
    void keep(const uint8_t* data, size_t size);
    // A server may issue the same to a user's second browser: some have one token a user, as djoser has. Whether the body is the answer to a
    // login, and all that was found of others' sessions are the tokens that it issues.
    bool is_login_reply() const;
    // What a reply issues, for a registry that is to know it. At the end of the body in any case: its bytes do not stay.
    void end_reply(bool observe);
    // What was found so far of what servers issued is known to the page's readers: it is no secret any more.
    void expose();
    // The first one of its windows: what was coded is found behind what stands after it.
    const Fingerprint* issued() const {
        const auto before = [](const Listed& a, const Listed& b) { return a.start != b.start ? a.start < b.start : a.print.low < b.print.low; };
        return listed_count_ ? &std::min_element(listed_, listed_ + listed_count_, before)->print : nullptr;
    }
    // The response is over: its canaries are burnt. listed: it is a page of many owners' secrets that nothing of memory shows in, so a
    // list that is meant to be there, and they are exposed.
    void conclude(bool listed);
    Registry& registry() const { return *registry_; }
    const Owner& owner() const { return owner_; }
    uint32_t now() const { return now_; }

  private:
    std::string_view reply() const { return {reinterpret_cast<const char*>(kept_), kept_size_}; }
    // Taken when a response first has raw bytes in its text, and kept for the stream's next ones.
    struct Coded : std::unique_ptr<CodedText> {
        bool live = false;  // it has bytes of this response
        Coded() = default;
        Coded(const Coded& other) : Coded() { *this = other; }
        Coded& operator=(const Coded& other) {
            live = other.live && take();
            if (live) **this = *other;
            return *this;
        }
        // False: there is no memory, and coded text is not looked at.
        bool take() {
            if (!*this) reset(new (std::nothrow) CodedText);
            return bool(*this);
        }
    };
    static constexpr size_t BATCH = 32, LISTED = 128, CANARIES = 8, OWN = 128, KEPT = 4096;
    struct Waiting {
        Fingerprint print;
        uint64_t start, end, from, to;
    };
    // Fetches before it asks: the table does not fit a cache.
    template <class F>
    void look(const RunBlock& b, F&& found);
    template <class F>
    void look(const CodedWindow& w, F&& found);
    // Asks for the first ones of what waits.
    template <class F>
    void settle(size_t count, F&& found);
    void note(const ForeignPlace& place, const Registry::Sighting& sighting);
    void add_own(const ovr_bytes& text);
    bool is_own(const Fingerprint& f) const;
    bool is_own_canary(const uint8_t* text) const { return std::memcmp(text, own_canary_, CANARY_SIZE) == 0; }

    Registry* registry_;
    Owner owner_;
    uint32_t now_ = 0;
    bool body_ = true, posted_ = false, logs_in_ = false;
    bool poisoned_ = true;  // some window's order may be a poison's
    TokenRuns runs_;
    RawStretches stretches_;
    Coded coded_;
    ForeignSign sign_;
    uint32_t owners_[3];
    uint16_t listed_count_ = 0;
    struct Listed {
        Fingerprint print;
        uint64_t start;
    } listed_[LISTED];
    uint8_t canary_count_ = 0, own_count_ = 0;
    uint64_t own_[OWN];  // windows of what the client sent and gets; of more the first ones
    Fingerprint canaries_[CANARIES];
    uint8_t own_canary_[CANARY_SIZE];  // or 0
    uint16_t kept_size_ = 0;
    uint8_t kept_[KEPT];
    size_t waiting_count_ = 0;
    Waiting waiting_[BATCH];
};

template <class F>
void ForeignScan::look(const RunBlock& b, F&& found) {
    Block block(registry_->keys(), b.text, b.size);
    auto wait = [&](size_t i) {
        if (waiting_count_ == BATCH) settle(BATCH / 2, found);
        Waiting& w = waiting_[waiting_count_++];
        w = {fingerprint(registry_->keys(), b.text + i), b.at(i), b.at(i + SECRET_WINDOW), b.at(0), b.at(b.size)};
        registry_->prefetch(w.print);
    };
    windows_to_look_up(b, block, wait);
    for (size_t i = 0; poisoned_ && i < block.windows(); i++)
        if (registry_->maybe_poison(block.order(i)) && block.secret(i)) wait(i);
    for (size_t i = 0; i + CANARY_SIZE <= b.size; i++) {
        const auto* at = static_cast<const uint8_t*>(std::memchr(b.text + i, 'o', b.size - CANARY_SIZE + 1 - i));
        if (!at) break;
        i = size_t(at - b.text);
        Fingerprint canary;
        if (!registry_->is_canary(at, owner_, now_, &canary) || is_own_canary(at)) continue;
        settle(found);
        if (canary_count_ < CANARIES) canaries_[canary_count_++] = canary;
        const ForeignPlace place{ForeignLevel::canary, b.at(i), b.at(i + CANARY_SIZE), b.at(0), b.at(b.size), canary};
        note(place, {});
        found(place);
    }
}

template <class F>
void ForeignScan::settle(size_t count, F&& found) {
    if (!count) return;
    sign_.lookups += uint32_t(count);
    registry_->count_look_ups(count);
    for (size_t i = 0; i < count; i++) {
        const Waiting& w = waiting_[i];
        const Registry::Sighting s = registry_->look_up(w.print, owner_, now_, body_);
        if (s.level == ForeignLevel::none || is_own(w.print)) continue;
        const ForeignPlace place{s.level, w.start, w.end, w.from, w.to, w.print};
        note(place, s);
        found(place);
    }
    waiting_count_ -= count;
    std::memmove(waiting_, waiting_ + count, waiting_count_ * sizeof *waiting_);
}

template <class F>
void ForeignScan::look(const CodedWindow& w, F&& found) {
    if (!is_secret_window(w.text)) return;
    if (waiting_count_ == BATCH) settle(BATCH / 2, found);
    Waiting& waiting = waiting_[waiting_count_++];
    waiting = {fingerprint(registry_->keys(), w.text), w.start, w.end, w.from, w.to};
    registry_->prefetch(waiting.print);
}

template <class F, class D>
void ForeignScan::feed_raw(const uint8_t* data, size_t size, uint64_t offset, const uint8_t* lead_end, const KernelOutput& out, F&& found, D&& decoded) {
    if (!stretches_.wants(offset, out.classes, out.class_units)) return;
    settle(found);  // what waits is told apart by nothing
    const auto look_at = [&](const auto& what) { look(what, decoded); };
    stretches_.feed(data, size, offset, lead_end, out.classes, out.class_units, [&](const uint8_t* p, size_t n, uint64_t at, bool fresh) {
        if (!coded_.take()) return;
        if (fresh && coded_.live) coded_->end(look_at, look_at);
        if (fresh) coded_->begin(at);
        coded_.live |= fresh;
        if (coded_.live) coded_->feed(registry_->kernel(), p, n, look_at, look_at);
    });
    if (stretches_.over()) return finish_raw(decoded);
    settle(decoded);
}

template <class D>
void ForeignScan::finish_raw(D&& decoded) {
    const auto look_at = [&](const auto& what) { look(what, decoded); };
    if (coded_.live) coded_->end(look_at, look_at);
    coded_.live = false;
    settle(decoded);
}

template <class F>
void ForeignScan::text(const uint8_t* data, size_t size, F&& found) {
    body_ = false;
    TokenRuns::whole(registry_->kernel(), data, size, [&](const RunBlock& b) { look(b, found); });
    settle(found);
    body_ = true;
}

}  // namespace overread
