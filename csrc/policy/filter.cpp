#include "policy/filter.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string_view>

#include "policy/event.h"
#include "policy/exchange.h"

namespace overread {
namespace {

constexpr size_t WATCHED = 16384;  // bytes of a chunk that are looked through again where it brings a response to redact

std::string_view text_of(const ovr_bytes& b) { return {reinterpret_cast<const char*>(b.data), b.size}; }

}  // namespace

Filter::Filter(const Scanner& scanner, Shared& shared, const ovr_policy& policy, const Ignores* ignores, Control* control)
    : stream_(scanner),
      shared_(shared),
      ignores_(ignores),
      control_(control),
      policy_(policy),
      plan_(policy),
      redacts_(policy.mode == OVR_MODE_ENFORCE && plan_.takes(OVR_DO_REDACT)) {
    if (policy.test_key.size) test_key_ = overread::test_key(policy.test_key.data);
    for (size_t i = 0; i < policy.feature_header.size; i++) {
        const uint8_t c = policy.feature_header.data[i];
        feature_header_[i] = char(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    if (control && policy.feature.size) {
        feature_ = control->feature(text_of(policy.feature));
        std::memcpy(feature_name_, policy.feature.data, policy.feature.size);
        feature_name_[policy.feature.size] = 0;
    }
    policy_.test_key.data = policy_.feature.data = policy_.feature_header.data = nullptr;  // the caller's
    if (policy_.watch) shared_key_ = shared_.key.get();
    if (redacts_) before_.reset(new (std::nothrow) Stream(scanner));
}

// Behind the head's own scan: a secret that another client was given before is found in it first.
void Filter::observe(const ovr_response& response) {
    Registry& registry = stream_.foreign()->registry();
    const uint32_t now = stream_.foreign()->now();
    if (response.request) registry.observe_request(view_of(response.owner), *response.request, now);
    registry.observe_response(response, {}, now);
    fresh_ = is_fresh(response);
    place_ = std::max<uint64_t>(1, where(shared_.key.get(), response.request).path);  // without a host one place is as good as another
}

bool Filter::is_published() {
    ForeignScan* foreign = stream_.foreign();
    if (asked_published_ || !foreign || !place_ || !foreign->issued()) return published_;
    asked_published_ = true;
    const bool published = foreign->registry().shown_to(*foreign->issued(), place_, foreign->owner(), fresh_, foreign->now());
    if (published) foreign->expose();
    return published;
}

void Filter::head(const ovr_response& response, ovr_action* action) {
    // The kernel is asked for chance once a filter: once a response would cost more than the scan of a short page.
    const uint64_t n = responses_++;
    const uint64_t id = keyed_digest(id_key_, reinterpret_cast<const uint8_t*>(&n), sizeof n);
    for (int i = 0; i < 16; i++) id_[i] = "0123456789abcdef"[id >> (60 - 4 * i) & 15];
    started_ = true;
    mode_ = policy_.mode;
    if (control_ && response.unix_ms) {
        control_->look(response.unix_ms);
        mode_ = std::min(mode_, control_->mode());
    }
    enforces_ = mode_ == OVR_MODE_ENFORCE && !(policy_.most_blocked > 0 && shared_.breaker.open());
    counted_ = ended_ = head_out_ = reported_ = no_store_ = head_sent_ = false;
    verb_ = OVR_PASS;
    done_ = OVR_DO_LOG;
    released_ = 0;
    status_ = response.status;
    trips_ = false;
    tripped_ = left_out_ = 0;
    header_feature_count_ = 0;
    told_ = Told::open;
    unix_ms_ = response.unix_ms;
    has_fields_ = response.header_count > 0;
    same_ = noted_ = false;
    repeated_ = {};
    difference_ = {};
    published_ = asked_published_ = false;
    place_ = 0;
    const uint32_t watch = mode_ == OVR_MODE_OFF ? 0 : policy_.watch;
    repetition_.head(tables(), response, watch);
    twin_.head(shared_.twins, shared_key_, response, watch);
    take_ids(response.request);
    if (control_) take_features(response);
    stream_.ignore(ignores_ ? ignores_->of(response.request ? response.request->target : ovr_bytes{}, unix_ms_) : Ignoring());
    const uint32_t hold = policy_.hold == OVR_HOLD_DEFAULT ? DEFAULT_HOLD : policy_.hold;
    redaction_.reset();
    if (before_) before_->forget_reply();
    stream_.collect(redacts_ && enforces() ? &redaction_.spans : nullptr);
    stream_.reset(&response, enforces() ? hold : 0, enforces() ? plan_.from(OVR_DO_TRIM) : std::numeric_limits<double>::infinity());
    if (mode_ != OVR_MODE_OFF && stream_.foreign()) observe(response);
    if (policy_.test_key.size && response.request) look_for_token(*response.request);
    may_redact_ = redacts_ && enforces() && !stream_.coded();
    if (redacts_ && enforces() && !may_redact_) {
        stream_.collect(nullptr);
        stream_.freeze_from(plan_.from(OVR_DO_REDACT));
    }
    act(action, false);
}

// What ties an event to other logs: the trace of W3C Trace Context (traceparent, section 3.2), and the proxy's request id. Nothing
// that looks otherwise is repeated: a client chooses these values.
void Filter::take_ids(const ovr_request* request) {
    trace_id_[0] = request_id_[0] = 0;
    auto hex = [](uint8_t c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    for (size_t i = 0; request && i < request->header_count; i++) {
        const ovr_bytes &name = request->headers[i].name, &v = request->headers[i].value;
        if (name_is(name.data, name.size, "traceparent") && v.size >= 55 && v.data[2] == '-' && v.data[35] == '-' &&
            std::all_of(v.data + 3, v.data + 35, hex)) {
            std::memcpy(trace_id_, v.data + 3, 32);
            trace_id_[32] = 0;
        }
        // As proxies make them: a UUID (Envoy), 32 hexadecimal digits (nginx).
        const bool id = name_is(name.data, name.size, "x-request-id") && v.size >= 8 && v.size <= 40 &&
                        std::all_of(v.data, v.data + v.size, [&](uint8_t c) { return hex(c) || c == '-'; });
        if (id) {
            std::memcpy(request_id_, v.data, v.size);
            request_id_[v.size] = 0;
        }
    }
}

void Filter::look_for_token(const ovr_request& request) {
    const uint8_t* token = find_test_token(test_key_, request.target);
    for (size_t i = 0; !token && i < request.header_count; i++) token = find_test_token(test_key_, request.headers[i].value);
    if (token) stream_.sighting().look_for(token, TEST_TOKEN_SIZE);
}

void Filter::body(const uint8_t* data, size_t size, ovr_action* action) {
    if (mode_ == OVR_MODE_OFF)
        released_ += size;
    else if (!stopped()) {
        twin_.feed(data, size);
        feed(data, size);
    }
    act(action, false);
}

void Filter::feed(const uint8_t* data, size_t size) {
    const double bits = plan_.from(OVR_DO_REDACT);
    while (size && watches() && stream_.bits() < bits) {
        const size_t n = std::min(size, WATCHED);
        watch(data, n);
        data += n;
        size -= n;
    }
    if (size) stream_.feed(data, size);
}

// A response comes to redact once at most. Which bytes are masked must not depend on the chunk in which that happens, so the
// shortest beginning of it is looked for that has the bits.
void Filter::watch(const uint8_t* data, size_t size) {
    const double bits = plan_.from(OVR_DO_REDACT);
    *before_ = stream_;
    const size_t spans = redaction_.spans.count();
    stream_.feed(data, size);
    if (stream_.bits() < bits) {
        redaction_.spans.forget(released_);
        return;
    }
    auto feed_again = [&](size_t n) {
        stream_ = *before_;
        redaction_.spans.shorten(spans);
        stream_.feed(data, n);
        return stream_.bits() >= bits;
    };
    size_t without = 0, with = size;
    for (size_t n = 64; n < size && with == size; n *= 2) (feed_again(n) ? with : without) = n;
    while (with - without > 1) {
        const size_t middle = without + (with - without) / 2;
        (feed_again(middle) ? with : without) = middle;
    }
    feed_again(without);
    const uint64_t from = std::max(released_, stream_.undelayed());
    stream_.feed(data + without, size - without);
    redaction_.begin(from, stream_.text());
}

void Filter::flush(ovr_action* action) {
    if (!stopped()) stream_.flush();
    act(action, false);
}

void Filter::trailers(const ovr_header* fields, size_t count, ovr_action* action) {
    if (mode_ != OVR_MODE_OFF && !stopped()) stream_.trailers(fields, count);
    act(action, false);
}

void Filter::end(ovr_action* action) {
    if (!ended_ && !stopped() && mode_ != OVR_MODE_OFF) {
        const bool below = watches() && stream_.bits() < plan_.from(OVR_DO_REDACT);
        const uint64_t from = std::max(released_, stream_.undelayed());
        difference_ = twin_.end(shared_.twins);
        if (difference_.is != Twin::Is::none) stream_.differs_from_twin(difference_.sign);
        ovr_verdict v;
        if (stream_.foreign()) stream_.observe_reply();
        stream_.finish(&v);
        if (below && stream_.bits() >= plan_.from(OVR_DO_REDACT)) redaction_.begin(from, stream_.text());
        // Where responses are stopped, what they would have shown is not counted: the rest must not pass for all.
        if (mode_ == OVR_MODE_MONITOR) stream_.count_in(shared_.site, has_fields_, unix_ms_ / 1000);
    }
    if (before_) before_->forget_reply();
    ended_ = true;
    act(action, true);
}

// Where the policy redacts, a page's published bytes are masked as any.
void Filter::look_around() {
    if (noted_) return;
    const bool same = !redacts_ && repetition_.same(tables(), stream_);
    if (same && enforces()) stream_.thaw();
    if (same_ && !same && enforces()) stream_.freeze_from(plan_.from(OVR_DO_TRIM));
    same_ = same;
}

void Filter::decide(bool at_end) {
    const ovr_progress p = stream_.progress();
    int action = plan_.action(bits());
    if (action == OVR_DO_TRIP) {
        trips_ = true;
        action = OVR_DO_BLOCK;
    }
    if (policy_.on_error == OVR_ON_ERROR_BLOCK && p.decode >= OVR_DECODE_TRUNCATED) action = OVR_DO_BLOCK;
    if (stream_.sighting().seen()) action = OVR_DO_BLOCK;
    // Of coded bytes none can be masked or left out, and a head or trailers that leak leave as they are.
    const bool body_alone = !stream_.coded() && !stream_.head_shows();
    if (action >= OVR_DO_REDACT && !body_alone) action = OVR_DO_BLOCK;
    // A part of a file that is shorter than its Content-Range says would be put together wrongly.
    if (action >= OVR_DO_TRIM && status_ == 206) action = OVR_DO_BLOCK;
    // What came to redact between two chunks has no byte to begin with: the head or trailers brought it there.
    if (action == OVR_DO_REDACT && (!redaction_.active() || redaction_.spans.lost())) action = OVR_DO_BLOCK;
    if (action == OVR_DO_REDACT) redaction_.tail(stream_.document_end());
    if (action >= OVR_DO_NO_STORE && !no_store_) {
        no_store_ = true;
        head_sent_ = head_out_;
    }
    if (action >= OVR_DO_TRIM) {
        shorten(action);
        return;
    }
    done_ = std::max(done_, action);
    released_ = p.released;
    head_out_ |= at_end || released_ > 0 || stream_.hold() == 0;
}

// The response ends here: at once, or with the bytes that certainly belong to it.
void Filter::shorten(int action) {
    decode_ = stream_.progress().decode;
    done_ = action;
    verb_ = OVR_END;
    ovr_verdict v;
    stream_.finish(&v);
    const uint64_t first = std::min(v.first_offset, stream_.document_end());
    if (action == OVR_DO_TRUNCATE) {
        released_ = std::max(released_, first == OVR_NO_OFFSET ? 0 : first);
        // A page without a byte is no page.
        if (released_ > 0) return;
    } else if (action == OVR_DO_TRIM && stream_.in_container() && first >= stream_.document_end() && first >= released_) {
        released_ = first;
        return;
    }
    done_ = OVR_DO_BLOCK;
    verb_ = head_out_ ? OVR_CUT : OVR_BLOCK;
}

void Filter::unsent() {
    if (verb_ != OVR_CUT) return;
    verb_ = OVR_BLOCK;
    head_sent_ = false;
    released_ = 0;
}

void Filter::act(ovr_action* action, bool at_end) {
    std::memset(action, 0, sizeof *action);
    if (mode_ == OVR_MODE_OFF) {
        action->release_head = 1;
        action->released = released_;
        return;
    }
    if (policy_.watch && !stopped()) look_around();
    if (!stopped()) published_ = is_published();
    if (enforces() && !stopped()) decide(at_end);
    if (!enforces()) {
        // A byte is never delayed, not even one of an open match.
        released_ = stream_.progress().released;
        head_out_ = true;
    }
    action->verb = verb_;
    action->no_store = no_store_;
    action->redact = redaction_.active();
    action->released = enforces() ? released_ : std::numeric_limits<uint64_t>::max();
    action->hold_ms = enforces() && !stopped() && !at_end && stream_.holds() ? (policy_.hold_ms ? policy_.hold_ms : 50) : 0;
    if (verb_ == OVR_END) head_out_ = true;
    action->release_head = head_out_;
    action->test = is_test();
    if (stopped() || at_end) count();
    if ((stopped() || at_end) && !noted_) {
        noted_ = true;
        if (!stream_.sighting().seen()) repeated_ = repetition_.end(tables(), stream_, stopped());
    }
    const bool told = stream_.bits() >= WEAK_BITS || stream_.sighting().seen() || repeated_.bits || difference_.is != Twin::Is::none;
    if (!reported_ && (stopped() || (at_end && told))) {
        reported_ = true;
        action->wants_event = 1;
        action->repeated = repeated_.bits > 0;
        alarm();
    }
}

// Names stay names until there is an alarm: an origin that invents some must not use up the control's numbers.
void Filter::take_features(const ovr_response& response) {
    for (size_t i = 0; policy_.feature_header.size && i < response.header_count; i++) {
        const ovr_header& h = response.headers[i];
        if (!name_is(h.name.data, h.name.size, feature_header_)) continue;
        std::string_view list = text_of(h.value);
        while (!list.empty() && header_feature_count_ + (feature_ != Control::NONE) < MAX_FEATURES) {
            const size_t comma = std::min(list.find(','), list.size());
            std::string_view name = list.substr(0, comma);
            list.remove_prefix(std::min(comma + 1, list.size()));
            while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
            while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
            if (!Control::is_name({reinterpret_cast<const uint8_t*>(name.data()), name.size()})) continue;
            char* kept = header_features_[header_feature_count_++];
            std::memcpy(kept, name.data(), name.size());
            kept[name.size()] = 0;
        }
    }
}

// Their names, each once.
int Filter::features(const char* names[MAX_FEATURES]) const {
    int count = 0;
    if (feature_ != Control::NONE) names[count++] = feature_name_;
    for (int i = 0; i < header_feature_count_; i++)
        if (std::none_of(names, names + count, [&](const char* n) { return std::strcmp(n, header_features_[i]) == 0; })) names[count++] = header_features_[i];
    return count;
}

// Tells an alarm of the response's features. Monitor changes nothing, so it trips nothing.
void Filter::alarm() {
    if (!control_ || !unix_ms_ || !enforces() || is_test() || !(stopped() || bits() >= plan_.threshold())) return;
    if (!trips_ && !policy_.trip_alarms) return;
    const Tripping tripping{policy_.trip_alarms, policy_.trip_ms ? policy_.trip_ms : 60000, policy_.rearm_ms, trips_};
    const char* names[MAX_FEATURES];
    for (int i = 0, n = features(names); i < n; i++) {
        const int feature = control_->feature(names[i]);
        if (feature != Control::NONE && control_->alarm(feature, unix_ms_, tripping)) tripped_ |= uint64_t(1) << feature;
    }
}

void Filter::verdict(ovr_verdict* out) {
    stream_.finish(out);
    out->leaked = out->bits >= plan_.threshold();
    // Coded data that was not fed to its end is not truncated.
    if (stopped()) out->decode = decode_;
}

void Filter::count() {
    if (counted_ || mode_ != OVR_MODE_ENFORCE || policy_.most_blocked <= 0 || stream_.sighting().seen()) return;
    counted_ = true;
    shared_.breaker.count(enforces() ? stopped() : plan_.action(bits()) >= OVR_DO_TRIM, policy_.most_blocked);
}

size_t Filter::event(const ovr_exchange& x, char* buffer, size_t capacity) {
    const bool test = is_test();
    Event e{id_,        enforces(), done(),      nullptr,   test, mode_ == OVR_MODE_ENFORCE && !enforces(), head_sent_,
            status_,    trace_id_,  request_id_, released_, {},   same_ ? repetition_.times() : 0,          repeated_,
            difference_};
    verdict(&e.verdict);
    if (told_ == Told::open) {
        const bool weak = !stopped() && !test && e.verdict.bits < plan_.threshold();
        const uint64_t now = x.unix_ms ? x.unix_ms : unix_ms_;
        told_ = shared_.events.take(now, weak, now ? policy_.events_per_second : 0, policy_.weak_sample) ? Told::yes : Told::no;
        if (told_ == Told::yes) left_out_ = shared_.events.left_out();
    }
    if (told_ == Told::no) return 0;
    e.left_out = left_out_;
    e.ignored = unsigned(__builtin_popcountll(ignored()));
    e.control = control_;
    e.feature_count = features(e.features);
    e.tripped = tripped_;
    const bool owned = stream_.scanner().keyed && x.struct_size >= sizeof x && x.owner.size;
    if (owned) e.owner = keyed_digest(stream_.scanner().owner_key, x.owner.data, x.owner.size);
    e.owned = owned;
    e.keyed = stream_.scanner().keyed;
    if (!enforces()) e.would = action_name(stream_.sighting().seen() ? int(OVR_DO_BLOCK) : std::max<int>(plan_.action(bits()), OVR_DO_LOG));
    return write_event(e, x, buffer, capacity);
}

}  // namespace overread
