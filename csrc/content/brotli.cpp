// br through libbrotlidec; RFC 7932.
#include "content/engine.h"

#ifdef OVERREAD_HAS_BROTLI
#include <brotli/decode.h>

#include <new>

namespace overread {
namespace {

class Brotli final : public Engine {
  public:
    bool open() { return (state_ = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)) != nullptr; }
    ~Brotli() override {
        if (state_) BrotliDecoderDestroyInstance(state_);
    }
    Step decode(Window& w) override {
        // After an error the library gives out nothing of what it decoded in that call: a byte a call, so that what comes out
        // before an error does not depend on where chunks end.
        do {
            const size_t one = w.in_size ? 1 : 0;
            size_t in = one;
            const BrotliDecoderResult r = BrotliDecoderDecompressStream(state_, &in, &w.in, &w.out_size, &w.out, nullptr);
            w.in_size -= one - in;
            if (r == BROTLI_DECODER_RESULT_SUCCESS) return Step::end;
            if (r == BROTLI_DECODER_RESULT_ERROR) {
                const BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(state_);
                return code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES ? Step::memory : Step::broken;
            }
        } while (w.in_size && w.out_size);
        return Step::more;
    }

  private:
    BrotliDecoderState* state_ = nullptr;
};

}  // namespace

Engine* new_brotli() {
    auto* e = new (std::nothrow) Brotli;
    if (e && e->open()) return e;
    delete e;
    return nullptr;
}

}  // namespace overread
#else
overread::Engine* overread::new_brotli() { return nullptr; }
#endif
