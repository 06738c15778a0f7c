// Bytes that end at an unreadable page, or start behind one.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

class GuardPage {
  public:
    explicit GuardPage(size_t capacity) : page_(size_t(sysconf(_SC_PAGESIZE))) {
        size_ = (capacity + page_ - 1) / page_ * page_;
        base_ = static_cast<uint8_t*>(mmap(nullptr, size_ + 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_, page_, PROT_NONE) || mprotect(base_ + page_ + size_, page_, PROT_NONE)) {
            std::perror("guard page");
            std::abort();
        }
    }
    ~GuardPage() { munmap(base_, size_ + 2 * page_); }
    GuardPage(const GuardPage&) = delete;
    // The copy's last byte is the last readable one.
    uint8_t* at_end(const uint8_t* data, size_t n) {
        uint8_t* p = base_ + page_ + size_ - n;
        if (n) std::memcpy(p, data, n);
        return p;
    }
    // The byte before the copy is unreadable.
    uint8_t* at_start(const uint8_t* data, size_t n) {
        uint8_t* p = base_ + page_;
        if (n) std::memcpy(p, data, n);
        return p;
    }

  private:
    size_t page_, size_ = 0;
    uint8_t* base_ = nullptr;
};
