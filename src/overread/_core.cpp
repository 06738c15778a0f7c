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

const overread_capi TABLE = {OVR_ABI_VERSION,
                             ovr_scanner_new,
                             ovr_scanner_free,
                             ovr_scanner_kernel,
                             ovr_scanner_site_counts,
                             ovr_stream_open,
                             ovr_stream_reset,
                             ovr_stream_feed,
                             ovr_stream_flush,
                             ovr_stream_trailers,
                             ovr_stream_progress,
                             ovr_stream_finish,
                             ovr_stream_close,
                             ovr_filter_open,
                             ovr_filter_head,
                             ovr_filter_body,
                             ovr_filter_flush,
                             ovr_filter_trailers,
                             ovr_filter_end,
                             ovr_filter_redact,
                             ovr_filter_verdict,
                             ovr_filter_id,
                             ovr_filter_ignored,
                             ovr_filter_unsent,
                             ovr_filter_event,
                             ovr_filter_close,
                             ovr_registry_open,
                             ovr_registry_observe_request,
                             ovr_registry_observe_response,
                             ovr_registry_state_of,
                             ovr_registry_export,
                             ovr_registry_import,
                             ovr_registry_plant,
                             ovr_registry_retire,
                             ovr_registry_canary,
                             ovr_registry_poison_key,
                             ovr_registry_key_id,
                             ovr_registry_close,
                             ovr_poison,
                             ovr_no_store_strips,
                             ovr_no_store_sets,
                             ovr_tier_name,
                             ovr_family_name,
                             ovr_part_name,
                             ovr_decode_name};

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

class Ignores {
  public:
    explicit Ignores(const std::vector<std::string>& lines, const Ruleset* ruleset) {
        std::vector<const char*> pointers;
        for (const std::string& line : lines) pointers.push_back(line.c_str());
        ovr_ignores* made = nullptr;
        ovr_error error;
        const ovr_ruleset* rules = ruleset ? reinterpret_cast<const ovr_ruleset*>(ruleset->address()) : ovr_ruleset_default();
        if (ovr_ignores_new(rules, pointers.data(), pointers.size(), &made, &error) != OVR_OK) raise("ConfigError", error.message);
        handle_.reset(made);
    }
    size_t address() const { return reinterpret_cast<size_t>(handle_.get()); }
    std::vector<std::pair<std::string, uint64_t>> lines() const {
        std::vector<std::pair<std::string, uint64_t>> out;
        ovr_ignore line;
        for (size_t i = 0; ovr_ignores_line(handle_.get(), i, &line) == OVR_OK; i++) out.emplace_back(line.text, line.until_ms);
        return out;
    }

  private:
    struct Free {
        void operator()(ovr_ignores* list) const { ovr_ignores_free(list); }
    };
    std::unique_ptr<ovr_ignores, Free> handle_;
};

class Control {
  public:
    explicit Control(const std::string& path, bool create) {
        ovr_control* made = nullptr;
        ovr_error error;
        if (ovr_control_open(path.c_str(), create, &made, &error) != OVR_OK) raise("ConfigError", error.message);
        handle_.reset(made);
    }
    size_t address() const { return reinterpret_cast<size_t>(handle_.get()); }
    py::dict look(uint64_t unix_ms) {
        ovr_control_state state{};
        state.struct_size = sizeof state;
        check(ovr_control_look(handle_.get(), unix_ms, &state));
        py::dict out, features;
        ovr_feature f;
        for (size_t i = 0; ovr_control_feature(handle_.get(), i, &f) == OVR_OK; i++) {
            py::dict feature;
            feature["tripped"] = bool(f.tripped);
            feature["at_ms"] = f.at_ms;
            feature["until_ms"] = f.until_ms;
            feature["alarms"] = f.alarms;
            feature["trips"] = f.trips;
            features[f.name] = feature;
        }
        static const char* const MODES[] = {"off", "monitor", "enforce"};
        out["mode"] = MODES[state.mode];
        out["features"] = features;
        out["agent_ms"] = state.agent_ms;
        out["fault"] = std::string(state.fault);
        return out;
    }
    void set_mode(int mode, uint64_t unix_ms) { check(ovr_control_set_mode(handle_.get(), mode, unix_ms)); }
    void trip(const std::string& feature, uint64_t unix_ms, uint64_t until_ms) { check(ovr_control_trip(handle_.get(), feature.c_str(), unix_ms, until_ms)); }
    void rearm(const std::string& feature, uint64_t unix_ms) { check(ovr_control_rearm(handle_.get(), feature.c_str(), unix_ms)); }

  private:
    static void check(int status) {
        if (status == OVR_E_ARGUMENT) raise("ConfigError", "a feature has 1 to 32 letters, digits, '-', '_' or '.', and a mode is off, monitor or enforce");
        if (status != OVR_OK) raise("ConfigError", "the control file cannot be written");
    }
    struct Free {
        void operator()(ovr_control* control) const { ovr_control_close(control); }
    };
    std::unique_ptr<ovr_control, Free> handle_;
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
    py::class_<Ignores>(m, "Ignores", "What an operator knows to be harmless. Immutable; safe to share between threads.")
        .def(py::init<const std::vector<std::string>&, const Ruleset*>(), py::arg("lines"), py::arg("ruleset") = static_cast<const Ruleset*>(nullptr))
        .def_property_readonly("lines", &Ignores::lines, "Each line, and the time of day in ms from which it is expired.")
        .def_property_readonly("_address", &Ignores::address)
        .def("__repr__", [](const Ignores& list) { return "<overread.Ignores of " + std::to_string(list.lines().size()) + " lines>"; });
    py::class_<Control>(m, "_Control", "A handle of a control file.")
        .def(py::init<const std::string&, bool>(), py::arg("path"), py::arg("create"))
        .def("look", &Control::look, py::arg("unix_ms"))
        .def("set_mode", &Control::set_mode, py::arg("mode"), py::arg("unix_ms"))
        .def("trip", &Control::trip, py::arg("feature"), py::arg("unix_ms"), py::arg("until_ms"))
        .def("rearm", &Control::rearm, py::arg("feature"), py::arg("unix_ms"))
        .def_property_readonly("_address", &Control::address);
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
        "owner_digest",
        [](const py::bytes& key, const py::bytes& owner) {
            const std::string_view k = key, o = owner;
            uint64_t digest;
            if (ovr_owner_digest(k.data(), k.size(), o.data(), o.size(), &digest) != OVR_OK) raise("ConfigError", "an operator's key has 16 bytes");
            return digest;
        },
        py::arg("key"), py::arg("owner"), "What events under the operator's key say of an owner.");
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
