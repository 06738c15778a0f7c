// Clears what must not stay in memory that is given back.
#pragma once
#include <cstddef>
#include <cstring>

namespace overread {

// Stores that the compiler may not leave out, though nobody reads them: it has to take them for read.
inline void wipe(void* p, size_t size) {
    std::memset(p, 0, size);
    __asm__ volatile("" : : "r"(p) : "memory");
}

}  // namespace overread
