// Which values of a message are secrets, and of what kind: cookies, credentials, fields of forms and JSON objects.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "overread.h"

namespace overread {

inline std::string_view view_of(const ovr_bytes& b) { return {reinterpret_cast<const char*>(b.data), b.size}; }
// Names are compared without case.
bool same_name(std::string_view a, std::string_view lower);
std::string_view header_value(const ovr_header* fields, size_t count, std::string_view lower);

// How a name tells what its value is.
enum class NameKind : uint8_t {
    none,      // no secret
    secret,    // one that may be many clients': CSRF tokens, API keys, fields of an operator
    session,   // what stands for one client
    password,  // never kept: it seldom has 64 bits of entropy
};

class SensitiveNames {
  public:
    SensitiveNames(const char* const* names, size_t count);
    NameKind cookie(std::string_view name) const;
    NameKind header(std::string_view name) const;
    NameKind field(std::string_view name) const;

  private:
    bool is_operators(std::string_view name) const;
    std::vector<std::string> operators_;  // in lower case
};

struct SensitiveValue {
    std::string_view text;
    NameKind kind;
};

// Calls found(SensitiveValue) for every secret of a Cookie field; crumbs (RFC 9113, section 8.2.3) come as fields of their own.
template <class F>
void cookie_values(const SensitiveNames& names, std::string_view field, F&& found) {
    while (!field.empty()) {
        const size_t end = std::min(field.find(';'), field.size());
        std::string_view pair = field.substr(0, end);
        field.remove_prefix(std::min(end + 1, field.size()));
        while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
        const size_t equals = pair.find('=');
        if (equals == pair.npos) continue;
        std::string_view value = pair.substr(equals + 1);
        if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
        // Of a cookie that is no session's the value is a secret still, or may be: it is never worth much.
        const NameKind kind = names.cookie(pair.substr(0, equals));
        found(SensitiveValue{value, kind == NameKind::none ? NameKind::secret : kind});
    }
}

// The decoded user and password of Basic (RFC 7617), into out; their size.
size_t basic_pair(std::string_view coded, uint8_t* out, size_t capacity);

// Calls found(name, value, depth) for every pair of a JSON text whose value is a string; what is no JSON ends it.
template <class F>
void json_strings(std::string_view text, F&& found);
// Calls found(name, value) for every pair of application/x-www-form-urlencoded.
template <class F>
void form_pairs(std::string_view text, F&& found) {
    while (!text.empty()) {
        const size_t end = std::min(text.find('&'), text.size());
        const std::string_view pair = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const size_t equals = pair.find('=');
        if (equals != pair.npos) found(pair.substr(0, equals), pair.substr(equals + 1));
    }
}
// The same for multipart/form-data (RFC 7578): what stands between a part's head and the next line's end.
template <class F>
void multipart_pairs(std::string_view text, F&& found) {
    for (size_t at = text.find("name=\""); at != text.npos; at = text.find("name=\"", at)) {
        at += 6;
        const size_t quote = text.find('"', at), body = text.find("\r\n\r\n", at);
        if (quote == text.npos || body == text.npos) return;
        const size_t end = std::min(text.find("\r\n", body + 4), text.size());
        found(text.substr(at, quote - at), text.substr(body + 4, end - body - 4));
        at = body + 4;
    }
}

template <class F>
void json_strings(std::string_view text, F&& found) {
    std::string_view name;
    bool named = false;
    int depth = 0;
    for (size_t i = 0; i < text.size(); i++) {
        const char c = text[i];
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        if (c == ',' || c == '{' || c == '[' || c == '}' || c == ']') named = false;
        if (c != '"') continue;
        size_t end = i + 1;
        while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
        if (end >= text.size()) return;
        const std::string_view string = text.substr(i + 1, end - i - 1);
        size_t next = end + 1;
        while (next < text.size() && (text[next] == ' ' || text[next] == '\n' || text[next] == '\r' || text[next] == '\t')) next++;
        if (next < text.size() && text[next] == ':') {
            name = string;
            named = true;
            end = next;
        } else if (named) {
            found(name, string, depth);
            named = false;
        }
        i = end;
    }
}

}  // namespace overread
