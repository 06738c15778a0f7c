// overread.h over the core. The only file that catches.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "overread.h"
#include "policy/filter.h"
#include "policy/shared.h"
#include "ruleset/ruleset.h"
#include "stream/stream.h"

struct ovr_ruleset : overread::Ruleset {};
struct ovr_scanner : overread::Scanner {
    overread::Shared* shared = nullptr;  // of its filters
    void* own = nullptr;                 // its memory, unless the caller gave some
    ~ovr_scanner() { std::free(own); }
};
struct ovr_ignores {
    std::unique_ptr<overread::Ignores> list;
};
struct ovr_control {
    overread::Control control;
    explicit ovr_control(const char* path) : control(path) {}
};
struct ovr_stream {
    overread::Stream stream;
    double freeze;
    explicit ovr_stream(const overread::Scanner& s) : stream(s), freeze(s.threshold) {}
};
struct ovr_filter {
    overread::Filter filter;
    ovr_filter(const ovr_scanner& s, const ovr_policy& p)
        : filter(s, *s.shared, p, p.ignores ? p.ignores->list.get() : nullptr, p.control ? &p.control->control : nullptr) {}
};

namespace {

int fail(ovr_error* err, int status, const char* format, const char* detail = "") {
    if (err) {
        err->status = status;
        std::snprintf(err->message, sizeof err->message, format, detail);
    }
    return status;
}

int ok(ovr_error* err) {
    if (err) {
        err->status = OVR_OK;
        err->message[0] = 0;
    }
    return OVR_OK;
}

bool good_bytes(const ovr_bytes& b) { return b.data || b.size == 0; }

bool good_fields(const ovr_header* fields, size_t count) {
    if (count && !fields) return false;
    for (size_t i = 0; i < count; i++)
        if (!good_bytes(fields[i].name) || !good_bytes(fields[i].value)) return false;
    return true;
}

bool good_response(const ovr_response* r) {
    if (!r) return true;
    if (r->struct_size < offsetof(ovr_response, unix_ms) || !good_bytes(r->reason) || !good_bytes(r->content_type) || !good_fields(r->headers, r->header_count))
        return false;
    const ovr_request* q = r->request;
    return !q || (q->struct_size >= sizeof(ovr_request) && good_bytes(q->method) && good_bytes(q->target) && good_bytes(q->body) &&
                  good_fields(q->headers, q->header_count));
}

// Runs what allocates or locks.
template <class F>
int guarded(F f) {
    try {
        return f();
    } catch (const std::bad_alloc&) {
        return OVR_E_MEMORY;
    } catch (...) {
        return OVR_E_INTERNAL;
    }
}

const overread::Ruleset* default_ruleset() {
    static const auto rules = [] {
        std::string why;
        auto r = overread::load_ruleset(overread::DEFAULT_BLOB, overread::DEFAULT_BLOB_SIZE, why);
        if (!r) std::fprintf(stderr, "overread: the embedded ruleset is damaged: %s\n", why.c_str());
        return r;
    }();
    return rules.get();
}

}  // namespace

uint32_t ovr_abi_version(void) { return OVR_ABI_VERSION; }
const char* ovr_version(void) { return OVR_VERSION; }

const char* ovr_status_name(int s) {
    static const char* const N[] = {
        "ok", "bad argument", "out of memory", "bad ruleset blob", "unusable kernel", "stream finished", "buffer too small", "internal error"};
    return s >= 0 && s < 8 ? N[s] : "unknown";
}
const char* ovr_tier_name(int t) {
    static const char* const N[] = {"none", "weak", "strong", "certain"};
    return t >= 0 && t < 4 ? N[t] : "unknown";
}
const char* ovr_family_name(int f) {
    static const char* const N[] = {"raw", "http", "secret", "place"};
    return f >= 0 && f < 4 ? N[f] : "unknown";
}
const char* ovr_part_name(int p) {
    static const char* const N[] = {"body", "status", "header", "trailer"};
    return p >= 0 && p < 4 ? N[p] : "unknown";
}
const char* ovr_decode_name(int d) {
    static const char* const N[] = {"none", "ok", "trailing", "truncated", "broken", "bomb", "unknown"};
    return d >= 0 && d < 7 ? N[d] : "unknown";
}
const char* ovr_do_name(int action) { return action >= OVR_DO_LOG && action <= OVR_DO_TRIP ? overread::action_name(action) : "unknown"; }
const char* ovr_level_name(int group, int level) {
    if (group < 0 || group > overread::GROUP_PLACE || level < 1 || level > overread::MAX_LEVEL) return nullptr;
    const char* name = overread::level_name(overread::Group(group), uint8_t(level));
    return *name ? name : nullptr;
}
const char* ovr_kernel_name(size_t i) {
    const overread::Kernel* k = overread::kernel_at(i);
    return k ? k->name : nullptr;
}
const char* ovr_kernel_active(void) {
    const overread::Kernel* k = overread::kernel_default();
    return k ? k->name : nullptr;
}

const ovr_ruleset* ovr_ruleset_default(void) {
    try {
        return static_cast<const ovr_ruleset*>(default_ruleset());
    } catch (...) {
        return nullptr;
    }
}
ovr_bytes ovr_ruleset_default_blob(void) { return {overread::DEFAULT_BLOB, overread::DEFAULT_BLOB_SIZE}; }

int ovr_ruleset_load(const void* blob, size_t size, ovr_ruleset** out, ovr_error* err) {
    if (!out || (!blob && size)) return fail(err, OVR_E_ARGUMENT, "ovr_ruleset_load: blob or out is NULL");
    *out = nullptr;
    try {
        std::string why;
        auto r = overread::load_ruleset(static_cast<const uint8_t*>(blob), size, why);
        if (!r) return fail(err, OVR_E_BLOB, "%s", why.c_str());
        *out = static_cast<ovr_ruleset*>(r.release());
        return ok(err);
    } catch (const std::bad_alloc&) {
        return fail(err, OVR_E_MEMORY, "ovr_ruleset_load: out of memory");
    } catch (...) {
        return fail(err, OVR_E_INTERNAL, "ovr_ruleset_load: internal error");
    }
}
void ovr_ruleset_free(ovr_ruleset* r) { delete static_cast<overread::Ruleset*>(r); }
size_t ovr_ruleset_rule_count(const ovr_ruleset* r) { return r ? r->rules.size() : 0; }
int ovr_ruleset_rule(const ovr_ruleset* r, size_t i, ovr_rule_info* out) {
    if (!r || !out || i >= r->rules.size()) return OVR_E_ARGUMENT;
    const overread::Rule& rule = r->rules[i];
    *out = {rule.id, rule.title, rule.reference, uint8_t(rule.family)};
    return OVR_OK;
}

int ovr_ruleset_candidates(const ovr_ruleset* r, const void* body, size_t size, uint64_t* past_tables, uint64_t* candidates) {
    const overread::Kernel* kernel = overread::kernel_default();
    if (!r || (!body && size) || !past_tables || !candidates || !kernel) return OVR_E_ARGUMENT;
    *past_tables = *candidates = 0;
    for (size_t at = 0; at < size; at += overread::TILE) {
        const uint8_t* tile = static_cast<const uint8_t*>(body) + at;
        const size_t n = std::min(overread::TILE, size - at), readable = std::min(size - at, n + overread::WINDOW - 1);
        overread::KernelOutput out;
        kernel->scan(r->fingerprint, tile, n, readable, overread::WANT_HIGH_WINDOWS, out);
        *past_tables += out.past_tables;
        *candidates += out.candidate_count;
    }
    return OVR_OK;
}

int ovr_scanner_new(const ovr_ruleset* rules, const ovr_scanner_options* given, ovr_scanner** out, ovr_error* err) {
    if (!out) return fail(err, OVR_E_ARGUMENT, "ovr_scanner_new: out is NULL");
    *out = nullptr;
    try {
        if (given && given->struct_size < offsetof(ovr_scanner_options, key))
            return fail(err, OVR_E_ARGUMENT, "ovr_scanner_new: options.struct_size is not that of this header");
        ovr_scanner_options known{};  // a caller of an older header knows fewer fields
        if (given) std::memcpy(&known, given, std::min(given->struct_size, sizeof known));
        const ovr_scanner_options* options = given ? &known : nullptr;
        const ovr_bytes key = known.key;
        if (key.size && (!key.data || key.size != overread::OPERATOR_KEY_SIZE))
            return fail(err, OVR_E_ARGUMENT, "ovr_scanner_new: options.key must have 16 bytes, or none");
        const char* wanted = options ? options->kernel : nullptr;
        const overread::Kernel* kernel = wanted ? overread::kernel_named(wanted) : overread::kernel_default();
        if (!kernel) {
            std::string text = wanted ? wanted : "the value of OVERREAD_KERNEL";
            text += " is no usable kernel here; usable are:";
            for (size_t i = 0; ovr_kernel_name(i); i++) text += std::string(" ") + ovr_kernel_name(i);
            return fail(err, OVR_E_KERNEL, "%s", text.c_str());
        }
        const double threshold = options && options->threshold > 0 ? options->threshold : overread::STRONG_BITS;
        const uint32_t hold = !options || options->hold == OVR_HOLD_DEFAULT ? overread::DEFAULT_HOLD : options->hold;
        const overread::Ruleset* use = rules ? static_cast<const overread::Ruleset*>(rules) : default_ruleset();
        if (!use) return fail(err, OVR_E_INTERNAL, "ovr_scanner_new: the embedded ruleset does not load");
        auto* s = new (std::nothrow) ovr_scanner;
        if (!s) return fail(err, OVR_E_MEMORY, "ovr_scanner_new: out of memory");
        s->own = std::calloc(1, sizeof(overread::Shared));
        if (!s->own) {
            delete s;
            return fail(err, OVR_E_MEMORY, "ovr_scanner_new: out of memory");
        }
        if (known.max_decoded) s->bounds.decoded = known.max_decoded;
        if (known.max_ratio) s->bounds.ratio = known.max_ratio;
        s->shared = overread::Shared::in(s->own);
        s->rules = use;
        s->kernel = kernel;
        s->threshold = threshold;
        s->hold = hold;
        s->key = overread::random_key();
        s->keyed = key.size != 0;
        s->digest_key = key.size ? overread::derived_key(key.data, "digest") : s->key;
        if (key.size) s->owner_key = overread::derived_key(key.data, "owner");
        *out = s;
        return ok(err);
    } catch (const std::bad_alloc&) {
        return fail(err, OVR_E_MEMORY, "ovr_scanner_new: out of memory");
    } catch (...) {
        return fail(err, OVR_E_INTERNAL, "ovr_scanner_new: internal error");
    }
}
void ovr_scanner_free(ovr_scanner* s) { delete s; }
const char* ovr_scanner_kernel(const ovr_scanner* s) { return s ? s->kernel->name : nullptr; }

size_t ovr_shared_size(void) { return sizeof(overread::Shared); }
int ovr_scanner_share(ovr_scanner* s, void* memory, size_t size) {
    if (!s || !memory || size < sizeof(overread::Shared) || reinterpret_cast<uintptr_t>(memory) % alignof(overread::Shared)) return OVR_E_ARGUMENT;
    overread::Shared* shared = overread::Shared::in(memory);
    if (!shared) return OVR_E_ARGUMENT;
    s->shared = shared;
    s->number = shared->scanners.fetch_add(1, std::memory_order_relaxed);
    std::free(s->own);
    s->own = nullptr;
    return OVR_OK;
}
int ovr_scanner_site_counts(const ovr_scanner* s, char* buffer, size_t capacity, size_t* size) {
    if (!s || (!buffer && capacity)) return OVR_E_ARGUMENT;
    const size_t n = s->shared->site.write(*s->rules, buffer, capacity);
    if (size) *size = n;
    return n < capacity ? OVR_OK : OVR_E_SPACE;
}

int ovr_scanner_breaker_open(const ovr_scanner* s) { return s && s->shared->breaker.open(); }
void ovr_scanner_breaker_close(const ovr_scanner* s) {
    if (s) s->shared->breaker.close();
}

int ovr_stream_open(const ovr_scanner* s, const ovr_response* r, ovr_stream** out, ovr_error* err) {
    if (!s || !out || !good_response(r))
        return fail(err, OVR_E_ARGUMENT, "ovr_stream_open: scanner, out or a part of the response is NULL, or a struct_size is unknown");
    auto* stream = new (std::nothrow) ovr_stream(*s);
    *out = stream;
    if (!stream) return fail(err, OVR_E_MEMORY, "ovr_stream_open: out of memory");
    stream->stream.reset(r, s->hold, stream->freeze);
    return ok(err);
}
int ovr_stream_reset(ovr_stream* s, const ovr_response* r) {
    if (!s || !good_response(r)) return OVR_E_ARGUMENT;
    s->stream.reset(r, s->stream.scanner().hold, s->freeze);
    return OVR_OK;
}
int ovr_stream_feed(ovr_stream* s, const void* data, size_t size, ovr_progress* progress) {
    if (!s || (!data && size)) return OVR_E_ARGUMENT;
    if (s->stream.finished()) return OVR_E_FINISHED;
    if (size) s->stream.feed(static_cast<const uint8_t*>(data), size);
    if (progress) *progress = s->stream.progress();
    return OVR_OK;
}
int ovr_stream_flush(ovr_stream* s, ovr_progress* progress) {
    if (!s) return OVR_E_ARGUMENT;
    if (s->stream.finished()) return OVR_E_FINISHED;
    s->stream.flush();
    if (progress) *progress = s->stream.progress();
    return OVR_OK;
}
int ovr_stream_trailers(ovr_stream* s, const ovr_header* fields, size_t count, ovr_progress* progress) {
    if (!s || !good_fields(fields, count)) return OVR_E_ARGUMENT;
    if (s->stream.finished()) return OVR_E_FINISHED;
    s->stream.trailers(fields, count);
    if (progress) *progress = s->stream.progress();
    return OVR_OK;
}
void ovr_stream_progress(const ovr_stream* s, ovr_progress* progress) {
    if (s && progress) *progress = s->stream.progress();
}
int ovr_stream_finish(ovr_stream* s, ovr_verdict* out) {
    if (!s || !out) return OVR_E_ARGUMENT;
    s->stream.finish(out);
    return OVR_OK;
}
void ovr_stream_close(ovr_stream* s) { delete s; }

int ovr_filter_open(const ovr_scanner* s, const ovr_policy* p, ovr_filter** out, ovr_error* err) {
    if (!s || !p || !out || p->struct_size < offsetof(ovr_policy, block_bits))
        return fail(err, OVR_E_ARGUMENT, "ovr_filter_open: scanner, policy or out is NULL, or policy.struct_size is unknown");
    ovr_policy policy{};  // a caller of an older header knows fewer fields
    std::memcpy(&policy, p, std::min(p->struct_size, sizeof policy));
    if (const char* fault = overread::Plan::fault(policy)) return fail(err, OVR_E_ARGUMENT, "ovr_filter_open: %s", fault);
    try {
        *out = new (std::nothrow) ovr_filter(*s, policy);
    } catch (...) {  // a lock that the system does not give
        *out = nullptr;
        return fail(err, OVR_E_INTERNAL, "ovr_filter_open: internal error");
    }
    if (*out && (*out)->filter.ready()) return ok(err);
    delete *out;
    *out = nullptr;
    return fail(err, OVR_E_MEMORY, "ovr_filter_open: out of memory");
}
int ovr_filter_head(ovr_filter* f, const ovr_response* r, ovr_action* a) {
    if (!f || !r || !a || !good_response(r)) return OVR_E_ARGUMENT;
    ovr_response response{};  // a caller of an older header knows fewer fields
    std::memcpy(&response, r, std::min(r->struct_size, sizeof response));
    return guarded([&] {
        f->filter.head(response, a);
        return OVR_OK;
    });
}
int ovr_filter_body(ovr_filter* f, const void* data, size_t size, ovr_action* a) {
    if (!f || !a || (!data && size) || !f->filter.started()) return OVR_E_ARGUMENT;
    if (f->filter.ended()) return OVR_E_FINISHED;
    return guarded([&] {
        f->filter.body(static_cast<const uint8_t*>(data), size, a);
        return OVR_OK;
    });
}
int ovr_filter_flush(ovr_filter* f, ovr_action* a) {
    if (!f || !a || !f->filter.started()) return OVR_E_ARGUMENT;
    if (f->filter.ended()) return OVR_E_FINISHED;
    return guarded([&] {
        f->filter.flush(a);
        return OVR_OK;
    });
}
int ovr_filter_trailers(ovr_filter* f, const ovr_header* fields, size_t count, ovr_action* a) {
    if (!f || !a || !good_fields(fields, count) || !f->filter.started()) return OVR_E_ARGUMENT;
    if (f->filter.ended()) return OVR_E_FINISHED;
    return guarded([&] {
        f->filter.trailers(fields, count, a);
        return OVR_OK;
    });
}
int ovr_filter_end(ovr_filter* f, ovr_action* a) {
    if (!f || !a || !f->filter.started()) return OVR_E_ARGUMENT;
    return guarded([&] {
        f->filter.end(a);
        return OVR_OK;
    });
}
uint64_t ovr_filter_redact(ovr_filter* f, uint64_t offset, void* data, size_t size) {
    return f && (data || !size) ? f->filter.redact(offset, static_cast<uint8_t*>(data), size) : 0;
}
const char* const* ovr_no_store_strips(void) { return overread::NO_STORE_STRIPS; }
const ovr_header* ovr_no_store_sets(size_t* count) {
    size_t ignored;
    return overread::no_store_sets(count ? count : &ignored);
}
int ovr_filter_verdict(ovr_filter* f, ovr_verdict* out) {
    if (!f || !out || !f->filter.over()) return OVR_E_ARGUMENT;
    f->filter.verdict(out);
    return OVR_OK;
}
uint64_t ovr_filter_ignored(const ovr_filter* f) { return f ? f->filter.ignored() : 0; }
uint64_t ovr_filter_tripped(const ovr_filter* f) { return f ? f->filter.tripped() : 0; }
const char* ovr_filter_id(const ovr_filter* f) { return f ? f->filter.id() : ""; }
void ovr_filter_unsent(ovr_filter* f) {
    if (f) f->filter.unsent();
}
const char* ovr_filter_done(const ovr_filter* f) { return f ? f->filter.done() : ""; }
int ovr_filter_event(ovr_filter* f, const ovr_exchange* x, char* buffer, size_t capacity, size_t* size) {
    if (!f || !x || !buffer || x->struct_size < offsetof(ovr_exchange, owner) || !f->filter.over()) return OVR_E_ARGUMENT;
    const size_t n = f->filter.event(*x, buffer, capacity);
    if (size) *size = n;
    return n < capacity ? OVR_OK : OVR_E_SPACE;
}
int ovr_test_token(const void* key, size_t key_size, char token[OVR_TEST_TOKEN + 1]) {
    static_assert(OVR_TEST_TOKEN == overread::TEST_TOKEN_SIZE);
    if (!key || key_size != overread::TEST_KEY_SIZE || !token) return OVR_E_ARGUMENT;
    overread::make_test_token(overread::test_key(static_cast<const uint8_t*>(key)), overread::random_key().k0, token);
    token[OVR_TEST_TOKEN] = 0;
    return OVR_OK;
}
void ovr_filter_close(ovr_filter* f) { delete f; }

int ovr_ignores_new(const ovr_ruleset* rules, const char* const* lines, size_t count, ovr_ignores** out, ovr_error* err) {
    if (!out || (count && !lines)) return fail(err, OVR_E_ARGUMENT, "ovr_ignores_new: lines or out is NULL");
    *out = nullptr;
    try {
        std::string why;
        auto list = overread::Ignores::read(static_cast<const overread::Ruleset*>(rules), lines, count, why);
        if (!list) return fail(err, OVR_E_ARGUMENT, "%s", why.c_str());
        *out = new ovr_ignores{std::move(list)};
        return ok(err);
    } catch (const std::bad_alloc&) {
        return fail(err, OVR_E_MEMORY, "ovr_ignores_new: out of memory");
    } catch (...) {
        return fail(err, OVR_E_INTERNAL, "ovr_ignores_new: internal error");
    }
}
int ovr_ignores_line(const ovr_ignores* list, size_t i, ovr_ignore* out) {
    if (!list || !out || i >= list->list->count()) return OVR_E_ARGUMENT;
    *out = {list->list->text(i), list->list->until_ms(i)};
    return OVR_OK;
}
void ovr_ignores_free(ovr_ignores* list) { delete list; }

int ovr_control_open(const char* path, int create, ovr_control** out, ovr_error* err) {
    if (!path || !*path || !out) return fail(err, OVR_E_ARGUMENT, "ovr_control_open: path or out is NULL, or path is empty");
    *out = nullptr;
    try {
        auto control = std::make_unique<ovr_control>(path);
        if (create && !control->control.create()) return fail(err, OVR_E_ARGUMENT, (std::string("\"%s\": ") + std::strerror(errno)).c_str(), path);
        *out = control.release();
        return ok(err);
    } catch (const std::bad_alloc&) {
        return fail(err, OVR_E_MEMORY, "ovr_control_open: out of memory");
    } catch (...) {
        return fail(err, OVR_E_INTERNAL, "ovr_control_open: internal error");
    }
}
int ovr_control_look(ovr_control* c, uint64_t unix_ms, ovr_control_state* out) {
    if (!c || !out || out->struct_size < sizeof *out) return OVR_E_ARGUMENT;
    return guarded([&] {
        c->control.look(unix_ms);
        out->mode = c->control.mode();
        out->tripped = c->control.tripped();
        out->agent_ms = c->control.agent_ms();
        out->fault[0] = 0;
        c->control.take_fault(out->fault, sizeof out->fault);
        return OVR_OK;
    });
}
int ovr_control_feature(ovr_control* c, size_t i, ovr_feature* out) {
    if (!c || !out) return OVR_E_ARGUMENT;
    return guarded([&] { return c->control.info(i, out) ? OVR_OK : OVR_E_ARGUMENT; });
}
int ovr_control_set_mode(ovr_control* c, int mode, uint64_t unix_ms) {
    if (!c || mode < OVR_MODE_OFF || mode > OVR_MODE_ENFORCE) return OVR_E_ARGUMENT;
    return guarded([&] { return c->control.set_mode(mode, unix_ms) ? OVR_OK : OVR_E_INTERNAL; });
}
int ovr_control_trip(ovr_control* c, const char* feature, uint64_t unix_ms, uint64_t until_ms) {
    if (!c || !feature) return OVR_E_ARGUMENT;
    return guarded([&] {
        const int i = c->control.feature(feature);
        return i == overread::Control::NONE ? OVR_E_ARGUMENT : c->control.trip(i, unix_ms, until_ms) ? OVR_OK : OVR_E_INTERNAL;
    });
}
int ovr_control_rearm(ovr_control* c, const char* feature, uint64_t unix_ms) {
    if (!c || !feature) return OVR_E_ARGUMENT;
    return guarded([&] {
        const int i = c->control.feature(feature);
        return i == overread::Control::NONE ? OVR_E_ARGUMENT : c->control.rearm(i, unix_ms) ? OVR_OK : OVR_E_INTERNAL;
    });
}
void ovr_control_close(ovr_control* c) { delete c; }
