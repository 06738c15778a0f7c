# cython: language_level=3, boundscheck=False, wraparound=False
"""What is called per chunk: Scanner.scan and Stream.feed, through the table _core exports."""

import os
import time
from types import MemberDescriptorType

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF
from cpython.type cimport PyType_GenericAlloc
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from overread._core import _C_API, Ruleset
from overread.errors import ConfigError, KernelError, OverreadError, StreamFinishedError
from overread.policy import Request
from overread.verdict import Finding, Term, Verdict

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member

cdef extern from "_capi.h":
    ctypedef struct ovr_ruleset
    ctypedef struct ovr_scanner
    ctypedef struct ovr_stream
    ctypedef struct ovr_error:
        int status
        char message[240]
    ctypedef struct ovr_bytes:
        const uint8_t *data
        size_t size
    ctypedef struct ovr_header:
        ovr_bytes name
        ovr_bytes value
    ctypedef struct ovr_request:
        size_t struct_size
        ovr_bytes method
        ovr_bytes target
        const ovr_header *headers
        size_t header_count
        ovr_bytes body
    ctypedef struct ovr_response:
        size_t struct_size
        uint32_t status
        ovr_bytes reason
        ovr_bytes content_type
        const ovr_header *headers
        size_t header_count
        const ovr_request *request
        uint64_t unix_ms
        ovr_bytes owner
    ctypedef struct ovr_scanner_options:
        size_t struct_size
        double threshold
        uint32_t hold
        const char *kernel
        ovr_bytes key
        uint64_t max_decoded
        uint32_t max_ratio
        ovr_registry *registry
    ctypedef struct ovr_progress:
        uint64_t released
        float bits
        uint8_t tier
        uint8_t leaked
        uint8_t decode
    ctypedef struct ovr_finding:
        const char *rule
        uint8_t family
        uint8_t part
        uint64_t offset
        uint32_t length
        float bits
        uint64_t digest
        char name[32]
    ctypedef struct ovr_term:
        const char *group
        const char *level
        const char *cls
        uint8_t basis
        uint8_t level_index
        float bits
        uint32_t k
        uint32_t n
        uint32_t sources
        float alone
        float collision
        float semantic
    ctypedef struct ovr_verdict:
        double bits
        double probability
        uint8_t tier
        uint8_t leaked
        uint8_t decode
        uint64_t first_offset
        uint64_t body_bytes
        const char *content_class
        const ovr_finding *findings
        size_t finding_count
        uint64_t findings_dropped
        const ovr_term *terms
        size_t term_count
        uint64_t exempt
    ctypedef struct ovr_registry:
        pass
    ctypedef struct ovr_registry_options:
        size_t struct_size
        uint64_t memory
        uint32_t life_ms
        ovr_bytes key
        const char *segment
        const char **names
        size_t name_count
    ctypedef struct ovr_registry_state:
        size_t struct_size
        uint64_t slots
        uint64_t live
        uint64_t stored
        uint64_t observed
        uint64_t weak
        uint64_t full
        uint64_t quota
        uint64_t shared
        uint64_t exposed
        uint64_t lookups
        uint64_t foreign
        uint64_t exported
        uint64_t imported
    ctypedef struct ovr_ignores:
        pass
    ctypedef struct ovr_control:
        pass
    ctypedef struct ovr_policy:
        size_t struct_size
        int mode
        uint32_t hold
        uint32_t hold_ms
        int action[4]
        double block_bits
        int on_error
        ovr_bytes test_key
        double most_blocked
        double threshold
        const ovr_ignores *ignores
        ovr_control *control
        ovr_bytes feature
        ovr_bytes feature_header
        uint32_t trip_alarms
        uint32_t trip_ms
        uint64_t rearm_ms
        uint32_t events_per_second
        uint32_t weak_sample
        uint32_t watch
    ctypedef struct ovr_action:
        int verb
        uint8_t release_head
        uint8_t wants_event
        uint8_t no_store
        uint8_t test
        uint8_t redact
        uint8_t repeated
        uint32_t hold_ms
        uint64_t released
    ctypedef struct ovr_exchange:
        size_t struct_size
        const char *proxy
        ovr_bytes method
        ovr_bytes host
        ovr_bytes target
        uint64_t unix_ms
        ovr_bytes owner
    ctypedef struct ovr_filter:
        pass
    ctypedef struct overread_capi:
        uint32_t abi_version
        int (*scanner_new)(const ovr_ruleset *, const ovr_scanner_options *, ovr_scanner **, ovr_error *) noexcept nogil
        void (*scanner_free)(ovr_scanner *) noexcept nogil
        const char *(*scanner_kernel)(const ovr_scanner *) noexcept nogil
        int (*scanner_site_counts)(const ovr_scanner *, char *, size_t, size_t *) noexcept nogil
        int (*stream_open)(const ovr_scanner *, const ovr_response *, ovr_stream **, ovr_error *) noexcept nogil
        int (*stream_reset)(ovr_stream *, const ovr_response *) noexcept nogil
        int (*stream_feed)(ovr_stream *, const void *, size_t, ovr_progress *) noexcept nogil
        int (*stream_flush)(ovr_stream *, ovr_progress *) noexcept nogil
        int (*stream_trailers)(ovr_stream *, const ovr_header *, size_t, ovr_progress *) noexcept nogil
        void (*stream_progress)(const ovr_stream *, ovr_progress *) noexcept nogil
        int (*stream_finish)(ovr_stream *, ovr_verdict *) noexcept nogil
        void (*stream_close)(ovr_stream *) noexcept nogil
        int (*filter_open)(const ovr_scanner *, const ovr_policy *, ovr_filter **, ovr_error *) noexcept nogil
        int (*filter_head)(ovr_filter *, const ovr_response *, ovr_action *) noexcept nogil
        int (*filter_body)(ovr_filter *, const void *, size_t, ovr_action *) noexcept nogil
        int (*filter_flush)(ovr_filter *, ovr_action *) noexcept nogil
        int (*filter_trailers)(ovr_filter *, const ovr_header *, size_t, ovr_action *) noexcept nogil
        int (*filter_end)(ovr_filter *, ovr_action *) noexcept nogil
        uint64_t (*filter_redact)(ovr_filter *, uint64_t, void *, size_t) noexcept nogil
        int (*filter_verdict)(ovr_filter *, ovr_verdict *) noexcept nogil
        const char *(*filter_id)(const ovr_filter *) noexcept nogil
        uint64_t (*filter_ignored)(const ovr_filter *) noexcept nogil
        void (*filter_unsent)(ovr_filter *) noexcept nogil
        int (*filter_event)(ovr_filter *, const ovr_exchange *, char *, size_t, size_t *) noexcept nogil
        void (*filter_close)(ovr_filter *) noexcept nogil
        int (*registry_open)(const ovr_registry_options *, ovr_registry **, ovr_error *) noexcept nogil
        int (*registry_observe_request)(ovr_registry *, ovr_bytes, const ovr_request *, uint64_t) noexcept nogil
        int (*registry_observe_response)(ovr_registry *, const ovr_response *, ovr_bytes) noexcept nogil
        int (*registry_state_of)(const ovr_registry *, uint64_t, ovr_registry_state *) noexcept nogil
        int (*registry_export)(ovr_registry *, uint64_t, void *, size_t, size_t *) noexcept nogil
        int (*registry_import)(ovr_registry *, const void *, size_t, uint64_t) noexcept nogil
        int (*registry_plant)(ovr_registry *, const void *, size_t, uint64_t) noexcept nogil
        int (*registry_retire)(ovr_registry *, const void *, size_t) noexcept nogil
        int (*registry_canary)(ovr_registry *, ovr_bytes, uint64_t, char *) noexcept nogil
        int (*registry_poison_key)(ovr_registry *, uint64_t, uint8_t *) noexcept nogil
        const char *(*registry_key_id)(const ovr_registry *) noexcept nogil
        void (*registry_close)(ovr_registry *) noexcept nogil
        void (*poison)(void *, size_t, const uint8_t *) noexcept nogil
        const char *const *(*no_store_strips)() noexcept nogil
        const ovr_header *(*no_store_sets)(size_t *) noexcept nogil
        const char *(*tier_name)(int) noexcept nogil
        const char *(*family_name)(int) noexcept nogil
        const char *(*part_name)(int) noexcept nogil
        const char *(*decode_name)(int) noexcept nogil
    const char *OVERREAD_CAPSULE
    uint32_t OVR_ABI_VERSION
    int OVR_CANARY
    int OVR_REGISTRY_RECORD

cdef overread_capi *api = <overread_capi *>PyCapsule_GetPointer(_C_API, OVERREAD_CAPSULE)
if api.abi_version != OVR_ABI_VERSION:
    raise ImportError("overread._core and overread._stream are of different builds: reinstall overread")

# Giving up the GIL beside a busy thread costs up to the interpreter's 5 ms switch interval; a scan shorter than about
# 100 microseconds (1 MiB at 10 GB/s) is cheaper with the GIL held.
cdef size_t RELEASE_GIL_FROM = 1 << 20

cdef uint64_t NO_OFFSET = 0xFFFFFFFFFFFFFFFF
cdef tuple _BASIS = ("counted", "chained", "capped", "constructed")
cdef tuple _TIERS = tuple([(<bytes>api.tier_name(i)).decode() for i in range(4)])
cdef tuple _FAMILIES = tuple([(<bytes>api.family_name(i)).decode() for i in range(5)])
cdef tuple _PARTS = tuple([(<bytes>api.part_name(i)).decode() for i in range(4)])

cdef tuple _DECODE = tuple([(<bytes>api.decode_name(i)).decode() for i in range(7)])


cdef ovr_bytes _view(object text, str what, list alive) except *:
    """The bytes of a str or bytes; what must be kept alive for the call, besides ``text``, goes to ``alive``: nothing for ASCII."""
    cdef ovr_bytes b
    cdef Py_ssize_t size
    cdef bytes data
    if PyUnicode_CheckExact(text) and PyUnicode_IS_COMPACT_ASCII(text):
        b.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
        b.size = <size_t>size
        return b
    if isinstance(text, bytes):
        data = <bytes>text
    elif isinstance(text, str):
        data = (<str>text).encode("latin-1", "replace")
        alive.append(data)
    else:
        raise TypeError(f"{what} must be str or bytes, found {type(text).__name__}")
    b.data = <const uint8_t *>PyBytes_AS_STRING(data)
    b.size = <size_t>PyBytes_GET_SIZE(data)
    return b


cdef inline uint64_t _now_ms() except? 0:
    return time.time_ns() // 1_000_000


cdef class _Head:
    """A response head as the core wants it; keeps the bytes alive for the call."""

    cdef ovr_response response
    cdef ovr_request request
    cdef ovr_header *headers
    cdef ovr_header *own_headers
    cdef list alive

    def __cinit__(self):
        self.headers = NULL
        self.own_headers = NULL
        self.alive = []

    def __dealloc__(self):
        free(self.headers)
        free(self.own_headers)

    cdef ovr_bytes keep(self, object text, str what) except *:
        self.alive.append(text)
        return _view(text, what, self.alive)

    cdef ovr_header *pairs(self, object headers, size_t *count) except? NULL:
        cdef list items = list(headers.items() if hasattr(headers, "items") else headers)
        cdef ovr_header *out = NULL
        cdef size_t i
        count[0] = len(items)
        if not items:
            return NULL
        out = <ovr_header *>calloc(len(items), sizeof(ovr_header))
        if out == NULL:
            raise MemoryError
        try:
            for i in range(<size_t>len(items)):
                name, value = items[i]
                out[i].name = self.keep(name, "a header name")
                out[i].value = self.keep(value, "a header value")
        except BaseException:
            free(out)
            raise
        return out

    cdef own(self, object owner, object unix_ms):
        self.response.unix_ms = _now_ms() if unix_ms is None else unix_ms
        if owner is not None:
            self.response.owner = self.keep(owner, "owner")

    cdef fill(self, object content_type, object status, object reason, object headers, object request):
        memset(&self.response, 0, sizeof(self.response))
        self.response.struct_size = sizeof(ovr_response)
        self.response.status = status
        if reason is not None:
            self.response.reason = self.keep(reason, "reason")
        if content_type is not None:
            self.response.content_type = self.keep(content_type, "content_type")
        self.headers = self.pairs(headers, &self.response.header_count)
        self.response.headers = self.headers
        if request is None:
            return
        if not isinstance(request, Request):
            raise TypeError(f"request must be an overread.Request, found {type(request).__name__}")
        memset(&self.request, 0, sizeof(self.request))
        self.request.struct_size = sizeof(ovr_request)
        self.request.method = self.keep(request.method, "method")
        self.request.target = self.keep(request.target, "target")
        self.request.body = self.keep(bytes(request.body), "body")
        self.own_headers = self.pairs(request.headers, &self.request.header_count)
        self.request.headers = self.own_headers
        self.response.request = &self.request


# The constructor of a frozen dataclass takes longer than scanning a page: the fields of a new verdict are set where its slots are.
cdef Py_ssize_t _slots[12]
for _i, _field in enumerate(
    ("leaked", "bits", "probability", "tier", "first_offset", "body_bytes", "content_class", "findings", "findings_dropped", "terms", "exempt", "decode")
):
    _slot = Verdict.__dict__[_field]
    if type(_slot) is not MemberDescriptorType:
        raise ImportError(f"overread.Verdict.{_field} is no slot")
    _slots[_i] = (<PyMemberDescrObject *>_slot).d_member.offset


cdef inline void _put(object out, int field, object value) noexcept:
    Py_INCREF(value)
    (<PyObject **>(<char *><PyObject *>out + _slots[field]))[0] = <PyObject *>value


# The core's names of classes are constants: the same class is the same address.
cdef const char *_class_at[64]
cdef list _class_names = []


cdef object _class_name(const char *name):
    cdef Py_ssize_t i, known = len(_class_names)
    for i in range(known):
        if _class_at[i] == name:
            return _class_names[i]
    text = (<bytes>name).decode("ascii")
    if known < 64:
        _class_at[known] = name
        _class_names.append(text)
    return text


cdef object _verdict(const ovr_verdict *v):
    cdef size_t i
    cdef tuple findings = ()
    cdef tuple terms = ()
    if v.finding_count:
        findings = tuple([_finding(&v.findings[i]) for i in range(v.finding_count)])
    if v.term_count:
        terms = tuple([_term(&v.terms[i]) for i in range(v.term_count)])
    out = PyType_GenericAlloc(Verdict, 0)
    _put(out, 0, v.leaked != 0)
    _put(out, 1, v.bits)
    _put(out, 2, v.probability)
    _put(out, 3, _TIERS[v.tier])
    _put(out, 4, None if v.first_offset == NO_OFFSET else v.first_offset)
    _put(out, 5, v.body_bytes)
    _put(out, 6, _class_name(v.content_class))
    _put(out, 7, findings)
    _put(out, 8, v.findings_dropped)
    _put(out, 9, terms)
    _put(out, 10, v.exempt)
    _put(out, 11, _DECODE[v.decode])
    return out


cdef object _finding(const ovr_finding *f):
    return Finding((<bytes>f.rule).decode(), _FAMILIES[f.family], _PARTS[f.part], (<bytes>f.name).decode("latin-1"), f.offset, f.length, f.bits, f.digest)


cdef object _term(const ovr_term *t):
    return Term((<bytes>t.group).decode(), (<bytes>t.level).decode(), t.level_index, t.bits, _BASIS[t.basis], (<bytes>t.cls).decode(), t.k, t.n, t.sources, t.alone,
                t.collision, t.semantic)


cdef _no_text(object body):
    if isinstance(body, str):
        raise TypeError("a body is bytes, not str: encode it first, e.g. body.encode('utf-8')")


@cython.no_gc_clear
cdef class Stream:
    """One response, fed chunk by chunk by one thread at a time. Made by :meth:`Scanner.stream`.

    Any object with a C-contiguous buffer is fed without copying; a mutable one must not change during the call.
    Every use while another thread is inside ``feed`` is a ``RuntimeError``; only ``repr`` is safe at any time.
    """

    cdef ovr_stream *handle
    cdef Scanner scanner
    cdef bint finished
    cdef bint busy

    def __cinit__(self):
        self.handle = NULL

    def __init__(self):
        raise TypeError("use Scanner.stream()")

    def __dealloc__(self):
        if self.handle != NULL:
            self.scanner.put_back(self.handle)

    cdef int check_free(self) except -1:
        if self.busy:
            raise RuntimeError("this stream is in use by another thread; a stream belongs to one thread at a time")
        return 0

    cdef int enter(self) except -1:
        if self.finished:
            raise StreamFinishedError("this stream is finished; open another with Scanner.stream()")
        self.check_free()
        self.busy = True
        return 0

    def feed(self, chunk):
        """Bytes from the start of the body, as it was fed, that may go out after ``chunk`` was scanned.

        Raises ``TypeError`` for str, ``BufferError`` for a strided view, ``StreamFinishedError`` after ``finish()``.
        Linear in ``len(chunk)``; allocates nothing.
        """
        cdef Py_buffer view
        cdef ovr_progress progress
        self.enter()
        try:
            if PyBytes_CheckExact(chunk) and <size_t>PyBytes_GET_SIZE(chunk) < RELEASE_GIL_FROM:
                api.stream_feed(self.handle, PyBytes_AS_STRING(chunk), <size_t>PyBytes_GET_SIZE(chunk), &progress)
                return progress.released
            _no_text(chunk)
            PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
            try:
                if <size_t>view.len >= RELEASE_GIL_FROM:
                    with nogil:
                        api.stream_feed(self.handle, view.buf, <size_t>view.len, &progress)
                else:
                    api.stream_feed(self.handle, view.buf, <size_t>view.len, &progress)
            finally:
                PyBuffer_Release(&view)
            return progress.released
        finally:
            self.busy = False

    def flush(self):
        """Bytes that may go out when the hold time is up: all but open matches and evidence not yet resolved."""
        cdef ovr_progress progress
        self.enter()
        try:
            api.stream_flush(self.handle, &progress)
            return progress.released
        finally:
            self.busy = False

    def trailers(self, fields):
        """Bytes that may go out after the trailer section was scanned; call it between the last ``feed`` and ``finish``.

        ``fields`` are name, value pairs or a mapping, ``str`` or ``bytes``; they are judged as a head's are.
        """
        cdef _Head head = _Head()
        cdef size_t count
        cdef ovr_progress progress
        head.headers = head.pairs(fields, &count)
        self.enter()
        try:
            api.stream_trailers(self.handle, head.headers, count, &progress)
            return progress.released
        finally:
            self.busy = False

    def finish(self):
        """The verdict. The stream cannot be fed any more."""
        cdef ovr_verdict verdict
        self.enter()
        try:
            self.finished = True
            api.stream_finish(self.handle, &verdict)
            return _verdict(&verdict)
        finally:
            self.busy = False

    cdef ovr_progress now(self) except *:
        cdef ovr_progress progress
        self.check_free()
        api.stream_progress(self.handle, &progress)
        return progress

    @property
    def bits(self):
        """Evidence so far, in bits."""
        return self.now().bits

    @property
    def leaked(self):
        """Whether the evidence so far reaches the scanner's threshold."""
        return bool(self.now().leaked)

    @property
    def tier(self):
        """Tier so far: none, weak, strong or certain."""
        return _TIERS[self.now().tier]

    def __repr__(self):
        if self.busy:
            return "<overread.Stream in use>"
        return f"<overread.Stream at {self.bits:.1f} bits{', finished' if self.finished else ''}>"


cdef class SecretRegistry:
    """Whose secrets are whose: keyed fingerprints of what clients and servers exchange, never a value. Safe to share between threads.

    Parameters
    ----------
    memory
        Bytes of the table, 64 KiB to 64 GiB; 64 MiB by default, enough for 500,000 sessions.
    life
        Seconds after which a value that was not seen again is forgotten: 1 to 86,400; 900 by default.
    key
        16 bytes, the same in all that share a segment or a fleet; random by default.
    segment
        Path of a file that processes share, such as one in ``/dev/shm``; it is made with mode 0600 where there is none, and needs ``key``.
    names
        Names of further cookies, fields and parameters that identify a session.

    Raises
    ------
    ConfigError
        For an option that cannot be used, and a segment of another version, size, life or key: it says which, and the remedy.
    """

    cdef ovr_registry *handle

    def __cinit__(self, *, memory=0, life=0, key=None, segment=None, names=()):
        cdef ovr_registry_options options
        cdef ovr_error error
        cdef list kept = [os.fsencode(n) for n in names]
        cdef const char **pointers = NULL
        cdef bytes path
        if key is not None and (not isinstance(key, bytes) or len(key) != 16):
            raise ValueError("key must be 16 bytes")
        if not 0 <= memory < 2**63 or not 0 <= life <= 86400:
            raise ValueError("memory must be 64 KiB to 64 GiB, life 1 to 86400 seconds; 0 is the default of both")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.memory = memory
        options.life_ms = <uint32_t>(life * 1000)
        if key is not None:
            options.key = _view(key, "key", None)
        if segment is not None:
            path = os.fsencode(segment)
            options.segment = PyBytes_AS_STRING(path)
        if kept:
            pointers = <const char **>calloc(len(kept), sizeof(char *))
            if pointers == NULL:
                raise MemoryError
            for i in range(len(kept)):
                pointers[i] = PyBytes_AS_STRING(kept[i])
        options.names = pointers
        options.name_count = len(kept)
        status = api.registry_open(&options, &self.handle, &error)
        free(pointers)
        if status == 2:
            raise MemoryError
        if status != 0:
            raise ConfigError((<bytes>error.message).decode(errors="replace"))

    def __dealloc__(self):
        if self.handle != NULL:
            api.registry_close(self.handle)

    def observe_request(self, owner, headers, body=b"", *, target="/", method="GET", unix_ms=None):
        """What a client sent. ``owner`` (str or bytes) is what stands for one client, such as its session; ``None``: the request's
        strongest secret. ``target`` is the path and query as sent, ``unix_ms`` the time of day, now by default. Linear in what is given."""
        cdef _Head head = _Head()
        cdef ovr_bytes name
        head.fill(None, 0, None, (), Request(method, target, headers, body))
        name.data = NULL
        name.size = 0
        if owner is not None:
            name = head.keep(owner, "owner")
        self.check(api.registry_observe_request(self.handle, name, &head.request, _now_ms() if unix_ms is None else unix_ms))

    def observe_response(self, owner, headers, body=b"", *, content_type=None, request=None, unix_ms=None):
        """What a client was answered: fields such as Set-Cookie, and the tokens of a JSON body, of which the first bytes are enough.
        ``owner`` ``None``: the strongest secret of ``request``, an :class:`overread.Request`."""
        cdef _Head head = _Head()
        cdef ovr_bytes text
        head.fill(content_type, 0, None, headers, request)
        head.own(owner, unix_ms)
        text = head.keep(bytes(body), "body")
        self.check(api.registry_observe_response(self.handle, &head.response, text))

    def plant(self, token, *, unix_ms=None):
        """Makes a token (str or bytes) one that no response may show. ``ValueError`` for one under 64 bits of entropy."""
        self.token(token, True, _now_ms() if unix_ms is None else unix_ms)

    def retire(self, token):
        """Forgets a planted token. ``ValueError`` for one that is not planted."""
        self.token(token, False, 0)

    cdef token(self, object token, bint plant, uint64_t unix_ms):
        cdef list alive = []
        cdef ovr_bytes text = _view(token, "token", alive)
        if plant:
            status = api.registry_plant(self.handle, text.data, text.size, unix_ms)
        else:
            status = api.registry_retire(self.handle, text.data, text.size)
        if status == 1:
            raise ValueError("the token has under 64 bits of entropy" if plant else "no such token is planted")
        self.check(status)

    def canary(self, owner=None, *, unix_ms=None):
        """A transport canary for a request of ``owner``: text to be put into the request's memory and stripped before the upstream."""
        cdef list alive = []
        cdef ovr_bytes name
        cdef char out[64]
        name.data = NULL
        name.size = 0
        if owner is not None:
            name = _view(owner, "owner", alive)
        self.check(api.registry_canary(self.handle, name, _now_ms() if unix_ms is None else unix_ms, out))
        return (<bytes>out[:OVR_CANARY]).decode("ascii")

    def poison_key(self, *, unix_ms=None):
        """The key (16 bytes) with which :func:`overread.poison` fills buffers in this hour."""
        cdef uint8_t key[16]
        self.check(api.registry_poison_key(self.handle, _now_ms() if unix_ms is None else unix_ms, key))
        return <bytes>(<char *>key)[:16]

    def export_changed(self, *, unix_ms=None, most=65536):
        """Records, at most ``most`` bytes, of what changed since the last export: fingerprints only. Empty when there is nothing more."""
        cdef size_t size
        cdef bytes records = bytes(max(most, 8 * OVR_REGISTRY_RECORD))
        self.check(api.registry_export(self.handle, _now_ms() if unix_ms is None else unix_ms, PyBytes_AS_STRING(records), <size_t>len(records), &size))
        return records[:size]

    def import_changed(self, records, *, unix_ms=None):
        """Takes what a registry with the same key exported. ``ValueError`` for what is no whole number of records."""
        cdef bytes data = bytes(records)
        status = api.registry_import(self.handle, PyBytes_AS_STRING(data), <size_t>len(data), _now_ms() if unix_ms is None else unix_ms)
        if status == 1:
            raise ValueError(f"{len(data)} bytes are no records of {OVR_REGISTRY_RECORD} bytes")
        self.check(status)

    @property
    def key_id(self):
        """16 hexadecimal digits that are equal where the key is."""
        return (<bytes>api.registry_key_id(self.handle)).decode()

    def metrics(self, *, unix_ms=None):
        """Counts, by the names of ``ovr_registry_state``."""
        cdef ovr_registry_state state
        memset(&state, 0, sizeof(state))
        state.struct_size = sizeof(state)
        self.check(api.registry_state_of(self.handle, _now_ms() if unix_ms is None else unix_ms, &state))
        return {
            "slots": state.slots,
            "live": state.live,
            "stored": state.stored,
            "observed": state.observed,
            "weak": state.weak,
            "full": state.full,
            "quota": state.quota,
            "shared": state.shared,
            "exposed": state.exposed,
            "lookups": state.lookups,
            "foreign": state.foreign,
            "exported": state.exported,
            "imported": state.imported,
        }

    cdef check(self, int status):
        if status == 2:
            raise MemoryError
        if status != 0:
            raise OverreadError("the registry cannot use this")

    def __repr__(self):
        return f"<overread.SecretRegistry, key {self.key_id}>"


def poison(buffer, key):
    """Fills a writable buffer with the pattern of a key of :meth:`SecretRegistry.poison_key`."""
    cdef Py_buffer view
    if not isinstance(key, bytes) or len(key) != 16:
        raise ValueError("key must be 16 bytes")
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    try:
        api.poison(view.buf, <size_t>view.len, <const uint8_t *>PyBytes_AS_STRING(key))
    finally:
        PyBuffer_Release(&view)


cdef class Scanner:
    """Finds foreign memory in HTTP responses. Immutable and safe to share between threads.

    Parameters
    ----------
    ruleset
        Compiled rules; the shipped ones by default.
    threshold
        Bits at which a response counts as leaked.
    hold
        Bytes of the delay line of streams: what ``feed`` keeps back so that the start of a leak has not left.
    kernel
        Name from :func:`overread.kernels`; the best this CPU has by default, or ``OVERREAD_KERNEL``.
    key
        16 bytes of the operator's: digests of findings and owners are the same in every process then. By default they are under a
        random key of this scanner.
    registry
        A :class:`SecretRegistry`: what it knows of other clients, no response may hold.
    max_decoded, max_ratio
        A coded body that decodes to more bytes (4 GiB), or behind 16 MiB to more than so many times its own (200), is a bomb.

    Raises
    ------
    KernelError
        When the kernel is unknown or not supported here.
    """

    cdef ovr_scanner *handle
    cdef object ruleset
    cdef readonly object registry
    cdef readonly double threshold
    cdef readonly uint32_t hold
    # Streams not in use, 10 KiB each; more than 16 at a time are closed again. Touched only with the GIL held, which makes the scanner safe to share.
    cdef ovr_stream *pool[16]
    cdef int pooled

    def __cinit__(self, ruleset=None, *, double threshold=22.0, hold=16384, kernel=None, key=None, registry=None, max_decoded=0, max_ratio=0):
        cdef ovr_scanner_options options
        cdef ovr_error error
        cdef const ovr_ruleset *rules = NULL
        cdef bytes name
        if ruleset is not None and not isinstance(ruleset, Ruleset):
            raise TypeError(f"ruleset must be an overread.Ruleset, found {type(ruleset).__name__}")
        if not 0 < threshold <= 1000:
            raise ValueError(f"threshold must be above 0 bits, found {threshold}")
        if not 0 <= hold < 2**32 - 1:
            raise ValueError(f"hold must be 0 to 4294967294 bytes, found {hold}")
        self.ruleset = ruleset
        self.threshold = threshold
        self.hold = hold
        if ruleset is not None:
            rules = <const ovr_ruleset *><size_t>ruleset._address
        if not 0 <= max_decoded < 2**63 or not 0 <= max_ratio < 2**32:
            raise ValueError("max_decoded must be 0 (the default) to 2**63 - 1 bytes, max_ratio 0 to 4294967295")
        if key is not None and (not isinstance(key, bytes) or len(key) != 16):
            raise ValueError("key must be 16 bytes")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if key is not None:
            options.key = _view(key, "key", None)
        if registry is not None:
            if not isinstance(registry, SecretRegistry):
                raise TypeError(f"registry must be an overread.SecretRegistry, found {type(registry).__name__}")
            options.registry = (<SecretRegistry>registry).handle
        self.registry = registry
        options.max_decoded = max_decoded
        options.max_ratio = max_ratio
        options.threshold = threshold
        options.hold = hold
        options.kernel = NULL
        if kernel is not None:
            name = kernel.encode()
            options.kernel = PyBytes_AS_STRING(name)
        if api.scanner_new(rules, &options, &self.handle, &error) != 0:
            message = (<bytes>error.message).decode(errors="replace")
            raise (KernelError if error.status == 4 else OverreadError)(message)

    def __dealloc__(self):
        while self.pooled:
            self.pooled -= 1
            api.stream_close(self.pool[self.pooled])
        if self.handle != NULL:
            api.scanner_free(self.handle)

    cdef ovr_stream *take(self, const ovr_response *response) except NULL:
        """A stream for this response that nobody else uses; ``put_back`` takes it again."""
        cdef ovr_stream *stream
        cdef ovr_error error
        if self.pooled:
            stream = self.pool[self.pooled - 1]
            if api.stream_reset(stream, response) != 0:
                raise OverreadError("the response head cannot be used")
            self.pooled -= 1
            return stream
        if api.stream_open(self.handle, response, &stream, &error) != 0:
            raise OverreadError((<bytes>error.message).decode(errors="replace"))
        return stream

    cdef void put_back(self, ovr_stream *stream) noexcept:
        if self.pooled < 16:
            self.pool[self.pooled] = stream
            self.pooled += 1
        else:
            api.stream_close(stream)

    @property
    def kernel(self):
        """Name of the kernel in use."""
        return (<bytes>api.scanner_kernel(self.handle)).decode()

    def site_counts(self):
        """What the responses of this scanner's filters in mode monitor showed: the text of a file that :meth:`SiteCounts.load` and
        ``overread calibrate --site`` take."""
        cdef size_t size
        cdef bytes text = bytes(131072)
        if api.scanner_site_counts(self.handle, PyBytes_AS_STRING(text), <size_t>len(text), &size) != 0:
            raise OverreadError("the counts do not fit")
        return text[:size].decode()

    def stream(self, content_type=None, *, status=200, reason=None, headers=(), request=None, owner=None, unix_ms=None):
        """A stream for one response; its head is scanned at once. ``owner`` and ``unix_ms`` as of :meth:`scan`."""
        cdef _Head head = _Head()
        cdef Stream stream = Stream.__new__(Stream)
        head.fill(content_type, status, reason, headers, request)
        if self.registry is not None:
            head.own(owner, unix_ms)
        stream.scanner = self
        stream.handle = self.take(&head.response)
        return stream

    def filter(self, policy, content_type=None, *, status=200, reason=None, headers=(), request=None, owner=None, unix_ms=None):
        """A filter for one response under an :class:`overread.Policy`; its head is judged at once. ``owner`` and ``unix_ms`` as of :meth:`scan`.

        A filter of a scanner with a registry observes the request and the response by itself.
        """
        cdef _Head head = _Head()
        cdef Filter filter = Filter.__new__(Filter)
        fields = list(headers.items() if hasattr(headers, "items") else headers)
        head.fill(content_type, status, reason, fields, request)
        head.own(owner, unix_ms)
        filter.scanner = self
        filter.policy = policy
        filter.fields = fields
        filter.held = bytearray()
        filter.open(policy)
        filter.check(api.filter_head(filter.handle, &head.response, &filter.action))
        filter.due = bool(filter.action.wants_event)
        return filter

    def scan(self, body, content_type=None, *, status=200, reason=None, headers=(), request=None, owner=None, unix_ms=None):
        """The verdict on a whole body; linear in its length.

        With a registry ``owner`` is whose response it is, as :meth:`SecretRegistry.observe_request` was told; by default the strongest
        secret of ``request``. ``unix_ms`` is the time of day in milliseconds, now by default.

        Raises ``TypeError`` for str, ``BufferError`` for a strided view.
        """
        cdef _Head head
        cdef ovr_response plain
        cdef list alive = None
        if reason is None and request is None and not headers and self.registry is None:
            memset(&plain, 0, sizeof(plain))
            plain.struct_size = sizeof(plain)
            plain.status = status
            if content_type is not None:
                if not PyUnicode_CheckExact(content_type) or not PyUnicode_IS_COMPACT_ASCII(content_type):
                    alive = []
                plain.content_type = _view(content_type, "content_type", alive)
            return self.scan_body(body, &plain)
        head = _Head()
        head.fill(content_type, status, reason, headers, request)
        if self.registry is not None:
            head.own(owner, unix_ms)
        return self.scan_body(body, &head.response)

    cdef object scan_body(self, object body, const ovr_response *response):
        cdef Py_buffer view
        cdef ovr_stream *stream
        cdef ovr_verdict verdict
        if PyBytes_CheckExact(body) and <size_t>PyBytes_GET_SIZE(body) < RELEASE_GIL_FROM:
            stream = self.take(response)
            try:
                api.stream_feed(stream, PyBytes_AS_STRING(body), <size_t>PyBytes_GET_SIZE(body), NULL)
                api.stream_finish(stream, &verdict)
                return _verdict(&verdict)
            finally:
                self.put_back(stream)
        _no_text(body)
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            stream = self.take(response)
            try:
                if <size_t>view.len >= RELEASE_GIL_FROM:
                    with nogil:
                        api.stream_feed(stream, view.buf, <size_t>view.len, NULL)
                else:
                    api.stream_feed(stream, view.buf, <size_t>view.len, NULL)
                api.stream_finish(stream, &verdict)
                return _verdict(&verdict)
            finally:
                self.put_back(stream)
        finally:
            PyBuffer_Release(&view)

    def scan_many(self, bodies, threads=None, content_type=None):
        """Verdicts of many bodies, in order, on several threads; each batch gives up the GIL once.

        ``threads`` defaults to the number of usable cores. Raises what ``scan`` raises, and ``ValueError`` when
        ``threads`` is below 1; then no verdict is returned. Nothing is said of owners, so nothing foreign is looked up.
        """
        cdef list items = list(bodies)
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, found {threads}")
        count = len(os.sched_getaffinity(0)) if threads is None else threads
        size = max(1, -(-len(items) // (count * 4)))
        batches = [items[i:i + size] for i in range(0, len(items), size)]
        if count == 1 or len(batches) < 2:
            return [v for b in batches for v in _scan_batch(self, b, content_type)]
        from concurrent.futures import ThreadPoolExecutor  # a fifth of the whole import, for the only call that needs it

        with ThreadPoolExecutor(count) as pool:
            return [v for part in pool.map(lambda b: _scan_batch(self, b, content_type), batches) for v in part]

    def __repr__(self):
        return f"<overread.Scanner, kernel {self.kernel}, threshold {self.threshold:g} bits>"


# enum ovr_mode, ovr_do, ovr_watch, ovr_on_error and ovr_verb of overread.h.
cdef dict _MODE = {"off": 0, "monitor": 1, "enforce": 2}
cdef dict _DO = {"log": 1, "no-store": 2, "redact": 3, "trim": 4, "truncate": 5, "block": 6, "trip": 7}
cdef dict _WATCH = {"repetition": 1, "sameness": 2, "twins": 4}
cdef dict _ON_ERROR = {"pass": 0, "block": 1}
cdef tuple _VERBS = ("pass", "block", "cut", "end")


cdef class Filter:
    """One response under a policy: what a proxy in Python embeds. Made by :meth:`Scanner.filter`, used by one thread at a time.

    Bytes go in with :meth:`body`, :meth:`flush` and :meth:`end`, which return those that may leave now, masked where the policy
    asks for it. ``verb`` says what becomes of the response: ``pass``; ``block`` (nothing has left: answer 502 instead); ``cut``
    (abort the connection); ``end`` (what was returned is all of the body, and its end).
    """

    cdef ovr_filter *handle
    cdef Scanner scanner
    cdef ovr_action action
    cdef uint64_t fed
    cdef uint64_t sent
    cdef bint due
    cdef bytearray held
    cdef object fields
    cdef object policy

    def __cinit__(self):
        self.handle = NULL

    def __init__(self):
        raise TypeError("use Scanner.filter()")

    def __dealloc__(self):
        if self.handle != NULL:
            api.filter_close(self.handle)

    cdef open(self, object policy):
        cdef ovr_policy p
        cdef ovr_error error
        cdef list alive = []
        memset(&p, 0, sizeof(p))
        p.struct_size = sizeof(p)
        p.mode = _MODE[policy.mode]
        p.hold = policy.hold
        p.hold_ms = policy.hold_ms
        for tier, name in policy.actions.items():
            p.action[_TIERS.index(tier)] = _DO[name]
        p.block_bits = 0.0 if policy.budget is None else policy.block_bits
        p.on_error = _ON_ERROR[policy.on_error]
        p.most_blocked = policy.most_blocked
        for name in policy.watch:
            p.watch |= <uint32_t>_WATCH[name]
        if policy.test_key is not None:
            p.test_key = _view(policy.test_key, "test_key", None)
        p.threshold = 0.0 if policy.threshold is None else policy.threshold
        if policy.ignore is not None:
            p.ignores = <const ovr_ignores *><size_t>policy.ignore._address
        if policy.control is not None:
            p.control = <ovr_control *><size_t>policy.control._address
        p.feature = _view(policy.feature, "feature", alive)
        p.feature_header = _view(policy.feature_header, "feature_header", alive)
        p.trip_alarms = policy.trip_alarms
        p.trip_ms = policy.trip_ms
        p.rearm_ms = policy.rearm_ms
        p.events_per_second = policy.events_per_second
        p.weak_sample = policy.weak_sample
        if api.filter_open(self.scanner.handle, &p, &self.handle, &error) != 0:
            raise OverreadError((<bytes>error.message).decode(errors="replace"))

    cdef int check(self, int status) except -1:
        if status == 5:
            raise StreamFinishedError("this response has ended; open another with Scanner.filter()")
        if status != 0:
            raise OverreadError("the response cannot be used")
        return 0

    cdef bytes ready(self):
        cdef uint64_t until
        cdef bytearray piece
        self.due |= self.action.wants_event
        if self.action.verb == 1 or self.action.verb == 2:
            self.held.clear()
            return b""
        until = min(self.action.released, self.fed)
        if until <= self.sent:
            return b""
        piece = self.held[:until - self.sent]
        del self.held[:until - self.sent]
        if self.action.redact:
            api.filter_redact(self.handle, self.sent, PyByteArray_AS_STRING(piece), <size_t>len(piece))
        self.sent = until
        if self.action.verb == 3:
            self.held.clear()
        return bytes(piece)

    def body(self, chunk):
        """Feeds the next body bytes; returns those that may leave now.

        Raises ``TypeError`` for str, ``BufferError`` for a strided view, ``StreamFinishedError`` after :meth:`end`.
        """
        cdef Py_buffer view
        cdef int status
        _no_text(chunk)
        PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
        try:
            if <size_t>view.len >= RELEASE_GIL_FROM:
                with nogil:
                    status = api.filter_body(self.handle, view.buf, <size_t>view.len, &self.action)
            else:
                status = api.filter_body(self.handle, view.buf, <size_t>view.len, &self.action)
            self.check(status)
            self.fed += <uint64_t>view.len
            if PyBytes_CheckExact(chunk) and not self.held and not self.action.redact and not self.action.wants_event and self.action.verb == 0 and self.action.released >= self.fed:
                self.sent = self.fed
                return chunk
            if self.action.verb == 0 or (self.action.verb == 3 and self.sent < self.action.released):
                self.held += chunk
        finally:
            PyBuffer_Release(&view)
        return self.ready()

    def flush(self):
        """The hold time is up: returns what may leave, all but open matches and evidence not yet resolved."""
        self.check(api.filter_flush(self.handle, &self.action))
        return self.ready()

    def trailers(self, fields):
        """Scans the trailer section, before :meth:`end`; returns body bytes that may leave now."""
        cdef _Head head = _Head()
        cdef size_t count
        head.headers = head.pairs(fields, &count)
        self.check(api.filter_trailers(self.handle, head.headers, count, &self.action))
        return self.ready()

    def end(self):
        """The body is over: returns what is left of it, unless the response is stopped."""
        self.check(api.filter_end(self.handle, &self.action))
        return self.ready()

    @property
    def verb(self):
        """pass, block, cut or end."""
        return _VERBS[self.action.verb]

    @property
    def head_ready(self):
        """Whether the head may leave now."""
        return bool(self.action.release_head)

    @property
    def headers(self):
        """The head's fields as they may leave: where nothing may be stored, without what lets caches keep a response."""
        cdef size_t count, i = 0
        cdef const ovr_header *sets
        cdef const char *const *strips
        if not self.action.no_store:
            return list(self.fields)
        strips = api.no_store_strips()
        names = set()
        while strips[i] != NULL:
            names.add(<bytes>strips[i])
            i += 1
        kept = [(n, v) for n, v in self.fields if (n if isinstance(n, bytes) else n.encode("latin-1", "replace")).lower() not in names]
        sets = api.no_store_sets(&count)
        return kept + [(sets[i].name.data[:sets[i].name.size], sets[i].value.data[:sets[i].value.size]) for i in range(count)]

    def unsent(self):
        """Says of a response that is cut that nothing of it had left, although it might: its event then tells of a block."""
        api.filter_unsent(self.handle)

    @property
    def no_store(self):
        """Whether no cache may store the response."""
        return bool(self.action.no_store)

    @property
    def hold_ms(self):
        """Milliseconds after which :meth:`flush` is due; 0 while nothing waits for it."""
        return self.action.hold_ms

    @property
    def ignored(self):
        """Numbers of the lines of ``policy.ignore`` that took something out of this response."""
        cdef uint64_t hit = api.filter_ignored(self.handle)
        return [i for i in range(64) if hit >> i & 1]

    @property
    def wants_event(self):
        """Whether :meth:`event` is due: once a response, at its end or when it is stopped."""
        return bool(self.due)

    @property
    def repeated(self):
        """Whether signs on this path are too many for chance: an alarm of its own, once a day."""
        return self.action.repeated != 0

    @property
    def id(self):
        """16 hexadecimal digits that a visitor can quote."""
        return (<bytes>api.filter_id(self.handle)).decode()

    def verdict(self):
        """The verdict on the ended or stopped response; ``OverreadError`` before that."""
        cdef ovr_verdict verdict
        self.check(api.filter_verdict(self.handle, &verdict))
        return _verdict(&verdict)

    def event(self, proxy, method="", host="", target="", *, unix_ms=0, owner=""):
        """One alarm as a line of JSON (docs/policy.md), with no scanned byte and no query string.

        Empty where ``events_per_second`` or ``weak_sample`` leaves it out. Of ``owner``, whose response it is, the line has a digest, and
        only where the scanner has a key.
        """
        cdef ovr_exchange x
        cdef char line[8192]
        cdef size_t size
        cdef list alive = []
        cdef bytes name = proxy.encode()
        memset(&x, 0, sizeof(x))
        x.struct_size = sizeof(x)
        x.proxy = name
        x.method = _view(method, "method", alive)
        x.host = _view(host, "host", alive)
        x.target = _view(target, "target", alive)
        x.unix_ms = unix_ms
        x.owner = _view(owner, "owner", alive)
        self.check(api.filter_event(self.handle, &x, line, sizeof(line), &size))
        self.due = False
        return line[:size].decode()

    def __repr__(self):
        return f"<overread.Filter {self.id}, {self.policy.mode}, {self.verb}>"


cdef bint _copy(ovr_verdict *verdict) noexcept nogil:
    """Copies findings and terms out of the stream, which the next body overwrites. False: out of memory."""
    cdef size_t findings = verdict.finding_count * sizeof(ovr_finding)
    cdef size_t terms = verdict.term_count * sizeof(ovr_term)
    cdef char *copy
    if findings + terms == 0:
        return True
    copy = <char *>malloc(findings + terms)
    if copy == NULL:
        verdict.finding_count = verdict.term_count = 0
        return False
    memcpy(copy, verdict.findings, findings)
    memcpy(copy + findings, verdict.terms, terms)
    verdict.findings = <const ovr_finding *>copy
    verdict.terms = <const ovr_term *>(copy + findings)
    return True


def _scan_batch(Scanner scanner, list batch, content_type):
    cdef size_t n = <size_t>len(batch)
    cdef size_t i, held = 0, done = 0
    cdef Py_buffer *views = <Py_buffer *>calloc(n + 1, sizeof(Py_buffer))
    cdef ovr_verdict *verdicts = <ovr_verdict *>calloc(n + 1, sizeof(ovr_verdict))
    cdef ovr_stream *stream = NULL
    cdef bint enough = True
    cdef _Head head = _Head()
    try:
        if views == NULL or verdicts == NULL:
            raise MemoryError
        head.fill(content_type, 200, None, (), None)
        for i in range(n):
            _no_text(batch[i])
            PyObject_GetBuffer(batch[i], &views[i], PyBUF_SIMPLE)
            held += 1
        stream = scanner.take(&head.response)
        with nogil:
            for i in range(n):
                if i:
                    api.stream_reset(stream, &head.response)
                api.stream_feed(stream, views[i].buf, <size_t>views[i].len, NULL)
                api.stream_finish(stream, &verdicts[i])
                enough = _copy(&verdicts[i])
                if not enough:
                    break
                done += 1
        if not enough:
            raise MemoryError
        return [_verdict(&verdicts[i]) for i in range(n)]
    finally:
        if stream != NULL:
            scanner.put_back(stream)
        for i in range(held):
            PyBuffer_Release(&views[i])
        for i in range(done):
            if verdicts[i].finding_count or verdicts[i].term_count:
                free(<void *>verdicts[i].findings)
        free(views)
        free(verdicts)
