// What programs of the C ABI write again and again.
#pragma once
#include <cstdint>
#include <string>

#include "overread.h"

inline ovr_bytes bytes_of(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

// A structure that says its size, and nothing else.
template <class T>
T sized() {
    T t{};
    t.struct_size = sizeof t;
    return t;
}
