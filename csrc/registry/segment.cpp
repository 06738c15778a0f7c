#include "registry/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace overread {
namespace {

// A file whose owner is another, or that others may write, could be shortened under us: a look-up would then end the process.
const char* unsafe(const struct stat& s) {
    if (!S_ISREG(s.st_mode)) return "it is no regular file";
    if (s.st_mode & 077) return "others may read or write it: its mode must be 0600";
    if (s.st_uid != geteuid() && geteuid() != 0) return "it is another user's";
    return nullptr;
}

struct File {
    int fd;
    ~File() {
        if (fd >= 0) close(fd);
    }
};

}  // namespace

Segment::~Segment() {
    if (memory_) munmap(memory_, size_);
}

bool Segment::map(const char* path, size_t size, std::string& why) {
    const File file{path ? ::open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1};
    auto refuse = [&](const std::string& what) {
        why = std::string(path) + ": " + what;
        return false;
    };
    if (path) {
        if (file.fd < 0) return refuse(std::strerror(errno));
        struct stat s;
        if (fstat(file.fd, &s) != 0) return refuse(std::strerror(errno));
        if (const char* what = unsafe(s)) return refuse(what);
        if (s.st_size == 0) {
            // Two that come at once make the same size.
            if (posix_fallocate(file.fd, 0, off_t(size)) != 0) return refuse("no room for " + std::to_string(size) + " bytes");
        } else if (size_t(s.st_size) != size) {
            return refuse("it has " + std::to_string(s.st_size) + " bytes, and this `memory` takes " + std::to_string(size) +
                          ": give all that share it the same, or remove the file");
        }
    }
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, path ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, file.fd, 0);
    if (memory == MAP_FAILED) {
        why = std::string(path ? path : "the registry") + ": no memory for " + std::to_string(size) + " bytes";
        return false;
    }
    memory_ = memory;
    size_ = size;
#if defined(MADV_DONTDUMP)
    madvise(memory, size, MADV_DONTDUMP);
#endif
    return true;
}

bool Segment::open(const char* path, size_t size, uint64_t key_id, uint32_t life, std::string& why) {
    const size_t buckets = (size - sizeof(SegmentHead)) / BUCKET_MEMORY;
    if (!map(path, sizeof(SegmentHead) + buckets * BUCKET_MEMORY, why)) return false;
    SegmentHead& h = head();
    uint64_t found = 0;
    static_assert(std::atomic<uint64_t>::is_always_lock_free, "a process may end anywhere");
    if (h.layout.compare_exchange_strong(found, SegmentHead::LAYOUT)) {
        h.key_id = key_id, h.buckets = buckets, h.life = life;
        h.ready.store(1, std::memory_order_release);
        return true;
    }
    for (int ms = 0; ms < 200 && !h.ready.load(std::memory_order_acquire); ms++) usleep(1000);  // its maker is at it
    const char* remedy = "";
    if (found != SegmentHead::LAYOUT)
        remedy = "another version of overread made it: remove it when no process uses it any more";
    else if (!h.ready.load(std::memory_order_acquire))
        remedy = "whoever made it ended meanwhile: remove it";
    else if (h.key_id != key_id)
        remedy = "it is under another key: give all that share it the same `key`, or remove it";
    else if (h.buckets != buckets || h.life != life)
        remedy = "it has another size or life: give all that share it the same, or remove it";
    if (!*remedy) return true;
    why = std::string(path ? path : "the registry") + ": " + remedy;
    return false;
}

}  // namespace overread
