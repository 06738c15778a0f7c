#include "registry/sensitive.h"

#include <algorithm>
#include <initializer_list>

namespace overread {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c | 0x20) : c; }
bool is_word(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9'); }

// Whether `part` stands in a name, as letters of either case.
bool holds(std::string_view name, std::string_view part) {
    return std::search(name.begin(), name.end(), part.begin(), part.end(), [](char a, char b) { return lower(a) == b; }) != name.end();
}

bool holds_any(std::string_view name, std::initializer_list<std::string_view> parts) {
    return std::any_of(parts.begin(), parts.end(), [&](std::string_view p) { return holds(name, p); });
}

// "sid" and the like are parts of other words: they must end the name or stand between its borders.
bool has_word(std::string_view name, std::string_view word) {
    for (size_t i = 0; i + word.size() <= name.size(); i++) {
        if (!same_name(name.substr(i, word.size()), word)) continue;
        const size_t end = i + word.size();
        const bool begins = i == 0 || !is_word(name[i - 1]) || (name[i] >= 'A' && name[i] <= 'Z');
        if (end == name.size() || (begins && !is_word(name[end]))) return true;
    }
    return false;
}

bool is_forgery_token(std::string_view name) { return holds_any(name, {"csrf", "xsrf", "forgery", "authenticity", "nonce", "state"}); }
bool is_password(std::string_view name) {
    return holds_any(name, {"passw", "passphrase", "pwd", "cardnumber", "card_number", "card-number", "cvv", "cvc"}) || has_word(name, "pin") ||
           has_word(name, "otp") || has_word(name, "pass");
}
bool is_session(std::string_view name) {
    return holds_any(name, {"sess", "auth", "jwt", "login", "logged_in", "remember", "identity", "ticket", "bearer", "access_token", "refresh_token",
                            "id_token", "accesstoken", "refreshtoken", "idtoken"}) ||
           has_word(name, "sid") || has_word(name, "token") || has_word(name, "sso") || has_word(name, "user");
}

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

NameKind SensitiveNames::cookie(std::string_view name) const {
    if (is_operators(name)) return NameKind::session;
    if (is_forgery_token(name)) return NameKind::secret;
    return is_session(name) ? NameKind::session : NameKind::none;
}

NameKind SensitiveNames::header(std::string_view name) const {
    if (is_operators(name) || same_name(name, "authorization") || same_name(name, "proxy-authorization")) return NameKind::session;
    if (holds_any(name, {"token", "api-key", "apikey", "secret", "session", "csrf", "xsrf"})) return NameKind::secret;
    return NameKind::none;
}

NameKind SensitiveNames::field(std::string_view name) const {
    if (is_operators(name)) return NameKind::session;
    if (is_password(name)) return NameKind::password;
    if (is_forgery_token(name)) return NameKind::secret;
    if (holds_any(name, {"access_token", "refresh_token", "id_token", "session_token", "auth_token", "accesstoken", "refreshtoken", "idtoken", "sessiontoken",
                         "authtoken", "sessionid", "session_id"}))
        return NameKind::session;
    return holds_any(name, {"token", "secret", "key", "session", "credential", "auth", "assertion"}) ? NameKind::secret : NameKind::none;
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
