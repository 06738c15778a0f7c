// Where the counts of mode monitor go: at most once a minute, and at the end. The file's name ends in the second in which the counts
// began, and a number, so that those of several configurations and of a restart stand side by side and add up (docs/evidence.md).
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>

#include "overread.h"

namespace overread_envoy {

class SiteCountsFile {
  public:
    void open_at(const std::string& path) {
        static std::atomic<unsigned> number{0};
        path_ = path + "." + std::to_string(std::time(nullptr)) + "." + std::to_string(number++);
    }
    // After a response; any thread.
    void in_time(const ovr_scanner* scanner) {
        if (path_.empty()) return;
        const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
        int64_t last = written_.load(std::memory_order_relaxed);
        if (last == 0) written_.compare_exchange_strong(last, now, std::memory_order_relaxed);
        if (last && now - last >= SECONDS && written_.compare_exchange_strong(last, now, std::memory_order_relaxed)) write(scanner);
    }
    void write(const ovr_scanner* scanner) const {
        if (path_.empty()) return;
        std::string text(CAPACITY, '\0');
        size_t size = 0;
        const std::string part = path_ + ".part";
        bool good = ovr_scanner_site_counts(scanner, &text[0], text.size(), &size) == OVR_OK;
        const int fd = good ? open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640) : -1;
        good = fd >= 0 && ::write(fd, text.data(), size) == ssize_t(size);
        if (fd >= 0) good &= close(fd) == 0;
        if (!good || std::rename(part.c_str(), path_.c_str()) != 0)
            std::fprintf(stderr, "overread: cannot write %s: %s\n", path_.c_str(), std::strerror(errno));
    }

  private:
    static constexpr size_t CAPACITY = 131072;  // always enough
    static constexpr int64_t SECONDS = 60;
    std::string path_;
    std::atomic<int64_t> written_{0};
};

}  // namespace overread_envoy
