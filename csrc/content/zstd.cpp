// zstd through libzstd; RFC 8878.
#include "content/engine.h"

#ifdef OVERREAD_HAS_ZSTD
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <new>

namespace overread {
namespace {

// A frame of a content coding needs no larger window; RFC 9659, section 3.
constexpr int MAX_WINDOW_LOG = 23;
constexpr size_t BLOCK_HEADER = 3;

class Zstd final : public Engine {
  public:
    bool open() {
        state_ = ZSTD_createDStream();
        return state_ && !ZSTD_isError(ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, MAX_WINDOW_LOG)) && again();
    }
    ~Zstd() override { ZSTD_freeDStream(state_); }
    Step decode(Window& w) override {
        ZSTD_outBuffer out{w.out, w.out_size, 0};
        Step step = Step::more;
        do {
            // After an error the library gives out nothing of what it decoded in that call, so no call may go past a block's
            // end: the wanted size runs to the end of the next block's header.
            ZSTD_inBuffer in{w.in, std::min(w.in_size, wanted_ > BLOCK_HEADER ? wanted_ - BLOCK_HEADER : 1), 0};
            const size_t r = ZSTD_decompressStream(state_, &out, &in);
            if (ZSTD_isError(r)) {
                const ZSTD_ErrorCode code = ZSTD_getErrorCode(r);
                step = code == ZSTD_error_memory_allocation ? Step::memory : code == ZSTD_error_frameParameter_windowTooLarge ? Step::bound : Step::broken;
                break;
            }
            w.in += in.pos;
            w.in_size -= in.pos;
            wanted_ = r;
            if (r == 0) step = Step::end;
        } while (step == Step::more && w.in_size && out.pos < out.size);
        w.out += out.pos;
        w.out_size -= out.pos;
        return step;
    }
    bool again() override {
        wanted_ = ZSTD_initDStream(state_);
        return !ZSTD_isError(wanted_);
    }
    // A block comes out when its last byte is there, but its literals may stand in it as they are.
    bool settled() const override { return wanted_ <= BLOCK_HEADER; }

  private:
    ZSTD_DStream* state_ = nullptr;
    size_t wanted_ = 0;
};

}  // namespace

Engine* new_zstd() {
    auto* e = new (std::nothrow) Zstd;
    if (e && e->open()) return e;
    delete e;
    return nullptr;
}

}  // namespace overread
#else
overread::Engine* overread::new_zstd() { return nullptr; }
#endif
