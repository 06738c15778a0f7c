// What is made once: rulesets and the list of kernels. Also the capsule through which _stream reaches the core, and the core's
// own decoders, for what no output of the C ABI may carry: bytes of a body, which the contexts of `overread scan` show.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "_capi.h"
#include "content/decoder.h"

namespace py = pybind11;

namespace {

const overread_capi TABLE = {OVR_ABI_VERSION,     ovr_scanner_new,   ovr_scanner_free,   ovr_scanner_kernel,  ovr_scanner_site_counts, ovr_stream_open,
                             ovr_stream_reset,    ovr_stream_feed,   ovr_stream_flush,   ovr_stream_trailers, ovr_stream_progress,     ovr_stream_finish,
                             ovr_stream_close,    ovr_filter_open,   ovr_filter_head,    ovr_filter_body,     ovr_filter_flush,        ovr_filter_trailers,
                             ovr_filter_end,      ovr_filter_redact, ovr_filter_verdict, ovr_filter_id,       ovr_filter_event,        ovr_filter_close,
                             ovr_no_store_strips, ovr_no_store_sets, ovr_tier_name,      ovr_family_name,     ovr_part_name,           ovr_decode_name};

[[noreturn]] void raise(const char* name, const char* message) {
    const py::object type = py::module_::import("overread.errors").attr(name);
    PyErr_SetString(type.ptr(), message);
    throw py::error_already_set();
}

class Ruleset {
  public:
    explicit Ruleset(const py::object& blob) {
        if (blob.is_none()) {
            handle_ = ovr_ruleset_default();
            if (!handle_) raise("BlobError", "the embedded ruleset does not load");
            return;
        }
        Py_buffer view;
        if (PyObject_GetBuffer(blob.ptr(), &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
        ovr_ruleset* loaded = nullptr;
        ovr_error error;
        const int status = ovr_ruleset_load(view.buf, size_t(view.len), &loaded, &error);
        PyBuffer_Release(&view);
        if (status != OVR_OK) raise("BlobError", error.message);
        owned_.reset(loaded);
        handle_ = loaded;
    }
    size_t address() const { return reinterpret_cast<size_t>(handle_); }
    std::vector<py::dict> rules() const {
        std::vector<py::dict> out;
        ovr_rule_info info;
        for (size_t i = 0; ovr_ruleset_rule(handle_, i, &info) == OVR_OK; i++) {
            py::dict d;
            d["id"] = info.id;
            d["title"] = info.title;
            d["reference"] = info.reference;
            d["family"] = ovr_family_name(info.family);
            out.push_back(d);
        }
        return out;
    }
    py::tuple candidates(const py::bytes& body) const {
        const std::string_view bytes = body;
        uint64_t past_tables = 0, candidates = 0;
        if (ovr_ruleset_candidates(handle_, bytes.data(), bytes.size(), &past_tables, &candidates) != OVR_OK)
            raise("KernelError", "OVERREAD_KERNEL is no usable kernel here");
        return py::make_tuple(past_tables, candidates);
    }

  private:
    struct Free {
        void operator()(ovr_ruleset* r) const { ovr_ruleset_free(r); }
    };
    std::unique_ptr<ovr_ruleset, Free> owned_;
    const ovr_ruleset* handle_ = nullptr;
};

std::unique_ptr<overread::Decoder> decoder_of(std::string_view field) {
    overread::Codings codings;
    codings.add(reinterpret_cast<const uint8_t*>(field.data()), field.size());
    return overread::Decoder::open(codings);
}

py::tuple probe(const py::bytes& field, const py::bytes& first) {
    struct Count final : overread::Decoder::Sink {
        std::unique_ptr<overread::Decoder> decoder;
        uint64_t size = 0;
        void take(const uint8_t*, size_t n) override { size += decoder->state() == overread::Decoded::trailing ? 0 : n; }
    } count;
    count.decoder = decoder_of(std::string_view(field));
    const auto& decoder = count.decoder;
    if (!decoder) return py::make_tuple(ovr_decode_name(OVR_DECODE_UNKNOWN), 0);
    const std::string_view bytes = first;
    for (size_t at = 0; at < bytes.size() && decoder->live();)
        at += decoder->feed(reinterpret_cast<const uint8_t*>(bytes.data()) + at, bytes.size() - at, count);
    return py::make_tuple(ovr_decode_name(int(decoder->state())), count.size);
}

// Goes through a coded body again and keeps some spans of what it decodes to. A stream scans the bytes as they are where
// nothing can be decoded, so its offsets count those then.
class Excerpts final : overread::Decoder::Sink {
  public:
    Excerpts(const py::bytes& field, std::vector<std::pair<uint64_t, uint64_t>> spans)
        : decoder_(decoder_of(std::string_view(field))), spans_(std::move(spans)), kept_(spans_.size()) {
        for (const auto& s : spans_) end_ = std::max(end_, s.second);
    }
    bool feed(const py::bytes& piece) {
        const std::string_view bytes = piece;
        const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
        size_t size = bytes.size();
        while (decoder_ && size && at_ < end_ && decoder_->live()) {
            const size_t n = decoder_->feed(data, size, *this);
            data += n;
            size -= n;
        }
        if (decoder_ && decoder_->refused()) {
            const uint8_t* begun;
            const size_t begun_size = decoder_->begun(&begun), left = decoder_->left();
            take(begun, begun_size);
            data -= left;
            size += left;
            decoder_.reset();
        }
        if (!decoder_) take(data, size);
        return at_ < end_ && (!decoder_ || decoder_->live());
    }
    std::vector<py::bytes> finish() {
        if (decoder_ && decoder_->live()) decoder_->finish(*this);
        return {kept_.begin(), kept_.end()};
    }

  private:
    void take(const uint8_t* data, size_t size) override {
        for (size_t i = 0; i < spans_.size(); i++) {
            const uint64_t from = std::max(at_, spans_[i].first), to = std::min(at_ + size, spans_[i].second);
            if (from < to) kept_[i].append(reinterpret_cast<const char*>(data) + (from - at_), size_t(to - from));
        }
        at_ += size;
    }

    std::unique_ptr<overread::Decoder> decoder_;
    std::vector<std::pair<uint64_t, uint64_t>> spans_;
    std::vector<std::string> kept_;
    uint64_t at_ = 0, end_ = 0;
};

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Rulesets and kernels of the native core.";
    // overread.ruleset.Ruleset derives from it: what compiles TOML is Python and stands above this module.
    py::class_<Ruleset>(m, "Ruleset", "Compiled rules and weights. Immutable; safe to share between threads.")
        .def(py::init<const py::object&>(), py::arg("blob") = py::none(), "A compiled blob, the shipped one by default; BlobError when it is damaged.")
        .def_property_readonly("rules", &Ruleset::rules, "One dict a rule: id, title, reference, family.")
        .def_property_readonly("_address", &Ruleset::address)
        .def("_candidates", &Ruleset::candidates, py::arg("body"), "Places of a body past the kernel's tables, and past its filter: for measurements.")
        .def("__len__", [](const Ruleset& r) { return r.rules().size(); })
        .def("__repr__", [](const Ruleset& r) { return "<overread.Ruleset of " + std::to_string(r.rules().size()) + " rules>"; });
    m.def(
        "test_token",
        [](const py::bytes& key) {
            const std::string_view k = key;
            char token[OVR_TEST_TOKEN + 1];
            if (ovr_test_token(k.data(), k.size(), token) != OVR_OK) raise("ConfigError", "a test key has 16 bytes");
            return std::string(token);
        },
        py::arg("key"));
    m.def(
        "default_blob",
        [] {
            const ovr_bytes blob = ovr_ruleset_default_blob();
            return py::bytes(reinterpret_cast<const char*>(blob.data), blob.size);
        },
        "The embedded blob of the shipped rules and weights.");
    m.def("level_name", ovr_level_name, py::arg("group"), py::arg("level"), "What a level of group 0 raw, 1 http or 2 place means; None past the last.");
    m.def(
        "kernels",
        [] {
            std::vector<std::string> names;
            for (size_t i = 0; ovr_kernel_name(i); i++) names.emplace_back(ovr_kernel_name(i));
            return names;
        },
        "Names of the usable kernels, best first; emulated ones last.");
    m.def(
        "kernel",
        [] {
            const char* name = ovr_kernel_active();
            if (!name) raise("KernelError", "OVERREAD_KERNEL names no usable kernel; overread.kernels() lists them");
            return std::string(name);
        },
        "Name of the kernel a new Scanner uses.");
    m.def("_probe", probe, py::arg("field"), py::arg("first"),
          "What becomes of a body's first bytes under a Content-Encoding field, as Verdict.decode names it, and how many bytes are decoded.");
    py::class_<Excerpts>(m, "_Excerpts", "Spans of what a coded body decodes to, offsets counted as in a Finding.")
        .def(py::init<const py::bytes&, std::vector<std::pair<uint64_t, uint64_t>>>(), py::arg("field"), py::arg("spans"))
        .def("feed", &Excerpts::feed, py::arg("piece"), "The next bytes of the body; whether more are wanted.")
        .def("finish", &Excerpts::finish, "The spans' bytes, as far as there are any.");
    m.attr("VERSION") = ovr_version();
    m.attr("_C_API") = py::capsule(&TABLE, OVERREAD_CAPSULE);
}
