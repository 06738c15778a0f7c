// A stream under a policy: what a proxy obeys, and the one event it writes.
#pragma once
#include <algorithm>
#include <memory>

#include "overread.h"
#include "policy/control.h"
#include "policy/ignores.h"
#include "policy/plan.h"
#include "policy/redaction.h"
#include "policy/shared.h"
#include "policy/test_token.h"
#include "stream/stream.h"

namespace overread {

constexpr int MAX_FEATURES = 8;  // of one response: who reads of more would not know which is to blame

class Filter {
  public:
    Filter(const Scanner& scanner, Shared& shared, const ovr_policy& policy, const Ignores* ignores, Control* control);
    // Whether memory was there for all that the policy asks for.
    bool ready() const { return !redacts_ || before_; }
    void head(const ovr_response& response, ovr_action* action);
    void body(const uint8_t* data, size_t size, ovr_action* action);
    void flush(ovr_action* action);
    void trailers(const ovr_header* fields, size_t count, ovr_action* action);
    void end(ovr_action* action);
    uint64_t redact(uint64_t offset, uint8_t* data, size_t size) { return redaction_.mask(offset, data, size); }
    void verdict(ovr_verdict* out);
    uint64_t ignored() const { return stream_.ignored(); }
    uint64_t tripped() const { return tripped_; }
    const char* id() const { return id_; }
    const char* done() const { return verb_ == OVR_CUT ? "cut" : action_name(done_); }
    void unsent();
    bool started() const { return started_; }
    bool ended() const { return ended_; }
    bool over() const { return ended_ || stopped(); }
    // 0: no event is to be written.
    size_t event(const ovr_exchange& exchange, char* buffer, size_t capacity);

  private:
    bool enforces() const { return enforces_; }
    void count();
    void look_around();
    // What acts: less than was found where the page publishes it.
    double bits() const {
        const double most = same_ ? WEAK_BITS : published_ ? PUBLISHED_BITS : stream_.bits();
        return std::min(stream_.bits(), most);
    }
    Repetition::Tables tables() const { return {shared_.paths, shared_.signs, shared_key_, stream_.scanner().number}; }
    bool stopped() const { return verb_ != OVR_PASS; }
    bool watches() const { return may_redact_ && !redaction_.active() && !stopped(); }
    void feed(const uint8_t* data, size_t size);
    void watch(const uint8_t* data, size_t size);
    bool is_test() { return stream_.sighting().seen() && stream_.bits() < WEAK_BITS; }
    void take_ids(const ovr_request* request);
    void take_features(const ovr_response& response);
    int features(const char* names[MAX_FEATURES]) const;
    void alarm();
    void observe(const ovr_response& response);
    bool is_published();
    void look_for_token(const ovr_request& request);
    void decide(bool at_end);
    void shorten(int action);
    void act(ovr_action* action, bool at_end);

    Stream stream_;
    Shared& shared_;
    const Ignores* ignores_;
    Control* control_;
    DigestKey shared_key_{};
    Repetition repetition_;
    Repeated repeated_{};
    Twin twin_;
    Twin::Difference difference_;
    bool same_ = false, noted_ = false;
    // A secret that a place shows to one client after the other is published there.
    bool published_ = false, asked_published_ = false;
    bool fresh_ = false;
    uint64_t place_ = 0;  // 0: nothing is observed
    ovr_policy policy_;
    Plan plan_;
    int mode_ = OVR_MODE_OFF;  // of this response: the policy's, or less where the control file says so
    bool redacts_;             // the policy does
    DigestKey test_key_{};
    std::unique_ptr<Stream> before_;  // the stream before the chunk that may bring it to redact
    Redaction redaction_;
    char feature_header_[MAX_FIELD_NAME + 1] = "";  // in lower case
    int feature_ = Control::NONE;                   // the policy's
    char feature_name_[Control::MAX_NAME + 1] = "";
    char header_features_[MAX_FEATURES][Control::MAX_NAME + 1];
    int header_feature_count_ = 0;
    uint64_t tripped_ = 0;                 // by this response
    uint64_t unix_ms_ = 0, left_out_ = 0;  // events before this one's
    enum class Told : uint8_t { open, no, yes } told_ = Told::open;
    bool trips_ = false;     // its action is to trip at once
    bool enforces_ = false;  // this response: the policy does, and the breaker lets it
    bool counted_ = false;
    bool started_ = false, ended_ = false, head_out_ = false, reported_ = false;
    bool may_redact_ = false;  // the policy does, and this body's bytes are not coded
    bool no_store_ = false;
    bool head_sent_ = false;  // before it was decided that the response is altered
    int verb_ = OVR_PASS;
    uint8_t decode_ = OVR_DECODE_NONE;  // when the response was stopped
    int done_ = OVR_DO_LOG;             // enum ovr_do; OVR_DO_BLOCK for a cut as well
    uint64_t released_ = 0;
    uint32_t status_ = 0;
    bool has_fields_ = false;  // the head
    char trace_id_[33] = "", request_id_[41] = "";
    char id_[17] = "";
    const DigestKey id_key_ = random_key();
    uint64_t responses_ = 0;
};

}  // namespace overread
