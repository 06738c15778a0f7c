// What a registry costs: a byte of clean text beside it, an observed value, a look-up. Prints one JSON object.
//
// registry scan LIVE MEMORY (TYPE PACK)...
// registry hostile LIVE MEMORY: pages that are nothing but what is dear to look at.
// registry hold MEMORY LIVE...: for each number of live secrets, in registries of MEMORY bytes a secret.
#include <cinttypes>

#include "ours.h"

using namespace bench;

namespace {

constexpr uint64_t START = 1700000000000;  // ms
constexpr size_t CHUNK = 65536;
constexpr int ROUNDS = 9;

// Session cookies of 43 characters of base64, as 256 bits of chance are; seeded: the same in every run.
class Tokens {
  public:
    static constexpr size_t SIZE = 43;
    Tokens(size_t count, uint64_t seed) : text_(count * SIZE, '\0') {
        static const char CODE[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for (char& c : text_) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            c = CODE[seed >> 32 & 63];
        }
    }
    std::string cookie(size_t i) const { return "session=" + text_.substr(i * SIZE, SIZE); }
    const char* at(size_t i) const { return text_.data() + i * SIZE; }
    size_t count() const { return text_.size() / SIZE; }

  private:
    std::string text_;
};

ovr_bytes bytes(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

class Registry {
  public:
    explicit Registry(uint64_t memory) {
        ovr_registry_options options{};
        options.struct_size = sizeof options;
        options.memory = memory;
        ovr_error error;
        if (ovr_registry_open(&options, &registry, &error)) fail(error.message);
    }
    Registry(const Registry&) = delete;
    Registry& operator=(const Registry&) = delete;
    ~Registry() { ovr_registry_close(registry); }
    void issue(const std::string& field) const {
        const ovr_header header{bytes(set_cookie_), bytes(field)};
        ovr_response r{};
        r.struct_size = sizeof r;
        r.headers = &header;
        r.header_count = 1;
        r.unix_ms = START;
        ovr_registry_observe_response(registry, &r, {nullptr, 0});
    }
    void send(const std::string& field) const {
        const ovr_header header{bytes(cookie_), bytes(field)};
        ovr_request r{};
        r.struct_size = sizeof r;
        r.headers = &header;
        r.header_count = 1;
        r.target = bytes(target_);
        ovr_registry_observe_request(registry, {nullptr, 0}, &r, START + 1000);
    }
    ovr_registry_state state() const {
        ovr_registry_state s{};
        s.struct_size = sizeof s;
        ovr_registry_state_of(registry, START + 1000, &s);
        return s;
    }
    ovr_registry* registry = nullptr;

  private:
    const std::string set_cookie_ = "Set-Cookie", cookie_ = "Cookie", target_ = "/a/page";
};

// A stream beside a registry, or one without.
class Scan {
  public:
    Scan(const std::string& type, ovr_registry* registry) : type_(type) {
        ovr_scanner_options options{};
        options.struct_size = sizeof options;
        options.hold = OVR_HOLD_DEFAULT;
        options.registry = registry;
        ovr_error error;
        if (ovr_scanner_new(nullptr, &options, &scanner_, &error)) fail(error.message);
        response_.struct_size = sizeof response_;
        response_.content_type = bytes(type_);
        response_.unix_ms = START + 1000;
        if (ovr_stream_open(scanner_, &response_, &stream_, &error)) fail(error.message);
    }
    Scan(const Scan&) = delete;
    Scan& operator=(const Scan&) = delete;
    ~Scan() {
        ovr_stream_close(stream_);
        ovr_scanner_free(scanner_);
    }
    void operator()(const char* data, size_t size) {
        ovr_verdict verdict;
        ovr_stream_reset(stream_, &response_);
        for (size_t at = 0; at < size; at += CHUNK) ovr_stream_feed(stream_, data + at, std::min(CHUNK, size - at), nullptr);
        ovr_stream_finish(stream_, &verdict);
    }

  private:
    const std::string type_;
    ovr_response response_{};
    ovr_scanner* scanner_ = nullptr;
    ovr_stream* stream_ = nullptr;
};

size_t number(const char* text) { return size_t(std::strtoull(text, nullptr, 10)); }

// Every secret is issued; seconds, and what the clock's own strings are is made before.
double fill(const Registry& registry, const Tokens& tokens) {
    constexpr size_t BATCH = 1024;
    std::vector<std::string> fields;
    double spent = 0;
    for (size_t at = 0; at < tokens.count(); at += BATCH) {
        fields.clear();
        for (size_t i = at; i < std::min(at + BATCH, tokens.count()); i++) fields.push_back(tokens.cookie(i) + "; Path=/; HttpOnly");
        const double start = now();
        for (const std::string& f : fields) registry.issue(f);
        spent += now() - start;
    }
    return spent;
}

void scan(int argc, char** argv) {
    const Registry registry(number(argv[3]));
    fill(registry, Tokens(number(argv[2]), 1));
    std::printf("{\"kernel\": \"%s\", \"ns a byte\": {", ovr_kernel_active());
    for (int i = 4; i + 1 < argc; i += 2) {
        const std::string pack = slurp(argv[i + 1]);
        const auto bodies = bodies_of(pack.data(), pack.size());
        Scan without(argv[i], nullptr), with(argv[i], registry.registry);
        const uint64_t before = registry.state().lookups;
        const auto all = [&](Scan& s) {
            for (const Body& b : bodies) s(b.data, b.size);
        };
        const auto times = race({[&] { all(without); }, [&] { all(with); }}, now, ROUNDS);
        const double size = double(bytes_of(bodies)), looked = double(registry.state().lookups - before) / (ROUNDS + 1);
        std::printf("%s\"%s\": {\"without\": %.4f, \"with\": %.4f, \"look-ups a KiB\": %.3f}", i > 4 ? ", " : "", argv[i], 1e9 * times[0] / size,
                    1e9 * times[1] / size, 1024 * looked / size);
    }
    std::printf("}}\n");
}

// Pages of as much as a large one has, and of as much as is ever decoded.
void hostile(char** argv) {
    const Registry registry(number(argv[3]));
    fill(registry, Tokens(number(argv[2]), 1));
    constexpr size_t LARGE = 1 << 20, DECODED = 32 << 10;
    const Tokens chance(LARGE / Tokens::SIZE + 1, 3);
    const std::string base64(chance.at(0), LARGE);
    std::string joined = base64, random(LARGE, '\0'), coded(DECODED, '\0');
    for (size_t i = 5; i < LARGE; i += 6) joined[i] = '/';
    uint64_t seed = 4;
    for (char& c : random) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        c = char(seed >> 32);
    }
    // The ten characters of five bits (RFC 7541, appendix B), which are 0 1 2 a c e i o s t.
    for (size_t i = 0; i * 8 + 40 <= DECODED * 8; i += 5) {
        uint64_t bits = 0;
        for (size_t k = 0; k < 8; k++) bits = bits << 5 | uint8_t(base64[i + k]) % 10;
        for (size_t k = 0; k < 5; k++) coded[i + k] = char(bits >> (32 - 8 * k));
    }
    const std::string begun = random.substr(0, DECODED);
    const std::pair<const char*, const std::string*> pages[] = {{"base64", &base64},
                                                                {"base64, a slash at each sixth place", &joined},
                                                                {"random bytes, the first 32 KiB", &begun},
                                                                {"random bytes, 1 MiB", &random},
                                                                {"Huffman coded letters and digits, 32 KiB", &coded}};
    std::printf("{\"kernel\": \"%s\", \"ns a byte\": {", ovr_kernel_active());
    Scan without("text/html", nullptr), with("text/html", registry.registry);
    for (const auto& [name, page] : pages) {
        const auto times = race({[&] { without(page->data(), page->size()); }, [&] { with(page->data(), page->size()); }}, now, ROUNDS);
        std::printf("%s\"%s\": {\"without\": %.4f, \"with\": %.4f}", page == pages[0].second ? "" : ", ", name, 1e9 * times[0] / double(page->size()),
                    1e9 * times[1] / double(page->size()));
    }
    std::printf("}}\n");
}

void hold(int argc, char** argv) {
    std::printf("{\"kernel\": \"%s\", \"live\": {", ovr_kernel_active());
    for (int i = 3; i < argc; i++) {
        const Tokens tokens(number(argv[i]), 1);
        const Registry registry(number(argv[2]) * tokens.count());
        const double issued = fill(registry, tokens);
        // What is sent again, in an order that no cache knows.
        constexpr size_t SENT = 100000;
        std::vector<std::string> fields;
        for (size_t k = 0; k < SENT; k++) fields.push_back(tokens.cookie(k * 7919 % tokens.count()));
        const double sent = race({[&] {
                                     for (const std::string& f : fields) registry.send(f);
                                 }},
                                 now, 5)[0];
        // A page that is nothing but secrets nobody has: its look-ups beside the same page without a registry.
        const Tokens strangers(100000, 2);
        std::string page;
        for (size_t k = 0; k < strangers.count(); k++) page.append(strangers.at(k), Tokens::SIZE) += ' ';
        Scan without("text/html", nullptr), with("text/html", registry.registry);
        const uint64_t before = registry.state().lookups;
        const auto times = race({[&] { without(page.data(), page.size()); }, [&] { with(page.data(), page.size()); }}, now, 5);
        const ovr_registry_state s = registry.state();
        const double looked = double(s.lookups - before) / 6;
        std::printf("%s\"%zu\": {\"new ns\": %.1f, \"known ns\": %.1f, \"look-up ns\": %.1f, \"look-ups a secret\": %.2f, \"places\": %" PRIu64
                    ", \"windows\": %" PRIu64 ", \"bytes a place\": %.2f, \"full\": %" PRIu64 "}",
                    i > 3 ? ", " : "", tokens.count(), 1e9 * issued / double(tokens.count()), 1e9 * sent / SENT, 1e9 * (times[1] - times[0]) / looked,
                    looked / double(strangers.count()), s.live, s.stored, double(number(argv[2]) * tokens.count()) / double(s.slots), s.full);
    }
    std::printf("}}\n");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 5 && std::strcmp(argv[1], "scan") == 0)
        scan(argc, argv);
    else if (argc == 4 && std::strcmp(argv[1], "hostile") == 0)
        hostile(argv);
    else if (argc > 3 && std::strcmp(argv[1], "hold") == 0)
        hold(argc, argv);
    else
        fail("usage: registry scan LIVE MEMORY (TYPE PACK)... | registry hostile LIVE MEMORY | registry hold MEMORY LIVE...");
}
