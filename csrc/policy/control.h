// The control file: how operators, the agent and the proxies of a machine tell each other what is switched off.
//
// It is a journal of text lines that are only ever appended, each in one write, so that no lock is needed and a process may end
// anywhere; a mapped page would end every worker (SIGBUS) where somebody shortens the file. Whoever reads it from its start has the
// state:
//   mode=off|monitor|enforce                    the most that any path does from here on
//   alarm=FEATURE at=MS                         a response of this feature leaked
//   trip=FEATURE at=MS [until=MS]               the feature is to be switched off, for ever or until then
//   rearm=FEATURE at=MS                         and is not any more
// A file that was replaced or cut short is read anew. What cannot be understood is passed over, and said once.
#pragma once
#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "overread.h"

namespace overread {

// When so many alarms of a feature come within a time, it is tripped.
struct Tripping {
    uint32_t alarms = 0;     // 0: never
    uint64_t window_ms = 0;  // within so long
    uint64_t rearm_ms = 0;   // and is rearmed after so long; 0: by hand
    bool at_once = false;    // this one alarm does it
};

class Control {
  public:
    static constexpr size_t MAX_FEATURES = 64, MAX_NAME = 32, MAX_ALARMS = 64;
    static constexpr int NONE = -1;

    explicit Control(std::string path) : path_(std::move(path)) {}
    ~Control();
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    // Makes the file where there is none, and keeps it open: a worker may have less rights than its master. False: errno says why.
    bool create();
    // Brings the state up to date, at most every LOOK_MS; any thread.
    void look(uint64_t unix_ms);
    int mode() const { return mode_.load(std::memory_order_relaxed); }
    uint64_t tripped() const { return tripped_.load(std::memory_order_relaxed); }
    uint64_t agent_ms() const { return agent_ms_.load(std::memory_order_relaxed); }
    // Takes what is to be said of the file, once; false: nothing.
    bool take_fault(char* out, size_t capacity);
    static bool is_name(const ovr_bytes& name);
    // The number of a feature, which a process keeps; NONE for a name that is none, or one too many.
    int feature(std::string_view name);
    bool info(size_t i, ovr_feature* out);
    // One alarm. True: it tripped the feature.
    bool alarm(int feature, uint64_t unix_ms, const Tripping& tripping);
    bool trip(int feature, uint64_t unix_ms, uint64_t until_ms);
    bool rearm(int feature, uint64_t unix_ms);
    bool set_mode(int mode, uint64_t unix_ms);

  private:
    static constexpr uint64_t LOOK_MS = 100;
    static constexpr size_t MAX_FILE = 16u << 20;  // more is no journal of alarms

    struct Feature {
        char name[MAX_NAME + 1] = "";
        bool tripped = false;
        uint64_t at_ms = 0, until_ms = 0, trips = 0;
        uint64_t alarms[MAX_ALARMS] = {};  // when the last ones were, as a ring
        uint64_t alarm_count = 0;
        uint64_t rearmed_ms = 0;
    };

    void read(uint64_t unix_ms);
    void read_changed(const struct stat& now, bool same, uint64_t unix_ms);
    bool take_line(std::string_view line);
    void forget();
    void publish(uint64_t unix_ms);
    void fault(const char* what, int error);
    bool append(const std::string& line);
    bool tell(const std::string& line, uint64_t unix_ms);
    bool tell_trip(const Feature& feature, uint64_t unix_ms, uint64_t until_ms);
    int find(std::string_view name);
    bool open_file();

    const std::string path_;
    std::atomic<uint64_t> looked_{0};
    std::atomic<int> mode_{OVR_MODE_ENFORCE};
    std::atomic<uint64_t> tripped_{0}, agent_ms_{0};
    std::mutex lock_;  // of all below
    int fd_ = -1;
    bool writable_ = false, complained_ = false;
    std::atomic<bool> said_{true};
    struct stat seen_ {};
    int looks_again_ = 0;
    uint64_t offset_ = 0;  // of the first line that was not read
    std::string tail_;     // the bytes before it
    int journal_mode_ = OVR_MODE_ENFORCE;
    bool mode_told_ = false;
    Feature features_[MAX_FEATURES];
    size_t count_ = 0;
    char fault_[160] = "";
};

}  // namespace overread
