// Whose bytes these are: fingerprints of the secrets that clients and servers exchange, and of canaries, with their owners
// (docs/foreign-secrets.md).
#pragma once
#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "registry/canary.h"
#include "registry/segment.h"
#include "registry/sensitive.h"
#include "registry/table.h"

namespace overread {

// What a window of a response is of another client, weakest first.
enum class ForeignLevel : uint8_t { none, sent, issued, http_only, canary };

constexpr size_t MAX_SECRET = 8192;        // bytes of a value; a longer one is no token
constexpr size_t MAX_WINDOWS = 48;         // of a value; a longer one's beginning and its end
constexpr size_t END_WINDOWS = 32;         // of these, of its end: more than an RSA signature of 2,048 bits has, which takes 342 characters
constexpr size_t MAX_EXPOSING = 64 << 10;  // bytes of a text that is read for what it publishes; base64 takes 190 ns a byte
constexpr uint32_t CLIENT_QUOTA = 16;      // values an owner in a life that only clients sent
constexpr uint32_t ISSUED_QUOTA = 64;      // and that servers issued: some issue one with every response
constexpr uint32_t DEFAULT_LIFE = 15 * 60;
constexpr uint32_t REFRESHES = 8;  // times in its life that a value which is seen all the time is written

// Whose message it is.
struct Owner {
    std::string_view name;  // while its message is observed
    Fingerprint print{0, 0};
    uint32_t id = 0;       // 0: nobody's
    bool session = false;  // named by a session, or by who knows its clients: what is issued to it is its own
    Table::Entry entry{};  // of its name
    bool known() const { return entry && entry.meta.flags & FLAG_OWNER; }
    explicit operator bool() const { return id != 0; }
};

// Whether a request may have asked for tokens: one that is unknown may.
inline bool may_ask_for_tokens(const ovr_request* request) { return !request || same_name(view_of(request->method), "post"); }

// Whether a text has a window that may be a secret's; which keys says nothing.
bool may_hold_secret(const Kernel& kernel, const RegistryKeys& keys, std::string_view text);

class Registry {
  public:
    struct Options {
        size_t memory = size_t(64) << 20;
        uint32_t life = DEFAULT_LIFE;  // seconds
        const uint8_t* key = nullptr;
        const char* segment = nullptr;
        const char* const* names = nullptr;
        size_t name_count = 0;
    };
    explicit Registry(const Options& options);
    // False: `why` says what is wrong.
    bool open(const Options& options, std::string& why);

    void observe_request(std::string_view owner, const ovr_request& request, uint32_t now);
    void observe_response(const ovr_response& response, std::string_view body, uint32_t now);
    // The tokens of a JSON reply, or of its first bytes; posted: to a request that may have asked for them.
    void observe_tokens(Owner owner, std::string_view body, bool posted, uint32_t now);
    // Calls found(token) for those that a JSON reply issues. It names them at the top (RFC 6749, section 5.1); further down stand what a
    // service manages for many. A public token in a page's settings is fetched, and comes without a type.
    template <class F>
    void reply_tokens(std::string_view body, bool posted, F&& found) const;
    // The owner of a message; what is empty is taken from the request's secrets.
    Owner owner_of(std::string_view owner, const ovr_request* request, uint32_t now) const;
    // Of a response: who had no session has the one that it sets, and its body may show it.
    Owner owner_of(std::string_view owner, const ovr_response& response, uint32_t now) const;

    // What a window found in a response to `owner` says. One of the owner's own in a body is no secret any more.
    struct Sighting {
        ForeignLevel level = ForeignLevel::none;
        uint32_t owner = 0;
        bool issued = false;  // to its owner, as a session; also where it is no secret any more
    };
    Sighting look_up(const Fingerprint& f, const Owner& owner, uint32_t now, bool body);
    void count_look_ups(size_t n) { head().lookups.fetch_add(n, std::memory_order_relaxed); }
    [[gnu::always_inline]] void prefetch(const Fingerprint& f) const { table_.prefetch(f); }
    // Values that a page listed are known to its readers.
    void expose(const Fingerprint& f, uint32_t now);
    // Whether CANARY_SIZE characters are a valid canary of another's request that was not seen before; and what to burn it by.
    bool is_canary(const uint8_t* text, const Owner& owner, uint32_t now, Fingerprint* print) const;
    // Seen again it is content.
    void burn(const Fingerprint& canary, uint32_t now);
    // Whether a value was shown at a place to as many as publish it there: three, or eight where a cache shows it.
    bool shown_to(const Fingerprint& f, uint64_t place, const Owner& owner, bool fresh, uint32_t now);

    bool plant(std::string_view token, uint32_t now);
    bool retire(std::string_view token);
    void make_canary(const Owner& owner, uint32_t now, char* out) const { overread::make_canary(*key_, owner.id, now, out); }
    void poison_key(uint32_t now, uint8_t key[16]);
    bool has_poison() const {
        const auto& words = head().poison_order;
        return std::any_of(std::begin(words), std::end(words), [](const auto& word) { return word.load(std::memory_order_relaxed) != 0; });
    }
    bool maybe_poison(uint64_t order) const { return head().poison_order[order >> 6 & 15].load(std::memory_order_relaxed) >> (order & 63) & 1; }

    size_t export_changed(uint32_t now, uint8_t* records, size_t capacity);
    bool import(const uint8_t* records, size_t size, uint32_t now);
    void state(uint32_t now, ovr_registry_state* out) const;
    const char* key_id() const { return key_id_; }
    const RegistryKeys& keys() const { return *key_; }
    const Kernel& kernel() const { return *kernel_; }
    // Windows that live, for what chance is worth; at least 1.
    uint64_t live() const;

  private:
    struct Window {
        Fingerprint print;
        bool edge;
        Table::Entry entry;  // of it, where it is stored
    };
    SegmentHead& head() const { return segment_.head(); }
    Owner owner_named(std::string_view name, uint32_t now) const;
    std::string_view strongest(const ovr_header* headers, size_t count, bool* session) const;
    template <class F>
    void windows_of(std::string_view text, F&& found) const;
    void store(Owner& owner, std::string_view text, uint16_t flags, uint32_t now);
    void store_window(const Owner& owner, const Window& w, uint16_t flags, uint32_t now);
    bool within_quota(const Owner& owner, bool issued, uint32_t now);
    bool keep_owner(const Owner& named, uint32_t id, uint16_t flags, uint32_t now);
    void expose(const Table::Entry& e);
    void expose_in(std::string_view text, const Owner& owner, uint32_t now);
    void observe_field(Owner& owner, const ovr_header& field, uint32_t now);
    void own(Owner& owner, bool session, std::string_view issued, uint32_t now) const;
    template <class F>
    void set_cookie_values(const ovr_header& field, F&& found) const;
    void add_poison(const uint8_t key[16], uint32_t now);

    SecretKey key_;
    SensitiveNames names_;
    Segment segment_;
    Table table_;
    const Kernel* kernel_;
    char key_id_[17];
};

template <class F>
void Registry::reply_tokens(std::string_view body, bool posted, F&& found) const {
    const size_t brace = body.find_first_not_of(" \t\r\n");
    if (brace == body.npos || body[brace] != '{') return;
    bool reply = posted;
    json_strings(body, [&](std::string_view name, std::string_view, int depth) {
        reply |= depth == 1 &&
                 (same_name(name, "token_type") || same_name(name, "tokentype") || same_name(name, "refresh_token") || same_name(name, "refreshtoken"));
    });
    if (!reply) return;
    json_strings(body, [&](std::string_view name, std::string_view value, int depth) {
        if (depth == 1 && names_.field(name) == NameKind::session) found(value);
    });
}

}  // namespace overread
