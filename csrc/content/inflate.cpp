// gzip and deflate through zlib; RFC 1950, 1951, 1952.
#include "content/engine.h"

#ifdef OVERREAD_HAS_ZLIB
#include <zlib.h>

#include <algorithm>
#include <climits>
#include <new>

namespace overread {
namespace {

class Inflate final : public Engine {
  public:
    bool open(int window_bits) { return opened_ = inflateInit2(&z_, window_bits) == Z_OK; }
    ~Inflate() override {
        if (opened_) inflateEnd(&z_);
    }
    Step decode(Window& w) override {
        const uInt in = uInt(std::min<size_t>(w.in_size, UINT_MAX)), out = uInt(std::min<size_t>(w.out_size, UINT_MAX));
        z_.next_in = const_cast<Bytef*>(w.in);
        z_.avail_in = in;
        z_.next_out = w.out;
        z_.avail_out = out;
        const int status = inflate(&z_, Z_NO_FLUSH);
        w.in += in - z_.avail_in;
        w.in_size -= in - z_.avail_in;
        w.out += out - z_.avail_out;
        w.out_size -= out - z_.avail_out;
        if (status == Z_OK || status == Z_BUF_ERROR) return Step::more;
        return status == Z_STREAM_END ? Step::end : status == Z_MEM_ERROR ? Step::memory : Step::broken;
    }
    bool again() override { return inflateReset(&z_) == Z_OK; }

  private:
    z_stream z_{};
    bool opened_ = false;
};

}  // namespace

Engine* new_inflate(int window_bits) {
    auto* e = new (std::nothrow) Inflate;
    if (e && e->open(window_bits)) return e;
    delete e;
    return nullptr;
}

}  // namespace overread
#else
overread::Engine* overread::new_inflate(int) { return nullptr; }
#endif
