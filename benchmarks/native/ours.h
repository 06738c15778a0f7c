// overread as a program uses it: one scanner, one stream that is reset for each body.
#pragma once

#include "overread.h"
#include "race.h"

namespace bench {

class Ours {
  public:
    // Rules of the process's default when `rules` is NULL.
    explicit Ours(const std::string& type, const ovr_ruleset* rules = nullptr) : type_(type) {
        ovr_error error;
        if (ovr_scanner_new(rules, nullptr, &own_, &error)) fail(error.message);
        open(own_);
    }
    // Shares another's scanner, as a second thread does.
    explicit Ours(const Ours& other) : type_(other.type_) { open(other.scanner); }
    Ours& operator=(const Ours&) = delete;
    ~Ours() {
        ovr_stream_close(stream_);
        ovr_scanner_free(own_);
    }

    const ovr_verdict& scan(const Body& b, size_t chunk) {
        ovr_stream_reset(stream_, &response);
        for (size_t at = 0; at < b.size; at += chunk) ovr_stream_feed(stream_, b.data + at, std::min(chunk, b.size - at), nullptr);
        ovr_stream_finish(stream_, &verdict_);
        return verdict_;
    }

    const ovr_scanner* scanner = nullptr;
    ovr_response response{};

  private:
    void open(const ovr_scanner* shared) {
        scanner = shared;
        response.struct_size = sizeof response;
        response.content_type = {reinterpret_cast<const uint8_t*>(type_.data()), type_.size()};
        ovr_error error;
        if (ovr_stream_open(scanner, &response, &stream_, &error)) fail(error.message);
    }
    std::string type_;
    ovr_scanner* own_ = nullptr;
    ovr_stream* stream_ = nullptr;
    ovr_verdict verdict_{};
};

}  // namespace bench
