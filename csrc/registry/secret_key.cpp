#include "registry/secret_key.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "registry/wipe.h"

namespace overread {

SecretKey::SecretKey(const uint8_t* key) : size_(size_t(sysconf(_SC_PAGESIZE))) {
    void* page = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_DONTDUMP)
    madvise(page, size_, MADV_DONTDUMP);
#endif
    mlock(page, size_);  // may be refused (RLIMIT_MEMLOCK): the key can then be swapped out, and is still in no dump
    keys_ = new (page) RegistryKeys;
    uint8_t bytes[OPERATOR_KEY_SIZE];
    if (key) {
        std::memcpy(bytes, key, sizeof bytes);
    } else {
        const DigestKey chance = random_key();
        std::memcpy(bytes, &chance.k0, 8);
        std::memcpy(bytes + 8, &chance.k1, 8);
    }
    keys_->fingerprints = derived_key(bytes, "registry fingerprints");
    keys_->owners = derived_key(bytes, "registry owners");
    keys_->canaries = derived_key(bytes, "registry canaries");
    keys_->poison = derived_key(bytes, "registry poison");
    const DigestKey order = derived_key(bytes, "registry order");
    keys_->order[0] = order.k0, keys_->order[1] = order.k1;
    keys_->id = derived_key(bytes, "registry id").k0;
    wipe(bytes, sizeof bytes);
}

SecretKey::~SecretKey() {
    wipe(keys_, sizeof *keys_);
    munmap(keys_, size_);
}

}  // namespace overread
