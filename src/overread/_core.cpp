// What is made once: rulesets and the list of kernels. Also the capsule through which _stream reaches the core.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "_capi.h"

namespace py = pybind11;

namespace {

const overread_capi TABLE = {OVR_ABI_VERSION, ovr_scanner_new,  ovr_scanner_free,    ovr_scanner_kernel,  ovr_stream_open,   ovr_stream_reset,
                             ovr_stream_feed, ovr_stream_flush, ovr_stream_trailers, ovr_stream_progress, ovr_stream_finish, ovr_stream_close,
                             ovr_tier_name,   ovr_family_name,  ovr_part_name,       ovr_decode_name};

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
    m.attr("VERSION") = ovr_version();
    m.attr("_C_API") = py::capsule(&TABLE, OVERREAD_CAPSULE);
}
