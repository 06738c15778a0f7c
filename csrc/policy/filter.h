// A stream under a policy: what a proxy obeys, and the one event it writes.
#pragma once
#include "overread.h"
#include "stream/stream.h"

namespace overread {

class Filter {
  public:
    Filter(const Scanner& scanner, const ovr_policy& policy) : stream_(scanner), policy_(policy) {}
    void head(const ovr_response& response, ovr_action* action);
    void body(const uint8_t* data, size_t size, ovr_action* action);
    void flush(ovr_action* action);
    void trailers(const ovr_header* fields, size_t count, ovr_action* action);
    void end(ovr_action* action);
    void verdict(ovr_verdict* out) { stream_.finish(out); }
    const char* id() const { return id_; }
    bool stopped() const { return stopped_; }
    bool started() const { return started_; }
    bool ended() const { return ended_; }
    // Returns the length of the JSON, which may exceed capacity (nothing is cut: the caller is told).
    size_t event(const ovr_exchange& exchange, char* buffer, size_t capacity);

  private:
    void act(ovr_action* action, bool at_end);

    Stream stream_;
    ovr_policy policy_;
    bool started_ = false, stopped_ = false, ended_ = false, head_out_ = false, reported_ = false;
    int verb_ = OVR_PASS;
    double block_bits_ = 0;
    uint64_t released_ = 0;
    uint32_t status_ = 0;
    char id_[17] = "";
};

}  // namespace overread
