// A stream under a policy: what a proxy obeys, and the one event it writes.
#pragma once
#include <memory>

#include "overread.h"
#include "policy/breaker.h"
#include "policy/plan.h"
#include "policy/redaction.h"
#include "policy/test_token.h"
#include "stream/stream.h"

namespace overread {

class Filter {
  public:
    Filter(const Scanner& scanner, Breaker& breaker, const ovr_policy& policy);
    // Whether memory was there for all that the policy asks for.
    bool ready() const { return !redacts_ || before_; }
    void head(const ovr_response& response, ovr_action* action);
    void body(const uint8_t* data, size_t size, ovr_action* action);
    void flush(ovr_action* action);
    void trailers(const ovr_header* fields, size_t count, ovr_action* action);
    void end(ovr_action* action);
    uint64_t redact(uint64_t offset, uint8_t* data, size_t size) { return redaction_.mask(offset, data, size); }
    void verdict(ovr_verdict* out);
    const char* id() const { return id_; }
    const char* done() const { return verb_ == OVR_CUT ? "cut" : action_name(done_); }
    void unsent();
    bool started() const { return started_; }
    bool ended() const { return ended_; }
    bool over() const { return ended_ || stopped(); }
    size_t event(const ovr_exchange& exchange, char* buffer, size_t capacity);

  private:
    bool enforces() const { return enforces_; }
    void count();
    bool stopped() const { return verb_ != OVR_PASS; }
    bool watches() const { return may_redact_ && !redaction_.active() && !stopped(); }
    void feed(const uint8_t* data, size_t size);
    void watch(const uint8_t* data, size_t size);
    bool is_test() { return stream_.sighting().seen() && stream_.bits() < WEAK_BITS; }
    void take_ids(const ovr_request* request);
    void look_for_token(const ovr_request& request);
    void decide(bool at_end);
    void shorten(int action);
    void act(ovr_action* action, bool at_end);

    Stream stream_;
    Breaker& breaker_;
    ovr_policy policy_;
    Plan plan_;
    bool redacts_;  // the policy does
    DigestKey test_key_{};
    std::unique_ptr<Stream> before_;  // the stream before the chunk that may bring it to redact
    Redaction redaction_;
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
    char trace_id_[33] = "", request_id_[41] = "";
    char id_[17] = "";
};

}  // namespace overread
