// An operator's list of what is known and harmless, as lines of text: "rule=ID|family=NAME|digest=HEX [path=GLOB] until=YYYY-MM-DD".
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "overread.h"
#include "stream/ignored.h"

namespace overread {

class Ignores {
  public:
    // NULL, and what is wrong with which line. Without a ruleset the names of rules are not checked.
    static std::unique_ptr<Ignores> read(const Ruleset* rules, const char* const* lines, size_t count, std::string& why);
    // Those for a request's target at a time; of an unknown time (0) none, for all have a date.
    Ignoring of(const ovr_bytes& target, uint64_t unix_ms) const;
    size_t count() const { return entries_.size(); }
    const char* text(size_t i) const { return places_[i].text.c_str(); }
    uint64_t until_ms(size_t i) const { return places_[i].until_ms; }

  private:
    struct Place {
        std::string text, path;
        uint64_t until_ms;
    };
    const char* add(std::string_view line, const Ruleset* rules);

    std::vector<Ignored> entries_;
    std::vector<Place> places_;
};

// Whether a path fits a pattern in which each '*' stands for any bytes. At most path times pattern steps.
bool fits(std::string_view pattern, std::string_view path);

}  // namespace overread
