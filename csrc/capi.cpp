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
#include "registry/registry.h"
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
struct ovr_registry {
    overread::Registry registry;
    explicit ovr_registry(const overread::Registry::Options& options) : registry(options) {}
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

bool good_request(const ovr_request* q) {
    return q->struct_size >= sizeof(ovr_request) && good_bytes(q->method) && good_bytes(q->target) && good_bytes(q->body) &&
           good_fields(q->headers, q->header_count);
}

bool good_response(const ovr_response* r) {
    if (!r) return true;
    if (r->struct_size < offsetof(ovr_response, unix_ms) || !good_bytes(r->reason) || !good_bytes(r->content_type) || !good_fields(r->headers, r->header_count))
        return false;
    if (r->struct_size >= offsetof(ovr_response, canary) && !good_bytes(r->owner)) return false;
    if (r->struct_size >= sizeof(ovr_response) && !good_bytes(r->canary)) return false;
    return !r->request || good_request(r->request);
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
    static const char* const N[] = {"raw", "http", "secret", "place", "foreign"};
    return f >= 0 && f < 5 ? N[f] : "unknown";
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
        if (known.registry) s->registry = &known.registry->registry;
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
    ovr_stream* stream = nullptr;
    try {
        stream = new ovr_stream(*s);
    } catch (...) {
        *out = nullptr;
        return fail(err, OVR_E_MEMORY, "ovr_stream_open: out of memory");
    }
    *out = stream;
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
        *out = new ovr_filter(*s, policy);
    } catch (const std::bad_alloc&) {
        *out = nullptr;
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
int ovr_owner_digest(const void* key, size_t key_size, const void* owner, size_t size, uint64_t* digest) {
    if (!key || key_size != overread::OPERATOR_KEY_SIZE || (!owner && size) || !digest) return OVR_E_ARGUMENT;
    *digest = overread::keyed_digest(overread::derived_key(static_cast<const uint8_t*>(key), "owner"), static_cast<const uint8_t*>(owner), size);
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

int ovr_registry_open(const ovr_registry_options* given, ovr_registry** out, ovr_error* err) {
    if (!out) return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: out is NULL");
    *out = nullptr;
    ovr_registry_options known{};
    if (given && given->struct_size < offsetof(ovr_registry_options, life_ms))
        return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: options.struct_size is not that of this header");
    if (given) std::memcpy(&known, given, std::min(given->struct_size, sizeof known));
    constexpr uint64_t LEAST = uint64_t(64) << 10, MOST = uint64_t(64) << 30;
    if (known.memory && (known.memory < LEAST || known.memory > MOST))
        return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: options.memory must be 64 KiB to 64 GiB, or 0");
    if (known.life_ms && (known.life_ms < 1000 || known.life_ms > 86400000))
        return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: options.life_ms must be a second to a day, or 0");
    if (known.key.size && (!known.key.data || known.key.size != overread::OPERATOR_KEY_SIZE))
        return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: options.key must have 16 bytes, or none");
    if (known.segment && !known.key.size) return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: a segment needs options.key, which all that open it have");
    bool named = known.names || !known.name_count;
    for (size_t i = 0; named && i < known.name_count; i++) named = known.names[i] && *known.names[i];
    if (!named) return fail(err, OVR_E_ARGUMENT, "ovr_registry_open: options.names holds NULL or an empty name");
    try {
        overread::Registry::Options options;
        if (known.memory) options.memory = size_t(known.memory);
        if (known.life_ms) options.life = known.life_ms / 1000;
        options.key = known.key.data;
        options.segment = known.segment;
        options.names = known.names;
        options.name_count = known.name_count;
        auto registry = std::make_unique<ovr_registry>(options);
        std::string why;
        if (!registry->registry.open(options, why)) return fail(err, OVR_E_ARGUMENT, "%s", why.c_str());
        *out = registry.release();
        return ok(err);
    } catch (const std::bad_alloc&) {
        return fail(err, OVR_E_MEMORY, "ovr_registry_open: out of memory");
    } catch (...) {
        return fail(err, OVR_E_INTERNAL, "ovr_registry_open: internal error");
    }
}
int ovr_registry_observe_request(ovr_registry* r, ovr_bytes owner, const ovr_request* request, uint64_t unix_ms) {
    if (!r || !request || !good_request(request) || !good_bytes(owner) || !unix_ms) return OVR_E_ARGUMENT;
    return guarded([&] {
        r->registry.observe_request(overread::view_of(owner), *request, uint32_t(unix_ms / 1000));
        return OVR_OK;
    });
}
int ovr_registry_observe_response(ovr_registry* r, const ovr_response* given, ovr_bytes body) {
    if (!r || !given || !good_response(given) || !good_bytes(body)) return OVR_E_ARGUMENT;
    ovr_response response{};
    std::memcpy(&response, given, std::min(given->struct_size, sizeof response));
    if (!response.unix_ms) return OVR_E_ARGUMENT;
    return guarded([&] {
        r->registry.observe_response(response, overread::view_of(body), uint32_t(response.unix_ms / 1000));
        return OVR_OK;
    });
}
int ovr_registry_state_of(const ovr_registry* r, uint64_t unix_ms, ovr_registry_state* out) {
    if (!r || !out || out->struct_size < sizeof *out) return OVR_E_ARGUMENT;
    r->registry.state(uint32_t(unix_ms / 1000), out);
    return OVR_OK;
}
int ovr_registry_export(ovr_registry* r, uint64_t unix_ms, void* buffer, size_t capacity, size_t* size) {
    if (!r || !buffer || !size || !unix_ms || capacity < OVR_REGISTRY_RECORD * overread::BUCKET) return OVR_E_ARGUMENT;
    *size = r->registry.export_changed(uint32_t(unix_ms / 1000), static_cast<uint8_t*>(buffer), capacity);
    return OVR_OK;
}
int ovr_registry_import(ovr_registry* r, const void* records, size_t size, uint64_t unix_ms) {
    if (!r || (!records && size) || !unix_ms) return OVR_E_ARGUMENT;
    return r->registry.import(static_cast<const uint8_t*>(records), size, uint32_t(unix_ms / 1000)) ? OVR_OK : OVR_E_ARGUMENT;
}
const char* ovr_registry_key_id(const ovr_registry* r) { return r ? r->registry.key_id() : ""; }
void ovr_registry_close(ovr_registry* r) { delete r; }

int ovr_registry_plant(ovr_registry* r, const void* token, size_t size, uint64_t unix_ms) {
    if (!r || !token || !unix_ms) return OVR_E_ARGUMENT;
    return guarded([&] { return r->registry.plant({static_cast<const char*>(token), size}, uint32_t(unix_ms / 1000)) ? OVR_OK : OVR_E_ARGUMENT; });
}
int ovr_registry_retire(ovr_registry* r, const void* token, size_t size) {
    if (!r || !token) return OVR_E_ARGUMENT;
    return guarded([&] { return r->registry.retire({static_cast<const char*>(token), size}) ? OVR_OK : OVR_E_ARGUMENT; });
}
int ovr_registry_canary(ovr_registry* r, ovr_bytes owner, uint64_t unix_ms, char canary[OVR_CANARY + 1]) {
    if (!r || !canary || !good_bytes(owner) || !unix_ms) return OVR_E_ARGUMENT;
    return guarded([&] {
        const uint32_t now = uint32_t(unix_ms / 1000);
        r->registry.make_canary(r->registry.owner_of(overread::view_of(owner), nullptr, now), now, canary);
        canary[OVR_CANARY] = 0;
        return OVR_OK;
    });
}
int ovr_registry_poison_key(ovr_registry* r, uint64_t unix_ms, uint8_t key[16]) {
    if (!r || !key || !unix_ms) return OVR_E_ARGUMENT;
    r->registry.poison_key(uint32_t(unix_ms / 1000), key);
    return OVR_OK;
}
void ovr_poison(void* buffer, size_t size, const uint8_t key[16]) {
    if (!buffer || !key) return;
    uint8_t pattern[overread::POISON_PERIOD];
    overread::poison_pattern(key, pattern);
    auto* out = static_cast<uint8_t*>(buffer);
    for (size_t i = 0; i < size; i += sizeof pattern) std::memcpy(out + i, pattern, std::min(sizeof pattern, size - i));
}
