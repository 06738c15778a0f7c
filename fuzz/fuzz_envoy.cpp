// The Envoy filter behind a model of Envoy's filter manager: a response in random pieces of random slices, flushes and broken connections at random.
// Clean bodies arrive as they are; of a leaking one no more than the policy lets pass, and counters and metadata say what the client saw.
//
// The model follows Envoy v1.40 (source/common/http/filter_manager.cc, ActiveStreamEncoderFilter; source/extensions/filters/http/dynamic_modules): a
// hook that stops keeps the head back; data of a stop without buffer is the filter's, that of one with a buffer joins it; continuing sends the head, what
// is buffered, then trailers; the last data goes to the buffer where there is one already, whose limit it must not pass; a local reply behind a head that
// has left resets the stream.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "envoy/envoy_abi.h"
#include "overread.h"
#include "tests/native/examples.h"

namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Random {
    uint64_t state;
    size_t below(size_t limit) {  // xorshift64*: Vigna 2016
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return size_t((state * 0x2545f4914f6cdd1dULL) >> 33) % limit;
    }
};

struct Envoy {
    Random random{1};
    const void* filter = nullptr;
    Fields request, head, trailers;
    std::string chunk;                    // received
    std::optional<std::string> buffered;  // of the stream
    bool stopped = false, head_continued = false, observed_end = false, has_trailers = false, in_continue = false;
    bool breaks = false;  // the connection breaks with the next byte that the filter sends by itself
    bool scheduler = false;
    std::vector<uint64_t> events;
    uint64_t limit = 0, configured = 0;  // of the buffer, 0: none
    // What the client has.
    bool head_left = false, ended = false, reset = false, replied = false;
    uint32_t reply_status = 0;
    std::string reply_body, body;
    size_t trailers_left = 0;
    // What operators have.
    std::map<size_t, uint64_t> counts;
    std::map<std::string, std::string> metadata;

    bool over() const { return ended || reset || replied || !filter; }
    void destroy() {
        if (filter) envoy_dynamic_module_on_http_filter_destroy(std::exchange(filter, nullptr));
    }
    void send_data(std::string& data, bool end) {
        body += data;
        data.clear();
        ended |= end;
    }
    void send_head(bool end) {
        head_continued = head_left = true;
        ended |= end;
    }
    void common_continue() {
        stopped = false;
        if (!head_continued) send_head(observed_end && !buffered && !has_trailers);
        if (buffered) send_data(*buffered, observed_end && !has_trailers);
        if (has_trailers) {
            trailers_left = trailers.size();
            ended = true;
        }
    }
    void encode_head(bool end) {
        observed_end = end;
        const int status = envoy_dynamic_module_on_http_filter_response_headers(this, filter, end);
        if (over()) return;
        in_continue = status == kHeadersContinue;
        if (status == kHeadersContinue)
            send_head(end);
        else
            stopped = true;
    }
    void encode_data(std::string data, bool end) {
        observed_end = end;
        if (end && buffered) {
            const bool fits = data.size() <= configured;
            *buffered += data;
            data.clear();
            if (limit && fits && buffered->size() > limit) std::abort();
        }
        chunk = std::move(data);
        const int status = envoy_dynamic_module_on_http_filter_response_body(this, filter, end);
        if (over()) return;
        in_continue = status == kBodyContinue;
        if (status == kBodyContinue && stopped) {
            if (!buffered) buffered.emplace();
            *buffered += chunk;
            common_continue();
        } else if (status == kBodyContinue) {
            if (!head_continued) std::abort();
            send_data(chunk, end);
        } else if (status == kBodyStopAndWatermark) {
            stopped = true;
            if (!buffered) buffered.emplace();
            *buffered += chunk;
            chunk.clear();
            if (limit && buffered->size() > limit - configured) std::abort();  // above the limit Envoy stops reading
        } else {
            if (status != kBodyStopNoBuffer) std::abort();
            stopped = true;
            if (end && !buffered) buffered.emplace();
        }
    }
    void encode_trailers() {
        has_trailers = true;
        const int status = envoy_dynamic_module_on_http_filter_response_trailers(this, filter);
        if (over()) return;
        in_continue = status == kTrailersContinue;
        if (status == kTrailersContinue)
            common_continue();
        else
            stopped = true;
    }
    void pump(bool spurious) {
        std::vector<uint64_t> now = std::move(events);
        events.clear();
        if (spurious && scheduler) now.insert(now.begin(), 1);  // the hold time is up
        for (const uint64_t event : now)
            if (filter && !over()) envoy_dynamic_module_on_http_filter_scheduled(this, filter, event);
    }
};

Envoy* self(void* envoy) { return static_cast<Envoy*>(envoy); }
std::string text(envoy_buffer b) { return {b.ptr, b.length}; }
Fields& fields(Envoy* e, envoy_header_type type) { return type == kRequestHeaders ? e->request : type == kResponseTrailers ? e->trailers : e->head; }
std::string& body_of(Envoy* e, envoy_body_type type) {
    static std::string none;
    if (type == kReceivedResponseBody) return e->chunk;
    if (type == kBufferedResponseBody && e->buffered) return *e->buffered;
    none.clear();
    return none;
}
std::map<std::string, size_t> counter_ids;

}  // namespace

extern "C" {
int envoy_dynamic_module_callback_http_filter_config_define_counter(void*, envoy_buffer name, envoy_buffer*, size_t, size_t* id) {
    *id = counter_ids.emplace(text(name), counter_ids.size()).first->second;
    return 0;
}
int envoy_dynamic_module_callback_http_filter_config_define_gauge(void*, envoy_buffer, envoy_buffer*, size_t, size_t*) { return 0; }
int envoy_dynamic_module_callback_http_filter_set_gauge(void*, size_t, envoy_buffer*, size_t, uint64_t) { return 0; }
int envoy_dynamic_module_callback_http_filter_increment_counter(void* envoy, size_t id, envoy_buffer*, size_t, uint64_t value) {
    self(envoy)->counts[id] += value;
    return 0;
}
size_t envoy_dynamic_module_callback_http_get_headers_size(void* envoy, envoy_header_type type) { return fields(self(envoy), type).size(); }
bool envoy_dynamic_module_callback_http_get_headers(void* envoy, envoy_header_type type, envoy_header* out) {
    for (const auto& f : fields(self(envoy), type)) *out++ = {f.first.data(), f.first.size(), f.second.data(), f.second.size()};
    return true;
}
bool envoy_dynamic_module_callback_http_set_header(void* envoy, envoy_header_type type, envoy_buffer key, envoy_buffer value) {
    Fields& all = fields(self(envoy), type);
    const std::string name = text(key);
    all.erase(std::remove_if(all.begin(), all.end(), [&](const auto& f) { return f.first == name; }), all.end());
    if (value.ptr) all.emplace_back(name, text(value));
    return true;
}
size_t envoy_dynamic_module_callback_http_get_body_size(void* envoy, envoy_body_type type) { return body_of(self(envoy), type).size(); }
// Slices of 1 to 4,000 bytes, the same for both calls.
size_t envoy_dynamic_module_callback_http_get_body_chunks_size(void* envoy, envoy_body_type type) {
    const size_t step = 1 + self(envoy)->body.size() % 7 * 600 + self(envoy)->chunk.size() % 5;
    return (body_of(self(envoy), type).size() + step - 1) / step;
}
bool envoy_dynamic_module_callback_http_get_body_chunks(void* envoy, envoy_body_type type, envoy_buffer* out) {
    const std::string& b = body_of(self(envoy), type);
    const size_t step = 1 + self(envoy)->body.size() % 7 * 600 + self(envoy)->chunk.size() % 5;
    for (size_t at = 0; at < b.size(); at += step) *out++ = {b.data() + at, std::min(step, b.size() - at)};
    return true;
}
bool envoy_dynamic_module_callback_http_append_body(void* envoy, envoy_body_type type, envoy_buffer data) {
    Envoy* e = self(envoy);
    if (type == kBufferedResponseBody && !e->buffered) e->buffered.emplace();
    body_of(e, type) += text(data);
    return true;
}
bool envoy_dynamic_module_callback_http_drain_body(void* envoy, envoy_body_type type, size_t bytes) {
    std::string& b = body_of(self(envoy), type);
    if (bytes > b.size()) std::abort();
    b.erase(0, bytes);
    return true;
}
uint64_t envoy_dynamic_module_callback_http_get_buffer_limit(void* envoy) { return self(envoy)->limit; }
void envoy_dynamic_module_callback_http_set_buffer_limit(void* envoy, uint64_t limit) { self(envoy)->limit = limit; }
void envoy_dynamic_module_callback_http_send_response(void* envoy, uint32_t status, envoy_header*, size_t, envoy_buffer body, envoy_buffer) {
    Envoy* e = self(envoy);
    if (e->over()) std::abort();
    if (e->head_left) {
        e->reset = true;
        return;
    }
    e->replied = true;
    e->reply_status = status;
    e->reply_body = text(body);
}
void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(void* envoy, envoy_buffer, envoy_buffer key, envoy_buffer value) {
    self(envoy)->metadata[text(key)] = text(value);
}
void envoy_dynamic_module_callback_http_set_dynamic_metadata_number(void*, envoy_buffer, envoy_buffer, double) {}
const void* envoy_dynamic_module_callback_get_most_specific_route_config(void*) { return nullptr; }
void envoy_dynamic_module_callback_http_filter_continue_encoding(void* envoy) {
    Envoy* e = self(envoy);
    if (e->in_continue) return;
    e->common_continue();
    e->in_continue = true;
    if (e->breaks) {  // the write fails, and with the stream goes the filter that is at work
        e->reset = true;
        e->destroy();
    }
}
void* envoy_dynamic_module_callback_http_filter_scheduler_new(void* envoy) {
    self(envoy)->scheduler = true;
    return envoy;
}
void envoy_dynamic_module_callback_http_filter_scheduler_delete(void*) {}
void envoy_dynamic_module_callback_http_filter_scheduler_commit(void* scheduler, uint64_t event) { self(scheduler)->events.push_back(event); }
}

namespace {

const char* const ACTIONS[] = {"monitor", "log", "no-store", "redact", "trim", "truncate", "block"};
const char* const TYPES[] = {"text/html; charset=utf-8", "application/json", "image/png", "text/event-stream", "text/plain; charset=utf-8"};
const char* const HOLDS[] = {"0", "100", "16384"};

const void* config_of(size_t action, size_t hold, bool registry) {
    static const void* made[7][3][2] = {};
    const void*& config = made[action][hold][registry];
    if (!config) {
        const std::string name = action ? ACTIONS[action] : "block";
        std::string lines = action ? "mode=enforce\n" : "mode=monitor\n";
        lines += "action.weak=" + name + "\naction.strong=" + name + "\naction.certain=" + name + "\nhold=" + HOLDS[hold] + "\nhold_ms=60000\n";
        if (registry) lines += "registry=on\nregistry_memory=65536\ncanary=on\n";
        config = envoy_dynamic_module_on_http_filter_config_new(nullptr, {"", 0}, {lines.data(), lines.size()});
        if (!config) std::abort();
    }
    return config;
}

// In one piece, by the core alone.
std::string masked(const std::string& type, const std::string& body, size_t hold, bool& blocked) {
    static ovr_scanner* scanner = [] {
        ovr_scanner* s = nullptr;
        if (ovr_scanner_new(nullptr, nullptr, &s, nullptr) != OVR_OK) std::abort();
        return s;
    }();
    ovr_policy p{};
    p.struct_size = sizeof p;
    p.mode = OVR_MODE_ENFORCE;
    p.hold = static_cast<uint32_t>(std::stoul(HOLDS[hold]));
    for (int tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) p.action[tier] = OVR_DO_REDACT;
    ovr_filter* f = nullptr;
    if (ovr_filter_open(scanner, &p, &f, nullptr) != OVR_OK) std::abort();
    ovr_response r{};
    r.struct_size = sizeof r;
    r.content_type = {reinterpret_cast<const uint8_t*>(type.data()), type.size()};
    ovr_action a{};
    std::string out = body;
    ovr_filter_head(f, &r, &a);
    ovr_filter_body(f, body.data(), body.size(), &a);
    const size_t first = size_t(std::min<uint64_t>(a.released, body.size()));
    if (a.redact) ovr_filter_redact(f, 0, &out[0], first);
    if (a.verb == OVR_PASS) ovr_filter_end(f, &a);
    blocked = a.verb != OVR_PASS;
    if (!blocked && a.redact) ovr_filter_redact(f, first, &out[first], out.size() - first);
    ovr_filter_close(f);
    return out;
}

uint64_t count(const Envoy& e, const char* name) {
    const auto it = e.counts.find(counter_ids.at(name));
    return it == e.counts.end() ? 0 : it->second;
}

#define require(truth)                                                         \
    do {                                                                       \
        if (!(truth)) {                                                        \
            std::fprintf(stderr, "line %d: not true: %s\n", __LINE__, #truth); \
            std::abort();                                                      \
        }                                                                      \
    } while (0)

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 8) return 0;
    const size_t action = data[0] % 7, hold = data[1] % 3, kind = data[2] % 5;
    const uint8_t flags = data[3];
    Envoy e;
    e.random.state = 1 + data[4] + 256 * data[5] + 65536 * data[6];
    std::string body(reinterpret_cast<const char*>(data) + 7, size - 7);
    if (flags & 1) body.insert(e.random.below(body.size() + 1), memory());
    if (flags & 2) body.insert(0, std::string(e.random.below(40000), 'x') + "\n");
    const bool trails = flags & 4, flushes = flags & 8, whole_end = flags & 16;
    const std::string type = TYPES[kind];

    e.request = {{":method", "GET"}, {":path", "/a?b=c"}, {":authority", "shop.example"}, {"cookie", "session=5f2c0a9be417d3386a61f0c2d9e87b14"}};
    e.head = {{":status", "200"}, {"content-type", type}, {"etag", "\"1\""}};
    e.trailers = {{"x-checked", "yes"}};
    const uint64_t limits[] = {0, 5000, 40000, 1 << 20};
    e.limit = e.configured = limits[flags >> 6];
    e.filter = envoy_dynamic_module_on_http_filter_new(config_of(action, hold, flags & 64), &e);
    require(e.filter != nullptr);
    require(envoy_dynamic_module_on_http_filter_request_headers(&e, e.filter, true) == kHeadersContinue);
    e.encode_head(body.empty() && !trails);
    bool broke = false;
    for (size_t at = 0; at < body.size() && !e.over();) {
        const size_t limits[] = {1, 16, 300, 5000, 40000};
        const size_t n = std::min(body.size() - at, 1 + e.random.below(limits[e.random.below(5)]));
        const bool last = at + n == body.size() && whole_end && !trails;
        e.breaks = (flags & 32) && e.random.below(16) == 0;
        e.encode_data(body.substr(at, n), last);
        at += n;
        if (!e.over()) e.pump(flushes && e.random.below(4) == 0);
        broke |= e.breaks && !e.filter;
    }
    e.breaks = false;
    if (!e.over() && trails)
        e.encode_trailers();
    else if (!e.over() && !body.empty() && !e.observed_end)
        e.encode_data("", true);
    for (int i = 0; i < 3 && !e.over(); i++) e.pump(false);
    if (e.filter) envoy_dynamic_module_on_http_filter_stream_complete(&e, e.filter);
    e.destroy();
    require(count(e, "overread_errors_total") == 0);

    // The client has a whole response, a reply in its place, or a stream that was reset.
    require(broke || e.ended || e.reset || e.replied);
    if (broke) {
        require(e.body.size() <= body.size());
        return 0;
    }
    const bool stopped = e.reset || e.replied;
    require(count(e, "overread_blocked_total") == (e.replied && e.reply_status == 502));
    require(count(e, "overread_shortened_total") == (e.replied && e.reply_status != 502));
    require(count(e, "overread_cut_total") == e.reset);
    const std::string done = e.metadata.count("action") ? e.metadata["action"] : "";
    if (e.replied && e.reply_status == 502) require(done == "block");
    if (e.reset) require(done == "cut" || done == "truncate" || done == "trim");
    if (action <= 2) require(!stopped || action > 0);
    if (action < 3 || (!stopped && done.empty())) {  // monitor, log, no-store, and what is clean
        require(!stopped && e.body == body);
        require(e.trailers_left == (trails ? 1 : 0));
    } else if (action == 3) {
        bool blocked = false;
        const std::string one = masked(type, body, hold, blocked);
        if (!stopped && !flushes) require(!blocked && e.body == one);
        if (!stopped) {
            require(e.body.size() == body.size());
            for (size_t i = 0; i < body.size(); i++) require(e.body[i] == body[i] || e.body[i] == '*');
        }
    } else {
        require(stopped);
        if (e.reset) require(body.compare(0, e.body.size(), e.body) == 0);
        if (e.replied && e.reply_status == 200) require(body.compare(0, e.reply_body.size(), e.reply_body) == 0);
        if (e.replied && e.reply_status != 502) require(e.reply_body.size() < body.size() + 1);
    }
    return 0;
}
