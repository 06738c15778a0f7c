// What a decoder of one coding must offer; each wraps a library, and the library's header is seen in its own file only.
#pragma once
#include <cstddef>
#include <cstdint>

#include "content/codings.h"

namespace overread {

enum class Step : uint8_t {
    more,    // all input is taken, or the output is full
    end,     // the coded data is complete; what is left of the input stands behind it
    broken,  // no such coded data
    bound,   // it asks for more memory than a client would give it
    memory   // there is none
};

struct Window {
    const uint8_t* in;
    size_t in_size;
    uint8_t* out;
    size_t out_size;
};

// The bytes that come out, until an error and with it, do not depend on how the input is cut.
class Engine {
  public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;
    // Moves the window's ends forward.
    virtual Step decode(Window& window) = 0;
    // Begins another member; false: the coding has one only.
    virtual bool again() { return false; }
    // Whether all that the input taken so far tells has come out; asked when decode() leaves room in the output.
    virtual bool settled() const { return true; }
};

// nullptr: no memory. `supported` says whether the library is built in.
bool supported(Coding coding);
Engine* new_inflate(int window_bits);
Engine* new_brotli();
Engine* new_zstd();

}  // namespace overread
