// The registry's key, in a page of its own that is locked and left out of core dumps: who has a dump cannot tell which values the
// fingerprints in it are of.
#pragma once
#include <cstddef>
#include <cstdint>

#include "registry/digest.h"

namespace overread {

// What the 16 bytes of a key become: one key for each use.
struct RegistryKeys {
    DigestKey fingerprints, owners, canaries, poison;
    uint64_t order[2];  // which windows are chosen
    uint64_t id;        // tells one key from another, and nothing else
};

class SecretKey {
  public:
    // key: 16 bytes, or nullptr for chance. Throws std::bad_alloc.
    explicit SecretKey(const uint8_t* key);
    ~SecretKey();
    SecretKey(const SecretKey&) = delete;
    SecretKey& operator=(const SecretKey&) = delete;
    const RegistryKeys& operator*() const { return *keys_; }
    const RegistryKeys* operator->() const { return keys_; }

  private:
    RegistryKeys* keys_;
    size_t size_;
};

}  // namespace overread
