// Coded bodies, made by the encoders of the libraries whose decoders are tested.
#pragma once
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdlib>
#include <string>

inline std::string deflated(const std::string& body, int window_bits) {
    z_stream z{};
    if (deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
    std::string out(deflateBound(&z, body.size()) + 64, '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
    z.avail_in = uInt(body.size());
    z.next_out = reinterpret_cast<Bytef*>(&out[0]);
    z.avail_out = uInt(out.size());
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) std::abort();
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

inline std::string encoded(const std::string& body, const std::string& how) {
    if (how == "gzip") return deflated(body, 31);
    if (how == "deflate") return deflated(body, 15);
    if (how == "raw deflate") return deflated(body, -15);
    if (how == "br") {
        size_t n = BrotliEncoderMaxCompressedSize(body.size()) + 64;
        std::string out(n, '\0');
        if (!BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, body.size(), reinterpret_cast<const uint8_t*>(body.data()), &n,
                                   reinterpret_cast<uint8_t*>(&out[0])))
            std::abort();
        out.resize(n);
        return out;
    }
    if (how == "zstd") {
        std::string out(ZSTD_compressBound(body.size()), '\0');
        const size_t n = ZSTD_compress(&out[0], out.size(), body.data(), body.size(), 3);
        if (ZSTD_isError(n)) std::abort();
        out.resize(n);
        return out;
    }
    std::abort();
}
