// A small text file that turns the filter down at run time: "mode=off" and "mode=monitor" are the most that any route does then,
// "mode=enforce", or no file, is what the configuration says. nginx's module reads the same (docs/policy.md).
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

#include "overread.h"

namespace overread_envoy {

class ControlFile {
  public:
    void watch(std::string path) { path_ = std::move(path); }
    // The most that may be done now: enum ovr_mode. Looks at the file at most once a second; any thread.
    int most() {
        if (path_.empty()) return OVR_MODE_ENFORCE;
        const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
        if (looked_.exchange(now, std::memory_order_relaxed) != now) {
            const std::lock_guard<std::mutex> guard(lock_);
            look();
        }
        return most_.load(std::memory_order_relaxed);
    }

  private:
    static constexpr size_t MOST_BYTES = 4095;

    void look() {
        struct stat now {};
        if (stat(path_.c_str(), &now) != 0) {
            if (errno == ENOENT) {
                seen_ = {};
                set(OVR_MODE_ENFORCE);
            } else {
                fault("cannot be read");
            }
            return;
        }
        if (now.st_ino == seen_.st_ino && now.st_size == seen_.st_size && now.st_mtim.tv_sec == seen_.st_mtim.tv_sec &&
            now.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec)
            return;
        seen_ = now;
        std::string text(MOST_BYTES + 1, '\0');
        const int fd = S_ISREG(now.st_mode) ? open(path_.c_str(), O_RDONLY | O_CLOEXEC) : -1;
        const ssize_t size = fd < 0 ? -1 : read(fd, &text[0], text.size());
        if (fd >= 0) close(fd);
        int mode = OVR_MODE_ENFORCE;
        if (size < 0)
            fault("cannot be read");
        else if (size_t(size) > MOST_BYTES)
            fault("is too long");
        else if (!parse(std::string_view(text).substr(0, size_t(size)), mode))
            fault("has a line that is not mode=off, mode=monitor or mode=enforce");
        else
            set(mode);
    }
    static bool parse(std::string_view text, int& mode) {
        while (!text.empty()) {
            const size_t end = std::min(text.find('\n'), text.size());
            std::string_view line = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
            if (line.empty() || line[0] == '#') continue;
            if (line == "mode=off")
                mode = OVR_MODE_OFF;
            else if (line == "mode=monitor")
                mode = OVR_MODE_MONITOR;
            else if (line == "mode=enforce")
                mode = OVR_MODE_ENFORCE;
            else
                return false;
        }
        return true;
    }
    void set(int mode) {
        faulty_ = false;
        if (most_.exchange(mode, std::memory_order_relaxed) != mode)
            std::fprintf(stderr, "overread: control: %s\n", mode == OVR_MODE_OFF ? "off" : mode == OVR_MODE_MONITOR ? "no more than monitor" : "as configured");
    }
    // The state stays as it was; said once.
    void fault(const char* what) {
        if (!faulty_) std::fprintf(stderr, "overread: control: '%s' %s; the mode stays as it was\n", path_.c_str(), what);
        faulty_ = true;
    }

    std::string path_;
    std::atomic<int64_t> looked_{-1};
    std::atomic<int> most_{OVR_MODE_ENFORCE};
    std::mutex lock_;
    struct stat seen_ {};
    bool faulty_ = false;
};

}  // namespace overread_envoy
