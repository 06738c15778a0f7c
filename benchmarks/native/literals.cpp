// Speed with an operator's literals beside the default and Hyperscan with the same, on the same bytes, in one run.
//
// literals HYPERSCAN (NAME BLOB PATTERNS PLANTED)... : (KIND TYPE PACK)... PLANTED holds one body a rule, in the order of the
// last rules of BLOB and the last PATTERNS: each must be found by both. Prints one JSON object.
#include <list>

#include "expressions.h"
#include "ours.h"

using namespace bench;

namespace {

constexpr int ROUNDS = 7, LOADS = 7;

struct Contender {
    std::string name, blob, planted;
    ovr_ruleset* rules = nullptr;
    Expressions theirs;
    double load_ms = 0;

    Contender(const char* library, char** arguments)
        : name(arguments[0]), blob(slurp(arguments[1])), planted(slurp(arguments[3])), theirs(library, arguments[2]) {
        std::vector<double> times;
        for (int i = 0; i < LOADS; i++) {
            ovr_error error;
            ovr_scanner* scanner = nullptr;
            ovr_ruleset_free(rules);
            const double start = now();
            if (ovr_ruleset_load(blob.data(), blob.size(), &rules, &error) || ovr_scanner_new(rules, nullptr, &scanner, &error)) fail(error.message);
            times.push_back(now() - start);
            ovr_scanner_free(scanner);
        }
        load_ms = median(times) * 1e3;
    }
    ~Contender() { ovr_ruleset_free(rules); }

    // How many of the planted literals each finds: body i holds the i-th of the last rules.
    void check() {
        const std::vector<Body> bodies = bodies_of(planted.data(), planted.size());
        const size_t first = ovr_ruleset_rule_count(rules) - bodies.size(), first_id = theirs.count - bodies.size();
        Ours ours("text/html; charset=utf-8", rules);
        size_t found = 0, found_by_them = 0;
        for (size_t i = 0; i < bodies.size(); i++) {
            ovr_rule_info info;
            if (ovr_ruleset_rule(rules, first + i, &info)) fail("no such rule");
            const ovr_verdict& v = ours.scan(bodies[i], SIZE_MAX / 2);
            bool seen = false;
            for (size_t k = 0; k < v.finding_count; k++) seen |= std::strcmp(v.findings[k].rule, info.id) == 0;
            found += seen;
            found_by_them += theirs.found(bodies[i]).count(unsigned(first_id + i));
        }
        std::printf("{\"literals\": %zu, \"overread found\": %zu, \"hyperscan found\": %zu, \"blob bytes\": %zu, \"load ms\": %.2f}", bodies.size(), found,
                    found_by_them, blob.size(), load_ms);
    }
};

}  // namespace

int main(int argc, char** argv) {
    std::list<Contender> contenders;
    int at = 2;
    for (; at + 3 < argc && std::strcmp(argv[at], ":") != 0; at += 4) contenders.emplace_back(argv[1], argv + at);
    if (contenders.empty() || at >= argc) fail("usage: literals HYPERSCAN (NAME BLOB PATTERNS PLANTED)... : (KIND TYPE PACK)...");
    std::printf("{\n  \"hyperscan\": \"%s\",\n  \"rulesets\": {", contenders.front().theirs.version.c_str());
    const char* comma = "";
    for (Contender& c : contenders) {
        std::printf("%s\n    \"%s\": ", comma, c.name.c_str());
        c.check();
        comma = ",";
    }
    std::printf("\n  },\n  \"GB/s\": {");
    comma = "";
    for (at++; at + 2 < argc; at += 3) {
        const std::string pack = slurp(argv[at + 2]);
        const std::vector<Body> files = bodies_of(pack.data(), pack.size());
        std::list<Ours> ours;
        std::vector<std::function<void()>> runs;
        for (Contender& c : contenders) {
            Ours& own = ours.emplace_back(argv[at + 1], c.rules);
            runs.push_back([&] {
                for (const Body& b : files) own.scan(b, SIZE_MAX / 2);
            });
            runs.push_back([&] {
                for (const Body& b : files) c.theirs.scan(b);
            });
        }
        const auto t = race(runs, now, ROUNDS);
        const double gb = double(bytes_of(files)) / 1e9;
        std::printf("%s\n    \"%s\": {", comma, argv[at]);
        comma = "";
        size_t i = 0;
        for (const Contender& c : contenders) {
            std::printf("%s\"%s\": {\"overread\": %.4g, \"hyperscan\": %.4g}", comma, c.name.c_str(), gb / t[i], gb / t[i + 1]);
            comma = ", ";
            i += 2;
        }
        std::printf("}");
        comma = ",";
    }
    std::printf("\n  }\n}\n");
    return 0;
}
