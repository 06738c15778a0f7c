// The hot path of overread: a chunk goes through the kernel once, candidates go to verifiers in the order of their
// offsets, dirty units to the raw tracker. Nothing here depends on where chunks end.
#include "stream/stream.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "verify/head.h"

namespace overread {
namespace {

// Decoding is dear, and no more of these signs adds evidence: after so many of a kind a response's further ones are not
// looked at. Runs do not stand for header lines, and what the client itself sent stands for nothing.
constexpr uint16_t MAX_ESCAPED = 64;

bool is_escaped(Check check) { return check == Check::escaped_run || check == Check::escaped_header; }

// Characters of wide text that are read at first.
constexpr size_t FIRST_WIDE = 24;

// Two signs this close belong together: a header block's lines, a credential in its header.
constexpr uint64_t NEAR = 512;

// From so many bytes on a match may have ended at a verifier's bound (MAX_REPEAT).
constexpr uint64_t LONG_MATCH = 400;

bool starts_with(const ovr_bytes& b, const char* what) {
    const size_t n = std::strlen(what);
    return b.size >= n && std::memcmp(b.data, what, n) == 0;
}

// Whether a character of the class stands at p, `stride` bytes long.
bool stands(const CharClass& cls, const uint8_t* p, uint8_t stride) { return cls.has(stride == 2 && p[1] ? NO_BYTE : p[0]); }

// Whether the n bytes at p are the anchor's first.
bool same_text(const uint8_t* p, const Anchor& a, size_t n) {
    if (a.stride == 1 && !a.nocase) return std::memcmp(p, a.bytes, n) == 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t want = a.stride == 1 ? a.bytes[i] : i % 2 ? 0 : a.bytes[i / 2];
        if (p[i] != want && !(a.nocase && Ruleset::fold(p[i]) == Ruleset::fold(want))) return false;
    }
    return true;
}

Builtin foreign_rule(ForeignLevel level) {
    return level == ForeignLevel::canary ? Builtin::foreign_canary : level == ForeignLevel::sent ? Builtin::foreign_value : Builtin::foreign_session;
}

}  // namespace

void Stream::reset(const ovr_response* response, uint32_t hold, double freeze_bits) {
    hold_ = hold;
    freeze_bits_ = freeze_bits;
    finished_ = frozen_ = concluded_ = start_resolved_ = dirty_ = encoded_ = counts_coded_ = has_header_ = has_credential_ = has_crlf_ = false;
    sniffed_ = 0;
    escaped_[0] = escaped_[1] = 0;
    total_ = resume_ = open_ = released_ = flushed_ = carry_base_ = dropped_ = exempt_ = ignored_ = coded_total_ = coded_released_ = 0;
    decode_ = Decoded::none;
    coded_.reset();
    html_end_ = first_html_end_ = last_text_ = last_sign_ = 0;
    carry_size_ = 0;
    kept_count_ = 0;
    marks_ignored_ = false;
    levels_ = Levels();
    assessment_.bits = 0;
    assessment_.term_count = 0;
    reading_.reset();
    sighting_.reset();
    waiting_window_ = NOT_WAITING;
    own_.reset(scanner_->key, response ? response->request : nullptr);
    open_foreign(response);

    ovr_bytes type{nullptr, 0};
    Codings codings;
    bool flows = false;  // streams that must flow are never delayed, not even for the bytes that sniffing wants
    if (response) {
        type = response->content_type;
        for (size_t i = 0; i < response->header_count; i++) {
            const ovr_header& h = response->headers[i];
            if (type.size == 0 && name_is(h.name.data, h.name.size, "content-type")) type = h.value;
            if (name_is(h.name.data, h.name.size, "content-encoding")) codings.add(h.value.data, h.value.size);
            if (name_is(h.name.data, h.name.size, "x-accel-buffering") && name_is(h.value.data, h.value.size, "no")) flows = true;
        }
    }
    if (type_size_ == NO_TYPE || type.size != type_size_ || (type.size && std::memcmp(type.data, type_, type.size) != 0)) {
        type_content_ = classify_type(type.data, type.size);
        type_size_ = type.size <= sizeof type_ ? uint8_t(type.size) : NO_TYPE;
        if (type.size && type_size_ != NO_TYPE) std::memcpy(type_, type.data, type.size);
    }
    content_ = type_content_;
    if (starts_with(type, "application/grpc") || starts_with(type, "multipart/x-mixed-replace")) flows = true;
    if (flows || content_.lines || content_.cls == ContentClass::event_stream) {
        hold_ = 0;
        content_.sniff = false;
        if (content_.cls == ContentClass::count) content_.cls = ContentClass::other;
    }
    if (!codings.none()) open_codings(codings);
    if (!content_.sniff) choose_class();
    if (response) scan_head(*response);
}

void Stream::add_head_finding(Builtin sign, ovr_part part, const ovr_bytes& value, size_t at, const ovr_bytes* name) {
    const PlaceLevel level = head_level(sign);
    if (ignores(builtin(sign), {value.data + at, value.size - at})) return;
    levels_.head = std::max(levels_.head, uint8_t(level));
    dirty_ = true;
    add_finding(builtin(sign), part, at, uint32_t(value.size - at), {value.data + at, value.size - at}, name, GROUP_PLACE, level);
}

void Stream::scan_fields(const ovr_header* fields, size_t count, ovr_part part) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const ovr_header& h = fields[i];
        const ovr_bytes* const name = scan_name(h.name, part);
        if (looks_foreign_) scan_foreign(h.value, part, name);
        const Builtin sign = check_header(h.name.data, h.name.size, h.value.data, h.value.size, &at);
        if (sign == Builtin::none) continue;
        if (own_.holds(h.value.data, h.value.size))
            exempt_++;
        else
            add_head_finding(sign, part, h.value, at, name);
    }
    reassess();
}

static_assert(uint8_t(ForeignLevel::sent) == FOREIGN_SENT && uint8_t(ForeignLevel::issued) == FOREIGN_ISSUED &&
              uint8_t(ForeignLevel::http_only) == FOREIGN_HTTP_ONLY && uint8_t(ForeignLevel::canary) == FOREIGN_CANARY);

void Stream::open_foreign(const ovr_response* r) {
    levels_.foreign = {};
    foreign_level_ = FOREIGN_NONE;
    foreign_first_ = UINT64_MAX;
    foreign_due_ = 0;
    observes_reply_ = false;
    foreign_place_.level = ForeignLevel::none;
    coded_places_.reset();
    const bool timed = r && r->struct_size >= offsetof(ovr_response, owner) && r->unix_ms;
    looks_foreign_ = foreign_ && timed;
    if (!looks_foreign_) return forget_reply();  // of the response before, as reset() does
    const uint32_t now = uint32_t(r->unix_ms / 1000);
    const ovr_bytes none{nullptr, 0}, owner = r->struct_size >= offsetof(ovr_response, canary) ? r->owner : none;
    foreign_->reset(scanner_->registry->owner_of(view_of(owner), *r, now), *r, r->struct_size >= sizeof *r ? r->canary : none, now);
}

bool Stream::scan_foreign(const ovr_bytes& text, ovr_part part, const ovr_bytes* name) {
    bool found = false;
    tell_foreign(OVR_PART_BODY, nullptr);  // of the body, where this is a trailer
    foreign_->text(text.data, text.size, [&](const ForeignPlace& p) {
        found = true;
        add_foreign(p, part, name);
    });
    tell_foreign(part, name);
    return found;
}

// Looks a field's name up, and gives it back if findings may tell it: they and events repeat what it is, and a name that is a secret, of
// whomever, must not stand in a log.
const ovr_bytes* Stream::scan_name(const ovr_bytes& name, ovr_part part) {
    // Of nearly all names this is all: a secret's window has a digit, and so has a canary.
    if (name.size < SECRET_WINDOW || std::none_of(name.data, name.data + name.size, [](uint8_t c) { return char_kind(c) == CHAR_DIGIT; })) return &name;
    const bool foreign = looks_foreign_ && scan_foreign(name, part, nullptr);
    return foreign || may_hold_secret(*scanner_->kernel, RegistryKeys{}, view_of(name)) ? nullptr : &name;
}

// A secret's windows, one after the other, are one finding.
void Stream::add_foreign(const ForeignPlace& place, ovr_part part, const ovr_bytes* name) {
    if (ignores(builtin(foreign_rule(place.level)))) return;
    constexpr uint64_t BESIDE = SECRET_WINDOW;
    const bool same_run = place.from == foreign_place_.from || place.start <= foreign_place_.end + BESIDE;
    if (foreign_place_.level != ForeignLevel::none && same_run) {
        foreign_place_.end = std::max(foreign_place_.end, place.end);
        foreign_place_.level = std::max(foreign_place_.level, place.level);
    } else {
        tell_foreign(part, name);
        foreign_place_ = place;
    }
    weigh_foreign(place, part);
}

void Stream::add_coded(const ForeignPlace& place) {
    if (ignores(builtin(foreign_rule(place.level)))) return;
    coded_places_.add(place);
    weigh_foreign(place, OVR_PART_BODY);
}

void Stream::weigh_foreign(const ForeignPlace& place, ovr_part part) {
    if (spans_ && part == OVR_PART_BODY) spans_->add(place.from, place.to, Rest::none);
    foreign_level_ = std::max(foreign_level_, uint8_t(place.level));
    const bool waits = part == OVR_PART_BODY && place.level < ForeignLevel::canary;
    foreign_first_ = waits ? std::min(foreign_first_, place.from) : 0;
    if (!waits) foreign_due_ = std::max<uint64_t>(foreign_due_, 1);  // a head does not lie in the delay line, and a canary is in no list
    if (part == OVR_PART_BODY) last_sign_ = std::max(last_sign_, place.end);
    dirty_ = true;
}

void Stream::tell_foreign(ovr_part part, const ovr_bytes* name) {
    const ForeignPlace& p = foreign_place_;
    if (p.level == ForeignLevel::none) return;
    add_finding(builtin(foreign_rule(p.level)), part, p.start, uint32_t(p.end - p.start), {reinterpret_cast<const uint8_t*>(&p.print.low), sizeof p.print.low},
                name, GROUP_FOREIGN, uint8_t(p.level));
    foreign_place_.level = ForeignLevel::none;
}

// So far: while all of it waits in the delay line, a session is worth what any value is.
uint8_t Stream::foreign_level() const {
    const bool waits = !concluded_ && foreign_first_ >= foreign_due_ && total_ - std::min(total_, foreign_first_) < hold_;
    return waits ? std::min<uint8_t>(foreign_level_, FOREIGN_SENT) : foreign_level_;
}

void Stream::count_foreign() {
    const ForeignSign& sign = foreign_->sign();
    levels_.foreign.owners = sign.owners;
    levels_.foreign.lookups = sign.lookups;
    levels_.foreign.live = scanner_->registry->live();
}

void Stream::scan_head(const ovr_response& r) {
    size_t at = 0;
    if (looks_foreign_) scan_foreign(r.reason, OVR_PART_STATUS, nullptr);
    const Builtin reason = check_reason(r.reason.data, r.reason.size, &at);
    if (reason != Builtin::none) add_head_finding(reason, OVR_PART_STATUS, r.reason, at, nullptr);
    scan_fields(r.headers, r.header_count, OVR_PART_HEADER);
}

void Stream::trailers(const ovr_header* fields, size_t count) { scan_fields(fields, count, OVR_PART_TRAILER); }

void Stream::choose_class() {
    content_ = content_.sniff ? sniff(content_, sniff_, sniffed_) : content_;
    raw_.reset(content_, scanner_->kernel);
    place_.reset(content_, scanner_->kernel);
}

static_assert(uint8_t(Decoded::none) == OVR_DECODE_NONE && uint8_t(Decoded::ok) == OVR_DECODE_OK && uint8_t(Decoded::trailing) == OVR_DECODE_TRAILING &&
              uint8_t(Decoded::truncated) == OVR_DECODE_TRUNCATED && uint8_t(Decoded::broken) == OVR_DECODE_BROKEN &&
              uint8_t(Decoded::bomb) == OVR_DECODE_BOMB && uint8_t(Decoded::unknown) == OVR_DECODE_UNKNOWN);

struct Stream::Scan final : Decoder::Sink {
    Stream& stream;
    explicit Scan(Stream& s) : stream(s) {}
    void take(const uint8_t* data, size_t size) override { stream.scan(data, size); }
};

void Stream::open_codings(const Codings& codings) {
    std::unique_ptr<Coded> coded(new (std::nothrow) Coded);
    if (coded) coded->decoder = Decoder::open(codings, scanner_->bounds);
    if (coded && coded->decoder) {
        coded_ = std::move(coded);
        counts_coded_ = true;
        return;
    }
    decode_ = Decoded::unknown;
    judge_as_unknown();
}

// Coded bytes are no text, whatever the type says of what they decode to.
void Stream::judge_as_unknown() {
    encoded_ = true;
    content_ = {ContentClass::other, Charset::unknown, false, false};
}

void Stream::feed(const uint8_t* data, size_t size) {
    if (coded_)
        feed_coded(data, size);
    else if (!concluded_)
        scan(data, size);
    else
        coded_total_ += size;
    reassess();
    release(false);
}

void Stream::feed_coded(const uint8_t* data, size_t size) {
    Decoder& decoder = *coded_->decoder;
    Scan sink(*this);
    while (size && decoder.live()) {
        const size_t n = decoder.feed(data, size, sink);
        data += n;
        size -= n;
        coded_total_ += n;
        if (decoder.settled()) coded_->marks.add(coded_total_, scanned());
    }
    if (decoder.live()) return;
    if (!decoder.refused()) {
        coded_total_ += size;
        stop_decoding();
        return;
    }
    // The head lies, so the bytes are what any of an unknown coding are.
    const uint8_t* begun;
    const size_t begun_size = decoder.begun(&begun);
    judge_as_unknown();
    choose_class();
    scan(begun, begun_size);
    counts_coded_ = false;
    decode_ = decoder.state();
    // The decoder took a piece and left what stands behind the bytes that tell.
    const size_t left = decoder.left();
    coded_.reset();
    scan(data - left, size + left);
}

// Nothing more comes out: what was decoded is the body, and what follows it may go.
void Stream::stop_decoding() {
    decode_ = coded_->decoder->state();
    if (decode_ >= Decoded::truncated && scanned() == 0) {
        judge_as_unknown();
        choose_class();
    }
    conclude();
    coded_.reset();
}

void Stream::scan(const uint8_t* data, size_t size) {
    if (sighting_.wanted()) sighting_.feed(data, size);
    if (looks_foreign_ && type_content_.cls == ContentClass::json) foreign_->keep(data, size);
    if (content_.sniff) {
        // The class rests on the first bytes, so a short first chunk must not change it.
        const size_t more = std::min(size, SNIFF_BYTES - sniffed_);
        std::memcpy(sniff_ + sniffed_, data, more);
        const bool whole = sniffed_ == 0;  // what was sniffed stands before the rest
        sniffed_ = uint8_t(sniffed_ + more);
        if (sniffed_ < SNIFF_BYTES) return;
        choose_class();
        if (!whole) {
            ingest(sniff_, SNIFF_BYTES, false);
            data += more;
            size -= more;
        }
    }
    if (size) ingest(data, size, false);
}

void Stream::flush() {
    // What waits leaves now.
    foreign_due_ = std::max(foreign_due_, total_ + 1);
    reassess();
    release(true);
}

// Text whose control bytes show that it is none may be what a proxy of HTTP/2 or HTTP/3 has in memory.
void Stream::feed_raw(const uint8_t* data, uint64_t offset, size_t size, const KernelOutput& out) {
    // The carry reaches to the chunk's first byte, and a tile behind that has one before it.
    const uint8_t* lead_end = offset == total_ ? carry_ + carry_size_ : data;
    foreign_->feed_raw(
        data, size, offset, lead_end, out, [this](const ForeignPlace& p) { add_foreign(p, OVR_PART_BODY, nullptr); },
        [this](const ForeignPlace& p) { add_coded(p); });
}

// Behind a complete container the bytes are judged as those behind text are.
void Stream::feed_tail(const uint8_t* data, uint64_t offset, size_t size, const KernelOutput& out) {
    const uint64_t tail = place_.tail_start();
    if (tail < offset) {
        raw_.feed(data, size, out.classes, out.class_units);
        if (looks_foreign_) feed_raw(data, offset, size, out);
        return;
    }
    // The kernel's units are counted from the tail: once a response, in the tile where it starts.
    const size_t skip = size_t(tail - offset);
    KernelOutput rest;
    scanner_->kernel->scan(scanner_->rules->fingerprint, data + skip, size - skip, size - skip, WANT_CLASSES, rest);
    raw_.start_tail(content_.cls, tail);
    raw_.feed(data + skip, size - skip, rest.classes, rest.class_units);
    if (!looks_foreign_) return;
    foreign_->start_raw(tail);
    feed_raw(data + skip, tail, size - skip, rest);
}

void Stream::ingest(const uint8_t* data, size_t size, bool final) {
    const uint64_t start = total_, end = total_ + size;
    const bool raw = is_text(content_.cls);
    if (content_.cls == ContentClass::html) {
        size_t i = size;
        while (i && (data[i - 1] <= 0x20 && data[i - 1] != 0)) i--;
        if (i) last_text_ = start + i;
    }

    // Windows that begin in an earlier chunk, and those whose verifiers look back into it, are decided on a copy of the seam.
    // Behind the body's last byte zeros stand: the window of an anchor there may be longer than it.
    uint8_t seam_bytes[2 * (LOOK_BEHIND + LOOK_AHEAD) + WINDOW];
    View seam{nullptr, carry_base_, 0, final};
    auto at_seam = [&]() -> const View& {
        if (seam.data) return seam;
        const size_t more = std::min(size, LOOK_BEHIND + LOOK_AHEAD);
        std::memcpy(seam_bytes, carry_, carry_size_);
        if (more) std::memcpy(seam_bytes + carry_size_, data, more);
        std::memset(seam_bytes + carry_size_ + more, 0, WINDOW);
        seam.data = seam_bytes;
        seam.size = carry_size_ + more;
        return seam;
    };
    const uint64_t seam_until = carry_size_ ? start + LOOK_BEHIND : start;
    resume_ = std::max(resume_, carry_base_);
    bool open = false;
    if (carry_size_) {
        const bool waits = start - resume_ >= WINDOW || (!start_resolved_ && carry_base_ == 0);
        if (waits || window_begins_in_carry(data, size, final)) open = !scan_candidates(at_seam(), resume_, start);
    }

    const View view{data, start, size, false};
    if (start == 0 && !open && !resolve_start(view)) open = true;
    const auto found_foreign = [&](const ForeignPlace& p) { add_foreign(p, OVR_PART_BODY, nullptr); };
    for (size_t at = 0; at < size; at += TILE) {
        KernelOutput out;
        const size_t n = std::min(TILE, size - at);
        const uint8_t wanted = high_windows() | (raw || place_.tail_start() < start + at ? WANT_CLASSES : 0);
        scanner_->kernel->scan(scanner_->rules->fingerprint, data + at, n, std::min(size - at, n + WINDOW - 1), wanted, out);
        place_.feed(data + at, n);
        if (looks_foreign_) foreign_->feed(data + at, n, start + at, found_foreign);
        raw_.document_end(place_.document_end());
        if (raw) raw_.feed(data + at, n, out.classes, out.class_units);
        if (raw && looks_foreign_) feed_raw(data + at, start + at, n, out);
        if (place_.tail_start() < start + at + n) feed_tail(data + at, start + at, n, out);
        for (uint32_t i = 0; i < out.candidate_count && !open; i++) {
            const uint64_t window = start + at + out.candidates[i];
            if (window >= resume_) open = !resolve(window < seam_until ? at_seam() : view, int64_t(window));
        }
    }
    if (looks_foreign_ && !final) foreign_->settle(found_foreign);
    if (looks_foreign_ && final) {
        foreign_->finish(end, found_foreign);
        foreign_->finish_raw([this](const ForeignPlace& p) { add_coded(p); });
        tell_foreign(OVR_PART_BODY, nullptr);
        for (const ForeignPlace& p : coded_places_) {
            foreign_place_ = p;
            tell_foreign(OVR_PART_BODY, nullptr);
        }
        dirty_ |= foreign_level_ != FOREIGN_NONE;  // the number of look-ups is known now
    }
    if (!open) {
        // The last three bytes start windows that are not complete.
        resume_ = final ? end : std::max(resume_, end >= WINDOW - 1 ? end - (WINDOW - 1) : 0);
        open_ = end;
    }
    total_ = end;
    save_carry(data, size);
}

// Whether one of the carry's last three bytes may begin a window that goes on in the chunk, or in the zeros behind the body.
bool Stream::window_begins_in_carry(const uint8_t* data, size_t size, bool final) const {
    constexpr size_t MOST = WINDOW - 1;
    uint8_t bytes[2 * MOST] = {};
    const size_t before = std::min<size_t>(carry_size_, MOST), behind = final ? MOST : std::min(size, MOST);
    std::memcpy(bytes, carry_ + carry_size_ - before, before);
    if (!final) std::memcpy(bytes + before, data, behind);
    for (size_t i = 0; i + WINDOW <= before + behind; i++) {
        uint32_t four;
        std::memcpy(&four, bytes + i, sizeof four);
        if (scanner_->rules->fingerprint.has(four)) return true;
    }
    return false;
}

// Decides the windows in [from, to) of a small view. False: one is open, and resume_ is there.
bool Stream::scan_candidates(const View& view, uint64_t from, uint64_t to) {
    from = std::max(from, view.base);
    if (!resolve_start(view)) return false;
    while (from < to && from < view.end()) {
        KernelOutput out;
        const size_t n = size_t(std::min<uint64_t>(TILE, std::min(to, view.end()) - from));
        const size_t there = size_t(view.end() - from) + (view.final ? WINDOW - 1 : 0);
        scanner_->kernel->scan(scanner_->rules->fingerprint, view.at(from), n, std::min(there, n + WINDOW - 1), high_windows(), out);
        for (uint32_t i = 0; i < out.candidate_count; i++)
            if (!resolve(view, int64_t(from + out.candidates[i]))) return false;
        from += n;
    }
    return true;
}

// A name at the body's first byte has its window at -1, where a line end is thought. False as of resolve().
bool Stream::resolve_start(const View& view) {
    if (start_resolved_ || view.base > 0 || view.size < 2) return true;
    if (!resolve(view, -1)) return false;
    start_resolved_ = true;
    return true;
}

// A verifier must see more: the stream goes on at the window's anchor. Returns false, as resolve() then does.
bool Stream::wait(int64_t window, uint32_t anchor, uint64_t start) {
    waiting_window_ = window;
    waiting_anchor_ = anchor;
    resume_ = uint64_t(std::max<int64_t>(window, 0));
    open_ = start;
    return false;
}

// Whether the anchor was decided when its window had to wait; anchors come in the same order then, and the one that had to
// wait may turn out not to stand there.
bool Stream::decided(uint32_t anchor) {
    if (waiting_anchor_ == NO_ANCHOR) return false;
    const bool here = anchor == waiting_anchor_;
    if (here) waiting_anchor_ = NO_ANCHOR;
    return !here;
}

// Runs the verifiers of one window. False: one must wait.
bool Stream::resolve(const View& view, int64_t window) {
    const Ruleset& rs = *scanner_->rules;
    const uint8_t* p = view.at(uint64_t(window + 1));
    const uint8_t before = window < 0 ? uint8_t('\n') : p[-1];
    if (waiting_window_ != window) waiting_anchor_ = NO_ANCHOR;
    waiting_window_ = NOT_WAITING;
    if ((before == '\n' || before == '\r' || before == 0) && !resolve_field(view, window, uint64_t(window + 1), 1)) return false;
    if (before == 0 && p[1] == 0 && window > int64_t(view.base) && !resolve_field(view, window, uint64_t(window - 1), 2)) return false;
    const int64_t behind = window - int64_t(view.base), ahead = int64_t(view.end()) - window;
    for (uint32_t i = rs.window_head[Ruleset::window_hash(before, p[0], p[1])]; i != NO_ANCHOR; i = rs.anchors[i].next) {
        const Anchor& a = rs.anchors[i];
        if (decided(i) || a.window > behind) continue;
        const uint8_t* text = p - 1 - a.window;
        const size_t there = size_t(ahead + a.window), span = size_t(a.length) * a.stride;
        if (there >= sizeof a.head) {
            uint64_t first;
            std::memcpy(&first, text, sizeof first);
            if (((first | a.fold) & a.mask) != a.head) continue;
        }
        // Most of what only looks like a credential shows it in the characters beside it.
        if (a.lead != NO_CLASS && behind >= a.window + a.stride && !stands(rs.classes[a.lead], text - a.stride, a.stride)) continue;
        if (a.follow != NO_CLASS && there > span) {
            const size_t n = std::min<size_t>(a.follow_count, (there - span) / a.stride);
            size_t k = 0;
            while (k < n && stands(rs.classes[a.follow], text + span + k * a.stride, a.stride)) k++;
            if (k < n) continue;
        }
        if ((there < sizeof a.head || span > sizeof a.head) && !same_text(text, a, std::min(span, there))) continue;
        if (!resolve_anchor(view, window, i)) return false;
    }
    return true;
}

// The same for header lines whose name begins at `start`, in characters of `stride` bytes.
bool Stream::resolve_field(const View& view, int64_t window, uint64_t start, uint8_t stride) {
    const Ruleset& rs = *scanner_->rules;
    if (start >= view.end()) return true;
    const uint8_t* p = view.at(start);
    if (stride == 2 && start >= 2) {
        // No line ends before most such names.
        if (start - view.base < 2 || p[-1] != 0 || (p[-2] != '\n' && p[-2] != '\r' && p[-2] != 0)) return true;
    }
    const size_t there = size_t(view.end() - start) / stride;
    const FieldName name(p, there, stride);
    if (name.size < there && p[name.size * stride] != ':' && p[name.size * stride] != 0) return true;
    if (name.size == there && name.size <= MAX_ANCHOR) {
        if (view.final) return true;
        for (const uint32_t i : rs.header_names[p[0] % 32]) {
            const Anchor& a = rs.anchors[i];
            const size_t present = size_t(std::min<uint64_t>(size_t(a.length) * stride, view.end() - start));
            const bool looked_for = a.stride == stride && rs.rules[a.rule].where >> uint32_t(content_.cls) & 1;
            if (looked_for && name.size <= a.length && same_text(p, a, present)) return wait(window, NO_ANCHOR, start);
        }
        return true;
    }
    for (uint32_t i = rs.field_head(name); i != NO_ANCHOR; i = rs.anchors[i].next) {
        const Anchor& a = rs.anchors[i];
        if (decided(i) || a.stride != stride || !name.is(a) || (!a.nocase && !same_text(p, a, size_t(a.length) * stride))) continue;
        if (!resolve_anchor(view, window, i)) return false;
    }
    return true;
}

// The same for one anchor, whose bytes stand there as far as the view goes.
bool Stream::resolve_anchor(const View& view, int64_t window, uint32_t anchor) {
    const Ruleset& rs = *scanner_->rules;
    const Anchor& a = rs.anchors[anchor];
    const Rule& rule = rs.rules[a.rule];
    if (is_escaped(rule.check) && !spans_ && escaped_[rule.check == Check::escaped_header] >= MAX_ESCAPED) return true;
    if (!(rule.where >> uint32_t(content_.cls) & 1)) return true;
    const uint64_t start = uint64_t(window - a.window);
    const uint64_t limit = start + LOOK_AHEAD;  // from the anchor on: where its window lies must not change what is found
    const uint64_t span_end = start + size_t(a.length) * a.stride;
    Match match;
    if (span_end > view.end()) return view.final || wait(window, anchor, start);
    if (a.stride == 1) {
        const Answer answer = verify(rs, reading_, a, view, start, limit, match);
        if (answer == Answer::yes) accept(a, view, match, match.start, match.end);
        return answer != Answer::more || wait(window, anchor, start);
    }
    // Most wide names show by what follows that they are none.
    NarrowText narrow;
    Answer answer = Answer::more;
    for (const uint64_t until : {span_end + 2 * FIRST_WIDE, limit}) {
        if (answer != Answer::more) break;
        narrow = reading_.narrow(view, start, until, limit);
        answer = verify(rs, reading_, a, narrow.view, narrow.start, narrow.limit, match);
    }
    if (answer == Answer::yes) accept(a, narrow.view, match, narrow.offset(match.start), narrow.offset(match.end));
    return answer != Answer::more || wait(window, anchor, start);
}

// start, end: of the match in the body. The match itself is in the view's offsets, which differ for wide text.
void Stream::accept(const Anchor& a, const View& view, const Match& m, uint64_t start, uint64_t end) {
    if (m.sign == Sign::html_end) {
        if (!html_end_) first_html_end_ = end;
        html_end_ = end;
        return;
    }
    const uint8_t* value = view.at(m.value_start);
    const size_t value_size = size_t(m.value_end - m.value_start);
    const uint8_t* whole = view.at(m.start);
    if (own_.holds(value, value_size) || own_.holds(whole, size_t(m.end - m.start))) {
        exempt_++;
        return;
    }
    const Check check = scanner_->rules->rules[a.rule].check;
    uint16_t& escaped = escaped_[check == Check::escaped_header];
    if (is_escaped(check) && escaped < MAX_ESCAPED) escaped++;
    if (ignores(a.rule, {value, value_size})) return;
    if (spans_) {
        // Verifiers stop at a bound; what they begin is as much a secret behind it.
        const bool pem = size_t(m.end - m.start) > 10 && std::memcmp(whole, "-----BEGIN", 10) == 0;
        spans_->add(start, end, pem ? Rest::pem : end - start >= LONG_MATCH ? Rest::line : Rest::none);
    }
    auto add = [&](Group group, uint8_t level) {
        last_sign_ = end;
        dirty_ = true;
        add_finding(a.rule, OVR_PART_BODY, start, uint32_t(end - start), {value, value_size}, nullptr, group, level);
    };
    if (m.sign == Sign::replacements || m.sign == Sign::escaped_bytes) {
        const EscapedLevel level = m.sign == Sign::replacements ? ESCAPED_REPLACED : ESCAPED_BYTES;
        levels_.escaped = std::max(levels_.escaped, uint8_t(level));
        add(GROUP_ESCAPED, level);
        return;
    }

    const bool crlf = m.sign == Sign::crlf_header || m.sign == Sign::request_line;
    const bool header = crlf || m.sign == Sign::parsed_header;
    uint8_t level = HTTP_CREDENTIAL, shown = HTTP_CREDENTIAL;
    if (m.sign == Sign::lf_header) level = shown = HTTP_LF_LINE;
    if (crlf) {
        shown = HTTP_CRLF_LINE;
        level = has_crlf_ && start - std::min(start, last_crlf_) <= NEAR ? HTTP_CRLF_BLOCK : HTTP_CRLF_LINE;
        has_crlf_ = true;
        last_crlf_ = end;
    }
    if (m.sign == Sign::parsed_header) level = shown = HTTP_PARSED;
    if (header) {
        has_header_ = true;
        last_header_ = end;
        if (has_credential_ && start - std::min(start, last_credential_) <= NEAR) level = HTTP_CREDENTIAL_IN_HEADER;
    }
    if (m.sign == Sign::credential) {
        has_credential_ = true;
        last_credential_ = end;
        if (has_header_ && start - std::min(start, last_header_) <= NEAR) level = HTTP_CREDENTIAL_IN_HEADER;
    }
    levels_.http = std::max(levels_.http, level);
    add(GROUP_HTTP, shown);
}

void Stream::save_carry(const uint8_t* data, size_t size) {
    const uint64_t keep_from = resume_ > LOOK_BEHIND ? resume_ - LOOK_BEHIND : 0;
    const uint64_t data_base = total_ - size;
    if (keep_from >= data_base) {
        carry_base_ = keep_from;
        carry_size_ = uint32_t(total_ - keep_from);
        if (carry_size_) std::memcpy(carry_, data + (keep_from - data_base), carry_size_);
        return;
    }
    const size_t drop = size_t(std::max(keep_from, carry_base_) - carry_base_);
    carry_size_ -= uint32_t(drop);
    carry_base_ += drop;
    std::memmove(carry_, carry_ + drop, carry_size_);
    if (size) std::memcpy(carry_ + carry_size_, data, size);
    carry_size_ += uint32_t(size);
}

bool Stream::before(const Kept& a, const Kept& b) {
    auto place = [](uint8_t part) { return part == OVR_PART_TRAILER ? -1 : int(part); };  // as they are sent, fields before the reason phrase
    if (a.part != b.part) return place(a.part) > place(b.part);
    if (a.offset != b.offset) return a.offset < b.offset;
    return a.rule < b.rule;
}

void Stream::add_finding(uint16_t rule, ovr_part part, uint64_t offset, uint32_t length, ovr_bytes value, const ovr_bytes* name, Group group, uint8_t level) {
    if (rule == UINT16_MAX) return;  // a pack without this native rule: the evidence counts, the finding has no name
    size_t same = 0, at = kept_count_;
    for (size_t i = 0; i < kept_count_; i++) same += kept_[i].rule == rule && kept_[i].part == part;
    Kept k{offset, 0, length, rule, uint8_t(part), uint8_t(group), level, {}};
    if (same >= MAX_FINDINGS_PER_RULE || (kept_count_ == MAX_FINDINGS && !before(k, kept_[MAX_FINDINGS - 1]))) {
        dropped_++;
        return;
    }
    // Dear, so only for what is kept.
    if (value.data) k.digest = keyed_digest(scanner_->digest_key, value.data, value.size);
    if (name) {
        size_t i = 0;
        for (; i < name->size && i + 1 < sizeof k.name; i++) {
            const uint8_t c = name->data[i];
            // A leak may stand in a name as well: only what a field name may hold is repeated.
            k.name[i] = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_' ? char(c) : '?';
        }
    }
    while (at && before(k, kept_[at - 1])) at--;
    if (kept_count_ == MAX_FINDINGS) {
        dropped_++;
        kept_count_--;
    }
    std::memmove(kept_ + at + 1, kept_ + at, (kept_count_ - at) * sizeof kept_[0]);
    kept_[at] = k;
    kept_count_++;
}

// Raw bytes of a container count behind its end only, and not when that is a part of the file.
RawState Stream::raw_state() const {
    if (!is_text(content_.cls) && place_.state().level != PLACE_CONTAINER_TAIL) return RawState();
    const RawState& raw = raw_.state();
    return ignoring_.active && raw.level ? without_ignored(raw) : raw;
}

bool Stream::ignores(uint16_t rule, ovr_bytes value) const {
    const uint64_t hit = ignored_by(rule, value);
    ignored_ |= hit;
    return hit != 0;
}

uint64_t Stream::ignored_by(uint16_t rule, ovr_bytes value) const {
    if (!ignoring_.active || rule == UINT16_MAX) return 0;
    const uint64_t digest = ignoring_.digests && value.data ? keyed_digest(scanner_->digest_key, value.data, value.size) : 0;
    return ignoring_.of(scanner_->rules->rules[rule], digest);
}

// What the body's end decides is asked at every chunk, and counts as a hit at the end only.
bool Stream::native_ignored(uint16_t rule) const { return marks_ignored_ ? ignores(rule) : ignored_by(rule) != 0; }

// A level stands as long as the kinds of bytes are there that it is made of (docs/evidence.md, the raw group).
RawState Stream::without_ignored(RawState raw) const {
    static constexpr struct {
        uint8_t kinds;
        Builtin rule;
    } RULES[] = {
        {RAW_NUL | RAW_RUN, Builtin::raw_nul}, {RAW_CONTROL, Builtin::raw_control}, {RAW_UTF8, Builtin::raw_utf8}, {RAW_PAIR, Builtin::raw_pointer_pair}};
    const bool no_memory = raw.level >= 4 && native_ignored(builtin(Builtin::raw_mixed));
    const bool no_transition = raw.level >= 3 && native_ignored(builtin(Builtin::raw_after_text));
    if (raw.file) native_ignored(builtin(Builtin::raw_file));  // names what is there, and is no evidence
    for (const auto& r : RULES)
        if (raw.kinds & r.kinds && native_ignored(builtin(r.rule))) raw.kinds &= uint8_t(~r.kinds);
    if (!(raw.kinds & (RAW_NUL | RAW_CONTROL | RAW_UTF8))) return RawState();
    if (!(raw.kinds & RAW_UTF8)) raw.invalid_utf8 = false;
    const int kinds = __builtin_popcount(raw.kinds & (RAW_NUL | RAW_CONTROL | RAW_UTF8 | RAW_PAIR));
    if (raw.level >= 4 && (!(raw.kinds & (RAW_RUN | RAW_PAIR)) || no_memory)) raw.level = 3;
    if (raw.level >= 3 && ((kinds < 2 && !(raw.kinds & RAW_NUL)) || no_transition)) raw.level = 2;
    if (raw.level == 2 && !(raw.kinds & (RAW_NUL | RAW_CONTROL))) raw.level = 1;
    return raw;
}

// Of the body; what stands in the head is counted apart.
uint8_t Stream::place_level() const {
    const PlaceState& place = place_.state();
    const uint8_t level = place.level && !native_ignored(builtin(place.sign)) ? place.level : uint8_t(PLACE_NONE);
    const bool page_goes_on = html_end_ && last_text_ > html_end_ && level < PLACE_HTML_TAIL;
    return page_goes_on && !native_ignored(builtin(Builtin::html_tail)) ? uint8_t(PLACE_HTML_TAIL) : level;
}

void Stream::reassess() {
    // Before the class is chosen nothing of the body has been looked at.
    const RawState raw = content_.sniff ? RawState() : raw_state();
    const uint8_t place = content_.sniff ? uint8_t(PLACE_NONE) : place_level();
    // Visitors can type control characters, but not broken UTF-8, and nothing they type stands behind a page's or a JSON
    // document's end. In a charset of one byte a character every byte can be typed.
    const bool behind_page = content_.cls == ContentClass::html && html_end_ && raw.first >= html_end_;
    const bool behind_json = place_.state().sign == Builtin::json_tail && raw.first >= place_.state().first;
    const bool typed = content_.charset == Charset::legacy || !(raw.invalid_utf8 || behind_page || behind_json);
    if (raw.level) last_sign_ = std::max(last_sign_, raw.last);
    const bool embedded = raw.open || raw.file;
    if (raw.level != levels_.raw || place != levels_.place) dirty_ = true;
    if (raw.level && (typed != levels_.typed || embedded != levels_.embedded)) dirty_ = true;
    const uint8_t foreign = foreign_level();
    if (foreign != levels_.foreign.level) dirty_ = true;
    if (!dirty_) return;
    dirty_ = false;
    levels_.foreign.level = foreign;
    if (looks_foreign_) count_foreign();
    levels_.raw = raw.level;
    levels_.typed = typed;
    levels_.embedded = embedded;
    levels_.place = place;
    assessment_ = assess(*scanner_->rules, content_.cls == ContentClass::count ? ContentClass::other : content_.cls, levels_);
    if (assessment_.bits >= freeze_bits_) frozen_ = true;
}

void Stream::release(bool flushing) {
    if (frozen_) return;
    if (concluded_) {
        released_ = total_;
        coded_released_ = coded_total_;
        return;
    }
    release_scanned(flushing);
    // The head of the coded data alone is not worth the response's: a leak behind it could only be cut then.
    if (coded_ && released_) coded_released_ = coded_->marks.up_to(released_);
}

void Stream::release_scanned(bool flushing) {
    if (content_.sniff) {
        // A body that begins slower than its class shows must flow: at most 15 bytes leave before they are judged.
        if (flushing) released_ = sniffed_;
        return;
    }
    if (flushing) {
        // Evidence above 8 bits close to the end is not resolved yet: it waits for more bytes.
        const bool unresolved = assessment_.bits > UNRESOLVED_BITS && total_ - std::min(total_, last_sign_) < TEXT_RUN;
        if (!unresolved) flushed_ = total_;
    }
    released_ = std::max({released_, undelayed(), std::min(open_, flushed_)});
}

uint64_t Stream::undelayed() const {
    if (content_.sniff) return 0;
    uint64_t most = std::min(open_, total_ > hold_ ? total_ - hold_ : 0);
    if (spans_ && most > carry_base_) {
        // A match's first byte stands at most LOOK_BEHIND bytes before the first window that is not decided, in its line.
        size_t i = size_t(most - carry_base_);
        while (i && carry_[i - 1] != '\n') i--;
        most = carry_base_ + i;
    }
    return most;
}

Stream::Text Stream::text() const {
    const bool ignored = ignored_by(builtin(Builtin::raw_nul)) && ignored_by(builtin(Builtin::raw_control)) && ignored_by(builtin(Builtin::raw_utf8));
    if (!is_text(content_.cls) || ignored) return Text::no;
    return content_.charset == Charset::utf8 || content_.charset == Charset::unknown ? Text::utf8 : Text::bytes;
}

uint64_t Stream::document_end() const {
    const PlaceState& place = place_.state();
    if (place.level && (place.sign == Builtin::json_tail || in_container()) && !ignored_by(builtin(place.sign))) return place.first;
    // Another page's end may stand in what follows the first.
    return html_end_ && last_text_ > first_html_end_ && !ignored_by(builtin(Builtin::html_tail)) ? first_html_end_ : UINT64_MAX;
}

ovr_progress Stream::progress() const {
    const bool leaked = assessment_.bits >= scanner_->threshold;
    return {counts_coded_ ? coded_released_ : released_, float(assessment_.bits), tier(assessment_.bits), uint8_t(leaked), uint8_t(decode())};
}

void Stream::add_native_findings() {
    marks_ignored_ = true;
    const RawState raw = raw_state();
    if (raw.level) {
        const uint32_t length = uint32_t(std::min<uint64_t>(raw.last - raw.first + 1, UINT32_MAX));
        auto add = [&](Builtin b) { add_finding(builtin(b), OVR_PART_BODY, raw.first, length, {nullptr, 0}, nullptr, GROUP_RAW, raw.level); };
        if (raw.kinds & RAW_UTF8) add(Builtin::raw_utf8);
        if (raw.kinds & RAW_CONTROL) add(Builtin::raw_control);
        if (raw.kinds & RAW_NUL) add(Builtin::raw_nul);
        if (raw.kinds & RAW_PAIR) add(Builtin::raw_pointer_pair);
        if (raw.level >= 3) add(Builtin::raw_after_text);
        if (raw.level >= 4) add(Builtin::raw_mixed);
        if (raw.file) add(Builtin::raw_file);
    }
    const PlaceState& place = place_.state();
    if (!place_level()) return;
    if (place.level && !native_ignored(builtin(place.sign)))
        add_finding(builtin(place.sign), OVR_PART_BODY, place.first, uint32_t(std::min<uint64_t>(total_ - place.first, UINT32_MAX)), {nullptr, 0}, nullptr,
                    GROUP_PLACE, place.level);
    else
        add_finding(builtin(Builtin::html_tail), OVR_PART_BODY, html_end_, uint32_t(std::min<uint64_t>(total_ - html_end_, UINT32_MAX)), {nullptr, 0}, nullptr,
                    GROUP_PLACE, PLACE_HTML_TAIL);
}

RawSign Stream::raw_sign() const {
    const RawState raw = content_.sniff ? RawState() : raw_state();
    if (!raw.level) return {0, nullptr, 0, 0, false};
    const bool alone = !levels_.http && !levels_.escaped && !levels_.head && (!levels_.place || is_container(content_.cls));
    const double bits = levels_.typed ? 0 : level_bits(*scanner_->rules, content_.cls, GROUP_RAW, raw.level);
    return {raw.first, raw_.sign(), raw_.sign_size(), bits, alone};
}

void Stream::thaw() {
    freeze_bits_ = std::numeric_limits<double>::infinity();
    frozen_ = false;
    release(false);
}

void Stream::count_in(SiteCounts& counts, bool head, uint64_t seconds) const {
    counts.add({content_.cls, total_ > 0 && !encoded_, head, seconds}, levels_, assessment_);
}

void Stream::conclude() {
    if (content_.sniff) {
        choose_class();
        ingest(sniff_, sniffed_, false);
    }
    ingest(nullptr, 0, true);
    raw_.finish();
    place_.finish();
    concluded_ = true;
}

void Stream::finish(ovr_verdict* out) {
    if (!finished_) {
        if (coded_) {
            Scan sink(*this);
            coded_->decoder->finish(sink);
            stop_decoding();
        }
        if (!concluded_) conclude();
        if (looks_foreign_ && foreign_->is_login_reply()) foreign_level_ = std::min<uint8_t>(foreign_level_, FOREIGN_SENT);
        reassess();
        release(false);
        finished_ = true;
        if (looks_foreign_) {
            foreign_->end_reply(observes_reply_);
            foreign_->conclude(levels_.listed());
        }
        add_native_findings();
    }
    uint64_t first = OVR_NO_OFFSET;
    for (size_t i = 0; i < kept_count_; i++) {
        const Kept& k = kept_[i];
        ovr_finding& f = findings_[i];
        const Rule& rule = scanner_->rules->rules[k.rule];
        const ContentClass cls = k.part == OVR_PART_BODY ? content_.cls : ContentClass::head;
        f.rule = rule.id;
        f.family = uint8_t(rule.family);
        f.part = k.part;
        f.offset = k.offset;
        f.length = k.length;
        f.bits = float(k.group == GROUP_FOREIGN ? FOREIGN_BITS[k.level] : level_bits(*scanner_->rules, cls, Group(k.group), k.level));
        f.digest = k.digest;
        std::memcpy(f.name, k.name, sizeof f.name);
        if (k.part == OVR_PART_BODY && k.offset < first) first = k.offset;
    }
    out->bits = assessment_.bits;
    if (assessment_.bits != probability_of_) {
        probability_of_ = assessment_.bits;
        probability_ = probability(probability_of_);
    }
    out->probability = probability_;
    out->tier = tier(assessment_.bits);
    out->leaked = assessment_.bits >= scanner_->threshold;
    out->decode = uint8_t(decode_);
    out->first_offset = first;
    out->body_bytes = total_;
    out->content_class = encoded_ ? "encoded" : content_class_name(content_.cls);
    out->findings = findings_;
    out->finding_count = kept_count_;
    out->findings_dropped = dropped_;
    out->terms = assessment_.terms;
    out->term_count = assessment_.term_count;
    out->exempt = exempt_;
}

}  // namespace overread
