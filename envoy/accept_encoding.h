// What the filter lets a client ask for: only codings that the core decodes. RFC 9110, section 12.5.3.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace overread_envoy {

inline std::string_view trimmed(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
    return s;
}

inline bool same_word(std::string_view a, std::string_view lower) {
    if (a.size() != lower.size()) return false;
    for (size_t i = 0; i < a.size(); i++)
        if ((a[i] >= 'A' && a[i] <= 'Z' ? char(a[i] | 0x20) : a[i]) != lower[i]) return false;
    return true;
}

// "0", "0." and "0.000" after "q=": the client does not take the coding.
inline bool refuses(std::string_view parameters) {
    while (!parameters.empty()) {
        const size_t end = parameters.find(';');
        const std::string_view p = trimmed(parameters.substr(0, end));
        parameters = end == parameters.npos ? std::string_view() : parameters.substr(end + 1);
        if (p.size() < 3 || !same_word(p.substr(0, 2), "q=") || p[2] != '0') continue;
        const std::string_view rest = p.substr(3);
        if (rest.empty() || (rest[0] == '.' && rest.find_first_not_of('0', 1) == rest.npos)) return true;
    }
    return false;
}

// Writes what to ask for instead of `value`; false where that can stay. `*` stands for every coding that is not named, so it
// becomes those of `decoded` that are not, with its own weight. Names that are refused are not asked for and may stay.
inline bool only_decoded(std::string_view value, const std::vector<std::string_view>& decoded, std::string& out) {
    struct Member {
        std::string_view name, parameters, text;
        bool stays;
    };
    std::vector<Member> members;
    auto is_decoded = [&decoded](std::string_view name) {
        if (same_word(name, "identity")) return true;
        for (std::string_view d : decoded)
            if (same_word(name, d) || (d == "gzip" && same_word(name, "x-gzip"))) return true;
        return false;
    };
    bool all_stay = true;
    while (!value.empty()) {
        const size_t end = value.find(',');
        const std::string_view text = trimmed(value.substr(0, end));
        value = end == value.npos ? std::string_view() : value.substr(end + 1);
        if (text.empty()) continue;
        const size_t semicolon = text.find(';');
        const std::string_view name = trimmed(text.substr(0, semicolon));
        const std::string_view parameters = semicolon == text.npos ? std::string_view() : text.substr(semicolon);
        const bool stays = is_decoded(name) || refuses(parameters);
        members.push_back({name, parameters, text, stays});
        all_stay = all_stay && stays;
    }
    if (all_stay) return false;
    out.clear();
    auto add = [&out](std::string_view name, std::string_view parameters) {
        if (!out.empty()) out += ", ";
        out += name;
        out += parameters;
    };
    for (const Member& m : members) {
        if (m.stays) add(m.text, {});
        if (m.stays || m.name != "*") continue;
        for (std::string_view d : decoded) {
            bool named = false;
            for (const Member& other : members) named = named || same_word(other.name, d) || (d == "gzip" && same_word(other.name, "x-gzip"));
            if (!named) add(d, m.parameters);
        }
    }
    // Without the field any coding would be acceptable.
    if (out.empty()) out = "identity";
    return true;
}

}  // namespace overread_envoy
