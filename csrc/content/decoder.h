// Undoes the content codings of one response, in pieces and within bounds.
#pragma once
#include <memory>

#include "content/codings.h"
#include "content/engine.h"

namespace overread {

// Work and time are bounded by the coded bytes, which the origin must send: behind the first MIN_BOMB decoded bytes a
// stream that is more than `ratio` times its coded size is a bomb. Pages and data stay below 100 to 1; deflate reaches
// 1,032, br and zstd a million. The size alone ends what no client would keep.
constexpr uint64_t MIN_BOMB = uint64_t(16) << 20;
struct Bounds {
    uint64_t ratio = 200, decoded = uint64_t(4) << 30;
};

enum class Decoded : uint8_t {
    none,       // nothing is coded
    ok,         // complete, or empty
    trailing,   // complete, and more bytes stand behind: they are handed on as they are
    truncated,  // ends early
    broken,     // cannot be decoded from some byte on
    bomb,       // beyond a bound
    unknown     // a coding that is not decoded here, more than MAX_CODINGS, or no memory
};

class Decoder {
  public:
    // Takes decoded bytes; what it is handed lives until it returns.
    struct Sink {
        virtual void take(const uint8_t* data, size_t size) = 0;

      protected:
        ~Sink() = default;
    };
    ~Decoder();
    // nullptr: none of `codings` may be unknown here, and there must be memory.
    static std::unique_ptr<Decoder> open(const Codings& codings, const Bounds& bounds = Bounds());
    // Decodes the next bytes, and all that comes of them; returns how many it took, which are all where none is undone any
    // more. What the sink gets does not depend on how the coded bytes are cut.
    size_t feed(const uint8_t* data, size_t size, Sink& sink);
    void finish(Sink& sink);
    Decoded state() const { return state_; }
    // Neither end nor error so far: more bytes may come out.
    bool live() const { return state_ <= Decoded::trailing; }
    // All that the coded bytes so far tell has been handed on.
    bool settled() const;
    // The very first bytes are no such coded data, and none was decoded: they are in `begun`, and `left` of those taken last
    // stand behind them.
    bool refused() const { return refused_; }
    size_t begun(const uint8_t** bytes) const;
    size_t left() const { return left_; }

  private:
    // Bytes of input that share a bound, counted from the start of the body.
    static constexpr size_t PIECE = 1024;
    static constexpr size_t BUFFER = 16384, MAX_MAGIC = 4;
    struct Stage;

    Decoder() = default;
    bool add(Coding coding);
    void push(size_t stage, const uint8_t* data, size_t size, Sink& sink);
    void hand_on(size_t stage, const uint8_t* data, size_t size, Sink& sink);
    bool begin(size_t stage, const uint8_t*& data, size_t& size, Sink& sink);
    void run(size_t stage, const uint8_t*& data, size_t& size, Sink& sink);

    Stage* stages_[MAX_CODINGS] = {};  // in the order they are undone
    size_t count_ = 0;
    Bounds bounds_;
    uint64_t coded_ = 0;
    uint64_t limit_ = 0;  // bytes that may have come out of any stage before the piece ends
    Decoded state_ = Decoded::ok;
    bool refused_ = false;
    size_t left_ = 0;
};

}  // namespace overread
