#include "registry/sensitive.h"

#include <algorithm>

namespace overread {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c | 0x20) : c; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }  // of a name in lower case

// A name in lower case, as far as it matters, and which letters it has: most patterns have another one.
struct Name {
    static constexpr size_t MOST = 64;
    char text[MOST];
    size_t size;
    uint32_t letters = 0;
    bool capital[MOST];  // where a word may begin, as in userSid
    explicit Name(std::string_view name) : size(std::min(name.size(), MOST)) {
        for (size_t i = 0; i < size; i++) {
            text[i] = lower(name[i]);
            capital[i] = text[i] != name[i];
            letters |= letter(text[i]);
        }
    }
    static constexpr uint32_t letter(char c) { return c >= 'a' && c <= 'z' ? uint32_t(1) << (c - 'a') : 0; }
    std::string_view view() const { return {text, size}; }
};

struct Pattern {
    std::string_view text;
    uint32_t letters = 0;
    constexpr Pattern(const char* t) : text(t) {  // NOLINT: a list of them is a list of strings
        for (const char c : text) letters |= Name::letter(c);
    }
};

template <size_t N>
bool holds_any(const Name& name, const Pattern (&patterns)[N]) {
    for (const Pattern& p : patterns)
        if (!(p.letters & ~name.letters) && name.view().find(p.text) != std::string_view::npos) return true;
    return false;
}

// "sid" and the like are parts of other words: they must end the name or stand between its borders.
template <size_t N>
bool has_word(const Name& name, const Pattern (&words)[N]) {
    for (const Pattern& p : words) {
        if (p.letters & ~name.letters) continue;
        for (size_t i = name.view().find(p.text); i != std::string_view::npos; i = name.view().find(p.text, i + 1)) {
            const size_t end = i + p.text.size();
            if (end == name.size || ((i == 0 || !is_word(name.text[i - 1]) || name.capital[i]) && !is_word(name.text[end]))) return true;
        }
    }
    return false;
}

constexpr Pattern FORGERY[] = {"csrf", "xsrf", "forgery", "authenticity"}, FORGERY_WORDS[] = {"nonce", "state"};
// What load balancers and settings give to many clients alike, whatever else the name says: Azure's ARRAffinity is HttpOnly. And what is
// public: whose account it is, and where a login goes on.
constexpr Pattern COMMON[] = {"affinity",   "sticky",  "balanc", "consent", "locale",   "analytics", "tracking",
                              "experiment", "user_id", "userid", "user-id", "username", "redirect"},
                  COMMON_WORDS[] = {"route", "routeid", "backend", "server", "serverid", "lang", "language", "theme", "return", "returnurl"};
constexpr Pattern PASSWORDS[] = {"passw", "passphrase", "pwd", "cardnumber", "card_number", "card-number", "cvv", "cvc"},
                  PASSWORD_WORDS[] = {"pin", "otp", "pass"};
constexpr Pattern SESSIONS[] = {"sess",   "auth",   "jwt",        "login",        "logged_in",     "remember",    "identity",
                                "ticket", "bearer", "aspnetcore", "access_token", "refresh_token", "accesstoken", "refreshtoken"},
                  SESSION_WORDS[] = {"sid", "token", "sso"};
constexpr Pattern CREDENTIAL_FIELDS[] = {"token", "api-key", "apikey", "secret", "session", "csrf", "xsrf"};
constexpr Pattern TOKENS[] = {"access_token", "refresh_token", "session_token", "auth_token", "accesstoken", "refreshtoken", "sessiontoken", "authtoken"};
constexpr Pattern SECRETS[] = {"token", "secret", "key", "session", "credential", "auth", "assertion"};

bool is_forgery_token(const Name& name) { return holds_any(name, FORGERY) || has_word(name, FORGERY_WORDS); }

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == y; });
}

std::string_view header_value(const ovr_header* fields, size_t count, std::string_view name) {
    for (size_t i = 0; i < count; i++)
        if (same_name(view_of(fields[i].name), name)) return view_of(fields[i].value);
    return {};
}

SensitiveNames::SensitiveNames(const char* const* names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        operators_.emplace_back(names[i]);
        for (char& c : operators_.back()) c = lower(c);
    }
}

bool SensitiveNames::is_operators(std::string_view name) const {
    return std::any_of(operators_.begin(), operators_.end(), [&](const std::string& o) { return same_name(name, o); });
}

NameKind SensitiveNames::cookie(std::string_view cookie) const {
    if (is_operators(cookie)) return NameKind::session;
    const Name name(cookie);
    if (is_forgery_token(name) || holds_any(name, COMMON) || has_word(name, COMMON_WORDS)) return NameKind::secret;
    return holds_any(name, SESSIONS) || has_word(name, SESSION_WORDS) ? NameKind::session : NameKind::none;
}

NameKind SensitiveNames::header(std::string_view field) const {
    if (is_operators(field) || same_name(field, "authorization") || same_name(field, "proxy-authorization")) return NameKind::session;
    return holds_any(Name(field), CREDENTIAL_FIELDS) ? NameKind::secret : NameKind::none;
}

NameKind SensitiveNames::field(std::string_view field) const {
    if (is_operators(field)) return NameKind::session;
    const Name name(field);
    if (holds_any(name, PASSWORDS) || has_word(name, PASSWORD_WORDS)) return NameKind::password;
    if (is_forgery_token(name)) return NameKind::secret;
    if (holds_any(name, TOKENS)) return NameKind::session;
    return holds_any(name, SECRETS) ? NameKind::secret : NameKind::none;
}

size_t basic_pair(std::string_view coded, uint8_t* out, size_t capacity) {
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (const char c : coded) {
        int v;
        if (c >= 'A' && c <= 'Z')
            v = c - 'A';
        else if (c >= 'a' && c <= 'z')
            v = c - 'a' + 26;
        else if (c >= '0' && c <= '9')
            v = c - '0' + 52;
        else if (c == '+' || c == '-')
            v = 62;
        else if (c == '/' || c == '_')
            v = 63;
        else
            break;
        bits = bits << 6 | uint32_t(v);
        if ((have += 6) < 8) continue;
        if (n == capacity) break;
        out[n++] = uint8_t(bits >> (have -= 8));
    }
    return n;
}

}  // namespace overread
