// br through libbrotlidec; RFC 7932.
#include "content/engine.h"

#ifdef OVERREAD_HAS_BROTLI
#include <brotli/decode.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace overread {
namespace {

struct Destroy {
    void operator()(BrotliDecoderState* s) const { BrotliDecoderDestroyInstance(s); }
};
using State = std::unique_ptr<BrotliDecoderState, Destroy>;

// After an error the library gives out nothing of what it decoded in that call, which depends on where chunks end. So the
// last coded bytes are kept; at an error a second decoder, which stands where they begin, goes through them a byte a call.
// Most bodies are kept whole, and need none before.
class Brotli final : public Engine {
  public:
    bool open() {
        ahead_.reset(BrotliDecoderCreateInstance(nullptr, nullptr, nullptr));
        return ahead_ != nullptr;
    }
    Step decode(Window& w) override {
        if (repeats_) return repeat(w);
        if (drained_ && kept_size_ > KEPT && !catch_up()) return Step::memory;
        const uint8_t* const from = w.in;
        const size_t given = w.in_size, room = w.out_size;
        const BrotliDecoderResult r = BrotliDecoderDecompressStream(ahead_.get(), &w.in_size, &w.in, &w.out_size, &w.out, nullptr);
        out_ += room - w.out_size;
        drained_ = r == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT;
        const size_t taken = r == BROTLI_DECODER_RESULT_ERROR ? given : given - w.in_size;
        if (taken > sizeof kept_ - kept_size_) return Step::memory;
        if (taken) std::memcpy(kept_ + kept_size_, from, taken);
        kept_size_ += taken;
        if (r == BROTLI_DECODER_RESULT_SUCCESS) return Step::end;
        if (r != BROTLI_DECODER_RESULT_ERROR) return Step::more;
        if (out_of_memory(ahead_.get()) || !begin_behind()) return Step::memory;
        ahead_.reset();
        repeats_ = true;
        w.in += w.in_size;
        w.in_size = 0;
        return repeat(w);
    }

  private:
    static constexpr size_t KEPT = 49152, MOST_INPUT = 16384;

    static bool out_of_memory(const BrotliDecoderState* s) {
        const BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(s);
        return code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
    }
    bool begin_behind() {
        if (!behind_) behind_.reset(BrotliDecoderCreateInstance(nullptr, nullptr, nullptr));
        return behind_ != nullptr;
    }
    BrotliDecoderResult feed_behind(size_t& size, const uint8_t*& p) {
        size_t none = 0;
        return BrotliDecoderDecompressStream(behind_.get(), &size, &p, &none, nullptr, nullptr);
    }
    // Moves the second decoder to the end of what is kept; all of it has been decoded without an error.
    bool catch_up() {
        if (!begin_behind()) return false;
        const uint8_t* p = kept_;
        size_t left = kept_size_;
        for (;;) {
            const BrotliDecoderResult r = feed_behind(left, p);
            if (r == BROTLI_DECODER_RESULT_ERROR) return false;
            if (!BrotliDecoderHasMoreOutput(behind_.get())) break;
            size_t n = 0;
            BrotliDecoderTakeOutput(behind_.get(), &n);
            behind_out_ += n;
        }
        kept_size_ = 0;
        return true;
    }
    Step repeat(Window& w) {
        for (;;) {
            while (BrotliDecoderHasMoreOutput(behind_.get())) {
                const bool known = behind_out_ < out_;
                if (!known && !w.out_size) return Step::more;
                size_t n = known ? size_t(std::min<uint64_t>(out_ - behind_out_, MOST_INPUT)) : w.out_size;
                const uint8_t* bytes = BrotliDecoderTakeOutput(behind_.get(), &n);
                behind_out_ += n;
                if (known) continue;
                std::memcpy(w.out, bytes, n);
                out_ += n;
                w.out += n;
                w.out_size -= n;
            }
            if (repeated_ == kept_size_) return Step::broken;
            const uint8_t* p = kept_ + repeated_;
            size_t one = 1;
            const BrotliDecoderResult r = feed_behind(one, p);
            repeated_ += 1 - one;
            if (r == BROTLI_DECODER_RESULT_ERROR) return out_of_memory(behind_.get()) ? Step::memory : Step::broken;
        }
    }

    State ahead_, behind_;
    uint64_t out_ = 0, behind_out_ = 0;  // bytes that came out: of the engine, of the second decoder
    bool drained_ = true, repeats_ = false;
    size_t kept_size_ = 0, repeated_ = 0;
    uint8_t kept_[KEPT + MOST_INPUT];
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
