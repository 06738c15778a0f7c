#include "content/decoder.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace overread {

bool supported(Coding coding) {
    switch (coding) {
#ifdef OVERREAD_HAS_ZLIB
        case Coding::gzip:
        case Coding::deflate:
            return true;
#endif
#ifdef OVERREAD_HAS_BROTLI
        case Coding::br:
            return true;
#endif
#ifdef OVERREAD_HAS_ZSTD
        case Coding::zstd:
            return true;
#endif
        default:
            return false;
    }
}

namespace {

// How a member of the coding begins; where that shows only with more bytes, `maybe`.
enum class Start : uint8_t { no, maybe, yes };

bool is_zlib_method(uint8_t first) { return (first & 0x0f) == 8 && first >> 4 <= 7; }

Start start_of(Coding coding, const uint8_t* p, size_t n) {
    if (coding == Coding::gzip) {
        static const uint8_t MAGIC[] = {0x1f, 0x8b};
        if (std::memcmp(p, MAGIC, n) != 0) return Start::no;
        return n == sizeof MAGIC ? Start::yes : Start::maybe;
    }
    if (coding == Coding::zstd) {  // a frame, or one to be skipped; RFC 8878, section 3.1
        static const uint8_t FRAME[] = {0x28, 0xb5, 0x2f, 0xfd}, SKIPPABLE[] = {0x50, 0x2a, 0x4d, 0x18};
        const bool skippable = (p[0] & 0xf0) == SKIPPABLE[0] && std::memcmp(p + 1, SKIPPABLE + 1, n - 1) == 0;
        if (!skippable && std::memcmp(p, FRAME, n) != 0) return Start::no;
        return n == sizeof FRAME ? Start::yes : Start::maybe;
    }
    // RFC 9110, section 8.4.1.2: some send deflate data without zlib's two bytes around it. No encoder's data begins as those
    // do: it would be a stored block behind padding that is not zero.
    if (coding == Coding::deflate && n < 2 && is_zlib_method(p[0])) return Start::maybe;
    return Start::yes;
}

bool has_zlib_header(const uint8_t* p, size_t n) { return n >= 2 && is_zlib_method(p[0]) && (p[0] * 256u + p[1]) % 31 == 0; }

}  // namespace

struct Decoder::Stage {
    Coding coding;
    enum : uint8_t { begins, runs, ended, behind } phase = begins;  // behind: bytes that belong to no member
    bool first = true;                                              // no member has begun before
    bool skips = false;                                             // the member decodes to nothing
    uint8_t held_size = 0;
    uint8_t held[MAX_MAGIC];
    std::unique_ptr<Engine> engine;
    uint64_t produced = 0;
    uint8_t buffer[BUFFER];

    bool engage() {
        if (engine) return engine->again();
        engine.reset(coding == Coding::gzip      ? new_inflate(15 + 16)
                     : coding == Coding::deflate ? new_inflate(has_zlib_header(held, held_size) ? 15 : -15)
                     : coding == Coding::br      ? new_brotli()
                                                 : new_zstd());
        return engine != nullptr;
    }
    bool has_members() const { return coding == Coding::gzip || coding == Coding::zstd; }
};

Decoder::~Decoder() {
    for (size_t i = 0; i < count_; i++) delete stages_[i];
}

bool Decoder::add(Coding coding) {
    if (!supported(coding)) return false;
    Stage* s = new (std::nothrow) Stage;
    if (!s) return false;
    s->coding = coding;
    stages_[count_++] = s;
    // How deflate data is wrapped shows with its first bytes.
    return coding == Coding::deflate || s->engage();
}

std::unique_ptr<Decoder> Decoder::open(const Codings& codings, const Bounds& bounds) {
    if (codings.unknown) return nullptr;
    std::unique_ptr<Decoder> d(new (std::nothrow) Decoder);
    if (d) d->bounds_ = bounds;
    for (size_t i = codings.count; d && i-- > 0;)
        if (!d->add(codings.applied[i])) return nullptr;
    return d;
}

size_t Decoder::begun(const uint8_t** bytes) const {
    *bytes = stages_[0]->held;
    return stages_[0]->held_size;
}

bool Decoder::settled() const {
    if (!live()) return true;
    for (size_t i = 0; i < count_; i++) {
        const Stage& s = *stages_[i];
        if (s.held_size || (s.phase == Stage::runs && !s.skips && !s.engine->settled())) return false;
    }
    return true;
}

size_t Decoder::feed(const uint8_t* data, size_t size, Sink& sink) {
    if (!live()) return size;
    // The bound must not depend on how the body is cut: it is that of the piece's end.
    const uint64_t end = (coded_ / PIECE + 1) * PIECE;
    const size_t n = size_t(std::min<uint64_t>(size, end - coded_));
    const uint64_t grown = end > bounds_.decoded / bounds_.ratio ? bounds_.decoded : bounds_.ratio * end;
    limit_ = std::min(bounds_.decoded, std::max(MIN_BOMB, grown));
    coded_ += n;
    push(0, data, n, sink);
    return n;
}

void Decoder::push(size_t stage, const uint8_t* data, size_t size, Sink& sink) {
    Stage& s = *stages_[stage];
    while (size && live()) {
        if (s.phase == Stage::behind) return hand_on(stage, data, size, sink);
        if (s.phase == Stage::ended && !s.has_members()) {
            s.phase = Stage::behind;
            state_ = Decoded::trailing;
        } else if (s.phase != Stage::runs) {
            if (!begin(stage, data, size, sink)) return;
        } else {
            run(stage, data, size, sink);
        }
    }
}

void Decoder::hand_on(size_t stage, const uint8_t* data, size_t size, Sink& sink) {
    Stage& s = *stages_[stage];
    const size_t n = size_t(std::min<uint64_t>(size, limit_ - std::min(limit_, s.produced)));
    s.produced += n;
    if (n && stage + 1 < count_)
        push(stage + 1, data, n, sink);
    else if (n)
        sink.take(data, n);
    if (n < size && live()) state_ = Decoded::bomb;
}

// Takes bytes until they show whether a member begins. False: nothing is left to do.
bool Decoder::begin(size_t stage, const uint8_t*& data, size_t& size, Sink& sink) {
    Stage& s = *stages_[stage];
    Start start = Start::maybe;
    while (start == Start::maybe && size) {
        s.held[s.held_size++] = *data++;
        size--;
        start = start_of(s.coding, s.held, s.held_size);
    }
    if (start == Start::maybe) return false;
    if (start == Start::no) {
        if (s.first) {
            refused_ = stage == 0;
            left_ = size;
            state_ = Decoded::broken;
            return false;
        }
        s.phase = Stage::behind;
        state_ = Decoded::trailing;
        const size_t n = s.held_size;
        s.held_size = 0;
        hand_on(stage, s.held, n, sink);
        return live();
    }
    if ((!s.first || !s.engine) && !s.engage()) {
        state_ = Decoded::unknown;
        return false;
    }
    s.phase = Stage::runs;
    s.skips = s.coding == Coding::zstd && s.held[0] != 0x28;
    s.first = false;
    const uint8_t* held = s.held;
    size_t n = s.held_size;
    s.held_size = 0;
    run(stage, held, n, sink);
    return live();
}

void Decoder::run(size_t stage, const uint8_t*& data, size_t& size, Sink& sink) {
    Stage& s = *stages_[stage];
    Step step = Step::more;
    bool full = true;
    while (step == Step::more && (size || full) && live()) {
        Window w{data, size, s.buffer, BUFFER};
        step = s.engine->decode(w);
        data = w.in;
        size = w.in_size;
        full = w.out_size == 0;
        if (w.out_size < BUFFER) hand_on(stage, s.buffer, BUFFER - w.out_size, sink);
    }
    if (!live()) return;
    if (step == Step::end)
        s.phase = Stage::ended;
    else if (step != Step::more)
        state_ = step == Step::broken ? Decoded::broken : step == Step::bound ? Decoded::bomb : Decoded::unknown;
}

void Decoder::finish(Sink& sink) {
    // From the first to be undone on: what it holds may be the next one's end.
    for (size_t i = 0; i < count_ && live(); i++) {
        Stage& s = *stages_[i];
        const size_t n = s.held_size;
        s.held_size = 0;
        if (s.phase == Stage::runs || (n && s.first))
            state_ = Decoded::truncated;
        else if (n) {
            state_ = Decoded::trailing;
            hand_on(i, s.held, n, sink);
        }
    }
}

}  // namespace overread
