#include "registry/foreign_scan.h"

#include <algorithm>

#include "registry/wipe.h"

namespace overread {

void ForeignScan::reset(const Owner& owner, const ovr_response& response, const ovr_bytes& canary, uint32_t now) {
    const ovr_request* request = response.request;
    owner_ = owner;
    owner_.name = {};  // its message does not live as long
    now_ = now;
    runs_.reset();
    stretches_.reset(0);
    coded_.live = false;
    sign_ = {};
    listed_count_ = 0;
    canary_count_ = 0;
    waiting_count_ = 0;
    own_count_ = 0;
    end_reply(false);
    posted_ = may_ask_for_tokens(request);
    logs_in_ = request && (posted_ || !owner.session);
    own_canary_[0] = 0;
    if (canary.size == CANARY_SIZE) std::memcpy(own_canary_, canary.data, CANARY_SIZE);
    for (size_t i = 0; i < response.header_count; i++)
        if (same_name(view_of(response.headers[i].name), "set-cookie")) add_own(response.headers[i].value);
    if (!request) return;
    add_own(request->target);
    for (size_t i = 0; i < request->header_count; i++) add_own(request->headers[i].value);
    add_own(request->body);
}

void ForeignScan::add_own(const ovr_bytes& text) {
    constexpr size_t MOST = 65536;  // as OwnRequest looks at
    if (text.size < SECRET_WINDOW || text.size > MOST) return;
    TokenRuns::whole(registry_->kernel(), text.data, text.size, [&](const RunBlock& b) {
        Block block(registry_->keys(), b.text, b.size);
        windows_to_look_up(b, block, [&](size_t i) {
            if (own_count_ < OWN) own_[own_count_++] = fingerprint(registry_->keys(), b.text + i).low;
        });
    });
}

bool ForeignScan::is_own(const Fingerprint& f) const { return std::find(own_, own_ + own_count_, f.low) != own_ + own_count_; }

void ForeignScan::note(const ForeignPlace& place, const Registry::Sighting& sighting) {
    sign_.level = std::max(sign_.level, place.level);
    const bool another = std::find(owners_, owners_ + sign_.owners, sighting.owner) == owners_ + sign_.owners;
    if (sighting.issued && another && sign_.owners < 3) owners_[sign_.owners++] = sighting.owner;
    const bool secret = place.level == ForeignLevel::issued || place.level == ForeignLevel::http_only;
    if (secret && listed_count_ < LISTED) listed_[listed_count_++] = {place.print, place.start};
}

void ForeignScan::keep(const uint8_t* data, size_t size) {
    const size_t n = std::min(size, KEPT - kept_size_);
    std::memcpy(kept_ + kept_size_, data, n);
    kept_size_ = uint16_t(kept_size_ + n);
}

bool ForeignScan::is_login_reply() const {
    if (!logs_in_ || !kept_size_ || !listed_count_ || listed_count_ == LISTED || sign_.level == ForeignLevel::canary) return false;
    size_t issued = 0;
    registry_->reply_tokens(reply(), posted_, [&](std::string_view token) {
        const size_t from = size_t(token.data() - reply().data()), to = from + token.size();
        issued += size_t(std::count_if(listed_, listed_ + listed_count_, [&](const Listed& l) { return l.start >= from && l.start < to; }));
    });
    return issued == listed_count_;
}

void ForeignScan::end_reply(bool observe) {
    if (observe && kept_size_) registry_->observe_tokens(owner_, reply(), posted_, now_);
    // Streams are used again, and lie in the memory of a proxy.
    wipe(kept_, kept_size_);
    kept_size_ = 0;
}

void ForeignScan::conclude(bool listed) {
    for (size_t i = 0; i < canary_count_; i++) registry_->burn(canaries_[i], now_);
    canary_count_ = 0;
    if (listed) expose();
}

void ForeignScan::expose() {
    for (size_t i = 0; i < listed_count_; i++) registry_->expose(listed_[i].print, now_);
}

}  // namespace overread
