// The C figure that a Python feed is compared with: a library, so that both run in one process and their rounds interleave.
#include "ours.h"

using namespace bench;

// Seconds of CPU that feeding the bodies of a pack takes, in chunks; opening and closing their streams is not counted.
extern "C" double feed_seconds(const char* type, const char* pack, size_t pack_size, size_t chunk) {
    const std::vector<Body> bodies = bodies_of(pack, pack_size);
    Ours ours(type);
    std::vector<ovr_stream*> streams(bodies.size());
    for (ovr_stream*& s : streams) {
        ovr_error error;
        if (ovr_stream_open(ours.scanner, &ours.response, &s, &error)) fail(error.message);
    }
    const double start = now();
    for (size_t i = 0; i < bodies.size(); i++)
        for (size_t at = 0; at < bodies[i].size; at += chunk) {
            ovr_progress progress;  // Python returns what may go out
            ovr_stream_feed(streams[i], bodies[i].data + at, std::min(chunk, bodies[i].size - at), &progress);
        }
    const double took = now() - start;
    for (ovr_stream* s : streams) ovr_stream_close(s);
    return took;
}
