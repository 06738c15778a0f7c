// The memory of a registry: of this process and those forked from it, or of all that open the same file.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "registry/table.h"

namespace overread {

// What stands before the table.
struct alignas(64) SegmentHead {
    // Of this layout; another build's memory is not used.
    static constexpr uint64_t LAYOUT = 0x6f76722d72656702;
    std::atomic<uint64_t> layout;  // 0: fresh
    uint64_t key_id, buckets, life;
    std::atomic<uint64_t> ready;  // 1: the three above are right
    alignas(64) std::atomic<uint64_t> stored, observed, weak, full, quota, shared, exposed;
    alignas(64) std::atomic<uint64_t> lookups, foreign, exported, imported;
    std::atomic<uint64_t> swept;                          // the next bucket to be exported
    std::atomic<uint64_t> poison_turn, poison_order[16];  // which key of the hour; which windows poison has, as a filter
};

class Segment {
  public:
    Segment() = default;
    ~Segment();
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    // size: bytes. path: nullptr for no file. False: `why` says what is wrong, and the remedy.
    bool open(const char* path, size_t size, uint64_t key_id, uint32_t life, std::string& why);
    SegmentHead& head() const { return *static_cast<SegmentHead*>(memory_); }
    Bucket* buckets() const { return reinterpret_cast<Bucket*>(static_cast<uint8_t*>(memory_) + sizeof(SegmentHead)); }

  private:
    bool map(const char* path, size_t size, std::string& why);
    void* memory_ = nullptr;
    size_t size_ = 0;
};

}  // namespace overread
