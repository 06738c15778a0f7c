// Two responses with one strong ETag are one representation, byte by byte (RFC 9110, section 8.8.1): where a later one holds more
// bytes than its twin and otherwise the same, these are not the object's. docs/evidence.md, Twins.
//
// Of an object its length and the digests of up to 32 blocks are kept, no byte, in memory that processes may share. No lock is held:
// entries carry a checksum, and one that two writers tore counts as none.
#pragma once
#include <atomic>
#include <cstdint>

#include "overread.h"
#include "policy/exchange.h"
#include "stream/stream.h"

namespace overread {

struct TwinObject {
    static constexpr size_t BLOCKS = 32;
    uint64_t key = 0, etag = 0, length = 0;
    uint32_t flags = 0;
    uint32_t seen = 0;  // seconds; the one seen longest ago makes room
    uint32_t blocks[BLOCKS] = {};
};

class Twins {
  public:
    static constexpr size_t ENTRIES = 4096, WAYS = 4;
    bool find(uint64_t key, TwinObject* out) const;
    void put(const TwinObject& object);
    // Objects that were compared, and those of them whose ETag did not hold; each is counted once while it is kept.
    std::atomic<uint64_t> compared, differed;

  private:
    static constexpr size_t WORDS = 5 + TwinObject::BLOCKS / 2;
    struct Entry {
        std::atomic<uint64_t> words[WORDS];
    };
    static bool read(const Entry& entry, TwinObject* out);
    Entry entries_[ENTRIES];
};

// Of one response.
class Twin {
  public:
    enum class Is : uint8_t { none, insertion, tail };
    struct Difference {
        Is is = Is::none;
        uint64_t offset = 0, length = 0;  // of what is more; an insertion's place is known to a block
        TwinSign sign;
    };
    void head(const Twins& twins, const DigestKey& key, const ovr_response& response, uint32_t watch);
    void feed(const uint8_t* data, size_t size);
    // The body is over.
    Difference end(Twins& twins);

  private:
    // nowhere: nothing is compared; start: the twin's blocks from the start on; behind: those behind what was inserted; done: the
    // two differ otherwise.
    enum class Looks : uint8_t { nowhere, own, start, behind, done };
    enum Flag : uint32_t { COMPARED = 1, DIFFERED = 2 };  // of an object
    void open_block(size_t block);
    void close_block();
    void word(uint64_t w);
    void take(const uint8_t* data, size_t size);

    Looks looks_ = Looks::nowhere;
    DigestKey key_{};
    TwinObject object_;           // the twin, or this one where there is none
    bool shrunk_ = false;         // there was a longer one
    uint64_t length_ = 0;         // as announced
    uint64_t more_ = 0;           // bytes beyond the twin's
    uint64_t at_ = 0, next_ = 0;  // bytes seen; where the open block goes on
    uint64_t block_size_ = 0, left_ = 0;
    size_t block_ = 0, blocks_ = 0, differs_at_ = 0;
    // Words take the lanes in turn: one multiplication need not wait for the other's result.
    static constexpr size_t LANES = 4;
    uint64_t lanes_[LANES] = {}, held_ = 0;
    uint8_t lane_ = 0;
    uint8_t held_size_ = 0;
};

}  // namespace overread
