// One response: carry, open matches, own-request exclusion, verdict so far.
#pragma once
#include <memory>

#include "content/decoder.h"
#include "evidence/evidence.h"
#include "evidence/site_counts.h"
#include "kernel/kernel.h"
#include "overread.h"
#include "registry/digest.h"
#include "registry/foreign_scan.h"
#include "stream/coded_places.h"
#include "stream/ignored.h"
#include "stream/marks.h"
#include "stream/own_request.h"
#include "stream/sighting.h"
#include "stream/spans.h"
#include "verify/place.h"
#include "verify/raw.h"
#include "verify/reading.h"
#include "verify/signal.h"

namespace overread {

struct Scanner {
    const Ruleset* rules;
    const Kernel* kernel;
    double threshold;
    uint32_t hold;
    DigestKey key;         // of the client's own values
    DigestKey digest_key;  // of findings
    DigestKey owner_key;   // of whose response it is
    bool keyed = false;    // these two are the operator's
    Bounds bounds;         // of what is decoded
    uint32_t number = 0;   // among those that share memory
    Registry* registry = nullptr;
};

// What raw bytes of a body begin with, for what compares responses.
struct RawSign {
    static constexpr size_t BEFORE = 16;
    uint64_t first;        // offset of the first
    const uint8_t* bytes;  // BEFORE bytes before it, and what follows
    size_t size;           // 0: none, or too little is seen yet
    double bits;           // what the raw group alone weighs; 0 where a visitor could have typed it
    bool alone;            // no other group shows anything
};

constexpr uint32_t DEFAULT_HOLD = 16384;
constexpr size_t MAX_FINDINGS = 16;  // the first of each rule, by offset; further ones are counted
constexpr uint8_t MAX_FINDINGS_PER_RULE = 4;

class Stream {
  public:
    // Throws std::bad_alloc where the scanner has a registry.
    explicit Stream(const Scanner& scanner) : scanner_(&scanner), foreign_(scanner.registry) {}
    // freeze_bits: from here on nothing more is released.
    void reset(const ovr_response* response, uint32_t hold, double freeze_bits);
    void feed(const uint8_t* data, size_t size);
    void flush();
    void trailers(const ovr_header* fields, size_t count);
    void finish(ovr_verdict* out);
    bool finished() const { return finished_; }
    ovr_progress progress() const;
    const Scanner& scanner() const { return *scanner_; }
    // Held bytes that a flush would let go.
    bool holds() const { return !finished_ && !frozen_ && (content_.sniff ? released_ < sniffed_ : (hold_ > 0 || spans_) && released_ < total_); }
    uint32_t hold() const { return hold_; }
    double bits() const { return assessment_.bits; }
    RawSign raw_sign() const;
    // Before finish().
    void differs_from_twin(const TwinSign& sign) { levels_.twin = sign, dirty_ = true; }
    bool has_body() const { return total_ > 0; }
    // What was found does not stop the body any more, whatever its bits.
    void thaw();
    // The finished response, in an operator's counts.
    void count_in(SiteCounts& counts, bool head, uint64_t seconds) const;
    // From here on nothing more is released, in place of what reset() was told.
    void freeze_from(double bits) {
        freeze_bits_ = bits;
        frozen_ |= assessment_.bits >= bits;
    }

    // A text whose place in the body, after decoding, is told by sighting().
    Sighting& sighting() { return sighting_; }

    // What is left out of the next responses, to be told before reset(); and, as bits, which of it there was.
    void ignore(const Ignoring& ignoring) { ignoring_ = ignoring; }
    uint64_t ignored() const { return ignored_; }

    // For a policy that masks matches: where they stand is added to `spans` as they are found, and no byte goes out that a
    // match may still begin with, but for a flush. Matches lie in lines, so that whole ones go at once.
    void collect(Spans* spans) { spans_ = spans; }
    // What unflushed bytes end at, however they came.
    uint64_t undelayed() const;
    enum class Text : uint8_t { no, bytes, utf8 };  // bytes: control characters only show what is none
    Text text() const;
    bool coded() const { return counts_coded_ || encoded_; }
    bool head_shows() const { return levels_.head != PLACE_NONE; }
    // Before finish(): what the body issues is to be observed.
    void observe_reply() { observes_reply_ = true; }
    // Wipes what is kept of a body that may issue tokens, for a stream that is not finished.
    void forget_reply() {
        if (foreign_) foreign_->end_reply(false);
    }
    // Other clients' secrets, where there is a registry and somebody knows the time; else nullptr.
    ForeignScan* foreign() { return looks_foreign_ ? foreign_.get() : nullptr; }
    // Where a complete document ends behind which bytes were found that are no part of it; UINT64_MAX: none.
    uint64_t document_end() const;
    bool in_container() const { return place_.state().level == PLACE_CONTAINER_TAIL; }
    Decoded decode() const { return coded_ ? coded_->decoder->state() : decode_; }

  private:
    // What a coded response needs besides; taken at its head, given back at its end.
    struct Coded {
        std::unique_ptr<Decoder> decoder;
        Marks marks;
    };
    // A copy of a stream goes on from where it stands; none is made of one that decodes.
    struct Owned : std::unique_ptr<Coded> {
        Owned() = default;
        Owned(const Owned&) : std::unique_ptr<Coded>() {}
        Owned& operator=(const Owned&) { return *this; }
        using std::unique_ptr<Coded>::operator=;
    };
    // What a stream with a registry needs besides: copied with it.
    struct Foreign : std::unique_ptr<ForeignScan> {
        explicit Foreign(Registry* registry) : std::unique_ptr<ForeignScan>(registry ? new ForeignScan(*registry) : nullptr) {}
        Foreign(const Foreign& other) : std::unique_ptr<ForeignScan>(other ? new ForeignScan(*other) : nullptr) {}
        Foreign& operator=(const Foreign& other) {
            if (other) **this = *other;
            return *this;
        }
    };
    void open_foreign(const ovr_response* response);
    bool scan_foreign(const ovr_bytes& text, ovr_part part, const ovr_bytes* name);
    const ovr_bytes* scan_name(const ovr_bytes& name, ovr_part part);
    void add_foreign(const ForeignPlace& place, ovr_part part, const ovr_bytes* name);
    void add_coded(const ForeignPlace& place);
    void weigh_foreign(const ForeignPlace& place, ovr_part part);
    void feed_raw(const uint8_t* data, uint64_t offset, size_t size, const KernelOutput& out);
    void tell_foreign(ovr_part part, const ovr_bytes* name);
    uint8_t foreign_level() const;
    void count_foreign();
    struct Scan;  // hands decoded bytes to scan()
    void open_codings(const Codings& codings);
    void feed_coded(const uint8_t* data, size_t size);
    void stop_decoding();
    void scan(const uint8_t* data, size_t size);
    void conclude();
    void judge_as_unknown();
    uint64_t scanned() const { return content_.sniff ? sniffed_ : total_; }
    void scan_head(const ovr_response& response);
    void scan_fields(const ovr_header* fields, size_t count, ovr_part part);
    void add_head_finding(Builtin sign, ovr_part part, const ovr_bytes& value, size_t at, const ovr_bytes* name);
    void choose_class();
    void feed_tail(const uint8_t* data, uint64_t offset, size_t size, const KernelOutput& out);
    void ingest(const uint8_t* data, size_t size, bool final);
    bool window_begins_in_carry(const uint8_t* data, size_t size, bool final) const;
    bool scan_candidates(const View& view, uint64_t from, uint64_t to);
    bool resolve(const View& view, int64_t window);
    uint8_t high_windows() const { return scanner_->rules->high_windows >> uint32_t(content_.cls) & 1 ? WANT_HIGH_WINDOWS : 0; }
    bool resolve_field(const View& view, int64_t window, uint64_t start, uint8_t stride);
    bool resolve_anchor(const View& view, int64_t window, uint32_t anchor);
    bool wait(int64_t window, uint32_t anchor, uint64_t start);
    bool decided(uint32_t anchor);
    bool resolve_start(const View& view);
    void accept(const Anchor& anchor, const View& view, const Match& match, uint64_t start, uint64_t end);
    void save_carry(const uint8_t* data, size_t size);
    bool ignores(uint16_t rule, ovr_bytes value = {}) const;
    uint64_t ignored_by(uint16_t rule, ovr_bytes value = {}) const;
    bool native_ignored(uint16_t rule) const;
    RawState raw_state() const;
    RawState without_ignored(RawState raw) const;
    uint8_t place_level() const;
    void reassess();
    void release(bool flushing);
    void release_scanned(bool flushing);
    void add_finding(uint16_t rule, ovr_part part, uint64_t offset, uint32_t length, ovr_bytes value, const ovr_bytes* name, Group group, uint8_t level);
    void add_native_findings();
    const uint16_t& builtin(Builtin b) const { return scanner_->rules->builtin_rule[size_t(b)]; }

    struct Kept {
        uint64_t offset, digest;
        uint32_t length;
        uint16_t rule;
        uint8_t part, group, level;
        char name[32];
    };
    static bool before(const Kept& a, const Kept& b);

    const Scanner* scanner_;
    Content content_{};
    // The last response's Content-Type and its class: streams are used again, and a site has few types.
    static constexpr uint8_t NO_TYPE = UINT8_MAX;
    uint8_t type_size_ = NO_TYPE;
    uint8_t type_[96];
    Content type_content_{};
    uint32_t hold_ = 0;
    double freeze_bits_ = 0;
    bool finished_ = false, frozen_ = false;
    bool concluded_ = false;       // the body's last byte was scanned
    bool encoded_ = false;         // the bytes are coded, and not decoded
    bool counts_coded_ = false;    // what goes out is counted in coded bytes
    bool start_resolved_ = false;  // header names at the body's first byte, which no line end precedes
    uint8_t sniffed_ = 0;
    uint8_t sniff_[SNIFF_BYTES];
    uint64_t total_ = 0;   // bytes ingested
    uint64_t resume_ = 0;  // first window position that is not decided
    uint64_t open_ = 0;    // start of the earliest open match, or total_
    uint64_t released_ = 0, flushed_ = 0;
    uint64_t coded_total_ = 0, coded_released_ = 0;
    Decoded decode_ = Decoded::none;  // once nothing is decoded any more
    Owned coded_;
    Spans* spans_ = nullptr;
    Sighting sighting_;
    uint64_t carry_base_ = 0;
    uint32_t carry_size_ = 0;
    uint8_t carry_[LOOK_BEHIND + LOOK_AHEAD];

    RawTracker raw_;
    PlaceTracker place_;
    Reading reading_;
    // The window whose verifier must see more, and at which of its anchors: those before it are decided.
    int64_t waiting_window_ = NOT_WAITING;
    uint32_t waiting_anchor_ = NO_ANCHOR;
    static constexpr int64_t NOT_WAITING = -2;
    OwnRequest own_;
    Foreign foreign_;
    bool looks_foreign_ = false, observes_reply_ = false;
    // What was found of others' secrets, and where the first one's run begins: a list shows more of them, so that nothing is decided before
    // the first may leave.
    uint8_t foreign_level_ = FOREIGN_NONE;
    uint64_t foreign_first_ = UINT64_MAX, foreign_due_ = 0;
    // Another's secret in the body that is not told yet: its windows come one after the other.
    ForeignPlace foreign_place_{ForeignLevel::none, 0, 0, 0, 0, {0, 0}};
    CodedPlaces coded_places_;  // and those that stand Huffman coded in it
    Ignoring ignoring_;
    mutable uint64_t ignored_ = 0;  // what was asked and hit
    bool marks_ignored_ = false;
    Levels levels_;
    bool dirty_ = false;
    uint16_t escaped_[2] = {};  // signs of escaped text that count: runs, header lines
    bool has_header_ = false, has_credential_ = false, has_crlf_ = false;
    uint64_t last_header_ = 0, last_credential_ = 0, last_crlf_ = 0;
    uint64_t html_end_ = 0, first_html_end_ = 0, last_text_ = 0;  // offset behind the last byte that is not white space
    uint64_t last_sign_ = 0;
    Assessment assessment_;
    double probability_of_ = -1, probability_ = 0;  // the last one told: of most responses it is that of 0 bits

    Kept kept_[MAX_FINDINGS];
    uint16_t kept_count_ = 0;
    uint64_t dropped_ = 0, exempt_ = 0;
    ovr_finding findings_[MAX_FINDINGS];
};

}  // namespace overread
