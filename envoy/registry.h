// The registry of other clients' secrets: one for all filters and routes of the process that ask for the same, also while a configuration
// takes another's place; and the canaries that it knows again.
#pragma once
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "overread.h"

namespace overread_envoy {

struct RegistryOptions {
    bool on = false, said = false;  // said: something besides `on`
    uint64_t memory = 0;
    uint32_t life_ms = 0;
    std::string segment, key_file;
    std::vector<std::string> names;
};

struct RegistryMetric {
    const char* name;
    uint64_t ovr_registry_state::*value;
    bool counts;  // else it is a gauge
};

constexpr RegistryMetric kRegistryMetrics[] = {
    {"overread_registry_slots", &ovr_registry_state::slots, false},
    {"overread_registry_live", &ovr_registry_state::live, false},
    {"overread_registry_stored_total", &ovr_registry_state::stored, true},
    {"overread_registry_observed_total", &ovr_registry_state::observed, true},
    {"overread_registry_weak_total", &ovr_registry_state::weak, true},
    {"overread_registry_full_total", &ovr_registry_state::full, true},
    {"overread_registry_quota_total", &ovr_registry_state::quota, true},
    {"overread_registry_shared_total", &ovr_registry_state::shared, true},
    {"overread_registry_exposed_total", &ovr_registry_state::exposed, true},
    {"overread_registry_lookups_total", &ovr_registry_state::lookups, true},
    {"overread_registry_foreign_total", &ovr_registry_state::foreign, true},
    {"overread_registry_exported_total", &ovr_registry_state::exported, true},
    {"overread_registry_imported_total", &ovr_registry_state::imported, true},
};
constexpr size_t kRegistryMetricCount = sizeof kRegistryMetrics / sizeof *kRegistryMetrics;

class SharedRegistry {
  public:
    // NULL: `error` says why not.
    static std::shared_ptr<SharedRegistry> open(const RegistryOptions& options, std::string& error) {
        static std::mutex* lock = new std::mutex;  // never destroyed: configurations may go at the process's very end
        static auto* all = new std::map<std::string, std::weak_ptr<SharedRegistry>>;
        std::lock_guard<std::mutex> guard(*lock);
        uint8_t key[KEY_SIZE] = {};
        ovr_registry_options wanted{};
        wanted.struct_size = sizeof wanted;
        std::string same;
        if (!options.key_file.empty()) {
            if (!read_key(options.key_file, key, error)) return nullptr;
            wanted.key = {key, sizeof key};
            // The same key has the same id; a small registry tells it, so that no key needs to be kept.
            wanted.memory = 65536;
            ovr_registry* small = nullptr;
            if (ovr_registry_open(&wanted, &small, nullptr) == OVR_OK) same = ovr_registry_key_id(small);
            ovr_registry_close(small);
        }
        same += '\n' + std::to_string(options.memory) + '\n' + std::to_string(options.life_ms) + '\n' + options.segment;
        std::vector<const char*> names;
        for (const std::string& name : options.names) {
            same += '\n' + name;
            names.push_back(name.c_str());
        }
        std::weak_ptr<SharedRegistry>& there = (*all)[same];
        std::shared_ptr<SharedRegistry> shared = there.lock();
        if (!shared) {
            wanted.memory = options.memory;
            wanted.life_ms = options.life_ms;
            wanted.segment = options.segment.empty() ? nullptr : options.segment.c_str();
            wanted.names = names.data();
            wanted.name_count = names.size();
            ovr_registry* made = nullptr;
            ovr_error why{};
            if (ovr_registry_open(&wanted, &made, &why) == OVR_OK) {
                there = shared = std::make_shared<SharedRegistry>(made);
            } else {
                error = std::string("registry: ") + why.message;
                all->erase(same);
            }
        }
        explicit_bzero(key, sizeof key);
        return shared;
    }

    explicit SharedRegistry(ovr_registry* made) : registry_(made) {
        state_.struct_size = sizeof state_;
        sigset_t every, old;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &old);  // signals stay with Envoy's own threads
        reader_ = std::thread([this] { read(); });
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
    SharedRegistry(const SharedRegistry&) = delete;
    SharedRegistry& operator=(const SharedRegistry&) = delete;
    ~SharedRegistry() {
        {
            std::lock_guard<std::mutex> guard(lock_);
            ends_ = true;
        }
        wake_.notify_one();
        reader_.join();
        ovr_registry_close(registry_);
    }
    ovr_registry* get() const { return registry_; }
    // Hands on what is new, if something is: show(index of the metric, its value, or by how much it has grown).
    template <class F>
    void tell(F&& show) {
        std::unique_lock<std::mutex> guard(lock_, std::try_to_lock);
        if (!guard.owns_lock() || !fresh_) return;
        fresh_ = false;
        for (size_t i = 0; i < kRegistryMetricCount; i++) {
            const uint64_t value = state_.*kRegistryMetrics[i].value;
            show(i, kRegistryMetrics[i].counts ? value - told_[i] : value);
            told_[i] = value;
        }
    }

  private:
    static constexpr size_t KEY_SIZE = 16;
    static bool read_key(const std::string& path, uint8_t key[KEY_SIZE], std::string& error) {
        struct stat info;
        char text[2 * KEY_SIZE + 2];
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t size = fd < 0 || fstat(fd, &info) != 0 ? -1 : ::read(fd, text, sizeof text);
        if (size < 0)
            error = "registry_key_file: cannot read '" + path + "': " + std::strerror(errno);
        else if (info.st_mode & 077)
            error = "registry_key_file: others than its owner may use '" + path + "': chmod 600 it";
        if (fd >= 0) close(fd);
        while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
        for (size_t i = 0; error.empty() && i < 2 * KEY_SIZE; i++) {
            const char c = size == 2 * KEY_SIZE ? static_cast<char>(std::tolower(text[i])) : ' ';
            const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0) error = "registry_key_file: '" + path + "' does not hold 32 hexadecimal digits";
            key[i / 2] = static_cast<uint8_t>(key[i / 2] << 4 | digit);
        }
        explicit_bzero(text, sizeof text);
        return error.empty();
    }
    // Counting what lives reads the whole table, 24 ms for 64 MiB: no request may wait for it, and it may cost a five-hundredth of a core.
    void read() {
        std::unique_lock<std::mutex> guard(lock_);
        while (!ends_) {
            guard.unlock();
            ovr_registry_state state{};
            state.struct_size = sizeof state;
            const auto began = std::chrono::steady_clock::now();
            const auto now = std::chrono::system_clock::now().time_since_epoch();
            const int status =
                ovr_registry_state_of(registry_, static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()), &state);
            const auto pause = std::max<std::chrono::nanoseconds>(std::chrono::seconds(5), 500 * (std::chrono::steady_clock::now() - began));
            guard.lock();
            if (status == OVR_OK) state_ = state, fresh_ = true;
            wake_.wait_for(guard, pause, [this] { return ends_; });
        }
    }

    ovr_registry* registry_;
    std::mutex lock_;
    std::condition_variable wake_;
    bool ends_ = false, fresh_ = false;
    ovr_registry_state state_{};
    uint64_t told_[kRegistryMetricCount] = {};
    std::thread reader_;
};

// A canary in memory of the request's own, before and behind its Cookie's value; nothing of it goes to the upstream.
class PlantedCanary {
  public:
    void plant(ovr_registry* registry, std::string_view owner, uint64_t unix_ms, std::string_view cookie) {
        char canary[OVR_CANARY + 1];
        if (ovr_registry_canary(registry, {reinterpret_cast<const uint8_t*>(owner.data()), owner.size()}, unix_ms, canary) != OVR_OK) return;
        memory_.reserve(cookie.size() + 256);
        if (!cookie.empty()) memory_.append("cookie: overread-canary=").append(canary).append("; ").append(cookie).append(1, '\0');
        at_ = memory_.append("overread-canary: ").size();
        memory_.append(canary).append("\r\n");
    }
    void forget() {
        memory_.clear();
        at_ = 0;
    }
    // Empty: none is planted.
    std::string_view text() const { return at_ ? std::string_view(memory_).substr(at_, OVR_CANARY) : std::string_view(); }

  private:
    std::string memory_;
    size_t at_ = 0;
};

}  // namespace overread_envoy
