#include "registry/registry.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "registry/token_runs.h"

namespace overread {
namespace {

void count(std::atomic<uint64_t>& counter, uint64_t n = 1) { counter.fetch_add(n, std::memory_order_relaxed); }

const uint8_t* bytes_of(std::string_view s) { return reinterpret_cast<const uint8_t*>(s.data()); }

Fingerprint print_of(const Digest128& d) { return {d.first, uint32_t(d.second)}; }

// A JWT's header, and much of its claims, are the same for many users (226 distinct tokens had two distinct beginnings); so are the ends of
// objects in base64 (Laravel's cookies), and the beginnings of long values, where frameworks put versions and key ids (ASP.NET Core's
// 26 characters).
constexpr size_t EDGE = 32, LONG_VALUE = 96;

bool may_be_frameworks(std::string_view value, size_t from, size_t to) {
    size_t begin = from;
    while (begin && value[begin - 1] != '.') begin--;
    if (value.substr(begin, 3) == "eyJ") {
        const size_t end = std::min(value.find('.', begin), value.size());
        const bool alone = begin == 0 && end == value.size();
        if (!alone || from - begin < EDGE || end - to < EDGE) return true;
    }
    return value.size() >= LONG_VALUE && from < EDGE;
}

bool is_deleted(std::string_view cookie) { return cookie.find("Max-Age=0") != cookie.npos || cookie.find("max-age=0") != cookie.npos; }

bool has_attribute(std::string_view cookie, std::string_view lower) {
    for (size_t at = cookie.find(';'); at != cookie.npos; at = cookie.find(';', at)) {
        at++;
        while (at < cookie.size() && cookie[at] == ' ') at++;
        if (same_name(cookie.substr(at, std::min(cookie.find(';', at), cookie.size()) - at), lower)) return true;
    }
    return false;
}

// The credential of `Bearer token`; of another scheme, or of none, what is there.
std::string_view credential(std::string_view field) {
    const size_t space = field.find(' ');
    return space == field.npos ? field : field.substr(space + 1);
}

}  // namespace

Registry::Registry(const Options& options)
    : key_(options.key), names_(options.names, options.name_count), kernel_(kernel_default() ? kernel_default() : kernel_at(0)) {
    std::snprintf(key_id_, sizeof key_id_, "%016llx", static_cast<unsigned long long>(key_->id));
}

bool Registry::open(const Options& options, std::string& why) {
    if (!segment_.open(options.segment, options.memory, key_->id, options.life, why)) return false;
    table_.take(segment_.buckets(), (options.memory - sizeof(SegmentHead)) / BUCKET_MEMORY, options.life);
    return true;
}

// What was ever stored, or as much as there is room for: never less than what lives.
uint64_t Registry::live() const { return std::max<uint64_t>(1, std::min<uint64_t>(table_.slots(), head().stored.load(std::memory_order_relaxed))); }

// ---- owners ----

Owner Registry::owner_named(std::string_view name, uint32_t now) const {
    const Digest128 d = keyed_digest128(key_->owners, bytes_of(name), name.size());
    Owner owner;
    owner.name = name;
    owner.print = print_of(d);
    owner.id = uint32_t(d.second >> 32) | 1;
    table_.prefetch_all(owner.print);
    owner.entry = table_.find(owner.print, now);
    if (owner.known()) owner.id = owner.entry.owner;
    return owner;
}

bool may_hold_secret(const Kernel& kernel, const RegistryKeys& keys, std::string_view text) {
    // Most sessions begin with one.
    if (text.size() >= SECRET_WINDOW && is_secret_window(bytes_of(text))) return true;
    bool any = false;
    TokenRuns::whole(kernel, bytes_of(text), text.size(), [&](const RunBlock& b) {
        const Block windows(keys, b.text, b.size);
        for (size_t i = 0; i < windows.windows() && !any; i++) any = windows.secret(i);
    });
    return any;
}

// The secret that stands for a client where nobody says who it is: its session, else what it authorizes itself with. Other cookies stand
// for nobody: consent and settings are the same for many. So is what is named like a session and holds no secret, as ASP.NET Core's culture:
// it comes last, and what is issued beside it is no part of it.
std::string_view Registry::strongest(const ovr_header* headers, size_t count, bool* session) const {
    std::string_view best;
    int rank = -1;
    auto offer = [&](std::string_view value, int r) {
        if (r > rank && value.size() >= SECRET_WINDOW) best = value, rank = r;
    };
    for (size_t i = 0; i < count; i++) {
        const std::string_view name = view_of(headers[i].name), value = view_of(headers[i].value);
        if (same_name(name, "cookie"))
            cookie_values(names_, value, [&](const SensitiveValue& v) {
                if (v.kind == NameKind::session && rank < 3) offer(v.text, v.text.size() <= MAX_SECRET && may_hold_secret(*kernel_, *key_, v.text) ? 3 : 0);
            });
        else if (same_name(name, "authorization"))
            offer(credential(value), 2);
        else if (names_.header(name) != NameKind::none)
            offer(value, 1);
    }
    *session = rank == 3;
    return best;
}

// Calls found(value, http_only) for what a Set-Cookie field sets.
template <class F>
void Registry::set_cookie_values(const ovr_header& field, F&& found) const {
    const std::string_view value = view_of(field.value);
    const size_t end = std::min(value.find(';'), value.size());
    if (!same_name(view_of(field.name), "set-cookie") || value.find('=') >= end || is_deleted(value)) return;
    const bool http_only = has_attribute(value, "httponly");
    cookie_values(names_, value.substr(0, end), [&](const SensitiveValue& v) { found(v, http_only); });
}

Owner Registry::owner_of(std::string_view name, const ovr_request* request, uint32_t now) const {
    bool session = true;
    if (name.empty() && request) name = strongest(request->headers, request->header_count, &session);
    if (name.empty()) return Owner();
    Owner owner = owner_named(name, now);
    owner.session = session;
    return owner;
}

Owner Registry::owner_of(std::string_view name, const ovr_response& response, uint32_t now) const {
    Owner owner = owner_of(name, response.request, now);
    for (size_t i = 0; i < response.header_count && !owner.session; i++)
        set_cookie_values(response.headers[i], [&](const SensitiveValue& v, bool) { own(owner, v.kind == NameKind::session, v.text, now); });
    return owner;
}

// Puts an entry for an owner's name, or tells that it was seen. What only clients sent is on probation, as their values are.
bool Registry::keep_owner(const Owner& named, uint32_t id, uint16_t flags, uint32_t now) {
    const bool issued = flags & FLAG_ISSUED;
    const auto insert = [&](uint16_t with, uint32_t values) {
        if (table_.insert(named.print, id, {with, values, now})) return true;
        count(head().full);
        return false;
    };
    const Table::Entry& e = named.entry;
    if (!e) return insert(uint16_t(FLAG_OWNER | flags | (issued ? 0 : FLAG_PROBATION)), 0);
    if (!(e.meta.flags & FLAG_OWNER)) return false;
    if (e.meta.flags & FLAG_PROBATION && (issued || e.meta.seen != (now & 0xffffff))) {
        table_.remove(e);
        return insert(uint16_t((e.meta.flags & ~FLAG_PROBATION) | flags), e.meta.first);
    }
    return table_.update(e, [&](Meta m) { return Meta{uint16_t(m.flags | flags | FLAG_CHANGED), m.first, now}; });
}

// Counts a new value, and tells whether the owner may have it.
bool Registry::within_quota(const Owner& owner, bool issued, uint32_t now) {
    const Table::Entry e = table_.find(owner.print, now);
    // Of 24 bits the upper 16 are the minute in which the count began: what was counted a life ago is forgotten by now.
    const uint32_t minute = (now / 60) & 0xffff, began = e.meta.first >> 8, values = e.meta.first & 0xff;
    const bool over = values == 0 || ((minute - began) & 0xffff) * 60 > table_.life();
    if (!e || !(e.meta.flags & FLAG_OWNER) || (!over && values >= (issued ? ISSUED_QUOTA : CLIENT_QUOTA))) {
        count(head().quota);
        return false;
    }
    table_.update(e, [&](Meta m) { return Meta{uint16_t(m.flags | FLAG_CHANGED), over ? minute << 8 | 1 : m.first + 1, now}; });
    return true;
}

// ---- values ----

template <class F>
void Registry::windows_of(std::string_view text, F&& found) const {
    TokenRuns::whole(*kernel_, bytes_of(text), text.size(), [&](const RunBlock& b) {
        Block windows(*key_, b.text, b.size);
        WindowSet(b, windows).each([&](size_t i) {
            found(Window{fingerprint(*key_, b.text + i), may_be_frameworks(text, size_t(b.at(i)), size_t(b.at(i + SECRET_WINDOW))), {}});
        });
    });
}

void Registry::store_window(const Owner& owner, const Window& w, uint16_t flags, uint32_t now) {
    if (w.edge) flags |= FLAG_EDGE;
    const bool issued = flags & FLAG_ISSUED;
    const Table::Entry& e = w.entry;
    auto insert = [&](uint16_t with) { count(table_.insert(w.print, owner.id, {with, now, now}) ? head().stored : head().full); };
    if (!e) {
        insert(issued ? flags : uint16_t(flags | FLAG_PROBATION));
        return;
    }
    if (e.meta.flags & FLAGS_OURS) return;
    if (e.owner != owner.id) {
        if (!(e.meta.flags & FLAG_SHARED)) count(head().shared);
        table_.update(e, [&](Meta m) { return Meta{uint16_t(m.flags | FLAG_SHARED | FLAG_CHANGED), m.first, now}; });
        return;
    }
    if (e.meta.flags & FLAG_PROBATION && (issued || seconds_between(e.meta.first, now) > 0)) {
        // It comes back in a later second, or from the server: it is no invention.
        table_.remove(e);
        insert(uint16_t((e.meta.flags & ~FLAG_PROBATION) | flags));
        return;
    }
    // What is seen all the time is written now and then.
    const uint16_t all = uint16_t(e.meta.flags | flags);
    if (all == e.meta.flags && seconds_between(e.meta.seen, now) <= table_.life() / REFRESHES) return;
    table_.update(e, [&](Meta m) { return Meta{uint16_t(m.flags | flags | FLAG_CHANGED), m.first, now}; });
}

void Registry::store(Owner& owner, std::string_view text, uint16_t flags, uint32_t now) {
    count(head().observed);
    if (text.size() < SECRET_WINDOW || text.size() > MAX_SECRET || !owner) {
        count(head().weak);
        return;
    }
    // A session is its owner's name as well. Most of most requests were seen a moment ago, and have nothing to say then.
    const bool session = flags & FLAG_SESSION;
    const auto is_recent = [&](const Table::Entry& e) {
        return e && e.owner == owner.id && (e.meta.flags & flags) == flags && !(e.meta.flags & (FLAG_PROBATION | FLAG_SHARED)) &&
               seconds_between(e.meta.seen, now) <= table_.life() / REFRESHES;
    };
    Owner named;
    if (session) {
        named = text == owner.name ? owner : owner_named(text, now);
        if (is_recent(named.entry)) return;
    }
    // A JWT's claims, which others have as well, stand before what signs them: the end says more.
    Window windows[MAX_WINDOWS];
    size_t n = 0, last = 0;
    windows_of(text, [&](const Window& w) {
        // A value that repeats itself has a window twice.
        if (std::any_of(windows, windows + n, [&](const Window& o) { return o.print.low == w.print.low; })) return;
        table_.prefetch_all(w.print);
        last = n < MAX_WINDOWS ? n++ : last + 1 < MAX_WINDOWS ? last + 1 : MAX_WINDOWS - END_WINDOWS;
        windows[last] = w;
    });
    if (!n) {
        count(head().weak);
        return;
    }
    bool known = false;
    const auto find = [&](Window& w) {
        const Table::Entry e = w.entry = table_.find(w.print, now);
        known |= e && e.owner == owner.id && !(e.meta.flags & FLAG_SHARED);
        return e;
    };
    // The last window: what frameworks give to all stands before it.
    if (const Table::Entry e = find(windows[last]); !session && is_recent(e)) return;
    for (size_t i = 0; i < n; i++)
        if (i != last) find(windows[i]);
    if (!owner.entry) owner.entry = table_.find(owner.print, now);  // it may be new
    if (!owner.entry) {
        if (!keep_owner(owner, owner.id, flags & (FLAG_ISSUED | FLAG_PRESENTED), now)) return;
        owner.entry = table_.find(owner.print, now);
    } else if (flags & ~owner.entry.meta.flags & FLAG_PRESENTED && owner.known()) {
        // Its name may be none of its values, which is sent all the same.
        table_.update(owner.entry, [](Meta m) { return Meta{uint16_t(m.flags | FLAG_PRESENTED | FLAG_CHANGED), m.first, m.seen}; });
    }
    if (!known && !within_quota(owner, flags & FLAG_ISSUED, now)) return;
    for (size_t i = 0; i < n; i++) store_window(owner, windows[i], flags, now);
    if (!session) return;
    if (named.print.low == owner.print.low) named.entry = table_.find(named.print, now);  // it may be new
    keep_owner(named, owner.id, flags, now);
}

// ---- what is observed ----

// The owner's values in a text that is no credential are content; another's are known to two.
void Registry::expose_in(std::string_view text, const Owner& owner, uint32_t now) {
    if (text.size() > MAX_EXPOSING) return;
    const auto block = [&](const RunBlock& b) {
        Block windows(*key_, b.text, b.size);
        auto look = [&](size_t i) {
            const Table::Entry e = table_.find(fingerprint(*key_, b.text + i), now);
            if (!e || e.meta.flags & FLAGS_OURS) return;
            const uint16_t flag = e.owner == owner.id ? FLAG_EXPOSED : FLAG_SHARED;
            if (e.meta.flags & flag) return;
            count(flag == FLAG_EXPOSED ? head().exposed : head().shared);
            table_.update(e, [&](Meta m) { return Meta{uint16_t(m.flags | flag | FLAG_CHANGED), m.first, now}; });
        };
        windows_to_look_up(b, windows, look);
    };
    TokenRuns::whole(*kernel_, bytes_of(text), text.size(), block);
}

void Registry::observe_field(Owner& owner, const ovr_header& field, uint32_t now) {
    const std::string_view name = view_of(field.name), value = view_of(field.value);
    if (same_name(name, "cookie")) {
        cookie_values(names_, value,
                      [&](const SensitiveValue& v) { store(owner, v.text, uint16_t(FLAG_PRESENTED | (v.kind == NameKind::session ? FLAG_SESSION : 0)), now); });
    } else if (same_name(name, "authorization") || same_name(name, "proxy-authorization")) {
        const std::string_view secret = credential(value);
        if (value.size() > 6 && same_name(value.substr(0, 6), "basic ")) {
            // Of the pair, which is seldom one of chance; its coded form has no more entropy than it.
            uint8_t pair[512];
            const size_t size = basic_pair(secret, pair, sizeof pair);
            const std::string_view decoded(reinterpret_cast<const char*>(pair), size);
            bool dense = false;
            windows_of(decoded, [&](const Window&) { dense = true; });
            if (!dense) return;
            store(owner, decoded, FLAG_PRESENTED | FLAG_SESSION, now);
        }
        store(owner, secret, FLAG_PRESENTED | FLAG_SESSION, now);
    } else if (const NameKind kind = names_.header(name); kind != NameKind::none) {
        store(owner, value, uint16_t(FLAG_PRESENTED | (kind == NameKind::session ? FLAG_SESSION : 0)), now);
    }
}

void Registry::observe_request(std::string_view name, const ovr_request& request, uint32_t now) {
    Owner owner = owner_of(name, &request, now);
    if (!owner) return;
    // Who is named by a secret of the request, which nobody has seen yet, and has the session of a client that is known, is that one.
    bool named_by_secret = name.empty();
    for (size_t i = 0; !owner.known() && !named_by_secret && i < request.header_count; i++)
        named_by_secret = view_of(request.headers[i].value).find(name) != std::string_view::npos;
    if (named_by_secret && !owner.known()) {
        for (size_t i = 0; i < request.header_count; i++) {
            if (!same_name(view_of(request.headers[i].name), "cookie")) continue;
            cookie_values(names_, view_of(request.headers[i].value), [&](const SensitiveValue& v) {
                if (v.kind != NameKind::session || v.text.size() < SECRET_WINDOW) return;
                const Owner other = owner_named(v.text, now);
                if (other.known()) owner.id = other.id;
            });
        }
    }
    // What stands elsewhere first: a value that comes both ways is no secret.
    expose_in(view_of(request.target), owner, now);
    const std::string_view body = view_of(request.body);
    expose_in(body, owner, now);
    for (size_t i = 0; i < request.header_count; i++) {
        const ovr_header& h = request.headers[i];
        const std::string_view field = view_of(h.name);
        if (!same_name(field, "cookie") && !same_name(field, "authorization") && !same_name(field, "proxy-authorization"))
            expose_in(view_of(h.value), owner, now);
    }
    for (size_t i = 0; i < request.header_count; i++) observe_field(owner, request.headers[i], now);
    auto pair = [&](std::string_view field, std::string_view value) {
        const NameKind kind = names_.field(field);
        if (kind == NameKind::secret || kind == NameKind::session) store(owner, value, FLAG_PRESENTED | FLAG_EXPOSED, now);
    };
    const std::string_view type = header_value(request.headers, request.header_count, "content-type");
    if (type.find("json") != type.npos)
        json_strings(body, [&](std::string_view field, std::string_view value, int) { pair(field, value); });
    else if (type.find("multipart/") != type.npos)
        multipart_pairs(body, pair);
    else
        form_pairs(body, pair);
}

// Who had no session has the one that is issued now. What else it named itself by may be many clients': the password of a whole site, an
// application's key.
void Registry::own(Owner& owner, bool session, std::string_view issued, uint32_t now) const {
    if (owner.session || !session || issued.size() < SECRET_WINDOW) return;
    owner = owner_named(issued, now);
    owner.session = true;
}

void Registry::observe_response(const ovr_response& response, std::string_view body, uint32_t now) {
    Owner owner = owner_of(view_of(response.owner), response, now);
    for (size_t i = 0; i < response.header_count; i++)
        set_cookie_values(response.headers[i], [&](const SensitiveValue& v, bool http_only) {
            store(owner, v.text, uint16_t(FLAG_ISSUED | (v.kind == NameKind::session ? FLAG_SESSION : 0) | (http_only ? FLAG_HTTP_ONLY : 0)), now);
        });
    observe_tokens(owner, body, may_ask_for_tokens(response.request), now);
}

void Registry::observe_tokens(Owner owner, std::string_view body, bool posted, uint32_t now) {
    reply_tokens(body, posted, [&](std::string_view token) {
        own(owner, true, token, now);
        store(owner, token, FLAG_ISSUED | FLAG_SESSION, now);
    });
}

// ---- what is found ----

Registry::Sighting Registry::look_up(const Fingerprint& f, const Owner& owner, uint32_t now, bool body) {
    const Table::Entry e = table_.find(f, now);
    if (!e || e.meta.flags & (FLAG_OWNER | FLAG_PLACE | FLAG_SHARED | FLAG_BURNT)) return {};
    if (e.meta.flags & (FLAG_PLANTED | FLAG_POISON)) {
        if (e.meta.flags & FLAG_POISON) count(head().poison_turn);
        count(head().foreign);
        return {ForeignLevel::canary, 0};
    }
    if (e.owner == owner.id) {
        if (body && !(e.meta.flags & FLAG_EXPOSED)) expose(e);
        return {};
    }
    count(head().foreign);
    const bool issued = e.meta.flags & FLAG_ISSUED && e.meta.flags & FLAG_SESSION;
    if (!issued || e.meta.flags & (FLAG_EXPOSED | FLAG_EDGE)) return {ForeignLevel::sent, e.owner, issued};
    return {e.meta.flags & FLAG_HTTP_ONLY ? ForeignLevel::http_only : ForeignLevel::issued, e.owner, issued};
}

void Registry::expose(const Fingerprint& f, uint32_t now) {
    const Table::Entry e = table_.find(f, now);
    if (e && !(e.meta.flags & FLAGS_OURS)) expose(e);
}

void Registry::expose(const Table::Entry& e) {
    count(head().exposed);
    table_.update(e, [](Meta m) { return Meta{uint16_t(m.flags | FLAG_EXPOSED | FLAG_CHANGED), m.first, m.seen}; });
}

bool Registry::shown_to(const Fingerprint& f, uint64_t place, const Owner& owner, bool fresh, uint32_t now) {
    const uint32_t enough = fresh ? 3 : 8;
    struct {
        uint64_t low, high, place, reader;
    } shown{f.low, f.high, place, 0};
    auto print = [&] { return print_of(keyed_digest128(key_->owners, reinterpret_cast<const uint8_t*>(&shown), sizeof shown)); };
    const Fingerprint here = print();
    shown.reader = uint64_t(owner.id) << 1 | 1;
    const Fingerprint reader = print();
    const Table::Entry e = table_.find(here, now);
    const uint32_t readers = e ? e.meta.first : 0;
    if (table_.find(reader, now)) return readers >= enough;
    table_.insert(reader, 0, {FLAG_PLACE, 0, now});
    if (!e)
        table_.insert(here, 0, {FLAG_PLACE, 1, now});
    else
        table_.update(e, [&](Meta m) { return Meta{m.flags, m.first + 1, now}; });
    return readers + 1 >= enough;
}

// ---- canaries ----

bool Registry::is_canary(const uint8_t* text, const Owner& owner, uint32_t now, Fingerprint* print) const {
    uint32_t whose;
    if (!read_canary(*key_, text, now, &whose) || (owner && whose == owner.id)) return false;
    *print = print_of(keyed_digest128(key_->canaries, text, CANARY_SIZE));
    return !table_.find(*print, now);
}

void Registry::burn(const Fingerprint& canary, uint32_t now) { table_.insert(canary, 0, {FLAG_BURNT, now, now}); }

bool Registry::plant(std::string_view token, uint32_t now) {
    bool all = true, any = false;
    windows_of(token.substr(0, MAX_SECRET), [&](const Window& w) {
        any = true;
        if (const Table::Entry e = table_.find(w.print, now)) {
            if (e.meta.flags & FLAG_PLANTED) return;
            table_.remove(e);
        }
        all &= table_.insert(w.print, 0, {FLAG_PLANTED, 0, now});
    });
    return any && all;
}

bool Registry::retire(std::string_view token) {
    bool any = false;
    windows_of(token.substr(0, MAX_SECRET), [&](const Window& w) {
        const Table::Entry e = table_.find(w.print, 0);
        if (!e || !(e.meta.flags & FLAG_PLANTED)) return;
        table_.remove(e);
        any = true;
    });
    return any;
}

void Registry::poison_key(uint32_t now, uint8_t key[16]) {
    const uint64_t turn[2] = {now / 3600, head().poison_turn.load(std::memory_order_relaxed)};
    const Digest128 d = keyed_digest128(key_->poison, reinterpret_cast<const uint8_t*>(turn), sizeof turn);
    std::memcpy(key, &d.first, 8);
    std::memcpy(key + 8, &d.second, 8);
    add_poison(key, now);
}

void Registry::add_poison(const uint8_t key[16], uint32_t now) {
    uint8_t pattern[2 * POISON_PERIOD];
    poison_pattern(key, pattern);
    std::memcpy(pattern + POISON_PERIOD, pattern, POISON_PERIOD);
    const Block block(*key_, pattern, sizeof pattern - 1);
    for (size_t i = 0; i < POISON_PERIOD; i++) {
        const Fingerprint print = fingerprint(*key_, pattern + i);
        if (const Table::Entry e = table_.find(print, now)) {
            table_.update(e, [&](Meta m) { return Meta{m.flags, m.first, now}; });
            continue;
        }
        // First the filter: a window that it lets through and that is not there yet is none.
        const uint64_t order = block.order(i);
        head().poison_order[order >> 6 & 15].fetch_or(uint64_t(1) << (order & 63), std::memory_order_relaxed);
        table_.insert(print, 0, {FLAG_POISON, now, now});
    }
}

// ---- export, import, state ----

// A record: the fingerprint, the owner, the flags and the age in seconds, little-endian: 8 + 4 + 4 + 2 + 2 + 4 bytes. Not told is what a
// client sent once, so that a flood of inventions stays where it comes in, and what was planted, for its retirement could not follow.
size_t Registry::export_changed(uint32_t now, uint8_t* records, size_t capacity) {
    SegmentHead& h = head();
    const size_t buckets = table_.buckets();
    size_t n = 0, looked = 0;
    size_t b = size_t(h.swept.load(std::memory_order_relaxed)) % buckets;
    for (; looked < buckets && n + OVR_REGISTRY_RECORD * BUCKET <= capacity; looked++, b = (b + 1) % buckets) {
        Bucket& bucket = table_.bucket(b);
        for (size_t i = 0; i < BUCKET; i++) {
            uint64_t word = bucket.rest[i].meta.load(std::memory_order_acquire);
            Meta m = Meta::of(word);
            if (!(m.flags & FLAG_CHANGED) || m.flags & (FLAG_BUSY | FLAG_PLACE | FLAG_POISON | FLAG_PLANTED | FLAG_PROBATION) || !table_.lives(m, now))
                continue;
            const uint64_t low = bucket.low[i].load(std::memory_order_relaxed), high = bucket.rest[i].high.load(std::memory_order_relaxed);
            const uint16_t flags = m.flags & uint16_t(~FLAG_CHANGED);
            if (!bucket.rest[i].meta.compare_exchange_strong(word, Meta{flags, m.first, m.seen}.word(), std::memory_order_acq_rel)) continue;
            const uint32_t owner = uint32_t(high), print = uint32_t(high >> 32), age = seconds_between(m.seen, now);
            const uint16_t zero = 0;
            uint8_t* r = records + n;
            std::memcpy(r, &low, 8), std::memcpy(r + 8, &print, 4), std::memcpy(r + 12, &owner, 4), std::memcpy(r + 16, &flags, 2);
            std::memcpy(r + 18, &zero, 2), std::memcpy(r + 20, &age, 4);
            n += OVR_REGISTRY_RECORD;
        }
    }
    h.swept.store(b, std::memory_order_relaxed);
    count(h.exported, n / OVR_REGISTRY_RECORD);
    return n;
}

bool Registry::import(const uint8_t* records, size_t size, uint32_t now) {
    if (size % OVR_REGISTRY_RECORD) return false;
    for (const uint8_t* r = records; r < records + size; r += OVR_REGISTRY_RECORD) {
        Fingerprint f;
        uint32_t owner, age;
        uint16_t flags;
        std::memcpy(&f.low, r, 8), std::memcpy(&f.high, r + 8, 4), std::memcpy(&owner, r + 12, 4), std::memcpy(&flags, r + 16, 2), std::memcpy(&age, r + 20, 4);
        constexpr uint16_t ALLOWED = FLAGS_MERGED | FLAG_EDGE | FLAG_OWNER;
        if (flags & ~ALLOWED || age > table_.life()) continue;
        const uint32_t seen = now - age;
        count(head().imported);
        if (const Table::Entry e = table_.find(f, now)) {
            if (e.meta.flags & (FLAG_PLANTED | FLAG_POISON | FLAG_PLACE)) continue;
            const bool other = e.owner != owner && !((flags | e.meta.flags) & (FLAG_OWNER | FLAG_BURNT));
            const uint16_t told = (flags & FLAGS_MERGED) | (other ? FLAG_SHARED : 0);
            if (!(e.meta.flags & FLAG_PROBATION)) {
                table_.update(e, [&](Meta m) {
                    const uint32_t later = seconds_between(m.seen, seen) ? seen : m.seen;
                    return Meta{uint16_t(m.flags | told), m.first, later};
                });
                continue;
            }
            // It came back elsewhere: it is no invention.
            flags |= told | (e.meta.flags & FLAGS_MERGED);
            table_.remove(e);
        }
        if (!table_.insert(f, owner, {flags, flags & FLAG_OWNER ? 0 : seen, seen})) count(head().full);
        // It came from elsewhere, and does not go there again.
        if (const Table::Entry e = table_.find(f, now)) table_.update(e, [](Meta m) { return Meta{uint16_t(m.flags & ~FLAG_CHANGED), m.first, m.seen}; });
    }
    return true;
}

void Registry::state(uint32_t now, ovr_registry_state* out) const {
    const SegmentHead& h = head();
    auto of = [](const std::atomic<uint64_t>& c) { return c.load(std::memory_order_relaxed); };
    // Fingerprints are chance, so of a large table a part tells of the whole; reading all of it would take tens of milliseconds.
    constexpr size_t SAMPLE = 1 << 16;
    const size_t buckets = table_.buckets(), step = 1 + (buckets - 1) / SAMPLE;
    uint64_t live = 0, looked = 0;
    for (size_t b = 0; b < buckets; b += step, looked++)
        for (size_t i = 0; i < BUCKET; i++) live += table_.lives(Meta::of(of(table_.bucket(b).rest[i].meta)), now);
    *out = {out->struct_size, table_.slots(), live * buckets / looked, of(h.stored),  of(h.observed), of(h.weak),     of(h.full),
            of(h.quota),      of(h.shared),   of(h.exposed),           of(h.lookups), of(h.foreign),  of(h.exported), of(h.imported)};
}

}  // namespace overread
