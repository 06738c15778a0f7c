#include "policy/ignores.h"

#include <algorithm>

#include "policy/fields.h"

namespace overread {
namespace {

constexpr uint64_t DAY_MS = 86400000;
constexpr size_t MAX_LINE = 256;  // metrics have it as a label

// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
int64_t days_from_civil(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    const int64_t era = (y >= 0 ? y : y - 399) / 400;
    const unsigned yoe = unsigned(y - era * 400), doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + int64_t(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

// The first millisecond behind the day, UTC.
bool read_day(std::string_view text, uint64_t& end_ms) {
    static const unsigned DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t year, month, day;
    if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
    if (!read_number(text.substr(0, 4), year) || !read_number(text.substr(5, 2), month) || !read_number(text.substr(8), day)) return false;
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > DAYS[month - 1] + (leap && month == 2)) return false;
    end_ms = uint64_t(days_from_civil(int64_t(year), unsigned(month), unsigned(day)) + 1) * DAY_MS;
    return true;
}

bool read_family(std::string_view text, Family& out) {
    for (int family = 0; family <= OVR_FAMILY_PLACE; family++)
        if (text == ovr_family_name(family)) {
            out = Family(family);
            return true;
        }
    return false;
}

}  // namespace

// Whether a path is what it looks like: a proxy that routes by "/account" is asked for it as "/docs/../account" too (RFC 3986,
// section 5.2.4), and the client chooses how.
bool is_plain(std::string_view path) {
    auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c | 0x20) : c; };
    for (size_t i = 0; i < path.size(); i++) {
        if (path[i] == '\\') return false;
        if (path[i] == '%' && i + 2 < path.size()) {
            const char a = path[i + 1], b = lower(path[i + 2]);
            if ((a == '2' && (b == 'e' || b == 'f')) || (a == '5' && b == 'c')) return false;
        }
        if (path[i] != '/') continue;
        const std::string_view rest = path.substr(i + 1);
        const std::string_view segment = rest.substr(0, std::min(rest.find('/'), rest.size()));
        if (segment == "." || segment == ".." || (segment.empty() && !rest.empty())) return false;
    }
    return true;
}

bool fits(std::string_view pattern, std::string_view path) {
    size_t p = 0, s = 0, star = std::string_view::npos, from = 0;
    while (s < path.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            from = s;
        } else if (p < pattern.size() && pattern[p] == path[s]) {
            p++;
            s++;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            s = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') p++;
    return p == pattern.size();
}

const char* Ignores::add(std::string_view line, const Ruleset* rules) {
    Ignored entry{};
    Place place{std::string(line), "*", 0};
    bool named = false;
    if (line.size() > MAX_LINE || std::any_of(line.begin(), line.end(), [](char c) { return (c < 0x20 && c != '\t') || c > 0x7e; }))
        return "expected at most 256 printable ASCII characters; a path has others percent-encoded";
    if (entries_.size() == MAX_IGNORED) return "the list has 64 already; so many say that a rule is wrong";
    while (true) {
        const Field field = next_field(line);
        if (field.name.empty() && field.value.empty()) break;
        const std::string_view value = field.value;
        const bool what = field.name == "rule" || field.name == "family" || field.name == "digest";
        if (what && named) return "it names more than one of rule, family and digest";
        named |= what;
        if (field.name == "rule") {
            entry.what = Ignored::What::rule;
            if (value.empty() || value.size() >= sizeof entry.rule) return "rule: expected the id of a rule; `overread rules list` names them";
            std::copy(value.begin(), value.end(), entry.rule);
            if (rules && std::none_of(rules->rules.begin(), rules->rules.end(), [&](const Rule& rule) { return value == rule.id; }))
                return "rule: the ruleset has none of this id; `overread rules list` names them";
        } else if (field.name == "family") {
            entry.what = Ignored::What::family;
            if (!read_family(value, entry.family)) return "family: expected raw, http, secret or place";
        } else if (field.name == "digest") {
            entry.what = Ignored::What::digest;
            if (value.size() != 16 || !read_number(value, entry.digest, 16) || !entry.digest)
                return "digest: expected 16 hexadecimal digits, as events have them";
        } else if (field.name == "path") {
            if (value.empty() || (value[0] != '/' && value[0] != '*')) return "path: expected a path that begins with / or *";
            place.path = value;
        } else if (field.name == "until") {
            if (!read_day(value, place.until_ms)) return "until: expected a day as YYYY-MM-DD";
        } else {
            return "expected rule=, family= or digest=, path= and until=";
        }
    }
    if (!named) return "it names no rule=, family= or digest=";
    if (!place.until_ms) return "it has no until=YYYY-MM-DD: what is ignored for ever is forgotten";
    entries_.push_back(entry);
    places_.push_back(std::move(place));
    return nullptr;
}

std::unique_ptr<Ignores> Ignores::read(const Ruleset* rules, const char* const* lines, size_t count, std::string& why) {
    auto out = std::make_unique<Ignores>();
    for (size_t i = 0; i < count; i++) {
        const char* fault = lines[i] ? out->add(lines[i], rules) : "the line is NULL";
        if (!fault) continue;
        why = std::string("ignore \"") + std::string(lines[i] ? lines[i] : "").substr(0, 96) + "\": " + fault;
        return nullptr;
    }
    return out;
}

Ignoring Ignores::of(const ovr_bytes& target, uint64_t unix_ms) const {
    Ignoring out;
    std::string_view path(reinterpret_cast<const char*>(target.data), target.size);
    path = path.substr(0, std::min(path.find('?'), path.find('#')));
    out.entries = entries_.data();
    const bool plain = is_plain(path);
    for (size_t i = 0; i < entries_.size(); i++) {
        if (!unix_ms || unix_ms >= places_[i].until_ms) continue;
        if (places_[i].path != "*" && (!plain || !fits(places_[i].path, path))) continue;
        out.active |= uint64_t(1) << i;
        out.digests |= entries_[i].what == Ignored::What::digest;
    }
    return out;
}

}  // namespace overread
