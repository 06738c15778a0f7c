/* overread.h: the C ABI of overread, a scanner that finds another process's or
 * another client's memory in HTTP responses.
 *
 * Rules of this ABI
 *  - Handles are opaque. Structs that may grow start with `struct_size`; set it to sizeof(the struct).
 *  - Every fallible call returns an enum ovr_status and, where it takes one, fills an ovr_error.
 *  - No exception, signal, locale or global state crosses this edge; the one global is the chosen kernel.
 *  - Rulesets and scanners are immutable and may be shared by threads. One thread at a time per stream or filter.
 *  - Feeding allocates nothing. A stream takes a fixed block of memory at open.
 *  - A body with a Content-Encoding (gzip, deflate, br, zstd; at most three) is decoded and judged as what it decodes to;
 *    what may go out is counted in the bytes fed, which nothing changes. Its decoder comes with the head and goes at the
 *    end: 16 KiB a coding (br 80 KiB), and for its window 40 KiB (gzip, deflate), up to 8 MiB (zstd) or twice 16 MiB (br),
 *    which the library takes once, when the coded data asks for it. zstd data is released block by block (at most 128 KiB).
 *  - No call reads a byte outside the buffers it is given, and no output carries a scanned byte.
 */
#ifndef OVERREAD_H
#define OVERREAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define OVR_API
#else
#define OVR_API __attribute__((visibility("default")))
#endif

#define OVR_VERSION "0.1.0"
#define OVR_ABI_VERSION 1u
/* No body offset: nothing in the body is suspicious. */
#define OVR_NO_OFFSET UINT64_MAX

enum ovr_status {
    OVR_OK = 0,
    OVR_E_ARGUMENT = 1, /* a NULL or out-of-range argument, or a struct_size this build does not know */
    OVR_E_MEMORY = 2,   /* an allocation failed */
    OVR_E_BLOB = 3,     /* a ruleset blob is truncated, damaged or of another version */
    OVR_E_KERNEL = 4,   /* OVERREAD_KERNEL or options.kernel names an unknown or unsupported kernel */
    OVR_E_FINISHED = 5, /* the stream was fed or finished after ovr_stream_finish */
    OVR_E_SPACE = 6,    /* the caller's buffer is too small; the needed size is reported */
    OVR_E_INTERNAL = 7  /* a bug in overread; the response should pass as policy on_error says */
};

enum ovr_tier { OVR_TIER_NONE = 0, OVR_TIER_WEAK = 1, OVR_TIER_STRONG = 2, OVR_TIER_CERTAIN = 3 };
enum ovr_family { OVR_FAMILY_RAW = 0, OVR_FAMILY_HTTP = 1, OVR_FAMILY_SECRET = 2, OVR_FAMILY_PLACE = 3, OVR_FAMILY_FOREIGN = 4 };
enum ovr_part { OVR_PART_BODY = 0, OVR_PART_STATUS = 1, OVR_PART_HEADER = 2, OVR_PART_TRAILER = 3 };
enum ovr_basis {                           /* where a weight comes from, see docs/evidence.md */
                 OVR_BASIS_COUNTED = 0,    /* k clean bodies in n reached the level */
                 OVR_BASIS_CHAINED = 1,    /* counted on bodies in which the first sign already holds */
                 OVR_BASIS_CAPPED = 2,     /* limited by a cap of docs/evidence.md */
                 OVR_BASIS_CONSTRUCTED = 3 /* from chance of our own: fingerprints and canaries */
};
/* What became of a Content-Encoding (RFC 9110, section 8.4). From OVR_DECODE_TRUNCATED on, some bytes were not judged. */
enum ovr_decode {
    OVR_DECODE_NONE = 0,      /* the head names none, or identity */
    OVR_DECODE_OK = 1,        /* decoded to its end, or the body is empty; so far, while the body is fed */
    OVR_DECODE_TRAILING = 2,  /* decoded, and bytes stand behind the coded data: they were scanned as they are */
    OVR_DECODE_TRUNCATED = 3, /* the body ends inside the coded data */
    OVR_DECODE_BROKEN = 4,    /* from some byte on it is no such coded data */
    OVR_DECODE_BOMB = 5,      /* beyond options.max_decoded or max_ratio, or a zstd window above 8 MiB */
    OVR_DECODE_UNKNOWN = 6    /* a coding this build does not decode, more than three, or no memory for a decoder */
};
enum ovr_on_error { OVR_ON_ERROR_PASS = 0, OVR_ON_ERROR_BLOCK = 1 };
/* What filters compare with other responses, as bits of ovr_policy.watch; docs/evidence.md. It takes the request's host and target, and
 * ovr_response.unix_ms. */
enum ovr_watch {
    OVR_WATCH_REPETITION = 1, /* signs on one path that are too many for chance: an event, no action */
    OVR_WATCH_SAMENESS = 2,   /* the same raw bytes in every fetch of a path are published text, and no more than logged */
    OVR_WATCH_TWINS = 4       /* bytes that the same object (URL and strong ETag) did not have; takes a digest of every byte */
};
enum ovr_mode { OVR_MODE_OFF = 0, OVR_MODE_MONITOR = 1, OVR_MODE_ENFORCE = 2 };

typedef struct ovr_ruleset ovr_ruleset;
typedef struct ovr_scanner ovr_scanner;
typedef struct ovr_stream ovr_stream;
typedef struct ovr_filter ovr_filter;
typedef struct ovr_ignores ovr_ignores;
typedef struct ovr_control ovr_control;
typedef struct ovr_registry ovr_registry;

typedef struct ovr_error {
    int status;
    char message[240]; /* NUL-terminated; names the input, the place and the remedy */
} ovr_error;

typedef struct ovr_bytes {
    const uint8_t* data; /* may be NULL when size is 0 */
    size_t size;
} ovr_bytes;

typedef struct ovr_header {
    ovr_bytes name;
    ovr_bytes value;
} ovr_header;

/* The client's own request: a finding that consists wholly of its values is exempt (an echo page is silent).
 * Only keyed digests are kept. */
typedef struct ovr_request {
    size_t struct_size;
    ovr_bytes method;
    ovr_bytes target; /* path and query as sent */
    const ovr_header* headers;
    size_t header_count;
    ovr_bytes body;
} ovr_request;

/* A response head. Nothing is referenced after the call it is passed to returns. */
typedef struct ovr_response {
    size_t struct_size;
    uint32_t status;        /* 0 when unknown */
    ovr_bytes reason;       /* reason phrase, empty when unknown or HTTP/2 */
    ovr_bytes content_type; /* empty: taken from headers, else sniffed */
    const ovr_header* headers;
    size_t header_count;
    const ovr_request* request; /* NULL when unknown */
    uint64_t unix_ms;           /* time of day, milliseconds; 0, or a struct_size that ends before it: unknown, so that no ignore
                                   applies, no feature is tripped and no secret is foreign */
    ovr_bytes owner;            /* whose response it is, as ovr_registry_observe_request was told. Empty, or a struct_size that ends
                                   before it: taken from the request's own secrets */
    ovr_bytes canary;           /* what ovr_registry_canary made for its request, which is no leak here. Empty, or a struct_size that
                                   ends before it: none */
} ovr_response;

typedef struct ovr_scanner_options {
    size_t struct_size;
    double threshold;   /* bits at which a response is `leaked`; 0 means the default, 22 */
    uint32_t hold;      /* bytes of the delay line; OVR_HOLD_DEFAULT means 16384; streams that must flow get 0 */
    const char* kernel; /* NULL: OVERREAD_KERNEL, else the best this CPU has */
    ovr_bytes key;      /* 16 bytes of the operator's, copied: findings and owners get digests under it, which are the same in every
                           process. Empty, or a struct_size that ends before it: under a random key of this scanner */
    /* A coded body that grows beyond these is a bomb (OVR_DECODE_BOMB). 0, or a struct_size that ends before them: the default. */
    uint64_t max_decoded;   /* bytes after decoding; 4 GiB */
    uint32_t max_ratio;     /* times the coded bytes, behind the first 16 MiB; 200 */
    ovr_registry* registry; /* other clients' secrets, which no response may hold; NULL, or a struct_size that ends before it: none
                               are known. Must outlive the scanner */
} ovr_scanner_options;
#define OVR_HOLD_DEFAULT UINT32_MAX

typedef struct ovr_progress {
    uint64_t released; /* bytes from the start of the body, as it was fed, that may go out */
    float bits;        /* verdict so far */
    uint8_t tier;
    uint8_t leaked;
    uint8_t decode; /* enum ovr_decode, so far */
} ovr_progress;

typedef struct ovr_finding {
    const char* rule; /* rule id; lives as long as the ruleset */
    uint8_t family, part;
    uint64_t offset; /* bytes from the start of that part, which of a field is its value, or its name; in a coded body, of what it decodes to */
    uint32_t length; /* bytes */
    float bits;      /* what this finding's level is worth alone */
    uint64_t digest; /* under options.key, else the scanner's random key: equal bytes give equal digests under one key */
    char name[32];   /* field name when part is OVR_PART_HEADER or OVR_PART_TRAILER, else ""; "" also of a name that may itself be a secret */
} ovr_finding;

/* One term of the sum, as shown by explain. */
typedef struct ovr_term {
    const char* group;   /* raw, http, place */
    const char* level;   /* e.g. "two kinds after text" */
    const char* cls;     /* content class the count comes from ("text" when borrowed from the pool) */
    uint8_t basis;       /* enum ovr_basis */
    uint8_t level_index; /* 1.. inside the group */
    float bits;          /* contribution after chains and caps; may be 0 */
    uint32_t k, n, sources;
    float alone; /* what the level is worth where no other group shows anything */
    /* Of OVR_BASIS_CONSTRUCTED, where n is the number of live windows and k that of this response's look-ups; else 0. The smaller
       one counts. */
    float collision; /* bits against chance: 96 - log2(n) - log2(k) */
    float semantic;  /* bits against an honest reason for such a value to be there */
} ovr_term;

typedef struct ovr_verdict {
    double bits;
    double probability; /* posterior under the prior of 1 leak in 3,300,000 responses (the Cloudbleed peak) */
    uint8_t tier;
    uint8_t leaked;              /* bits >= threshold */
    uint8_t decode;              /* enum ovr_decode */
    uint64_t first_offset;       /* of the body, or OVR_NO_OFFSET */
    uint64_t body_bytes;         /* bytes scanned: of a coded body, the decoded ones */
    const char* content_class;   /* "encoded": coded, and nothing of it was decoded */
    const ovr_finding* findings; /* sorted by part (head, body, trailers), offset, rule; valid until reset, close or the next finish */
    size_t finding_count;
    uint64_t findings_dropped; /* further signs that were counted and merged */
    const ovr_term* terms;
    size_t term_count;
    uint64_t exempt; /* signs left out because they consist wholly of the client's own request */
} ovr_verdict;

/* ---- library ---- */
OVR_API uint32_t ovr_abi_version(void);
OVR_API const char* ovr_version(void);
OVR_API const char* ovr_status_name(int status);
OVR_API const char* ovr_tier_name(int tier);
OVR_API const char* ovr_family_name(int family);
OVR_API const char* ovr_part_name(int part);
OVR_API const char* ovr_decode_name(int decode);
OVR_API const char* ovr_do_name(int action);
/* What a level of a group (0 raw, 1 http, 2 place) means, as in ovr_term.level; NULL past the last level. */
OVR_API const char* ovr_level_name(int group, int level);
/* Name of usable kernel i, best first; NULL past the end. Emulated kernels (tests only) come last. */
OVR_API const char* ovr_kernel_name(size_t i);
/* The kernel a scanner opened now with kernel = NULL would use; NULL if OVERREAD_KERNEL is not usable. */
OVR_API const char* ovr_kernel_active(void);

/* ---- rulesets ---- */
typedef struct ovr_rule_info {
    const char *id, *title, *reference;
    uint8_t family;
} ovr_rule_info;

/* The shipped rules and weights, embedded. Never freed; NULL only when the first call finds no memory. */
OVR_API const ovr_ruleset* ovr_ruleset_default(void);
/* The embedded blob itself. */
OVR_API ovr_bytes ovr_ruleset_default_blob(void);
/* Checks and copies a compiled blob; safe on hostile bytes. */
OVR_API int ovr_ruleset_load(const void* blob, size_t size, ovr_ruleset** out, ovr_error* err);
OVR_API void ovr_ruleset_free(ovr_ruleset*);
OVR_API size_t ovr_ruleset_rule_count(const ovr_ruleset*);
OVR_API int ovr_ruleset_rule(const ovr_ruleset*, size_t index, ovr_rule_info* out);
/* For measurements: places of a body that the kernel's tables let through, and those its filter leaves to the verifiers. */
OVR_API int ovr_ruleset_candidates(const ovr_ruleset*, const void* body, size_t size, uint64_t* past_tables, uint64_t* candidates);

/* ---- scanners ---- */
/* ruleset NULL: the default; it must outlive the scanner. options may be NULL. */
OVR_API int ovr_scanner_new(const ovr_ruleset*, const ovr_scanner_options*, ovr_scanner** out, ovr_error* err);
OVR_API void ovr_scanner_free(ovr_scanner*);
OVR_API const char* ovr_scanner_kernel(const ovr_scanner*);
/* What a scanner's filters share: counts of what they saw. A scanner has memory of its own for it. An adapter with several processes
 * gives every scanner the same: ovr_shared_size() bytes, aligned as malloc does, zeroed once, before the scanner's first filter is opened;
 * it must outlive the scanner. It holds no lock and no scanned byte. OVR_E_ARGUMENT: too small, or another build's. */
OVR_API size_t ovr_shared_size(void);
OVR_API int ovr_scanner_share(ovr_scanner*, void* memory, size_t size);
/* What responses of mode monitor showed, k of n by class, group and level, as the file that `overread calibrate --site` takes
 * (docs/evidence.md), NUL-terminated. OVR_E_SPACE when capacity is too small (131072 is always enough). */
OVR_API int ovr_scanner_site_counts(const ovr_scanner*, char* buffer, size_t capacity, size_t* size);
/* Whether the scanner's filters only monitor, because they stopped more than policy.most_blocked; and how to end that by hand. */
OVR_API int ovr_scanner_breaker_open(const ovr_scanner*);
OVR_API void ovr_scanner_breaker_close(const ovr_scanner*);

/* ---- streams: one response each ---- */
/* response may be NULL (unknown head). Scans the head at once. */
OVR_API int ovr_stream_open(const ovr_scanner*, const ovr_response*, ovr_stream** out, ovr_error* err);
/* Reuses a stream for another response without allocating, but for a decoder where the response is coded. */
OVR_API int ovr_stream_reset(ovr_stream*, const ovr_response*);
/* Feeds the next body bytes. progress may be NULL. */
OVR_API int ovr_stream_feed(ovr_stream*, const void* data, size_t size, ovr_progress* progress);
/* The delay line's time is up: releases all but open matches. The core has no clock; the caller has. */
OVR_API int ovr_stream_flush(ovr_stream*, ovr_progress* progress);
/* Scans the trailer section, once the body's last byte was fed and before finish. Fields are judged as those of a head
 * (RFC 9110, section 6.5). progress may be NULL. */
OVR_API int ovr_stream_trailers(ovr_stream*, const ovr_header* fields, size_t count, ovr_progress* progress);
/* The verdict so far, without feeding. */
OVR_API void ovr_stream_progress(const ovr_stream*, ovr_progress* progress);
/* Ends the body. The verdict's pointers live until reset or close. */
OVR_API int ovr_stream_finish(ovr_stream*, ovr_verdict* out);
OVR_API void ovr_stream_close(ovr_stream*);

/* ---- filters: a stream under a policy; what proxies embed ---- */

/* What enforce does with a response, by rising strength. What alters it also marks it as not to be stored. Where an action
 * cannot be taken, the response is blocked: masking or shortening coded bytes, evidence in the head or in trailers. */
enum ovr_do {
    OVR_DO_DEFAULT = 0,  /* weak: log, strong: no-store, certain: block */
    OVR_DO_LOG = 1,      /* an event, no more */
    OVR_DO_NO_STORE = 2, /* no cache and no search engine may keep it */
    OVR_DO_REDACT = 3,   /* what was found is overwritten, byte for byte; the rest flows */
    OVR_DO_TRIM = 4,     /* a tail behind a complete image, font or other container is dropped; nothing else can be trimmed */
    OVR_DO_TRUNCATE = 5, /* the body ends before the first sign, or where it has come to */
    OVR_DO_BLOCK = 6,
    OVR_DO_TRIP = 7 /* blocked, and the response's features are tripped at once */
};

typedef struct ovr_policy {
    size_t struct_size;
    int mode;            /* enum ovr_mode */
    uint32_t hold;       /* bytes, OVR_HOLD_DEFAULT: 16384 in enforce; always 0 in monitor and for event streams */
    uint32_t hold_ms;    /* milliseconds after which the adapter calls ovr_filter_flush; 0 means 50 */
    int action[4];       /* enum ovr_do by enum ovr_tier; of the tiers reached the strongest is taken; OVR_TIER_NONE has none */
    double block_bits;   /* bits from which enforce blocks, whatever tiers `action` blocks: what a budget of false blocks asks for
                            (docs/evidence.md). 0: as `action` says. A struct_size that ends before it is accepted and means 0 */
    int on_error;        /* enum ovr_on_error: whether enforce stops a body that could not be decoded, as it stops a leak. A
                            struct_size that ends before it is accepted and means to pass */
    ovr_bytes test_key;  /* 16 bytes of the operator's, copied: a response that echoes a token of ovr_test_token out of its request
                           is stopped as a leak is, and its event is marked. Empty, or a struct_size that ends before it: none */
    double most_blocked; /* share of responses that enforce may stop, of every 1,000 of a scanner; above it the scanner's filters only
                            monitor, until a whole 1,000 has fewer that it would stop. 0, or a struct_size that ends before it: any */
    /* A struct_size that ends before any of these is accepted: they are then 0. */
    double threshold;           /* bits from which a response is `leaked` and the action of tier strong is taken; 0: 22 */
    const ovr_ignores* ignores; /* what is known and harmless; NULL: nothing. Must outlive the filter */
    ovr_control* control;       /* says which mode is the most, and takes alarms of features; NULL: neither. Must outlive the filter */
    ovr_bytes feature;          /* the feature that makes these responses, copied: 1 to 32 letters, digits, '-', '_' or '.', which is not the first */
    ovr_bytes feature_header;   /* a field of the response that names more of them, with commas between; copied */
    uint32_t trip_alarms;       /* so many alarms (events of tier strong or more, and whatever was stopped) trip a feature: 1 to 64. 0: never */
    uint32_t trip_ms;           /* if they come within so long; 0: a minute */
    uint64_t rearm_ms;          /* after so long it is armed again; 0: by hand (ovr_control_rearm) */
    uint32_t events_per_second; /* of a scanner, half of them for tier weak: further events are counted and left out. 0: any number */
    uint32_t weak_sample;       /* of the events of tier weak one in so many is written; 0: all */
    uint32_t watch;             /* bits of enum ovr_watch; 0: nothing */
} ovr_policy;

enum ovr_verb {
    OVR_PASS = 0,  /* send what `released` allows */
    OVR_BLOCK = 1, /* nothing has left: answer 502 instead; no more calls but ovr_filter_event */
    OVR_CUT = 2,   /* bytes have left: abort the connection or stream; send nothing more */
    OVR_END = 3    /* send what `released` allows, and no more: the body is `released` bytes long, also where a Content-Length that
                      has not left says otherwise; where one has left, or trailers would follow, abort after these bytes */
};

typedef struct ovr_action {
    int verb;             /* enum ovr_verb */
    uint8_t release_head; /* 1: the response head may go out now (or went) */
    uint8_t wants_event;  /* 1 (once, at the end or when stopped): call ovr_filter_event and write the line */
    uint8_t no_store;     /* 1: the head goes out without ovr_no_store_strips() and with ovr_no_store_sets(); no cache may store it */
    uint8_t test;         /* 1: the response echoes a test token; what is stopped or reported is no alarm and to be counted apart */
    uint8_t redact;       /* 1: the bytes that leave from now on must pass ovr_filter_redact, each once, in order */
    uint8_t repeated;     /* 1, beside wants_event: signs on this path are too many for chance; an alarm of its own, once a day */
    uint32_t hold_ms;     /* non-zero while body bytes are held that a flush would release */
    uint64_t released;    /* bytes from the start of the body that may go out */
} ovr_action;

/* What the adapter knows of the exchange, for the event. Query strings are cut off by the core. */
typedef struct ovr_exchange {
    size_t struct_size;
    const char* proxy; /* "envoy", "nginx", ... */
    ovr_bytes method, host, target;
    uint64_t unix_ms; /* time of day, milliseconds */
    ovr_bytes owner;  /* whose response it is, such as the session; the event carries a digest, and only under options.key. Empty, or a
                         struct_size that ends before it: unknown */
} ovr_exchange;

OVR_API int ovr_filter_open(const ovr_scanner*, const ovr_policy*, ovr_filter** out, ovr_error* err);
/* Starts a response (also on a reused filter). May already BLOCK: heads are scanned too. */
OVR_API int ovr_filter_head(ovr_filter*, const ovr_response*, ovr_action*);
/* After ovr_filter_end body, flush and trailers are OVR_E_FINISHED. */
OVR_API int ovr_filter_body(ovr_filter*, const void* data, size_t size, ovr_action*);
OVR_API int ovr_filter_flush(ovr_filter*, ovr_action*);
/* The trailer section, before ovr_filter_end: held body bytes can still be stopped with it. */
OVR_API int ovr_filter_trailers(ovr_filter*, const ovr_header* fields, size_t count, ovr_action*);
OVR_API int ovr_filter_end(ovr_filter*, ovr_action*);
/* Overwrites what is to be masked in the body bytes at `offset` of the response, and returns how many were. To be called while
 * action.redact is 1 with every byte that leaves, once, in order, just before it does. */
OVR_API uint64_t ovr_filter_redact(ovr_filter*, uint64_t offset, void* data, size_t size);
/* Fields that must not go out where action.no_store is 1: lower-case names, NULL at the end. */
OVR_API const char* const* ovr_no_store_strips(void);
/* Fields that take their place. */
OVR_API const ovr_header* ovr_no_store_sets(size_t* count);
/* Verdict of the ended or stopped response. */
OVR_API int ovr_filter_verdict(ovr_filter*, ovr_verdict* out);
/* A 16-hex-digit id a visitor can quote, NUL-terminated; fresh per response. */
OVR_API const char* ovr_filter_id(const ovr_filter*);
/* Which of policy.ignores took something out of this response: bit i is its line i. */
OVR_API uint64_t ovr_filter_ignored(const ovr_filter*);
/* The features of policy.control that this response has tripped: bit i is ovr_control_feature i. */
OVR_API uint64_t ovr_filter_tripped(const ovr_filter*);
/* What was done: a name of enum ovr_do, or "cut". */
OVR_API const char* ovr_filter_done(const ovr_filter*);
/* Nothing of a response that is to be cut had left, although earlier actions allowed it: verdict and event say that it was blocked.
 * To be called before them by an adapter that answers 502. */
OVR_API void ovr_filter_unsent(ovr_filter*);
/* Writes one JSON object (no newline, NUL-terminated) with no secret byte and no query string.
 * OVR_E_SPACE when capacity is too small (8192 is always enough); *size is its length without the NUL. A size of 0 with OVR_OK:
 * nothing is to be written, as policy.events_per_second or weak_sample says; the next event tells how many were left out. */
OVR_API int ovr_filter_event(ovr_filter*, const ovr_exchange*, char* buffer, size_t capacity, size_t* size);
#define OVR_TEST_TOKEN 38
/* A new token for ovr_policy.test_key, of letters, digits and '-', NUL-terminated. */
OVR_API int ovr_test_token(const void* key, size_t key_size, char token[OVR_TEST_TOKEN + 1]);
/* What an event under options.key (16 bytes) says as `owner`, so that its owners can be told from a list of one's own. */
OVR_API int ovr_owner_digest(const void* key, size_t key_size, const void* owner, size_t size, uint64_t* digest);
OVR_API void ovr_filter_close(ovr_filter*);

/* ---- ignores: what an operator knows to be harmless ---- */
#define OVR_IGNORES 64
typedef struct ovr_ignore {
    const char* text;  /* the line; lives as long as the list */
    uint64_t until_ms; /* from this time of day on it is expired: milliseconds */
} ovr_ignore;
/* Lines of "rule=ID", "family=NAME" or "digest=HEX" (of a finding, under options.key), "path=GLOB" ('*': any bytes; by default every
 * path), "until=YYYY-MM-DD" (the last day, UTC): at most OVR_IGNORES. Such signs are no evidence and no finding. Immutable; may be
 * shared by threads. ruleset NULL: the ids of rules are not checked. OVR_E_ARGUMENT names the line and what is expected. */
OVR_API int ovr_ignores_new(const ovr_ruleset*, const char* const* lines, size_t count, ovr_ignores** out, ovr_error* err);
/* OVR_E_ARGUMENT past the last line. */
OVR_API int ovr_ignores_line(const ovr_ignores*, size_t i, ovr_ignore* out);
OVR_API void ovr_ignores_free(ovr_ignores*);

/* ---- control: what operators, the agent and the proxies of a machine tell each other at run time ---- */
/* A text file that lines are appended to (docs/policy.md). Handles may be shared by threads, and by processes after a fork. A file
 * that is not there means: as configured. */
#define OVR_FEATURES 64
typedef struct ovr_control_state {
    size_t struct_size;
    int mode;          /* enum ovr_mode: no more than this may be done now */
    uint64_t tripped;  /* bit i: ovr_control_feature i is to be switched off */
    uint64_t agent_ms; /* time of day when `overread agent` showed life; 0: never */
    char fault[160];   /* what is wrong with the file, told once; else empty */
} ovr_control_state;
typedef struct ovr_feature {
    char name[33];
    uint8_t tripped;
    uint64_t at_ms;    /* when it was tripped last; 0: never */
    uint64_t until_ms; /* when it is rearmed by itself; 0: by hand */
    uint64_t alarms, trips;
} ovr_feature;
/* create: makes the file where there is none, so that workers with fewer rights can write to it. OVR_E_ARGUMENT if that fails. */
OVR_API int ovr_control_open(const char* path, int create, ovr_control** out, ovr_error* err);
/* The state now; to be called before each response. Looks at the file at most ten times a second. */
OVR_API int ovr_control_look(ovr_control*, uint64_t unix_ms, ovr_control_state* out);
/* OVR_E_ARGUMENT past the last one. Numbers belong to the handle; they never change. */
OVR_API int ovr_control_feature(ovr_control*, size_t i, ovr_feature* out);
/* By hand. OVR_E_ARGUMENT: no such mode, no name of a feature; OVR_E_INTERNAL: the file cannot be written, so that only this handle
 * knows. until_ms 0: until it is rearmed. */
OVR_API int ovr_control_set_mode(ovr_control*, int mode, uint64_t unix_ms);
OVR_API int ovr_control_trip(ovr_control*, const char* feature, uint64_t unix_ms, uint64_t until_ms);
OVR_API int ovr_control_rearm(ovr_control*, const char* feature, uint64_t unix_ms);
OVR_API void ovr_control_close(ovr_control*);

/* ---- registry: whose bytes these are ---- */
/* Keyed fingerprints of the secrets that clients and servers exchange, and whose they are; never a value. A scanner with a registry
 * finds a secret of one client in another's response (docs/foreign-secrets.md). Its memory is shared by threads and by processes that
 * are forked after it was opened; with a segment by all that open the same file under the same key. Nothing in it is a lock: a process
 * may end anywhere. Every call may come from any thread. */
typedef struct ovr_registry_options {
    size_t struct_size;
    uint64_t memory;          /* bytes of the table, 64 KiB to 64 GiB; 0: 64 MiB, enough for 500,000 sessions */
    uint32_t life_ms;         /* what was not seen for so long is forgotten: 1 s to a day; 0: 15 minutes */
    ovr_bytes key;            /* 16 bytes, copied; equal in all that share a segment or a fleet. Empty: random */
    const char* segment;      /* a file, such as one in /dev/shm, made with mode 0600 where there is none; NULL: no file */
    const char* const* names; /* names of further cookies, fields and parameters that identify a session, copied */
    size_t name_count;
} ovr_registry_options;
typedef struct ovr_registry_state {
    size_t struct_size;
    uint64_t slots;            /* windows that the table holds at most */
    uint64_t live;             /* of them in use, by windows and owners; of more than 12 MiB an estimate from a part of the table */
    uint64_t stored;           /* windows ever stored */
    uint64_t observed;         /* values that were observed */
    uint64_t weak;             /* that were left out: under 64 bits of entropy, or too long */
    uint64_t full;             /* windows that found no place */
    uint64_t quota;            /* values beyond an owner's quota */
    uint64_t shared;           /* windows that recurred across owners, and are dropped */
    uint64_t exposed;          /* values that were seen outside Cookie and Authorization */
    uint64_t lookups, foreign; /* windows of responses that were looked up, and those that were another's */
    uint64_t exported, imported;
} ovr_registry_state;
/* OVR_E_ARGUMENT: an option; a segment of another version, size or key, or no such file: the message says which, and the remedy. */
OVR_API int ovr_registry_open(const ovr_registry_options*, ovr_registry** out, ovr_error* err);
/* What a client sent. owner: its session, or what else stands for one client (the operator's session cookie, a certificate's digest);
 * empty: the strongest secret of the request. unix_ms: time of day. Nothing is kept but fingerprints. */
OVR_API int ovr_registry_observe_request(ovr_registry*, ovr_bytes owner, const ovr_request*, uint64_t unix_ms);
/* What it was answered: Set-Cookie and other fields, and the tokens of a JSON body, which may be empty or only the first bytes. The
 * response's own owner is taken, or else its request's. */
OVR_API int ovr_registry_observe_response(ovr_registry*, const ovr_response*, ovr_bytes body);
OVR_API int ovr_registry_state_of(const ovr_registry*, uint64_t unix_ms, ovr_registry_state* out);
/* For a fleet: what changed since the last export, as records of OVR_REGISTRY_RECORD bytes that hold fingerprints only; *size is 0 when
 * there is nothing more. One process exports. The importing registry has the same key, or it takes what matches nothing. What is no whole
 * number of records is refused (OVR_E_ARGUMENT); records older than their life are left out, and so is what was planted: its holder
 * plants it everywhere, and retires it. */
#define OVR_REGISTRY_RECORD 24
OVR_API int ovr_registry_export(ovr_registry*, uint64_t unix_ms, void* buffer, size_t capacity, size_t* size);
OVR_API int ovr_registry_import(ovr_registry*, const void* records, size_t size, uint64_t unix_ms);
/* 16 hexadecimal digits that are equal where the key is, NUL-terminated; they tell nothing of it. */
OVR_API const char* ovr_registry_key_id(const ovr_registry*);
OVR_API void ovr_registry_close(ovr_registry*);

/* ---- canaries: values of our own that nothing but a leak shows ---- */
/* A planted token: found in any response, whoever's it is. OVR_E_ARGUMENT: under 64 bits of entropy. It stays until it is retired; a table
 * that is made anew must be told again. */
OVR_API int ovr_registry_plant(ovr_registry*, const void* token, size_t size, uint64_t unix_ms);
OVR_API int ovr_registry_retire(ovr_registry*, const void* token, size_t size);
#define OVR_CANARY 46
/* A transport canary for one request: text of letters and digits, NUL-terminated, valid for 15 minutes, to be put into the request's
 * memory and stripped before the upstream. Seen in the response of another owner it is certain, once; then it is content. To be given to
 * the core as ovr_response.canary: without an owner nothing else tells a request's own canary from another's. */
OVR_API int ovr_registry_canary(ovr_registry*, ovr_bytes owner, uint64_t unix_ms, char canary[OVR_CANARY + 1]);
/* The key with which buffers are poisoned now; another one each hour, and after a sighting. */
OVR_API int ovr_registry_poison_key(ovr_registry*, uint64_t unix_ms, uint8_t key[16]);
/* Fills a recycled buffer with the key's pattern of period 16; any 16 bytes of it in a response are found. Touches no other memory. */
OVR_API void ovr_poison(void* buffer, size_t size, const uint8_t key[16]);

#ifdef __cplusplus
}
#endif
#endif /* OVERREAD_H */
