#include "policy/control.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "policy/fields.h"

namespace overread {
namespace {

constexpr size_t MAX_LINE = 1024;
constexpr size_t SEEN_BYTES = 64;     // of the last lines read: what was replaced in place begins otherwise
constexpr uint64_t SETTLED_MS = 500;  // after that nobody is still writing a line
constexpr int LOOKS_AGAIN = 10;       // after a change: a file may change twice within one tick of its clock

uint64_t ms_of(const timespec& t) { return uint64_t(t.tv_sec) * 1000 + uint64_t(t.tv_nsec) / 1000000; }

bool is_name(std::string_view name) {
    // A name is also that of a flag file, and a hidden one would be mistaken for one that is being written.
    return !name.empty() && name.size() <= Control::MAX_NAME && name[0] != '.' && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
    });
}

const char* const MODES[] = {"off", "monitor", "enforce"};  // enum ovr_mode

}  // namespace

bool Control::is_name(const ovr_bytes& name) { return name.data && overread::is_name({reinterpret_cast<const char*>(name.data), name.size}); }

Control::~Control() {
    if (fd_ >= 0) close(fd_);
}

bool Control::open_file() {
    const int extra = O_APPEND | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path_.c_str(), O_RDWR | extra);
    const bool writable = fd >= 0;
    if (fd < 0) fd = open(path_.c_str(), O_RDONLY | extra);
    if (fd < 0) return false;
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
    writable_ = writable;
    return true;
}

bool Control::create() {
    const std::lock_guard<std::mutex> guard(lock_);
    const int fd = open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0) return false;
    close(fd);
    if (!open_file()) return false;
    looks_again_ = LOOKS_AGAIN;  // what stands there is still to be read, through this descriptor
    return fstat(fd_, &seen_) == 0;
}

void Control::forget() {
    for (size_t i = 0; i < count_; i++) {
        Feature fresh;
        std::memcpy(fresh.name, features_[i].name, sizeof fresh.name);  // its number stays
        features_[i] = fresh;
    }
    journal_mode_ = OVR_MODE_ENFORCE;
    mode_told_ = false;
    offset_ = 0;
    tail_.clear();
}

void Control::fault(const char* what, int error) {
    if (!complained_) {
        std::snprintf(fault_, sizeof fault_, "%s%s%s", what, error ? ": " : "", error ? std::strerror(error) : "");
        said_ = false;
    }
    complained_ = true;
}

bool Control::take_fault(char* out, size_t capacity) {
    if (said_.load(std::memory_order_relaxed)) return false;
    const std::lock_guard<std::mutex> guard(lock_);
    if (said_) return false;
    said_ = true;
    std::snprintf(out, capacity, "%s", fault_);
    return true;
}

void Control::look(uint64_t unix_ms) {
    const uint64_t last = looked_.load(std::memory_order_relaxed);
    if (last && unix_ms >= last && unix_ms - last < LOOK_MS) return;
    const std::unique_lock<std::mutex> guard(lock_, std::try_to_lock);
    if (!guard) return;  // another thread looks
    looked_.store(unix_ms, std::memory_order_relaxed);
    read(unix_ms);
    struct stat agent {};
    agent_ms_.store(stat((path_ + ".agent").c_str(), &agent) == 0 ? ms_of(agent.st_mtim) : 0, std::memory_order_relaxed);
}

void Control::read(uint64_t unix_ms) {
    struct stat now {};
    if (stat(path_.c_str(), &now) != 0) {
        if (errno == ENOENT) {
            if (fd_ >= 0) close(fd_);
            fd_ = -1;
            writable_ = false;
            complained_ = false;
            if (seen_.st_ino) forget();  // not what this process alone knows, for want of a file
            seen_ = {};
        } else {
            fault("cannot be read", errno);
        }
        publish(unix_ms);
        return;
    }
    const bool same = now.st_ino == seen_.st_ino && now.st_dev == seen_.st_dev;
    const bool still = same && now.st_size == seen_.st_size && now.st_mtim.tv_sec == seen_.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec;
    if (!still) looks_again_ = LOOKS_AGAIN;
    if (!still || looks_again_) read_changed(now, same, unix_ms);
    if (looks_again_) looks_again_--;
    publish(unix_ms);
}

void Control::read_changed(const struct stat& now, bool same, uint64_t unix_ms) {
    if (!S_ISREG(now.st_mode)) {
        fault("is no regular file", 0);
        return;
    }
    if (now.st_size > off_t(MAX_FILE)) {
        fault("is too long", 0);
        return;
    }
    if (!same || fd_ < 0) {
        if (!open_file()) {
            seen_ = {};
            fault("cannot be read", errno);
            return;
        }
        complained_ = false;
        offset_ = 0;
    }
    seen_ = now;
    const int mode_before = journal_mode_;
    bool understood = true;
    char bytes[4096];
    const size_t known = tail_.size();
    const bool goes_on = offset_ && uint64_t(now.st_size) >= offset_ && pread(fd_, bytes, known, off_t(offset_ - known)) == ssize_t(known) &&
                         std::memcmp(bytes, tail_.data(), known) == 0;
    if (!goes_on) {
        if (offset_) complained_ = false;  // another text, another complaint
        forget();
    }
    std::string line;
    bool skips = false;  // the rest of a line that is too long to be one
    for (uint64_t at = offset_;;) {
        const ssize_t n = pread(fd_, bytes, sizeof bytes, off_t(at));
        if (n < 0) fault("cannot be read", errno);
        if (n <= 0) break;
        at += uint64_t(n);
        size_t end, from = 0, searched = line.size();
        line.append(bytes, size_t(n));
        while ((end = line.find('\n', searched)) != line.npos) {
            searched = end + 1;
            if (skips || !take_line(std::string_view(line).substr(from, end - from))) {
                understood = false;
                fault("has a line that is not mode=off, mode=monitor, mode=enforce, alarm=, trip= or rearm=; it changes nothing", 0);
            }
            skips = false;
            from = end + 1;
        }
        if (line.size() - from > MAX_LINE) {
            skips = true;
            from = line.size();
        }
        offset_ += from;
        tail_.append(line, 0, from);
        if (tail_.size() > SEEN_BYTES) tail_.erase(0, tail_.size() - SEEN_BYTES);
        line.erase(0, from);
    }
    // Half a line may still become a whole one; an editor may leave the last without an end.
    if (!line.empty() && unix_ms > ms_of(now.st_mtim) + SETTLED_MS && (line.compare(0, 5, "mode=") != 0 || !take_line(line))) {
        understood = false;
        fault("has a last line without an end; it changes nothing", 0);
    }
    // A new file with a slip in it is no wish to go back to what is configured.
    if (!understood && !mode_told_) journal_mode_ = mode_before;
}

int Control::find(std::string_view name) {
    for (size_t i = 0; i < count_; i++)
        if (name == features_[i].name) return int(i);
    if (!overread::is_name(name) || count_ == MAX_FEATURES) return NONE;
    std::memcpy(features_[count_].name, name.data(), name.size());
    return int(count_++);
}

bool Control::take_line(std::string_view line) {
    const Field first = next_field(line);
    if (first.name.empty() || first.name[0] == '#') return true;
    uint64_t at = 0, until = 0;
    for (Field f = next_field(line); !f.name.empty(); f = next_field(line))
        if (!(f.name == "at" && read_number(f.value, at)) && !(f.name == "until" && read_number(f.value, until))) return false;
    if (first.name == "mode") {
        for (int mode = OVR_MODE_OFF; mode <= OVR_MODE_ENFORCE; mode++) {
            if (first.value != MODES[mode]) continue;
            journal_mode_ = mode;
            mode_told_ = true;
            return true;
        }
        return false;
    }
    if (first.name != "alarm" && first.name != "trip" && first.name != "rearm") return false;
    const int index = find(first.value);
    if (index == NONE) return false;
    Feature& feature = features_[index];
    if (first.name == "alarm") {
        feature.alarms[feature.alarm_count++ % MAX_ALARMS] = at;
    } else if (first.name == "trip") {
        feature.trips += !feature.tripped || (feature.until_ms && at >= feature.until_ms);
        feature.tripped = true;
        feature.at_ms = at;
        feature.until_ms = until;
    } else {
        feature.tripped = false;
        // By hand without a time: older alarms do not count all the same.
        feature.rearmed_ms = at ? at : feature.alarm_count ? feature.alarms[(feature.alarm_count - 1) % MAX_ALARMS] + 1 : 0;
    }
    return true;
}

void Control::publish(uint64_t unix_ms) {
    uint64_t bits = 0;
    for (size_t i = 0; i < count_; i++) {
        Feature& f = features_[i];
        if (f.tripped && f.until_ms && unix_ms >= f.until_ms) {
            f.tripped = false;
            f.rearmed_ms = f.until_ms;  // older alarms do not trip it again
        }
        if (f.tripped) bits |= uint64_t(1) << i;
    }
    tripped_.store(bits, std::memory_order_relaxed);
    mode_.store(journal_mode_, std::memory_order_relaxed);
}

bool Control::append(const std::string& line) {
    if (!writable_ && !open_file()) return false;
    if (!writable_) {
        errno = EACCES;
        return false;
    }
    // What machines write leaves room for operators.
    if (seen_.st_size >= off_t(MAX_FILE / 2) && line[0] != 'm' && line[0] != 'r') {
        errno = EFBIG;
        return false;
    }
    struct stat now {};
    char last = '\n';
    if (fstat(fd_, &now) == 0 && now.st_size > 0 && pread(fd_, &last, 1, now.st_size - 1) != 1) last = '\n';
    const std::string whole = last == '\n' ? line : "\n" + line;  // somebody left his line without an end
    return write(fd_, whole.data(), whole.size()) == ssize_t(whole.size());
}

// What cannot be written holds in this process all the same.
bool Control::tell(const std::string& line, uint64_t unix_ms) {
    const bool written = append(line);
    if (!written) {
        fault("cannot be written", errno);
        take_line(std::string_view(line).substr(0, line.size() - 1));
    }
    read(unix_ms);
    return written;
}

int Control::feature(std::string_view name) {
    const std::lock_guard<std::mutex> guard(lock_);
    return find(name);
}

bool Control::info(size_t i, ovr_feature* out) {
    const std::lock_guard<std::mutex> guard(lock_);
    if (i >= count_) return false;
    const Feature& f = features_[i];
    std::memcpy(out->name, f.name, sizeof out->name);
    out->tripped = f.tripped;
    out->at_ms = f.at_ms;
    out->until_ms = f.tripped ? f.until_ms : 0;
    out->alarms = f.alarm_count;
    out->trips = f.trips;
    return true;
}

bool Control::alarm(int index, uint64_t unix_ms, const Tripping& t) {
    const std::lock_guard<std::mutex> guard(lock_);
    read(unix_ms);
    Feature& f = features_[index];
    if (f.tripped) return false;  // its alarms are known
    if (!t.at_once) {
        tell(std::string("alarm=") + f.name + " at=" + std::to_string(unix_ms) + "\n", unix_ms);
        const uint64_t since = std::max(unix_ms - std::min(unix_ms, t.window_ms), f.rearmed_ms);
        if (!t.alarms || f.tripped || f.alarm_count < t.alarms || f.alarms[(f.alarm_count - t.alarms) % MAX_ALARMS] < since) return false;
    }
    tell_trip(f, unix_ms, t.rearm_ms ? unix_ms + t.rearm_ms : 0);
    return f.tripped;
}

bool Control::tell_trip(const Feature& feature, uint64_t unix_ms, uint64_t until_ms) {
    const std::string until = until_ms ? " until=" + std::to_string(until_ms) : "";
    return tell(std::string("trip=") + feature.name + " at=" + std::to_string(unix_ms) + until + "\n", unix_ms);
}

bool Control::trip(int index, uint64_t unix_ms, uint64_t until_ms) {
    const std::lock_guard<std::mutex> guard(lock_);
    read(unix_ms);  // the file may be another by now
    return tell_trip(features_[index], unix_ms, until_ms);
}

bool Control::rearm(int index, uint64_t unix_ms) {
    const std::lock_guard<std::mutex> guard(lock_);
    read(unix_ms);
    return tell(std::string("rearm=") + features_[index].name + " at=" + std::to_string(unix_ms) + "\n", unix_ms);
}

bool Control::set_mode(int mode, uint64_t unix_ms) {
    const std::lock_guard<std::mutex> guard(lock_);
    read(unix_ms);
    return tell(std::string("mode=") + MODES[mode] + "\n", unix_ms);
}

}  // namespace overread
