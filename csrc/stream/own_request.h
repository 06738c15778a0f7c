// The client's own values, kept as keyed digests: a finding that consists wholly of one is exempt.
#pragma once
#include "overread.h"
#include "registry/digest.h"

namespace overread {

class OwnRequest {
  public:
    void reset(const DigestKey& key, const ovr_request* request);
    // True when [value, size) is, as a whole, a value of the request.
    bool holds(const uint8_t* value, size_t size) const { return count_ && known(value, size); }

  private:
    bool known(const uint8_t* value, size_t size) const;
    void keep(const uint8_t* value, size_t size);
    void add(const uint8_t* value, size_t size);
    void add_escaped(const uint8_t* value, size_t size);
    void add_pairs(const uint8_t* text, size_t size, char separator);
    static constexpr size_t CAPACITY = 256;  // 2 KiB; a request with more values keeps its first ones
    DigestKey key_{};
    uint16_t count_ = 0;
    uint64_t digests_[CAPACITY];
    // Which sizes and digests are kept, modulo 1024: what is none of them costs no digest and no search.
    uint64_t sizes_[16], low_bits_[16];
};

}  // namespace overread
