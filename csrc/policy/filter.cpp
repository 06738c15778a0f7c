#include "policy/filter.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>

#include "policy/event.h"

namespace overread {
namespace {

constexpr size_t WATCHED = 16384;  // bytes of a chunk that are looked through again where it brings a response to redact

}  // namespace

Filter::Filter(const Scanner& scanner, Breaker& breaker, const ovr_policy& policy)
    : stream_(scanner), breaker_(breaker), policy_(policy), plan_(policy), redacts_(policy.mode == OVR_MODE_ENFORCE && plan_.takes(OVR_DO_REDACT)) {
    if (policy.test_key.size) test_key_ = overread::test_key(policy.test_key.data);
    policy_.test_key.data = nullptr;  // the caller's
    if (redacts_) before_.reset(new (std::nothrow) Stream(scanner));
}

void Filter::head(const ovr_response& response, ovr_action* action) {
    const uint64_t id = [] {
        const DigestKey k = random_key();
        return k.k0 ^ k.k1;
    }();
    std::snprintf(id_, sizeof id_, "%016llx", static_cast<unsigned long long>(id));
    started_ = true;
    enforces_ = policy_.mode == OVR_MODE_ENFORCE && !(policy_.most_blocked > 0 && breaker_.open());
    counted_ = ended_ = head_out_ = reported_ = no_store_ = head_sent_ = false;
    verb_ = OVR_PASS;
    done_ = OVR_DO_LOG;
    released_ = 0;
    status_ = response.status;
    take_ids(response.request);
    const uint32_t hold = policy_.hold == OVR_HOLD_DEFAULT ? DEFAULT_HOLD : policy_.hold;
    redaction_.reset();
    stream_.collect(redacts_ && enforces() ? &redaction_.spans : nullptr);
    stream_.reset(&response, enforces() ? hold : 0, enforces() ? plan_.from(OVR_DO_TRIM) : std::numeric_limits<double>::infinity());
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
    if (policy_.mode == OVR_MODE_OFF)
        released_ += size;
    else if (!stopped())
        feed(data, size);
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
    if (policy_.mode != OVR_MODE_OFF && !stopped()) stream_.trailers(fields, count);
    act(action, false);
}

void Filter::end(ovr_action* action) {
    if (!ended_ && !stopped() && policy_.mode != OVR_MODE_OFF) {
        const bool below = watches() && stream_.bits() < plan_.from(OVR_DO_REDACT);
        const uint64_t from = std::max(released_, stream_.undelayed());
        ovr_verdict v;
        stream_.finish(&v);
        if (below && stream_.bits() >= plan_.from(OVR_DO_REDACT)) redaction_.begin(from, stream_.text());
    }
    ended_ = true;
    act(action, true);
}

void Filter::decide(bool at_end) {
    const ovr_progress p = stream_.progress();
    int action = plan_.action(stream_.bits());
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
    if (policy_.mode == OVR_MODE_OFF) {
        action->release_head = 1;
        action->released = released_;
        return;
    }
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
    if (!reported_ && (stopped() || (at_end && (stream_.bits() >= WEAK_BITS || stream_.sighting().seen())))) {
        reported_ = true;
        action->wants_event = 1;
    }
}

void Filter::verdict(ovr_verdict* out) {
    stream_.finish(out);
    // Coded data that was not fed to its end is not truncated.
    if (stopped()) out->decode = decode_;
}

void Filter::count() {
    if (counted_ || policy_.mode != OVR_MODE_ENFORCE || policy_.most_blocked <= 0 || stream_.sighting().seen()) return;
    counted_ = true;
    breaker_.count(enforces() ? stopped() : plan_.action(stream_.bits()) >= OVR_DO_TRIM, policy_.most_blocked);
}

size_t Filter::event(const ovr_exchange& x, char* buffer, size_t capacity) {
    const bool test = is_test();
    Event e{id_,        enforces(), done(),    nullptr,     test,      policy_.mode == OVR_MODE_ENFORCE && !enforces(),
            head_sent_, status_,    trace_id_, request_id_, released_, {}};
    verdict(&e.verdict);
    if (!enforces()) e.would = action_name(stream_.sighting().seen() ? int(OVR_DO_BLOCK) : std::max<int>(plan_.action(e.verdict.bits), OVR_DO_LOG));
    return write_event(e, x, buffer, capacity);
}

}  // namespace overread
