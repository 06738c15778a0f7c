// The overread HTTP filter as an Envoy dynamic module. It only moves bytes: what to hold, release, block or
// cut is decided by ovr_filter_* of overread.h.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "accept_encoding.h"
#include "envoy_abi.h"
#include "overread.h"
#include "registry.h"
#include "site_counts_file.h"

namespace {

constexpr size_t kRequestBodyKept = 64 * 1024;  // for own-request exclusion; more is not worth the memory
constexpr size_t kEventCapacity = 8192;
constexpr size_t kIdleFilters = 64;         // of a configuration
constexpr size_t kIdlePending = 64 * 1024;  // copied bytes that an idle filter's memory may have held
constexpr uint64_t kEventFlush = 1;         // the delay line's time is up
constexpr uint64_t kEventTrailers = 2;      // the body ended with trailers while bytes were held

uint64_t unix_ms() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
}

ovr_bytes bytes(std::string_view s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }
envoy_buffer buffer(std::string_view s) { return {s.data(), s.size()}; }

struct Filter;

struct Config {
    ovr_ruleset* ruleset = nullptr;  // NULL: the shipped one
    ovr_scanner* scanner = nullptr;
    ovr_policy policy{};
    ovr_control* control = nullptr;  // NULL: none
    ovr_ignores* ignores = nullptr;
    mutable overread_envoy::SiteCountsFile site_counts;
    overread_envoy::RegistryOptions registry_options;
    std::shared_ptr<overread_envoy::SharedRegistry> registry;  // NULL: none
    bool canary = false;                                       // planted in each request
    std::string control_path, feature, feature_header, owner;  // owner: "header:NAME" or "cookie:NAME"
    std::vector<std::string> ignore_lines;
    uint8_t key[16] = {};
    uint64_t max_decoded = 0;  // 0: the core's
    uint32_t max_ratio = 0;
    bool alters = false;  // bodies may be masked or shortened
    int events_fd = -1;
    std::vector<std::string_view> decoded;                                                                                                     // codings
    size_t responses = 0, blocked = 0, cut = 0, shortened = 0, tests = 0, alarms = 0, errors = 0, left_out = 0, ignored = 0, repetitions = 0;  // counter ids
    size_t agent_age = 0, feature_tripped = 0, ignore_expired = 0;                                                                             // gauge ids
    size_t registry_metrics[overread_envoy::kRegistryMetricCount] = {};
    mutable std::atomic<uint64_t> shown{0}, ignores_shown{0};  // the second they were set last
    // Filters of ended responses, of all workers: what the next ones take. Envoy keeps a configuration as long as its filters.
    mutable std::mutex idle_lock;
    mutable std::vector<Filter*> idle;
    ~Config();
};

// One thread wakes the filters whose delay line is due: Envoy's ABI offers no timer, only a thread-safe way
// to post to a filter's own worker. The lock is held while posting, and a filter removes itself under the
// same lock before it dies, so no post reaches a dead one.
class Timer {
  public:
    void arm(Filter* filter, uint32_t ms);
    void disarm(Filter* filter);

  private:
    using Clock = std::chrono::steady_clock;
    void run();
    std::mutex lock_;
    std::condition_variable wake_;
    std::multimap<Clock::time_point, Filter*> due_;
    // When the thread looks again by itself. Most responses end long before they are due: it is not woken for each, and sleeps on when
    // what it slept for is gone.
    Clock::time_point looks_ = Clock::time_point::max();
    bool started_ = false;

  public:
    using Place = decltype(due_)::iterator;
};

// Of a request, in Filter::request_text: the value follows the name.
struct Field {
    size_t at, name, value;
};

Timer& timer() {
    static Timer* instance = new Timer;  // never destroyed: its thread lives as long as the process
    return *instance;
}

struct Filter {
    const Config* config;
    const Config* settings;  // of the route, or config itself
    void* envoy;
    ovr_filter* scan = nullptr;
    int scan_mode = OVR_MODE_OFF;  // that it was opened for, with the policy of config
    void* scheduler = nullptr;
    bool armed = false;  // guarded by the timer's lock once set
    Timer::Place due;    // while armed
    // Of this response.
    bool untouched = false;   // 1xx, upgrades, mode off, a failed core: bytes pass as they are
    bool started = false;     // a response head was seen
    int mode = OVR_MODE_OFF;  // enum ovr_mode
    bool head_out = false;
    bool redact = false;    // what leaves from now on is masked first
    bool no_store = false;  // the head's caching fields are gone
    bool finished = false;  // ended, blocked or cut
    bool ended = false;     // to its end
    // The last response hook stopped and nothing has gone on since. Envoy lets a module send on its own only then, and once;
    // so while bytes are held that a flush would release, no hook may let a part of them pass.
    bool can_send = false;
    uint64_t fed = 0, sent = 0;
    // Held bytes [sent, fed): first those that wait in Envoy's buffer of the stream, where they came without a copy; then copies.
    uint64_t in_place = 0;
    std::string pending;
    uint64_t room = kUnasked;  // bytes that may wait in place
    static constexpr uint64_t kUnasked = UINT64_MAX - 1;
    std::string method, host, target, request_body, owner, tripped;
    overread_envoy::PlantedCanary canary;
    std::string request_text;  // names and values
    std::vector<Field> request_fields;
    // What hooks list, kept for its memory.
    std::vector<envoy_header> listed;
    std::vector<envoy_buffer> chunks, direct;
    std::vector<ovr_header> fields, own;

    Filter(const Config* c, void* e) : config(c), settings(c), envoy(e) {}
    Filter(const Filter&) = delete;
    Filter& operator=(const Filter&) = delete;
    ~Filter() {
        leave();
        ovr_filter_close(scan);
    }
    // Envoy is done with the filter.
    void leave() {
        timer().disarm(this);
        if (scheduler) envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler);
        scheduler = nullptr;
    }
    void reset(void* e);

    void keep_field(std::string_view name, std::string_view value) {
        request_fields.push_back({request_text.size(), name.size(), value.size()});
        request_text.append(name).append(value);
    }
    void count(size_t id) const { envoy_dynamic_module_callback_http_filter_increment_counter(envoy, id, nullptr, 0, 1); }
    void look_at_control();
    void tell_tripped(bool client_says);
    void count_ignored() const;
    void plant_canary();
    void show_registry() const;
    void take_owner(std::string_view name, std::string_view value);
    void schedule(uint64_t event) {
        if (need_scheduler()) envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler, event);
    }
    bool need_scheduler() {
        if (!scheduler) scheduler = envoy_dynamic_module_callback_http_filter_scheduler_new(envoy);
        return scheduler != nullptr;
    }
    void hold_for(uint32_t ms) {
        if (ms && need_scheduler()) timer().arm(this, ms);
    }
    void core_failed() {  // the filter never takes the site down: from here on bytes pass
        untouched = true;
        count(config->errors);
    }
    // Sends the head if it still waits, so many of the held bytes, then any trailers. Whoever calls this from a hook must stop
    // there and not look at the filter again: the connection may break, and the filter with it.
    void send(uint64_t size) {
        if (size < in_place) take_back();
        const std::string piece = release(size);
        if (!piece.empty()) envoy_dynamic_module_callback_http_append_body(envoy, kBufferedResponseBody, buffer(piece));
        envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
    }
    bool has_room(uint64_t size);
    void take_back();
    void write_event(const ovr_action& action);
    // To be called before anything that the action allows leaves.
    void take(const ovr_action& action);
    std::string release(uint64_t count);
    void stop(const ovr_action& action);
    void shorten(const ovr_action& action);
    void finish(ovr_action& action);
};

void Timer::arm(Filter* filter, uint32_t ms) {
    std::lock_guard<std::mutex> guard(lock_);
    if (filter->armed) return;  // the deadline belongs to the oldest held byte
    filter->armed = true;
    filter->due = due_.emplace(Clock::now() + std::chrono::milliseconds(ms), filter);
    if (!started_) {
        started_ = true;
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);  // signals stay with Envoy's own threads
        std::thread([this] { run(); }).detach();
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
    if (filter->due->first < looks_) wake_.notify_one();
}

void Timer::disarm(Filter* filter) {
    std::lock_guard<std::mutex> guard(lock_);
    if (!filter->armed) return;
    filter->armed = false;
    due_.erase(filter->due);
}

void Timer::run() {
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
        looks_ = due_.empty() ? Clock::time_point::max() : due_.begin()->first;
        if (due_.empty()) {
            wake_.wait(guard);
            continue;
        }
        if (Clock::now() < looks_) {
            wake_.wait_until(guard, Clock::time_point(looks_));
            continue;
        }
        Filter* filter = due_.begin()->second;
        due_.erase(due_.begin());
        filter->armed = false;
        envoy_dynamic_module_callback_http_filter_scheduler_commit(filter->scheduler, kEventFlush);
    }
}

Config::~Config() {
    for (Filter* filter : idle) delete filter;
    if (events_fd >= 0) close(events_fd);
    if (scanner) site_counts.write(scanner);
    ovr_control_close(control);
    ovr_ignores_free(ignores);
    ovr_scanner_free(scanner);
    ovr_ruleset_free(ruleset);
}

// For the next response, of the same configuration.
void Filter::reset(void* e) {
    // Of one that broke off the core may hold a decoder, and a route's settings may go before this filter does.
    if (!ended || settings != config) {
        ovr_filter_close(scan);
        scan = nullptr;
    }
    settings = config;
    envoy = e;
    untouched = started = head_out = redact = no_store = finished = ended = can_send = false;
    mode = OVR_MODE_OFF;
    fed = sent = in_place = 0;
    room = kUnasked;
    if (pending.capacity() > kIdlePending) pending = std::string();
    for (std::string* text : {&pending, &method, &host, &target, &request_body, &owner, &tripped, &request_text}) text->clear();
    request_fields.clear();
    canary.forget();
}

// At most once a second: what changes with time alone.
bool gauges_due(std::atomic<uint64_t>& shown, uint64_t now) { return shown.exchange(now / 1000, std::memory_order_relaxed) != now / 1000; }

// What is switched off now: no more than a mode, and features, which the upstream is told.
void Filter::look_at_control() {
    ovr_control_state state{};
    state.struct_size = sizeof state;
    const uint64_t now = unix_ms();
    if (ovr_control_look(config->control, now, &state) != OVR_OK) return;
    if (*state.fault) std::fprintf(stderr, "overread: control: '%s' %s\n", config->control_path.c_str(), state.fault);
    mode = std::min(mode, state.mode);
    ovr_feature feature;
    for (size_t i = 0; i < OVR_FEATURES && state.tripped >> i; i++)
        if (state.tripped >> i & 1 && ovr_control_feature(config->control, i, &feature) == OVR_OK)
            tripped.append(tripped.empty() ? "" : ",").append(feature.name);
    // An agent that never ran has no age; one of whom nothing was heard for long is dead.
    if (!gauges_due(config->shown, now)) return;
    if (state.agent_ms) envoy_dynamic_module_callback_http_filter_set_gauge(envoy, config->agent_age, nullptr, 0, (now - std::min(now, state.agent_ms)) / 1000);
    for (size_t i = 0; ovr_control_feature(config->control, i, &feature) == OVR_OK; i++) {
        envoy_buffer label = buffer(feature.name);
        envoy_dynamic_module_callback_http_filter_set_gauge(envoy, config->feature_tripped, &label, 1, feature.tripped);
    }
}

// Tells the upstream which features are switched off; a client must not be able to say so.
void Filter::tell_tripped(bool client_says) {
    if (!tripped.empty() || client_says)
        envoy_dynamic_module_callback_http_set_header(envoy, kRequestHeaders, buffer("overread-tripped"),
                                                      tripped.empty() ? envoy_buffer{nullptr, 0} : buffer(tripped));
    if (!tripped.empty()) envoy_dynamic_module_callback_http_set_dynamic_metadata_string(envoy, buffer("overread"), buffer("tripped"), buffer(tripped));
}

// To be called once a response is judged.
void Filter::count_ignored() const {
    if (!settings->ignores) return;
    ovr_ignore line;
    const uint64_t hit = ovr_filter_ignored(scan), now = unix_ms();
    const bool due = gauges_due(settings->ignores_shown, now);  // also counters that are still 0 are to be seen
    for (size_t i = 0; (due || hit >> i) && ovr_ignores_line(settings->ignores, i, &line) == OVR_OK; i++) {
        envoy_buffer label = buffer(line.text);
        if (due || hit >> i & 1) envoy_dynamic_module_callback_http_filter_increment_counter(envoy, config->ignored, &label, 1, hit >> i & 1);
        if (due) envoy_dynamic_module_callback_http_filter_set_gauge(envoy, config->ignore_expired, &label, 1, now >= line.until_ms);
    }
}

void Filter::take_owner(std::string_view name, std::string_view value) {
    const std::string_view wanted = settings->owner, key = wanted.substr(wanted.find(':') + 1);
    if (wanted.empty() || !owner.empty()) return;
    if (wanted[0] == 'h') {
        if (name == key) owner = value;
        return;
    }
    if (name != "cookie") return;
    while (!value.empty()) {
        const size_t end = std::min(value.find(';'), value.size());
        std::string_view pair = value.substr(0, end);
        value.remove_prefix(std::min(end + 1, value.size()));
        while (!pair.empty() && pair[0] == ' ') pair.remove_prefix(1);
        if (pair.size() > key.size() && pair.substr(0, key.size()) == key && pair[key.size()] == '=') {
            owner = pair.substr(key.size() + 1);
            return;
        }
    }
}

void Filter::plant_canary() {
    std::string_view cookie;
    const std::string_view text = request_text;
    for (const Field& h : request_fields)
        if (text.substr(h.at, h.name) == "cookie" && cookie.empty()) cookie = text.substr(h.at + h.name, h.value);
    canary.plant(settings->registry->get(), owner, unix_ms(), cookie);
}

void Filter::show_registry() const {
    settings->registry->tell([this](size_t i, uint64_t value) {
        // No pointer to the callbacks: an Envoy without one must still load the module, to be told so.
        if (overread_envoy::kRegistryMetrics[i].counts)
            envoy_dynamic_module_callback_http_filter_increment_counter(envoy, config->registry_metrics[i], nullptr, 0, value);
        else
            envoy_dynamic_module_callback_http_filter_set_gauge(envoy, config->registry_metrics[i], nullptr, 0, value);
    });
}

void Filter::write_event(const ovr_action& action) {
    count_ignored();
    if (!action.wants_event) return;
    if (action.repeated) count(config->repetitions);
    ovr_verdict verdict{};
    if (action.test) {
        count(config->tests);
    } else if (ovr_filter_verdict(scan, &verdict) == OVR_OK && verdict.tier != OVR_TIER_NONE) {
        envoy_buffer tier = buffer(ovr_tier_name(verdict.tier));
        envoy_dynamic_module_callback_http_filter_increment_counter(envoy, config->alarms, &tier, 1, 1);
        // For access logs: %DYNAMIC_METADATA(overread:tier)%.
        const envoy_buffer ns = buffer("overread");
        envoy_dynamic_module_callback_http_set_dynamic_metadata_string(envoy, ns, buffer("tier"), tier);
        envoy_dynamic_module_callback_http_set_dynamic_metadata_string(envoy, ns, buffer("id"), buffer(ovr_filter_id(scan)));
        envoy_dynamic_module_callback_http_set_dynamic_metadata_string(envoy, ns, buffer("action"), buffer(ovr_filter_done(scan)));
        envoy_dynamic_module_callback_http_set_dynamic_metadata_number(envoy, ns, buffer("bits"), verdict.bits);
    }
    const int events = settings->events_fd >= 0 ? settings->events_fd : config->events_fd;
    if (events < 0) return;
    ovr_exchange exchange{};
    exchange.struct_size = sizeof exchange;
    exchange.proxy = "envoy";
    exchange.method = bytes(method);
    exchange.host = bytes(host);
    exchange.target = bytes(target);
    exchange.unix_ms = unix_ms();
    exchange.owner = bytes(owner);
    char line[kEventCapacity + 1];
    size_t size = 0;
    if (ovr_filter_event(scan, &exchange, line, kEventCapacity, &size) != OVR_OK) {
        count(config->errors);
        return;
    }
    if (!size) {
        count(config->left_out);
        return;
    }
    line[size] = '\n';
    // One write per line on an O_APPEND descriptor: lines of several workers never mix.
    if (write(events, line, size + 1) != static_cast<ssize_t>(size + 1)) count(config->errors);
}

bool get_headers(void* envoy, envoy_header_type type, std::vector<envoy_header>& out) {
    out.resize(envoy_dynamic_module_callback_http_get_headers_size(envoy, type));
    return out.empty() || envoy_dynamic_module_callback_http_get_headers(envoy, type, out.data());
}

void drain(void* envoy, envoy_body_type type) {
    envoy_dynamic_module_callback_http_drain_body(envoy, type, envoy_dynamic_module_callback_http_get_body_size(envoy, type));
}

bool get_body(void* envoy, envoy_body_type type, std::vector<envoy_buffer>& out) {
    out.resize(envoy_dynamic_module_callback_http_get_body_chunks_size(envoy, type));
    return out.empty() || envoy_dynamic_module_callback_http_get_body_chunks(envoy, type, out.data());
}

void Filter::take(const ovr_action& action) {
    redact |= action.redact != 0;  // an action without a byte says nothing
    if (!action.no_store || no_store || head_out) return;
    no_store = true;
    for (const char* const* name = ovr_no_store_strips(); *name; name++)
        envoy_dynamic_module_callback_http_set_header(envoy, kResponseHeaders, buffer(*name), {nullptr, 0});
    size_t count = 0;
    const ovr_header* sets = ovr_no_store_sets(&count);
    for (size_t i = 0; i < count; i++)
        envoy_dynamic_module_callback_http_set_header(envoy, kResponseHeaders, {reinterpret_cast<const char*>(sets[i].name.data), sets[i].name.size},
                                                      {reinterpret_cast<const char*>(sets[i].value.data), sets[i].value.size});
}

// The next body bytes, as they leave, behind the head and behind what waits in place, which leaves as it is.
std::string Filter::release(uint64_t count) {
    const size_t copied = static_cast<size_t>(count - in_place);
    std::string piece;
    if (copied == pending.size()) {
        piece.swap(pending);
    } else {
        piece = pending.substr(0, copied);
        pending.erase(0, copied);
    }
    if (redact) ovr_filter_redact(scan, sent + in_place, &piece[0], piece.size());
    sent += count;
    in_place = 0;
    head_out = true;
    return piece;
}

// Whether so many bytes may wait in Envoy's buffer. What comes at once is a little more than the limit at most.
bool Filter::has_room(uint64_t size) {
    if (room == kUnasked) {
        const uint64_t limit = envoy_dynamic_module_callback_http_get_buffer_limit(envoy);
        room = limit ? 2 * limit : UINT64_MAX;
        // Where the last data joins what waits, Envoy breaks a response off at the limit, as if no filter could have held less.
        if (limit) envoy_dynamic_module_callback_http_set_buffer_limit(envoy, limit + room);
    }
    return size <= room;
}

// What is in Envoy's buffer, what waits in place and last data behind it, becomes copies: it leaves in parts, or masked.
void Filter::take_back() {
    if (!get_body(envoy, kBufferedResponseBody, chunks)) core_failed();
    std::string all;
    for (const envoy_buffer& c : chunks) all.append(c.ptr, c.length);
    drain(envoy, kBufferedResponseBody);
    pending.insert(0, all, 0, static_cast<size_t>(in_place));
    pending.append(all, static_cast<size_t>(in_place));
    in_place = 0;
}

// END before the head has left: the response is sent anew, with what belongs to it.
void Filter::shorten(const ovr_action& action) {
    take(action);
    std::vector<envoy_header> fields;
    std::vector<std::pair<std::string, std::string>> kept;
    uint32_t status = 200;
    get_headers(envoy, kResponseHeaders, fields);
    for (const envoy_header& h : fields) {
        const std::string name(h.key_ptr, h.key_length), value(h.value_ptr, h.value_length);
        if (name == ":status")
            status = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
        else if (name != "content-length" && name != "transfer-encoding" && name[0] != ':')
            kept.emplace_back(name, value);
    }
    fields.clear();
    for (const auto& h : kept) fields.push_back({h.first.data(), h.first.size(), h.second.data(), h.second.size()});
    const std::string body = release(std::min<uint64_t>(action.released, fed) - sent);
    envoy_dynamic_module_callback_http_send_response(envoy, status, fields.data(), fields.size(), buffer(body), buffer("overread_shortened"));
}

// BLOCK, CUT and END. Once a head has left, Envoy turns a local reply into a reset of the stream: HTTP/1.1 clients
// see the connection closed before the declared end, HTTP/2 clients RST_STREAM. Its modules have no other way to end one.
void Filter::stop(const ovr_action& action) {
    finished = true;
    timer().disarm(this);
    if (!head_out) ovr_filter_unsent(scan);
    if (!action.test) count(head_out ? config->cut : action.verb == OVR_END ? config->shortened : config->blocked);
    write_event(action);
    if (action.verb == OVR_END && !head_out) {
        shorten(action);
        return;
    }
    if (in_place) drain(envoy, kBufferedResponseBody);
    in_place = 0;
    pending.clear();
    const char* id = ovr_filter_id(scan);
    ovr_verdict verdict{};
    const bool unjudged =
        !action.test && ovr_filter_verdict(scan, &verdict) == OVR_OK && verdict.tier == OVR_TIER_NONE && verdict.decode >= OVR_DECODE_TRUNCATED;
    std::string body = "<!DOCTYPE html>\n<title>Response withheld</title>\n<h1>Response withheld</h1>\n<p>The answer to this request ";
    body += unjudged ? "was damaged or packed in a way that could not be checked" : "contained data that does not belong to it";
    body += ", so it was not delivered.</p>\n<p>If you contact the operator of this site, quote this id: <code>";
    body += id;
    body += "</code></p>\n";
    envoy_header headers[] = {
        {"content-type", 12, "text/html; charset=utf-8", 24},
        {"cache-control", 13, "no-store", 8},
        {"overread-id", 11, id, std::strlen(id)},
    };
    envoy_dynamic_module_callback_http_send_response(envoy, 502, headers, 3, buffer(body), buffer("overread_withheld"));
}

// Ends the body in the core; the caller obeys the action.
void Filter::finish(ovr_action& action) {
    if (ovr_filter_end(scan, &action) != OVR_OK) {
        core_failed();
        return;
    }
    if (action.verb != OVR_PASS) return;
    finished = ended = true;
    timer().disarm(this);
    write_event(action);
}

bool parse_config(std::string_view text, Config& config, std::string& error) {
    config.policy.struct_size = sizeof config.policy;
    config.policy.mode = OVR_MODE_MONITOR;
    config.policy.hold = OVR_HOLD_DEFAULT;
    auto number = [&error](const std::string& key, const std::string& value, uint32_t& out) {
        char* end = nullptr;
        const unsigned long n = std::strtoul(value.c_str(), &end, 10);
        if (value.empty() || value[0] < '0' || value[0] > '9' || *end || n > 0x7fffffff) {
            error = key + ": expected a number, found '" + value + "'";
            return false;
        }
        out = static_cast<uint32_t>(n);
        return true;
    };
    auto size = [&error](const std::string& key, const std::string& value, uint64_t& out) {
        char* end = nullptr;
        out = std::strtoull(value.c_str(), &end, 10);
        if (value.empty() || value[0] < '0' || value[0] > '9' || *end) error = key + ": expected bytes, found '" + value + "'";
    };
    auto decimal = [&error](const std::string& key, const std::string& value, double& out, double least, double most, const char* expected) {
        char* end = nullptr;
        out = std::strtod(value.c_str(), &end);
        if (value.empty() || *end || !(out >= least && out <= most)) error = key + ": expected " + expected + ", found '" + value + "'";
    };
    while (!text.empty()) {
        const size_t eol = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, eol);
        text.remove_prefix(std::min(eol + 1, text.size()));
        if (line.empty() || line[0] == '#') continue;
        const size_t eq = line.find('=');
        const std::string key(line.substr(0, eq)), value(eq == line.npos ? "" : line.substr(eq + 1));
        if (key == "mode") {
            if (value == "off")
                config.policy.mode = OVR_MODE_OFF;
            else if (value == "monitor")
                config.policy.mode = OVR_MODE_MONITOR;
            else if (value == "enforce")
                config.policy.mode = OVR_MODE_ENFORCE;
            else
                error = "mode: expected off, monitor or enforce, found '" + value + "'";
        } else if (key == "block_from") {
            const int from = value == "strong" ? OVR_TIER_STRONG : OVR_TIER_CERTAIN;
            if (value != "strong" && value != "certain") error = "block_from: expected strong or certain, found '" + value + "'";
            for (int tier = from; tier <= OVR_TIER_CERTAIN; tier++) config.policy.action[tier] = OVR_DO_BLOCK;
        } else if (key.rfind("action.", 0) == 0) {
            int tier = OVR_TIER_WEAK, action = OVR_DO_LOG;
            while (tier <= OVR_TIER_CERTAIN && key.compare(7, key.npos, ovr_tier_name(tier)) != 0) tier++;
            while (action <= OVR_DO_TRIP && value != ovr_do_name(action)) action++;
            if (tier > OVR_TIER_CERTAIN)
                error = key + ": expected action.weak, action.strong or action.certain";
            else if (action > OVR_DO_TRIP)
                error = key + ": expected log, no-store, redact, trim, truncate, block or trip, found '" + value + "'";
            else
                config.policy.action[tier] = action;
        } else if (key == "block_bits") {
            decimal(key, value, config.policy.block_bits, std::numeric_limits<double>::min(), 1000, "bits above 0, at most 1000");
        } else if (key == "threshold") {
            decimal(key, value, config.policy.threshold, 14, 1000, "bits from 14 to 1000");
        } else if (key == "ignore") {
            config.ignore_lines.push_back(value);
        } else if (key == "max_ratio") {
            number(key, value, config.max_ratio);
        } else if (key == "max_decoded") {
            size(key, value, config.max_decoded);
        } else if (key == "feature") {
            config.feature = value;
        } else if (key == "feature_header") {
            config.feature_header = value;
        } else if (key == "trip_alarms") {
            number(key, value, config.policy.trip_alarms);
        } else if (key == "trip_ms") {
            number(key, value, config.policy.trip_ms);
        } else if (key == "rearm_ms") {
            uint32_t ms = 0;
            number(key, value, ms);
            config.policy.rearm_ms = ms;
        } else if (key == "events_per_second") {
            number(key, value, config.policy.events_per_second);
        } else if (key == "weak_sample") {
            number(key, value, config.policy.weak_sample);
        } else if (key == "owner") {
            config.owner = value;
            const size_t colon = value.find(':');
            if ((value.substr(0, colon) != "header" && value.substr(0, colon) != "cookie") || colon == value.npos || colon + 1 == value.size())
                error = "owner: expected header:NAME or cookie:NAME, found '" + value + "'";
            if (config.owner[0] == 'h')
                for (char& c : config.owner) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
        } else if (key == "on_error") {
            if (value == "pass")
                config.policy.on_error = OVR_ON_ERROR_PASS;
            else if (value == "block")
                config.policy.on_error = OVR_ON_ERROR_BLOCK;
            else
                error = "on_error: expected pass or block, found '" + value + "'";
        } else if (key == "most_blocked") {
            decimal(key, value, config.policy.most_blocked, 0, 1, "a share, 0 to 1");
        } else if (key == "hold") {
            number(key, value, config.policy.hold);
        } else if (key == "hold_ms") {
            number(key, value, config.policy.hold_ms);
        } else if (key == "ruleset") {
            ovr_error why{};
            std::ifstream file(value, std::ios::binary);
            const std::string blob{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
            if (!file.is_open() || file.bad())
                error = "ruleset: cannot read '" + value + "'";
            else if (ovr_ruleset_load(blob.data(), blob.size(), &config.ruleset, &why) != OVR_OK)
                error = "ruleset: " + value + ": " + why.message;
        } else if (key == "key_file") {
            std::ifstream file(value);
            std::string digits;
            file >> digits;
            if (digits.size() != 2 * sizeof config.key || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
                error = "key_file: '" + value + "' cannot be read, or does not hold 32 hexadecimal digits";
            for (size_t i = 0; error.empty() && i < sizeof config.key; i++)
                config.key[i] = static_cast<uint8_t>(std::stoul(digits.substr(2 * i, 2), nullptr, 16));
            config.policy.test_key = {config.key, sizeof config.key};
        } else if (key == "watch") {
            for (size_t at = 0; at <= value.size() && error.empty();) {
                const size_t comma = std::min(value.find(',', at), value.size());
                const std::string word = value.substr(at, comma - at);
                const uint32_t bit = word == "repetition" ? OVR_WATCH_REPETITION
                                     : word == "sameness" ? OVR_WATCH_SAMENESS
                                     : word == "twins"    ? OVR_WATCH_TWINS
                                                          : 0;
                if (!bit) error = "watch: expected some of repetition, sameness, twins, found '" + word + "'";
                config.policy.watch |= bit;
                at = comma + 1;
            }
        } else if (key == "registry" || key == "canary") {
            if (value != "on" && value != "off") error = key + ": expected on or off, found '" + value + "'";
            (key == "canary" ? config.canary : config.registry_options.on) = value == "on";
            // A route that inherits settings takes those of the registry back with one line.
            if (key == "registry" && value == "off") config.registry_options = {}, config.canary = false;
        } else if (key == "registry_memory") {
            size(key, value, config.registry_options.memory);
        } else if (key == "registry_life_ms") {
            number(key, value, config.registry_options.life_ms);
        } else if (key == "registry_segment") {
            config.registry_options.segment = value;
        } else if (key == "registry_key_file") {
            config.registry_options.key_file = value;
        } else if (key == "registry_name") {
            config.registry_options.names.push_back(value);
        } else if (key == "site_counts") {
            config.site_counts.open_at(value);
        } else if (key == "control") {
            config.control_path = value;
        } else if (key == "events") {
            config.events_fd = open(value.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
            if (config.events_fd < 0) error = "events: cannot open '" + value + "': " + std::strerror(errno);
        } else {
            error = "unknown key '" + key + "'";
        }
        config.registry_options.said |= key.rfind("registry_", 0) == 0;
        if (!error.empty()) return false;
    }
    if ((config.registry_options.said || config.canary) && !config.registry_options.on)
        error = std::string(config.canary ? "canary" : "registry_...") + ": needs registry=on";
    return error.empty();
}

// A core may be built without a decoder.
void find_decoded(Config& config) {
    for (const char* coding : {"gzip", "deflate", "br", "zstd"}) {
        const ovr_header field{bytes("content-encoding"), bytes(coding)};
        ovr_response head{};
        head.struct_size = sizeof head;
        head.headers = &field;
        head.header_count = 1;
        ovr_stream* stream = nullptr;
        ovr_error why{};
        if (ovr_stream_open(config.scanner, &head, &stream, &why) != OVR_OK) continue;
        ovr_progress progress{};
        ovr_stream_progress(stream, &progress);
        if (progress.decode != OVR_DECODE_UNKNOWN) config.decoded.push_back(coding);
        ovr_stream_close(stream);
    }
}

// The upstream is asked for what the core decodes only; a client that asks for nothing gets nothing coded.
void ask_for_decoded(Filter* f, const std::vector<envoy_header>& headers) {
    std::string asked, instead;
    for (const envoy_header& h : headers)
        if (std::string_view(h.key_ptr, h.key_length) == "accept-encoding") asked.append(asked.empty() ? "" : ", ").append(h.value_ptr, h.value_length);
    // What is to be masked or shortened must come as it is.
    if (f->settings->alters && !asked.empty())
        instead = "identity";
    else if (!overread_envoy::only_decoded(asked, f->config->decoded, instead))
        return;
    // From here on the old fields' bytes are gone.
    if (!envoy_dynamic_module_callback_http_set_header(f->envoy, kRequestHeaders, buffer("accept-encoding"), buffer(instead))) f->count(f->config->errors);
    // A page that shows its request shows this.
    f->keep_field("accept-encoding", instead);
}

Filter* self(const void* filter) { return static_cast<Filter*>(const_cast<void*>(filter)); }

// NULL: said on stderr why not.
Config* new_config(envoy_buffer text) {
    Config* config = new (std::nothrow) Config;
    if (!config) return nullptr;
    std::string error;
    const bool parsed = parse_config({text.ptr, text.length}, *config, error);
    if (parsed && config->registry_options.on) config->registry = overread_envoy::SharedRegistry::open(config->registry_options, error);
    if (error.empty()) {
        ovr_error why{};
        ovr_scanner_options options{};
        options.struct_size = sizeof options;
        options.hold = OVR_HOLD_DEFAULT;
        options.key = config->policy.test_key;
        options.max_decoded = config->max_decoded;
        options.max_ratio = config->max_ratio;
        options.registry = config->registry ? config->registry->get() : nullptr;
        std::vector<const char*> lines;
        for (const std::string& line : config->ignore_lines) lines.push_back(line.c_str());
        config->policy.feature = bytes(config->feature);
        config->policy.feature_header = bytes(config->feature_header);
        ovr_filter* probe = nullptr;  // says what is wrong with the policy
        if (ovr_scanner_new(config->ruleset, &options, &config->scanner, &why) != OVR_OK ||
            (!lines.empty() &&
             ovr_ignores_new(config->ruleset ? config->ruleset : ovr_ruleset_default(), lines.data(), lines.size(), &config->ignores, &why) != OVR_OK) ||
            (!config->control_path.empty() && ovr_control_open(config->control_path.c_str(), 1, &config->control, nullptr) != OVR_OK &&
             ovr_control_open(config->control_path.c_str(), 0, &config->control, &why) != OVR_OK) ||  // it may be only read
            ovr_filter_open(config->scanner, &config->policy, &probe, &why) != OVR_OK)
            error = why.message;
        ovr_filter_close(probe);
        config->policy.ignores = config->ignores;
    }
    if (error.empty()) {
        for (const int action : config->policy.action)
            config->alters |= config->policy.mode == OVR_MODE_ENFORCE && (action >= OVR_DO_REDACT && action < OVR_DO_BLOCK);
        return config;
    }
    std::fprintf(stderr, "overread: %s\n", error.c_str());
    delete config;
    return nullptr;
}

}  // namespace

// NULL: Envoy refuses the configuration. That of another version with the same callbacks it takes, with a warning of its own.
const char* envoy_dynamic_module_on_program_init(void) {
    for (const char* name : kEnvoyCallbacks) {
        if (dlsym(RTLD_DEFAULT, name)) continue;
        std::fprintf(stderr, "overread: this module is for Envoy %s (module ABI %s); the Envoy that loads it is another, without %s: use Envoy %s\n",
                     kEnvoyVersion, kEnvoyAbiVersion, name, kEnvoyVersion);
        return nullptr;
    }
    return kEnvoyAbiVersion;
}

const void* envoy_dynamic_module_on_http_filter_config_new(void* envoy, envoy_buffer, envoy_buffer text) {
    Config* config = new_config(text);
    if (!config) return nullptr;
    find_decoded(*config);
    auto counter = [envoy](const char* name, const char* label, size_t& id) {
        envoy_buffer labels[] = {buffer(label ? label : "")};
        envoy_dynamic_module_callback_http_filter_config_define_counter(envoy, buffer(name), labels, label ? 1 : 0, &id);
    };
    counter("overread_responses_total", nullptr, config->responses);
    counter("overread_blocked_total", nullptr, config->blocked);
    counter("overread_cut_total", nullptr, config->cut);
    counter("overread_tests_total", nullptr, config->tests);
    counter("overread_shortened_total", nullptr, config->shortened);
    counter("overread_alarms_total", "tier", config->alarms);
    counter("overread_errors_total", nullptr, config->errors);
    counter("overread_events_left_out_total", nullptr, config->left_out);
    counter("overread_ignored_total", "ignore", config->ignored);
    auto gauge = [envoy](const char* name, const char* label, size_t& id) {
        envoy_buffer labels[] = {buffer(label ? label : "")};
        envoy_dynamic_module_callback_http_filter_config_define_gauge(envoy, buffer(name), labels, label ? 1 : 0, &id);
    };
    gauge("overread_agent_age_seconds", nullptr, config->agent_age);
    gauge("overread_feature_tripped", "feature", config->feature_tripped);
    gauge("overread_ignore_expired", "ignore", config->ignore_expired);
    counter("overread_repetitions_total", nullptr, config->repetitions);
    // A route may have a registry where the filter has none.
    for (size_t i = 0; i < overread_envoy::kRegistryMetricCount; i++) {
        const overread_envoy::RegistryMetric& metric = overread_envoy::kRegistryMetrics[i];
        if (metric.counts)
            counter(metric.name, nullptr, config->registry_metrics[i]);
        else
            gauge(metric.name, nullptr, config->registry_metrics[i]);
    }
    return config;
}

void envoy_dynamic_module_on_http_filter_config_destroy(const void* config) { delete static_cast<const Config*>(config); }

const void* envoy_dynamic_module_on_http_filter_new(const void* config, void* envoy) {
    const Config* c = static_cast<const Config*>(config);
    Filter* f = nullptr;
    {
        std::lock_guard<std::mutex> guard(c->idle_lock);
        if (!c->idle.empty()) {
            f = c->idle.back();
            c->idle.pop_back();
        }
    }
    if (!f) return new (std::nothrow) Filter(c, envoy);
    f->envoy = envoy;
    return f;
}

void envoy_dynamic_module_on_http_filter_destroy(const void* filter) {
    Filter* f = self(filter);
    f->leave();
    f->reset(nullptr);
    {
        std::lock_guard<std::mutex> guard(f->config->idle_lock);
        if (f->config->idle.size() < kIdleFilters) {
            f->config->idle.push_back(f);
            return;
        }
    }
    delete f;
}

int envoy_dynamic_module_on_http_filter_request_headers(void* envoy, const void* filter, bool) {
    Filter* f = self(filter);
    f->envoy = envoy;
    if (const void* route = envoy_dynamic_module_callback_get_most_specific_route_config(envoy)) f->settings = static_cast<const Config*>(route);
    f->mode = f->settings->policy.mode;
    if (f->config->control) f->look_at_control();
    f->untouched = f->mode == OVR_MODE_OFF;
    if (f->untouched && !f->config->control) return kHeadersContinue;
    if (!get_headers(envoy, kRequestHeaders, f->listed)) return kHeadersContinue;
    bool client_says = false;
    for (const envoy_header& h : f->listed) {
        const std::string_view name(h.key_ptr, h.key_length), value(h.value_ptr, h.value_length);
        client_says |= name == "overread-tripped";
        f->take_owner(name, value);
        if (name == ":method")
            f->method = value;
        else if (name == ":path")
            f->target = value;
        else if (name == ":authority") {
            f->host = value;
            f->keep_field("host", value);
        } else if (!name.empty() && name[0] != ':')
            f->keep_field(name, value);
    }
    if (f->settings->canary && !f->untouched) f->plant_canary();
    if (!f->untouched) ask_for_decoded(f, f->listed);
    f->tell_tripped(client_says);
    return kHeadersContinue;
}

int envoy_dynamic_module_on_http_filter_request_body(void* envoy, const void* filter, bool) {
    Filter* f = self(filter);
    // Bytes of an upgraded connection also come here; they are no request body.
    if (f->untouched || f->started || f->request_body.size() >= kRequestBodyKept) return kBodyContinue;
    if (get_body(envoy, kReceivedRequestBody, f->chunks))
        for (const envoy_buffer& c : f->chunks) f->request_body.append(c.ptr, std::min(c.length, kRequestBodyKept - f->request_body.size()));
    return kBodyContinue;
}

int envoy_dynamic_module_on_http_filter_request_trailers(void*, const void*) { return kTrailersContinue; }

int envoy_dynamic_module_on_http_filter_response_headers(void* envoy, const void* filter, bool end) {
    Filter* f = self(filter);
    f->envoy = envoy;
    if (f->untouched || f->finished) return kHeadersContinue;
    if (!get_headers(envoy, kResponseHeaders, f->listed)) {
        f->core_failed();
        return kHeadersContinue;
    }
    f->fields.clear();
    uint32_t status = 0;
    ovr_bytes content_type{nullptr, 0};
    for (const envoy_header& h : f->listed) {
        const std::string_view name(h.key_ptr, h.key_length), value(h.value_ptr, h.value_length);
        if (name == ":status") {
            for (char c : value)
                if (c >= '0' && c <= '9' && status < 1000) status = status * 10 + static_cast<uint32_t>(c - '0');
        } else if (!name.empty() && name[0] != ':') {
            f->fields.push_back({bytes(name), bytes(value)});
            if (name == "content-type" && !content_type.size) content_type = bytes(value);
        }
    }
    if (status >= 100 && status < 200) {  // an upgrade: what follows is another protocol, not an HTTP body
        f->untouched = f->started = true;
        return kHeadersContinue;
    }
    f->started = true;
    f->count(f->config->responses);

    f->own.clear();
    const std::string_view text = f->request_text;
    for (const Field& h : f->request_fields) f->own.push_back({bytes(text.substr(h.at, h.name)), bytes(text.substr(h.at + h.name, h.value))});
    ovr_request request{};
    request.struct_size = sizeof request;
    request.method = bytes(f->method);
    request.target = bytes(f->target);
    request.headers = f->own.data();
    request.header_count = f->own.size();
    request.body = bytes(f->request_body);
    ovr_response response{};
    response.struct_size = sizeof response;
    response.status = status;
    response.content_type = content_type;
    response.headers = f->fields.data();
    response.header_count = f->fields.size();
    response.request = &request;
    response.unix_ms = unix_ms();
    response.owner = bytes(f->owner);
    response.canary = bytes(f->canary.text());
    if (f->settings->registry) f->show_registry();
    f->settings->site_counts.in_time(f->settings->scanner);

    ovr_action action{};
    ovr_error why{};
    ovr_policy policy = f->settings->policy;
    policy.mode = f->mode;
    policy.control = f->config->control;
    if (f->scan && (f->settings != f->config || f->scan_mode != f->mode)) {
        ovr_filter_close(f->scan);
        f->scan = nullptr;
    }
    f->scan_mode = f->mode;
    if ((!f->scan && ovr_filter_open(f->settings->scanner, &policy, &f->scan, &why) != OVR_OK) || ovr_filter_head(f->scan, &response, &action) != OVR_OK) {
        f->core_failed();
        return kHeadersContinue;
    }
    // The core keeps digests only; the request is not needed any more.
    f->request_body = std::string();
    if (action.verb != OVR_PASS) {
        f->stop(action);
        return kHeadersStopIteration;
    }
    if (end) {
        f->finish(action);
        if (action.verb != OVR_PASS) {
            f->stop(action);
            return kHeadersStopIteration;
        }
        f->take(action);
        f->head_out = true;
        return kHeadersContinue;
    }
    if (action.release_head) f->take(action);
    f->head_out = action.release_head != 0;
    f->can_send = !f->head_out;
    return f->head_out ? kHeadersContinue : kHeadersStopIteration;
}

int envoy_dynamic_module_on_http_filter_response_body(void* envoy, const void* filter, bool end) {
    Filter* f = self(filter);
    // Once there is a buffer, Envoy puts the last data behind what is in it.
    const size_t moved = end ? envoy_dynamic_module_callback_http_get_body_size(envoy, kBufferedResponseBody) - static_cast<size_t>(f->in_place) : 0;
    if (f->untouched && f->fed == f->sent && !moved) return kBodyContinue;
    if (f->finished) return f->head_out ? kBodyContinue : kBodyStopNoBuffer;
    std::vector<envoy_buffer>& chunks = f->chunks;
    chunks.clear();
    if (moved) {
        if (!get_body(envoy, kBufferedResponseBody, chunks)) f->core_failed();
        size_t before = static_cast<size_t>(f->in_place), whole = 0;
        for (; whole < chunks.size() && chunks[whole].length <= before; whole++) before -= chunks[whole].length;
        chunks.erase(chunks.begin(), chunks.begin() + static_cast<std::ptrdiff_t>(whole));
        if (!chunks.empty()) chunks[0] = {chunks[0].ptr + before, chunks[0].length - before};
    }
    if (!get_body(envoy, kReceivedResponseBody, f->direct)) f->core_failed();
    chunks.insert(chunks.end(), f->direct.begin(), f->direct.end());
    size_t received = 0;
    ovr_action action{};
    action.release_head = f->head_out;
    action.released = f->sent;
    for (const envoy_buffer& c : chunks) {
        received += c.length;
        if (f->untouched || !c.length || action.verb != OVR_PASS) continue;
        if (ovr_filter_body(f->scan, c.ptr, c.length, &action) != OVR_OK) f->core_failed();
    }
    if (end && !f->untouched && action.verb == OVR_PASS) f->finish(action);
    f->fed += received;
    if (action.verb != OVR_PASS) {
        // Where a response is shortened nothing waits in place.
        for (const envoy_buffer& c : chunks) f->pending.append(c.ptr, c.length);
        f->stop(action);
        return kBodyStopNoBuffer;
    }
    if (!f->untouched) f->take(action);
    const bool all = end || f->untouched;
    const uint64_t released = all ? f->fed : std::min(action.released, f->fed);
    const bool head_goes = all || f->head_out || action.release_head;
    const uint64_t ready = head_goes && released > f->sent ? released - f->sent : 0;

    // The common case, in which nothing is copied: what waits in place leaves with the new data, behind the head.
    if (head_goes && ready == f->fed - f->sent && f->pending.empty() && !f->redact && (f->can_send || !moved)) {
        f->sent += ready;
        f->in_place = 0;
        f->head_out = true;
        f->can_send = false;
        return kBodyContinue;
    }
    // Nor where new data waits in place until all of it may leave, at the latest when its time is up.
    if (!all && action.hold_ms && !f->redact && !f->settings->alters && f->pending.empty() && f->has_room(f->in_place + received)) {
        const bool sends = f->in_place && ready >= f->in_place;
        f->hold_for(action.hold_ms);
        f->can_send = true;
        if (sends) {
            f->sent += f->in_place;
            f->in_place = 0;
            f->head_out = true;
        }
        f->in_place += received;
        if (sends) envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);  // the last thing, as in send()
        return kBodyStopAndWatermark;
    }
    if (f->in_place || moved) f->take_back();
    for (const envoy_buffer& c : f->direct) f->pending.append(c.ptr, c.length);
    drain(envoy, kReceivedResponseBody);
    const bool timed = ready < f->pending.size() && action.hold_ms;
    if (timed) f->hold_for(action.hold_ms);
    const bool goes = ready || all || (head_goes && !f->head_out);
    if (!goes || timed) {
        // What is ready goes from inside this hook, if that is possible; else with what is held, when its time is up.
        const bool sends = goes && f->can_send;
        f->can_send = true;
        if (sends) f->send(ready);
        return kBodyStopNoBuffer;
    }
    envoy_dynamic_module_callback_http_append_body(envoy, kReceivedResponseBody, buffer(f->release(ready)));
    f->can_send = false;
    return kBodyContinue;
}

int envoy_dynamic_module_on_http_filter_response_trailers(void* envoy, const void* filter) {
    Filter* f = self(filter);
    if (f->finished) return f->head_out ? kTrailersContinue : kTrailersStopIteration;
    ovr_action action{};
    if (!f->untouched && f->scan) {
        std::vector<envoy_header> raw;
        std::vector<ovr_header> fields;
        if (get_headers(envoy, kResponseTrailers, raw))
            for (const envoy_header& h : raw) fields.push_back({bytes({h.key_ptr, h.key_length}), bytes({h.value_ptr, h.value_length})});
        if (ovr_filter_trailers(f->scan, fields.data(), fields.size(), &action) != OVR_OK) {
            f->core_failed();
        } else {
            if (action.verb == OVR_PASS) f->finish(action);
            if (action.verb != OVR_PASS) {
                f->stop(action);
                return kTrailersStopIteration;
            }
            f->take(action);
        }
    }
    if (f->pending.empty() && (f->head_out || f->in_place)) {
        f->sent += f->in_place;
        f->in_place = 0;
        f->head_out = true;
        return kTrailersContinue;
    }
    // Head and body must leave before the trailers; that is done from outside this hook.
    f->schedule(kEventTrailers);
    return kTrailersStopIteration;
}

void envoy_dynamic_module_on_http_filter_scheduled(void* envoy, const void* filter, uint64_t event) {
    Filter* f = self(filter);
    if (event == kEventTrailers) {
        f->send(f->fed - f->sent);
        return;
    }
    if (f->finished || f->untouched || !f->scan) return;
    ovr_action action{};
    if (ovr_filter_flush(f->scan, &action) != OVR_OK) {
        f->core_failed();
        action.released = f->fed;
        action.release_head = 1;
    } else if (action.verb != OVR_PASS) {
        f->stop(action);
        return;
    } else {
        f->take(action);
    }
    const bool head_goes = f->head_out || action.release_head;
    const uint64_t released = std::min(action.released, f->fed);
    const uint64_t ready = head_goes && released > f->sent ? released - f->sent : 0;
    if (ready < f->fed - f->sent) f->hold_for(action.hold_ms);
    if (!f->can_send || (!ready && head_goes == f->head_out)) return;
    f->can_send = false;
    f->send(ready);
}

void envoy_dynamic_module_on_http_filter_stream_complete(void*, const void* filter) { timer().disarm(self(filter)); }

int envoy_dynamic_module_on_http_filter_local_reply(void*, const void*, uint32_t, envoy_buffer, bool) { return kLocalReplyContinue; }

// A route's or virtual host's settings take the place of the filter's own, all of them; only events go on to the same file, and the control file is the
// filter's.
const void* envoy_dynamic_module_on_http_filter_per_route_config_new(envoy_buffer, envoy_buffer text) {
    Config* config = new_config(text);
    if (!config || !config->control) return config;
    std::fprintf(stderr, "overread: control: stands in the filter's own settings, for all routes\n");
    delete config;
    return nullptr;
}
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void* config) { delete static_cast<const Config*>(config); }
void envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(void*, const void*) {}
void envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(void*, const void*) {}
void envoy_dynamic_module_on_http_filter_http_callout_done(void*, const void*, uint64_t, int, envoy_header*, size_t, envoy_buffer*, size_t) {}
void envoy_dynamic_module_on_http_filter_http_stream_headers(void*, const void*, uint64_t, envoy_header*, size_t, bool) {}
void envoy_dynamic_module_on_http_filter_http_stream_data(void*, const void*, uint64_t, const envoy_buffer*, size_t, bool) {}
void envoy_dynamic_module_on_http_filter_http_stream_trailers(void*, const void*, uint64_t, envoy_header*, size_t) {}
void envoy_dynamic_module_on_http_filter_http_stream_complete(void*, const void*, uint64_t) {}
void envoy_dynamic_module_on_http_filter_http_stream_reset(void*, const void*, uint64_t, int) {}
void envoy_dynamic_module_on_http_filter_config_scheduled(void*, const void*, uint64_t) {}
void envoy_dynamic_module_on_http_filter_config_http_callout_done(void*, const void*, uint64_t, int, envoy_header*, size_t, envoy_buffer*, size_t) {}
void envoy_dynamic_module_on_http_filter_config_http_stream_headers(void*, const void*, uint64_t, envoy_header*, size_t, bool) {}
void envoy_dynamic_module_on_http_filter_config_http_stream_data(void*, const void*, uint64_t, const envoy_buffer*, size_t, bool) {}
void envoy_dynamic_module_on_http_filter_config_http_stream_trailers(void*, const void*, uint64_t, envoy_header*, size_t) {}
void envoy_dynamic_module_on_http_filter_config_http_stream_complete(void*, const void*, uint64_t) {}
void envoy_dynamic_module_on_http_filter_config_http_stream_reset(void*, const void*, uint64_t, int) {}
