# cython: language_level=3, boundscheck=False, wraparound=False
"""What is called per chunk: Scanner.scan and Stream.feed, through the table _core exports."""

import concurrent.futures
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from overread._core import _C_API, Ruleset
from overread.errors import KernelError, OverreadError, StreamFinishedError
from overread.policy import Request
from overread.verdict import Finding, Term, Verdict

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
    ctypedef struct ovr_scanner_options:
        size_t struct_size
        double threshold
        uint32_t hold
        const char *kernel
    ctypedef struct ovr_progress:
        uint64_t released
        float bits
        uint8_t tier
        uint8_t leaked
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
    ctypedef struct ovr_verdict:
        double bits
        double probability
        uint8_t tier
        uint8_t leaked
        uint64_t first_offset
        uint64_t body_bytes
        const char *content_class
        const ovr_finding *findings
        size_t finding_count
        uint64_t findings_dropped
        const ovr_term *terms
        size_t term_count
    ctypedef struct overread_capi:
        uint32_t abi_version
        int (*scanner_new)(const ovr_ruleset *, const ovr_scanner_options *, ovr_scanner **, ovr_error *) noexcept nogil
        void (*scanner_free)(ovr_scanner *) noexcept nogil
        const char *(*scanner_kernel)(const ovr_scanner *) noexcept nogil
        int (*stream_open)(const ovr_scanner *, const ovr_response *, ovr_stream **, ovr_error *) noexcept nogil
        int (*stream_reset)(ovr_stream *, const ovr_response *) noexcept nogil
        int (*stream_feed)(ovr_stream *, const void *, size_t, ovr_progress *) noexcept nogil
        int (*stream_flush)(ovr_stream *, ovr_progress *) noexcept nogil
        void (*stream_progress)(const ovr_stream *, ovr_progress *) noexcept nogil
        int (*stream_finish)(ovr_stream *, ovr_verdict *) noexcept nogil
        void (*stream_close)(ovr_stream *) noexcept nogil
        const char *(*tier_name)(int) noexcept nogil
        const char *(*family_name)(int) noexcept nogil
        const char *(*part_name)(int) noexcept nogil
    const char *OVERREAD_CAPSULE
    uint32_t OVR_ABI_VERSION

cdef overread_capi *api = <overread_capi *>PyCapsule_GetPointer(_C_API, OVERREAD_CAPSULE)
if api.abi_version != OVR_ABI_VERSION:
    raise ImportError("overread._core and overread._stream are of different builds: reinstall overread")

# Giving up the GIL beside a busy thread costs up to the interpreter's 5 ms switch interval; a scan shorter than about
# 100 microseconds (1 MiB at 10 GB/s) is cheaper with the GIL held.
cdef size_t RELEASE_GIL_FROM = 1 << 20

_BASIS = ("counted", "chained", "capped")
NO_OFFSET = 0xFFFFFFFFFFFFFFFF


cdef bytes _encode(object text, str what):
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return (<str>text).encode("latin-1", "replace")
    raise TypeError(f"{what} must be str or bytes, found {type(text).__name__}")


cdef ovr_bytes _view(bytes data) noexcept:
    cdef ovr_bytes b
    b.data = <const uint8_t *>PyBytes_AS_STRING(data)
    b.size = <size_t>PyBytes_GET_SIZE(data)
    return b


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
        cdef bytes b = _encode(text, what)
        self.alive.append(b)
        return _view(b)

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


cdef object _verdict(const ovr_verdict *v):
    cdef size_t i
    cdef list findings = []
    cdef list terms = []
    for i in range(v.finding_count):
        f = &v.findings[i]
        findings.append(Finding((<bytes>f.rule).decode(), (<bytes>api.family_name(f.family)).decode(),
                                (<bytes>api.part_name(f.part)).decode(), (<bytes>f.name).decode("latin-1"),
                                f.offset, f.length, f.bits, f.digest))
    for i in range(v.term_count):
        t = &v.terms[i]
        terms.append(Term((<bytes>t.group).decode(), (<bytes>t.level).decode(), t.level_index, t.bits, _BASIS[t.basis],
                          (<bytes>t.cls).decode(), t.k, t.n, t.sources))
    return Verdict(bool(v.leaked), v.bits, v.probability, (<bytes>api.tier_name(v.tier)).decode(),
                   None if v.first_offset == NO_OFFSET else v.first_offset, v.body_bytes, (<bytes>v.content_class).decode(),
                   tuple(findings), v.findings_dropped, tuple(terms))


cdef _no_text(object body):
    if isinstance(body, str):
        raise TypeError("a body is bytes, not str: encode it first, e.g. body.encode('utf-8')")


cdef class Stream:
    """One response, fed chunk by chunk by one thread at a time. Made by :meth:`Scanner.stream`.

    Any object with a C-contiguous buffer is fed without copying; a mutable one must not change during the call.
    """

    cdef ovr_stream *handle
    cdef object scanner
    cdef bint finished
    cdef bint busy

    def __cinit__(self):
        self.handle = NULL

    def __init__(self):
        raise TypeError("use Scanner.stream()")

    def __dealloc__(self):
        if self.handle != NULL:
            api.stream_close(self.handle)

    cdef enter(self):
        if self.finished:
            raise StreamFinishedError("this stream is finished; open another with Scanner.stream()")
        if self.busy:
            raise RuntimeError("this stream is in use by another thread; a stream belongs to one thread at a time")
        self.busy = True

    def feed(self, chunk):
        """Bytes from the start of the body that may go out, after ``chunk`` was scanned.

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
        api.stream_flush(self.handle, &progress)
        self.busy = False
        return progress.released

    def finish(self):
        """The verdict. The stream cannot be fed any more."""
        cdef ovr_verdict verdict
        self.enter()
        self.busy = False
        self.finished = True
        api.stream_finish(self.handle, &verdict)
        return _verdict(&verdict)

    cdef ovr_progress now(self):
        cdef ovr_progress progress
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
        return (<bytes>api.tier_name(self.now().tier)).decode()

    def __repr__(self):
        return f"<overread.Stream at {self.bits:.1f} bits{', finished' if self.finished else ''}>"


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

    Raises
    ------
    KernelError
        When the kernel is unknown or not supported here.
    """

    cdef ovr_scanner *handle
    cdef object ruleset
    cdef readonly double threshold
    cdef readonly uint32_t hold

    def __cinit__(self, ruleset=None, *, double threshold=22.0, hold=16384, kernel=None):
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
        options.struct_size = sizeof(options)
        options.threshold = threshold
        options.hold = hold
        options.kernel = NULL
        if kernel is not None:
            name = kernel.encode()
            options.kernel = PyBytes_AS_STRING(name)
        if api.scanner_new(rules, &options, &self.handle, &error) != 0:
            message = (<bytes>error.message).decode()
            raise (KernelError if error.status == 4 else OverreadError)(message)

    def __dealloc__(self):
        if self.handle != NULL:
            api.scanner_free(self.handle)

    @property
    def kernel(self):
        """Name of the kernel in use."""
        return (<bytes>api.scanner_kernel(self.handle)).decode()

    def stream(self, content_type=None, *, status=200, reason=None, headers=(), request=None):
        """A stream for one response; its head is scanned at once."""
        cdef _Head head = _Head()
        cdef Stream stream = Stream.__new__(Stream)
        cdef ovr_error error
        head.fill(content_type, status, reason, headers, request)
        if api.stream_open(self.handle, &head.response, &stream.handle, &error) != 0:
            raise OverreadError((<bytes>error.message).decode())
        stream.scanner = self
        return stream

    def scan(self, body, content_type=None, *, status=200, reason=None, headers=(), request=None):
        """The verdict on a whole body; linear in its length.

        Raises ``TypeError`` for str, ``BufferError`` for a strided view.
        """
        cdef Stream stream
        _no_text(body)
        stream = self.stream(content_type, status=status, reason=reason, headers=headers, request=request)
        stream.feed(body)
        return stream.finish()

    def scan_many(self, bodies, threads=None, content_type=None):
        """Verdicts of many bodies, in order, on several threads; each batch gives up the GIL once.

        ``threads`` defaults to the number of usable cores.
        """
        cdef list items = list(bodies)
        count = threads or len(os.sched_getaffinity(0))
        if count < 1:
            raise ValueError(f"threads must be at least 1, found {threads}")
        size = max(1, -(-len(items) // (count * 4)))
        batches = [items[i:i + size] for i in range(0, len(items), size)]
        if count == 1 or len(batches) < 2:
            return [v for b in batches for v in _scan_batch(self, b, content_type)]
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return [v for part in pool.map(lambda b: _scan_batch(self, b, content_type), batches) for v in part]

    def __repr__(self):
        return f"<overread.Scanner, kernel {self.kernel}, threshold {self.threshold:g} bits>"


def _scan_batch(Scanner scanner, list batch, content_type):
    cdef size_t n = <size_t>len(batch)
    cdef size_t i, held = 0
    cdef Py_buffer *views = <Py_buffer *>calloc(n + 1, sizeof(Py_buffer))
    cdef ovr_stream **streams = <ovr_stream **>calloc(n + 1, sizeof(ovr_stream *))
    cdef ovr_verdict verdict
    cdef ovr_progress progress
    cdef ovr_error error
    cdef _Head head = _Head()
    try:
        if views == NULL or streams == NULL:
            raise MemoryError
        head.fill(content_type, 200, None, (), None)
        for i in range(n):
            _no_text(batch[i])
            PyObject_GetBuffer(batch[i], &views[i], PyBUF_SIMPLE)
            held += 1
            if api.stream_open(scanner.handle, &head.response, &streams[i], &error) != 0:
                raise OverreadError((<bytes>error.message).decode())
        with nogil:
            for i in range(n):
                api.stream_feed(streams[i], views[i].buf, <size_t>views[i].len, &progress)
        result = []
        for i in range(n):
            api.stream_finish(streams[i], &verdict)
            result.append(_verdict(&verdict))
        return result
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])
        if streams != NULL:
            for i in range(n):
                api.stream_close(streams[i])
        free(views)
        free(streams)
