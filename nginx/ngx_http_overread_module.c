/* The overread filter as an nginx dynamic module. It only moves bytes: what to hold, release, block or cut is
 * decided by ovr_filter_* of overread.h.
 *
 * Its place is between the postpone filter and gzip (see `config`): it sees the assembled main response, with the
 * parts of SSI and other subrequests in it, decoded if gunzip decodes it, and as it goes to the client otherwise.
 */
#include <math.h>
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "overread.h"

/* Marks held bytes in connection->buffered. 0x10 and 0x20 are taken by the write filter and gzip, the low half by
 * TLS and HTTP/2. */
#define OVERREAD_BUFFERED 0x40
#define ZONE_NAME "overread"
#define UNSET_BITS -1.0
#define STRONG_BITS 22.0 /* of tier strong: docs/evidence.md */

enum {
    HELD_BLOCK = 4096,         /* bytes of one block of the delay line */
    READ_SIZE = 65536,         /* bytes of a file that are read and scanned at a time: they stay in a core's own cache */
    TURN = 524288,             /* bytes of a file that are looked at before what may go is sent and other connections are served */
    SMALL_FILE = 16384,        /* goes out of the memory that it was scanned in: with the head, in one call instead of four */
    IDLE_FILTERS = 32,         /* that a worker keeps for the next responses */
    EVENT_CAPACITY = 8192,     /* always enough for ovr_filter_event */
    REQUEST_BODY_KEPT = 65536, /* for own-request exclusion; more is not worth the time */
    STATUS_CAPACITY = 8192,    /* and so much for each ignore and feature: */
    STATUS_LINE = 2048,
    COUNTED_IGNORES = 256, /* of a configuration: further ones work as well, and are not counted */
    KEY_SIZE = 16,
    ZONE_SIZE = 65536,             /* the counters take one page of it */
    SITE_COUNTS_CAPACITY = 131072, /* always enough for ovr_scanner_site_counts */
    SITE_COUNTS_EVERY = 60 * 1000, /* ms */
    LOOK_LIMIT = 1000,             /* ms: how long a client that reads again may wait for the next look at its socket */
    HOLD_LIMIT = 64 * 1024 * 1024
};

/* In shared memory: no lock is ever held, so a worker may end anywhere. */
typedef struct {
    ngx_atomic_t responses, blocked, cut, shortened, tests, errors, left_out, body_bytes, repetitions;
    ngx_atomic_t alarms[OVR_TIER_CERTAIN + 1]; /* by tier */
    ngx_atomic_t ignored[COUNTED_IGNORES];     /* responses, by the line's place in the configuration */
    ngx_atomic_t ignores_are;                  /* a digest of these lines: another configuration counts anew */
    void* shared;                              /* what the core's filters share, in the same zone */
    time_t since;
} overread_counters_t;

typedef struct {
    ngx_uint_t mode, on_error;
    ngx_uint_t block_from;                   /* while a block is read */
    ngx_uint_t action[OVR_TIER_CERTAIN + 1]; /* enum ovr_do by tier */
    size_t hold;
    ngx_msec_t hold_ms;
    size_t max_body;
    ngx_flag_t status;       /* the location shows the counters */
    ngx_uint_t watch;        /* bits of enum ovr_watch */
    ngx_array_t* types;      /* of ngx_str_t; NULL: the default list */
    ngx_open_file_t* events; /* NULL: off */
    ngx_uint_t events_limit, weak_sample;
    double threshold, block_bits, most_blocked; /* UNSET_BITS while a block is read */
    ngx_str_t feature, feature_header;
    ngx_uint_t trip_alarms;
    ngx_msec_t trip_within, trip_rearm;
    ngx_http_complex_value_t* owner;
    ngx_flag_t canary;
    ngx_array_t* ignore_lines; /* of char* */
    ovr_ignores* ignores;
    ngx_uint_t ignore_place[OVR_IGNORES]; /* of each line among the main configuration's */
} overread_loc_conf_t;

/* The filter of an ended response. */
typedef struct {
    const overread_loc_conf_t* conf;
    ngx_uint_t mode;
    ovr_filter* filter;
} overread_idle_t;

/* A line of overread_ignore. */
typedef struct {
    ngx_str_t text;
    uint64_t until_ms;
} overread_ignore_t;

/* A registry, which the configurations that ask for the same share: over a reload its secrets live on. */
typedef struct overread_registry_s {
    ovr_registry* registry;
    ngx_uint_t users; /* configurations */
    struct overread_registry_s* next;
    size_t size;
    u_char words[]; /* that opened it, each with a NUL */
} overread_registry_t;

typedef struct {
    ovr_ruleset* ruleset; /* NULL: the shipped one */
    ovr_scanner* scanner; /* one a worker, made after the fork */
    ngx_flag_t used;      /* some location scans */
    ngx_shm_zone_t* zone; /* NULL: nothing to count, and nobody who asks */
    overread_counters_t* counters;
    ngx_str_t site_counts;              /* path of the file of counts, to which the zone's time is added, or empty */
    overread_idle_t idle[IDLE_FILTERS]; /* the longest unused first */
    ngx_uint_t idle_count;
    ngx_str_t control_path;
    ovr_control* control; /* NULL: none */
    ngx_flag_t trips;     /* some location may trip a feature */
    ngx_uint_t most;      /* enum ovr_mode, as this worker said last: no location does more */
    ngx_array_t* ignores; /* of overread_ignore_t: all lines, each once */
    ngx_flag_t keyed;
    u_char key[KEY_SIZE];
    size_t max_decoded, max_ratio; /* 0: the core's */
    ovr_scanner* probe;            /* while a configuration is read: knows what a policy may be */
    ngx_flag_t registry_said;      /* a line tells of the registry, if only `off` */
    overread_registry_t* registry; /* NULL: none */
    ngx_flag_t plants;             /* some location plants canaries */
} overread_main_conf_t;

typedef struct {
    ngx_http_request_t* request;
    overread_loc_conf_t* conf;
    ngx_uint_t mode; /* what is configured, unless the control file says less */
    overread_counters_t* counters;
    ovr_filter* filter;
    ngx_chain_t *held, *busy;   /* own blocks and ranges of files: waiting, on their way out */
    ngx_chain_t *free, *ranges; /* for reuse: blocks, ranges */
    ngx_chain_t* unread;        /* not looked at yet: while the client is slow, so that its producer waits too */
    off_t looked;               /* how far the first of them was, where it is a file */
    ngx_event_t timer;
    ngx_msec_t look_ms; /* until the next look at a full socket */
    uint64_t fed, sent;
    uint64_t flush_until; /* where the producer asked for a flush last: bytes before it that are held go on at once */
    unsigned head_out : 1;
    unsigned active : 1;   /* body bytes are scanned */
    unsigned judged : 1;   /* the verdict is final */
    unsigned reported : 1; /* there was reason for an event */
    unsigned no_store : 1; /* no cache keeps it */
    unsigned redact : 1;   /* what leaves from now on is masked first */
    unsigned ended : 1;    /* shortened: what the producer still brings is dropped */
    unsigned broken : 1;   /* and its client must see that it is not the whole */
    unsigned stopped : 1;  /* blocked or cut: nothing more may leave */
    unsigned due : 1;      /* the timer is the delay line's */
    unsigned last : 1;     /* the body's last bytes are a file's, and held */
} overread_ctx_t;

typedef struct {
    ngx_str_t name;
    ngx_uint_t value;
} overread_word_t;

static ngx_http_output_header_filter_pt next_header_filter;
static ngx_http_output_body_filter_pt next_body_filter;
extern ngx_module_t ngx_http_overread_module;

static const char* const DEFAULT_TYPES[] = {
    "text/*",
    "application/json",
    "*+json",
    "application/xml",
    "*+xml",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
};

static const overread_word_t MODES[] = {
    {ngx_string("off"), OVR_MODE_OFF}, {ngx_string("monitor"), OVR_MODE_MONITOR}, {ngx_string("enforce"), OVR_MODE_ENFORCE}, {ngx_null_string, 0}};

/* ---- the control file ---- */

static uint64_t unix_ms(void) {
    ngx_time_t* now = ngx_timeofday();
    return (uint64_t)now->sec * 1000 + now->msec;
}

/* What is switched off now; what is wrong with the file is said once. */
static ovr_control_state look_at_control(overread_main_conf_t* main, ngx_log_t* log) {
    ovr_control_state state;

    ngx_memzero(&state, sizeof state);
    state.struct_size = sizeof state;
    state.mode = OVR_MODE_ENFORCE;
    if (main->control == NULL || ovr_control_look(main->control, unix_ms(), &state) != OVR_OK) return state;
    if (state.fault[0]) ngx_log_error(NGX_LOG_ERR, log, 0, "overread_control: \"%V\" %s", &main->control_path, state.fault);
    if ((ngx_uint_t)state.mode != main->most) ngx_log_error(NGX_LOG_NOTICE, log, 0, "overread_control: no more than %V from now on", &MODES[state.mode].name);
    main->most = (ngx_uint_t)state.mode;
    return state;
}

static ngx_uint_t allowed_mode(overread_main_conf_t* main, const overread_loc_conf_t* conf, ngx_log_t* log) {
    if (conf->mode == OVR_MODE_OFF) return OVR_MODE_OFF;
    return ngx_min(conf->mode, (ngx_uint_t)look_at_control(main, log).mode);
}

/* ---- what the core is told ---- */

static ovr_bytes bytes(ngx_str_t s) {
    ovr_bytes b = {s.data, s.len};
    return b;
}

static ovr_bytes literal(const char* s) {
    ovr_bytes b = {(const uint8_t*)s, ngx_strlen(s)};
    return b;
}

static size_t count_fields(ngx_list_t* list) {
    size_t n = 0;
    for (ngx_list_part_t* part = &list->part; part; part = part->next) n += part->nelts;
    return n;
}

static size_t copy_fields(ngx_list_t* list, ovr_header* out) {
    size_t n = 0;
    for (ngx_list_part_t* part = &list->part; part; part = part->next) {
        ngx_table_elt_t* field = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (field[i].hash == 0) continue; /* taken out by another module */
            out[n].name = bytes(field[i].key);
            out[n].value = bytes(field[i].value);
            n++;
        }
    }
    return n;
}

/* The client's own body as far as it is in memory: in one piece, because the core takes one. */
static ngx_int_t request_body(ngx_http_request_t* r, ovr_bytes* out) {
    size_t size = 0;
    u_char* copy;

    if (r->request_body == NULL || r->request_body->bufs == NULL) return NGX_OK;
    for (ngx_chain_t* cl = r->request_body->bufs; cl; cl = cl->next)
        if (ngx_buf_in_memory(cl->buf)) size += cl->buf->last - cl->buf->start;
    if (size > REQUEST_BODY_KEPT) size = REQUEST_BODY_KEPT;
    if (size == 0) return NGX_OK;
    copy = ngx_palloc(r->pool, size);
    if (copy == NULL) return NGX_ERROR;
    out->data = copy;
    for (ngx_chain_t* cl = r->request_body->bufs; cl && out->size < size; cl = cl->next) {
        if (!ngx_buf_in_memory(cl->buf)) continue;
        /* From the start: pos moved on when the body went to the upstream. */
        size_t part = ngx_min((size_t)(cl->buf->last - cl->buf->start), size - out->size);
        ngx_memcpy(copy + out->size, cl->buf->start, part);
        out->size += part;
    }
    return NGX_OK;
}

static ngx_int_t content_type(ngx_http_request_t* r, ovr_bytes* out) {
    ngx_str_t type = r->headers_out.content_type;
    ngx_str_t charset = r->headers_out.charset;
    u_char* whole;

    *out = bytes(type);
    if (type.len == 0 || charset.len == 0 || r->headers_out.content_type_len != type.len) return NGX_OK;
    /* nginx keeps the charset apart until it writes the head. */
    whole = ngx_pnalloc(r->pool, type.len + sizeof("; charset=") - 1 + charset.len);
    if (whole == NULL) return NGX_ERROR;
    out->data = whole;
    out->size = ngx_sprintf(whole, "%V; charset=%V", &type, &charset) - whole;
    return NGX_OK;
}

/* Whose response it is; empty where nobody says. */
static ovr_bytes owner_of(ngx_http_request_t* r, const overread_loc_conf_t* conf) {
    ngx_str_t owner = ngx_null_string;
    if (conf->owner && ngx_http_complex_value(r, conf->owner, &owner) != NGX_OK) owner.len = 0;
    return bytes(owner);
}

/* ---- canaries ---- */

/* Of no effect: it only marks the request's memory as having a canary, and says where. */
static void keep_canary(void* data) { (void)data; }

static const char* find_canary(ngx_http_request_t* r) {
    for (ngx_pool_cleanup_t* c = r->pool->cleanup; c; c = c->next)
        if (c->handler == keep_canary) return c->data;
    return NULL;
}

/* What answers to the owner later may not be there yet, and nginx remembers the first answer of a variable, and a map's captures in place
 * of the location's: who asks so early leaves no trace. */
static ovr_bytes owner_so_far(ngx_http_request_t* r, const overread_loc_conf_t* conf) {
    const ngx_http_core_main_conf_t* core = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    size_t size = core->variables.nelts * sizeof(ngx_http_variable_value_t);
    ngx_http_variable_value_t* before = conf->owner ? ngx_palloc(r->pool, size) : NULL;
    ovr_bytes owner = {NULL, 0};
#if (NGX_PCRE)
    int* captures = r->captures;
    u_char* captures_data = r->captures_data;
    ngx_uint_t ncaptures = r->ncaptures;
#endif

    if (before == NULL) return owner;
    ngx_memcpy(before, r->variables, size);
#if (NGX_PCRE)
    r->captures = NULL;
#endif
    owner = owner_of(r, conf);
#if (NGX_PCRE)
    r->captures = captures;
    r->captures_data = captures_data;
    r->ncaptures = ncaptures;
#endif
    ngx_memcpy(r->variables, before, size);
    return owner;
}

/* The Cookie's value moves to a block that has a canary before and behind it. What is sent to the upstream is the value alone. */
static ngx_int_t plant_canary(ngx_http_request_t* r) {
    static const char before[] = "cookie: overread-canary=", between[] = "; ", behind[] = "overread-canary: ";
    overread_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_overread_module);
    overread_loc_conf_t* conf = ngx_http_get_module_loc_conf(r, ngx_http_overread_module);
    ngx_table_elt_t* cookie = NULL;
    ngx_pool_cleanup_t* mark;
    u_char canary[OVR_CANARY + 1], *p;
    size_t size = 0;

    if (!conf->canary || conf->mode == OVR_MODE_OFF || r != r->main || find_canary(r)) return NGX_DECLINED;
    for (ngx_list_part_t* part = &r->headers_in.headers.part; part && cookie == NULL; part = part->next) {
        ngx_table_elt_t* field = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts && cookie == NULL; i++)
            if (field[i].key.len == 6 && ngx_strncasecmp(field[i].key.data, (u_char*)"cookie", 6) == 0) cookie = &field[i];
    }
    if (cookie) size = sizeof before - 1 + OVR_CANARY + sizeof between - 1 + cookie->value.len + 1;
    mark = ngx_pool_cleanup_add(r->pool, 0);
    p = ngx_pnalloc(r->pool, size + sizeof behind - 1 + OVR_CANARY + sizeof "\r\n");
    if (mark == NULL || p == NULL || ovr_registry_canary(main->registry->registry, owner_so_far(r, conf), unix_ms(), (char*)canary) != OVR_OK)
        return NGX_DECLINED;
    if (cookie) {
        p = ngx_sprintf(p, "%s%s%s", before, canary, between);
        ngx_memcpy(p, cookie->value.data, cookie->value.len);
        cookie->value.data = p;
        p += cookie->value.len;
        *p++ = '\0'; /* as nginx ends every value */
    }
    p = ngx_cpymem(p, behind, sizeof behind - 1);
    mark->handler = keep_canary;
    mark->data = p;
    ngx_sprintf(p, "%s\r\n%Z", canary);
    return NGX_DECLINED;
}

/* ---- the head ---- */

/* Shows the head to the core. NGX_DECLINED: the core failed. */
static ngx_int_t scan_head(overread_ctx_t* ctx, ovr_action* action) {
    ngx_http_request_t* r = ctx->request;
    const overread_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_overread_module);
    ovr_request request;
    ovr_response response;
    size_t own_count = count_fields(&r->headers_in.headers);
    const char* canary = ctx->conf->canary ? find_canary(r) : NULL;
    ovr_header* own = ngx_palloc(r->pool, (own_count + count_fields(&r->headers_out.headers) + 2) * sizeof(ovr_header));
    u_char length[NGX_OFF_T_LEN];

    if (own == NULL) return NGX_ERROR;
    ngx_memzero(&request, sizeof request);
    request.struct_size = sizeof request;
    request.method = bytes(r->method_name);
    request.target = bytes(r->unparsed_uri);
    request.headers = own;
    request.header_count = copy_fields(&r->headers_in.headers, own);
    if (request_body(r, &request.body) != NGX_OK) return NGX_ERROR;

    ngx_memzero(&response, sizeof response);
    response.struct_size = sizeof response;
    response.status = (uint32_t)r->headers_out.status;
    if (r->headers_out.status_line.len > 4) { /* "200 OK" */
        response.reason.data = r->headers_out.status_line.data + 4;
        response.reason.size = r->headers_out.status_line.len - 4;
    }
    if (content_type(r, &response.content_type) != NGX_OK) return NGX_ERROR;
    response.headers = own + own_count;
    response.header_count = copy_fields(&r->headers_out.headers, own + own_count);
    /* What nginx keeps apart, and the core compares by. */
    if (ctx->conf->watch && r->headers_out.content_length_n >= 0) {
        ovr_header* field = own + own_count + response.header_count++;
        field->name = literal("Content-Length");
        field->value.data = length;
        field->value.size = ngx_sprintf(length, "%O", r->headers_out.content_length_n) - length;
    }
    if (ctx->conf->watch && r->cached) {
        ovr_header* field = own + own_count + response.header_count++;
        field->name = literal("Cache-Status");
        field->value = literal("nginx; hit");
    }
    response.request = &request;
    response.unix_ms = unix_ms();
    if (main->registry) response.owner = owner_of(r, ctx->conf);
    if (canary) {
        response.canary.data = (const uint8_t*)canary;
        response.canary.size = OVR_CANARY;
    }
    return ovr_filter_head(ctx->filter, &response, action) == OVR_OK ? NGX_OK : NGX_DECLINED;
}

static void count(ngx_atomic_t* counter, ngx_atomic_int_t n) { (void)ngx_atomic_fetch_add(counter, n); }

static void count_ignored(overread_ctx_t* ctx) {
    for (uint64_t hit = ctx->conf->ignores ? ovr_filter_ignored(ctx->filter) : 0; hit; hit &= hit - 1) {
        ngx_uint_t place = ctx->conf->ignore_place[__builtin_ctzll(hit)];
        if (place < COUNTED_IGNORES) count(&ctx->counters->ignored[place], 1);
    }
}

static void report(overread_ctx_t* ctx, const ovr_action* action) {
    ngx_http_request_t* r = ctx->request;
    ovr_exchange exchange;
    ovr_verdict verdict;
    char line[EVENT_CAPACITY + 1];
    size_t size = 0;

    count_ignored(ctx);
    if (!action->wants_event) return;
    ctx->reported = 1;
    if (action->repeated) count(&ctx->counters->repetitions, 1);
    if (action->test)
        count(&ctx->counters->tests, 1);
    else if (ovr_filter_verdict(ctx->filter, &verdict) == OVR_OK && verdict.tier != OVR_TIER_NONE)
        count(&ctx->counters->alarms[verdict.tier], 1);
    if (ctx->conf->events == NULL) return;
    ngx_memzero(&exchange, sizeof exchange);
    exchange.struct_size = sizeof exchange;
    exchange.proxy = "nginx";
    exchange.method = bytes(r->method_name);
    exchange.host = bytes(r->headers_in.server);
    exchange.target = bytes(r->unparsed_uri);
    exchange.unix_ms = unix_ms();
    exchange.owner = owner_of(r, ctx->conf);
    if (ovr_filter_event(ctx->filter, &exchange, line, EVENT_CAPACITY, &size) != OVR_OK) {
        count(&ctx->counters->errors, 1);
        return;
    }
    if (size == 0) {
        count(&ctx->counters->left_out, 1);
        return;
    }
    line[size] = '\n';
    /* One write per line on a descriptor opened for appending: lines of several workers never mix. */
    if (ngx_write_fd(ctx->conf->events->fd, line, size + 1) == (ssize_t)size + 1) return;
    count(&ctx->counters->errors, 1);
    ngx_log_error(NGX_LOG_ALERT, r->connection->log, ngx_errno, "overread: cannot write to \"%V\"", &ctx->conf->events->name);
}

/* ---- the delay line ---- */

/* nginx asks its filters again, and does not end the request, only while something is marked as buffered. */
static void mark(overread_ctx_t* ctx, ngx_uint_t waiting) {
    if (waiting || ctx->unread)
        ctx->request->connection->buffered |= OVERREAD_BUFFERED;
    else
        ctx->request->connection->buffered &= ~OVERREAD_BUFFERED;
}

static void disarm(overread_ctx_t* ctx) {
    if (ctx->timer.timer_set) ngx_del_timer(&ctx->timer);
    ctx->due = 0;
    mark(ctx, 0);
}

static ngx_uint_t only_in_file(const ngx_buf_t* b) { return b->in_file && !ngx_buf_in_memory(b) && b->file_last > b->file_pos; }

/* Gives a producer its buffers back. One that is in a file only costs nothing, and earlier ranges of it may be on their way. */
static void use_up(ngx_chain_t* in) {
    for (; in; in = in->next) {
        if (only_in_file(in->buf)) continue;
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }
}

/* Takes back a block, or a range of a file, that has left. The producer's buffer is used up no earlier, as its file may be written
 * anew then. Ranges leave in order, so the farthest tells. */
static void reclaim(overread_ctx_t* ctx, ngx_chain_t* cl) {
    ngx_buf_t* b = cl->buf;
    ngx_chain_t** list = b->start ? &ctx->free : &ctx->ranges;
    if (b->shadow) b->shadow->file_pos = ngx_max(b->shadow->file_pos, b->file_last);
    cl->next = *list;
    *list = cl;
}

static void drop_waiting(overread_ctx_t* ctx) {
    while (ctx->held) {
        ngx_chain_t* cl = ctx->held;
        ctx->held = cl->next;
        cl->buf->shadow = NULL;
        reclaim(ctx, cl);
    }
    use_up(ctx->unread);
    ctx->unread = NULL;
    ctx->looked = 0;
    disarm(ctx);
}

/* An empty block of at least `size` bytes; its chain link stays with it. */
static ngx_chain_t* new_block(overread_ctx_t* ctx, size_t size) {
    ngx_chain_t **at = &ctx->free, *cl;
    while (*at && (size_t)((*at)->buf->end - (*at)->buf->start) < size) at = &(*at)->next;
    cl = *at;
    if (cl) {
        *at = cl->next;
    } else {
        cl = ngx_alloc_chain_link(ctx->request->pool);
        if (cl == NULL) return NULL;
        cl->buf = ngx_create_temp_buf(ctx->request->pool, size);
        if (cl->buf == NULL) return NULL;
        cl->buf->tag = (ngx_buf_tag_t)&ngx_http_overread_module;
    }
    cl->buf->pos = cl->buf->last = cl->buf->start;
    cl->buf->flush = cl->buf->last_buf = cl->buf->last_in_chain = 0;
    cl->buf->shadow = NULL;
    cl->next = NULL;
    return cl;
}

/* A part of the file of a producer's buffer. */
static ngx_chain_t* new_range(overread_ctx_t* ctx, ngx_buf_t* of, off_t from, off_t to) {
    ngx_chain_t* cl = ctx->ranges;
    if (cl) {
        ctx->ranges = cl->next;
    } else {
        cl = ngx_alloc_chain_link(ctx->request->pool);
        if (cl == NULL) return NULL;
        cl->buf = ngx_calloc_buf(ctx->request->pool);
        if (cl->buf == NULL) return NULL;
        cl->buf->tag = (ngx_buf_tag_t)&ngx_http_overread_module;
        cl->buf->in_file = 1;
    }
    cl->buf->file = of->file;
    cl->buf->file_pos = from;
    cl->buf->file_last = to;
    cl->buf->flush = cl->buf->last_buf = cl->buf->last_in_chain = 0;
    cl->buf->shadow = of;
    cl->next = NULL;
    return cl;
}

static ngx_int_t read_file(overread_ctx_t* ctx, ngx_file_t* file, u_char* to, size_t size, off_t offset) {
    ssize_t n = ngx_read_file(file, to, size, offset);
    if (n == (ssize_t)size) return NGX_OK;
    if (n != NGX_ERROR) ngx_log_error(NGX_LOG_ALERT, ctx->request->connection->log, 0, "overread: read only %z of %uz bytes from \"%V\"", n, size, &file->name);
    return NGX_ERROR;
}

static void append_held(overread_ctx_t* ctx, ngx_chain_t* cl) {
    ngx_chain_t** end = &ctx->held;
    while (*end) end = &(*end)->next;
    *end = cl;
}

/* Copies bytes to the end of the delay line, so that the producer gets its buffer back. */
static ngx_int_t hold(overread_ctx_t* ctx, const u_char* data, size_t size) {
    ngx_chain_t **end = &ctx->held, *last = NULL;
    while (*end) {
        last = *end;
        end = &last->next;
    }
    while (size) {
        if (last == NULL || last->buf->start == NULL || last->buf->shadow || last->buf->last == last->buf->end) {
            last = new_block(ctx, HELD_BLOCK);
            if (last == NULL) return NGX_ERROR;
            *end = last;
            end = &last->next;
        }
        size_t part = ngx_min(size, (size_t)(last->buf->end - last->buf->last));
        last->buf->last = ngx_cpymem(last->buf->last, data, part);
        data += part;
        size -= part;
    }
    return NGX_OK;
}

/* The next filter. It must not be called with nothing to do: the write filter takes that for a bug. */
static ngx_int_t pass_on(overread_ctx_t* ctx, ngx_chain_t* out) {
    ngx_http_request_t* r = ctx->request;
    ngx_int_t rc = NGX_OK;

    if (out || r->out || (r->connection->buffered & ~OVERREAD_BUFFERED)) rc = next_body_filter(r, out);
    for (ngx_chain_t** cl = &ctx->busy; *cl;) {
        ngx_chain_t* gone = *cl;
        if (ngx_buf_size(gone->buf)) {
            cl = &gone->next;
            continue;
        }
        *cl = gone->next;
        reclaim(ctx, gone);
    }
    return rc;
}

static ngx_int_t append(ngx_pool_t* pool, ngx_chain_t*** end, ngx_buf_t* b) {
    ngx_chain_t* cl = ngx_alloc_chain_link(pool);
    if (cl == NULL) return NGX_ERROR;
    cl->buf = b;
    cl->next = NULL;
    **end = cl;
    *end = &cl->next;
    return NGX_OK;
}

/* Filters behind this one may want memory, and say so when they see the head; masking always does. */
static ngx_uint_t needs_memory(overread_ctx_t* ctx) {
    ngx_http_request_t* r = ctx->request;
    return ctx->redact || r->main_filter_need_in_memory || r->filter_need_in_memory || r->filter_need_temporary;
}

/* The front of the delay line, a range: blocks with its bytes take its place. */
static ngx_int_t load(overread_ctx_t* ctx) {
    ngx_chain_t *range = ctx->held, **end = &ctx->held;
    ngx_buf_t* from = range->buf;

    while (from->file_pos < from->file_last) {
        size_t size = (size_t)ngx_min(from->file_last - from->file_pos, HELD_BLOCK);
        ngx_chain_t* cl = new_block(ctx, HELD_BLOCK);
        if (cl == NULL || read_file(ctx, from->file, cl->buf->start, size, from->file_pos) != NGX_OK) return NGX_ERROR;
        cl->buf->last += size;
        from->file_pos += (off_t)size;
        cl->buf->shadow = from->shadow; /* used up when the block is */
        cl->buf->file_last = from->file_pos;
        cl->next = range->next;
        *end = cl;
        end = &cl->next;
    }
    from->shadow = NULL;
    reclaim(ctx, range);
    return NGX_OK;
}

/* Leaves `size` bytes at the front of the delay line, and the rest in a block or range of its own: what is on its way out must not
 * change. */
static ngx_int_t split(overread_ctx_t* ctx, size_t size) {
    ngx_buf_t* b = ctx->held->buf;
    ngx_chain_t* rest;

    if (b->start == NULL) {
        rest = new_range(ctx, b->shadow, b->file_pos + (off_t)size, b->file_last);
        if (rest == NULL) return NGX_ERROR;
        b->file_last = rest->buf->file_pos;
    } else {
        size_t tail = b->last - b->pos - size;
        rest = new_block(ctx, ngx_max(tail, HELD_BLOCK));
        if (rest == NULL) return NGX_ERROR;
        b->last -= tail;
        rest->buf->last = ngx_cpymem(rest->buf->last, b->last, tail);
        if (b->shadow) {
            rest->buf->shadow = b->shadow;
            rest->buf->file_last = b->file_last;
            b->file_last -= (off_t)tail;
        }
    }
    rest->next = ctx->held->next;
    ctx->held->next = rest;
    return NGX_OK;
}

/* While the head waits, its first byte is to be pushed as well. */
static void want_flush(overread_ctx_t* ctx) { ctx->flush_until = ctx->fed + !ctx->head_out; }

/* Moves what may go, up to `ready` bytes, from the front of the delay line to the chain, and masks it. */
static ngx_int_t take_held(overread_ctx_t* ctx, uint64_t* ready, ngx_chain_t*** end) {
    while (ctx->held && *ready) {
        ngx_chain_t* cl;
        size_t size;
        if ((uint64_t)ngx_buf_size(ctx->held->buf) > *ready && split(ctx, (size_t)*ready) != NGX_OK) return NGX_ERROR;
        if (ctx->held->buf->start == NULL && needs_memory(ctx) && load(ctx) != NGX_OK) return NGX_ERROR;
        cl = ctx->held;
        size = (size_t)ngx_buf_size(cl->buf);
        ctx->held = cl->next;
        cl->next = ctx->busy;
        ctx->busy = cl;
        cl->buf->flush = ctx->sent - *ready < ctx->flush_until;
        if (ctx->last && ctx->held == NULL && !ctx->ended) cl->buf->last_buf = cl->buf->last_in_chain = 1;
        if (ctx->redact) ovr_filter_redact(ctx->filter, ctx->sent - *ready, cl->buf->pos, size);
        *ready -= size;
        if (append(ctx->request->pool, end, cl->buf) != NGX_OK) return NGX_ERROR;
    }
    return NGX_OK;
}

/* Copies the first `wanted` bytes of a producer's buffers to the delay line and uses them all up. */
static ngx_int_t absorb(overread_ctx_t* ctx, ngx_chain_t* in, uint64_t wanted) {
    for (ngx_chain_t* cl = ctx->held; cl; cl = cl->next) wanted -= ngx_min(wanted, (uint64_t)ngx_buf_size(cl->buf));
    for (ngx_chain_t* cl = in; cl; cl = cl->next) {
        ngx_buf_t* b = cl->buf;
        size_t size = ngx_buf_in_memory(b) ? (size_t)ngx_min(wanted, (uint64_t)(b->last - b->pos)) : 0;
        if (size && hold(ctx, b->pos, size) != NGX_OK) return NGX_ERROR;
        wanted -= size;
    }
    use_up(in);
    return NGX_OK;
}

/* A buffer without a byte that ends the response, or only pushes it on. */
static ngx_buf_t* bare(ngx_pool_t* pool, ngx_uint_t last) {
    ngx_buf_t* b = ngx_calloc_buf(pool);
    if (b == NULL) return NULL;
    b->last_buf = last ? 1 : 0;
    b->flush = last ? 0 : 1;
    b->last_in_chain = 1;
    return b;
}

/* Sends the head if it may go, then everything below offset `released`: held bytes, then those of `in`. The rest of
 * `in` is copied; so is all of it where it is to be masked, as the producer's own bytes may go to a file as well. */
static ngx_int_t forward(overread_ctx_t* ctx, ngx_chain_t* in, uint64_t released, ngx_uint_t head_goes) {
    ngx_http_request_t* r = ctx->request;
    ngx_chain_t *out = NULL, **end = &out;
    uint64_t ready;
    ngx_int_t rc;

    if (!ctx->head_out) {
        if (head_goes) {
            ctx->head_out = 1;
            rc = next_header_filter(r);
            if (rc == NGX_ERROR || rc > NGX_OK) return NGX_ERROR;
        } else {
            released = ctx->sent;
        }
    }
    ready = released - ctx->sent;
    ctx->sent = released;
    /* The common case: nothing is copied. */
    if (ctx->held == NULL && released == ctx->fed && ctx->head_out && !ctx->redact && !ctx->ended) return pass_on(ctx, in);

    if (ctx->redact || ctx->ended) {
        if (absorb(ctx, in, ctx->ended ? ready : UINT64_MAX) != NGX_OK) return NGX_ERROR;
        if (take_held(ctx, &ready, &end) != NGX_OK) return NGX_ERROR;
        for (; in && ctx->head_out && !ctx->ended; in = in->next) {
            /* Copies carry the flush: on a stream that never ends, a new buffer each time would fill the pool. */
            if (!ngx_buf_special(in->buf) && !in->buf->last_buf) continue;
            ngx_buf_t* b = ngx_buf_special(in->buf) ? in->buf : bare(r->pool, 1);
            if (b == NULL || append(r->pool, &end, b) != NGX_OK) return NGX_ERROR;
        }
        in = NULL;
    } else if (take_held(ctx, &ready, &end) != NGX_OK)
        return NGX_ERROR;
    for (; in; in = in->next) {
        ngx_buf_t* b = in->buf;
        size_t size = ngx_buf_in_memory(b) ? (size_t)(b->last - b->pos) : (size_t)ngx_buf_size(b);
        if (size > ready) {
            size_t tail = size - (size_t)ready;
            if (hold(ctx, b->last - tail, tail) != NGX_OK) return NGX_ERROR;
            if (b->in_file) b->file_last -= tail;
            b->last -= tail;
            size -= tail;
            if (size == 0) continue;
        } else if (size == 0 && !ctx->head_out) {
            continue; /* a bare flush cannot overtake the head; it is remembered */
        }
        ready -= size;
        if (append(r->pool, &end, b) != NGX_OK) return NGX_ERROR;
    }
    rc = ctx->head_out ? pass_on(ctx, out) : NGX_OK;
    while (out) { /* later filters keep buffers, never our links */
        ngx_chain_t* cl = out;
        out = cl->next;
        ngx_free_chain(r->pool, cl);
    }
    return rc;
}

/* ---- stopping a response ---- */

/* The response may be on its way into a cache, or have come from there. nginx asks these
 * flags again before it gives a file its name. */
static void forget_part(ngx_http_request_t* r) {
    ngx_http_upstream_t* u = r->upstream;
    if (u) {
        if (u->store) u->headers_in.status_n = NGX_HTTP_BAD_GATEWAY; /* proxy_store keeps only a 200 */
#if (NGX_HTTP_CACHE)
        u->cacheable = 0;
        if (u->pipe) u->pipe->cacheable = 0;
    }
    /* A slow client: the file was complete before its bytes came here. nginx takes an absent file for a miss. */
    if (r->cache && r->cache->file.name.len && (r->cached || r->cache->updated)) {
        if (ngx_delete_file(r->cache->file.name.data) == NGX_FILE_ERROR && ngx_errno != NGX_ENOENT)
            ngx_log_error(NGX_LOG_CRIT, r->connection->log, ngx_errno, "overread: cannot delete the leak from the cache: \"%V\"", &r->cache->file.name);
#endif
    }
}

static void forget_stored(ngx_http_request_t* r) {
    ngx_http_request_t* part = r->connection->data; /* the subrequest whose bytes these are */
    forget_part(r);
    if (part && part != r && part->main == r) forget_part(part);
}

static ngx_int_t add_field(ngx_http_request_t* r, ovr_bytes name, ovr_bytes value) {
    ngx_table_elt_t* field = ngx_list_push(&r->headers_out.headers);
    if (field == NULL) return NGX_ERROR;
    ngx_memzero(field, sizeof *field);
    field->hash = 1;
    field->key.len = name.size;
    field->key.data = (u_char*)name.data;
    field->value.len = value.size;
    field->value.data = (u_char*)value.data;
    return NGX_OK;
}

/* Takes the fields out of the head that let a cache keep the response, and puts those in that forbid it. */
static ngx_int_t forbid_storing(ngx_http_request_t* r) {
    size_t count = 0;
    const ovr_header* sets = ovr_no_store_sets(&count);

    for (ngx_list_part_t* part = &r->headers_out.headers.part; part; part = part->next) {
        ngx_table_elt_t* field = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            for (const char* const* name = ovr_no_store_strips(); *name; name++)
                if (field[i].key.len == ngx_strlen(*name) && ngx_strncasecmp(field[i].key.data, (u_char*)*name, field[i].key.len) == 0) field[i].hash = 0;
    }
    /* nginx keeps some of them twice. */
    r->headers_out.etag = NULL;
    r->headers_out.expires = NULL;
    r->headers_out.last_modified = NULL;
    r->headers_out.last_modified_time = -1;
    ngx_memzero(&r->headers_out.cache_control, sizeof r->headers_out.cache_control);
    while (count--)
        if (add_field(r, sets[count].name, sets[count].value) != NGX_OK) return NGX_ERROR;
    return NGX_OK;
}

/* A 502 without a body in place of a response of which nothing has left. */
static void withhold(overread_ctx_t* ctx) {
    ngx_http_request_t* r = ctx->request;
    ngx_chain_t out;

    ngx_http_clean_header(r);
    r->headers_out.status = NGX_HTTP_BAD_GATEWAY;
    r->headers_out.content_length_n = 0;
    r->keepalive = 0; /* the producer is stopped in the middle, so the connection ends here */
    r->expect_trailers = 0;
    r->allow_ranges = 0;
    ctx->head_out = 1;
    if (add_field(r, literal("Cache-Control"), literal("no-store")) != NGX_OK) return;
    if (ctx->filter && add_field(r, literal("Overread-Id"), literal(ovr_filter_id(ctx->filter))) != NGX_OK) return;
    if (next_header_filter(r) == NGX_ERROR || r->header_only) return;
    out.buf = bare(r->pool, 1);
    if (out.buf == NULL) return;
    out.next = NULL;
    (void)next_body_filter(r, &out);
}

#if (NGX_HTTP_V2)
/* nginx resets a stream behind the frames that wait. A thread that sends a file for one of them ends in a request that is over, and
 * then nobody goes on with them: without this the client waits as long as it likes. It ends with the request's memory. */
static void push_frames(ngx_event_t* event) {
    overread_ctx_t* ctx = event->data;
    ngx_post_event(ctx->request->stream->connection->connection->write, &ngx_posted_events);
    ctx->look_ms = ngx_min(2 * ctx->look_ms + 1, LOOK_LIMIT);
    ngx_add_timer(event, ctx->look_ms);
}
#endif

/* Ends the connection so that the client cannot take what it has for the whole. */
static void cut(overread_ctx_t* ctx) {
    ngx_http_request_t* r = ctx->request;
    ngx_connection_t* c = r->connection;
    struct linger reset = {1, 0};

#if (NGX_HTTP_V2)
    if (r->stream) {
        disarm(ctx);
        ctx->look_ms = 0;
        ctx->timer.handler = push_frames;
        push_frames(&ctx->timer);
        return;
    }
#endif
    c->timedout = 1;                                                 /* no TLS close_notify */
    if (r->chunked || r->headers_out.content_length_n != -1) return; /* the end is missing */
    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == -1)
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno, "overread: setsockopt(SO_LINGER) failed");
}

/* Always NGX_ERROR, which makes nginx stop the producer and close. */
static ngx_int_t stop(overread_ctx_t* ctx) {
    ctx->stopped = 1;
    ctx->active = 0;
    drop_waiting(ctx);
    forget_stored(ctx->request);
    if (ctx->head_out)
        cut(ctx);
    else
        withhold(ctx);
    return NGX_ERROR;
}

/* To be called before anything that the action allows leaves. */
static ngx_int_t take(overread_ctx_t* ctx, const ovr_action* action) {
    ctx->redact = action->redact != 0;
    if (!action->no_store || ctx->no_store) return NGX_OK;
    ctx->no_store = 1;
    forget_stored(ctx->request);
    return ctx->head_out ? NGX_OK : forbid_storing(ctx->request);
}

/* NGX_OK: go on. NGX_DONE: the response ends at action->released. NGX_ERROR: it was stopped, as the action says. */
static ngx_int_t obey(overread_ctx_t* ctx, const ovr_action* action) {
    if (action->verb == OVR_PASS) return take(ctx, action);
    ctx->judged = 1;
    if (!ctx->head_out) ovr_filter_unsent(ctx->filter);
    report(ctx, action);
    if (action->verb == OVR_END) {
        ctx->ended = 1;
        ctx->active = 0;
        return take(ctx, action) == NGX_OK ? NGX_DONE : NGX_ERROR;
    }
    if (!action->test) count(ctx->head_out ? &ctx->counters->cut : &ctx->counters->blocked, 1);
    ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0, "overread: response %s, id %s", ctx->head_out ? "cut" : "blocked", ovr_filter_id(ctx->filter));
    return stop(ctx);
}

/* NGX_OK: the response goes on unscanned. */
static ngx_int_t core_failed(overread_ctx_t* ctx, const char* what) {
    count(&ctx->counters->errors, 1);
    ngx_log_error(NGX_LOG_ALERT, ctx->request->connection->log, 0, "overread: %s; overread_on_error says %s", what,
                  ctx->conf->on_error == OVR_ON_ERROR_BLOCK ? "block" : "pass");
    ctx->active = 0;
    return ctx->conf->on_error == OVR_ON_ERROR_BLOCK && ctx->mode == OVR_MODE_ENFORCE ? stop(ctx) : NGX_OK;
}

static ngx_int_t finish(overread_ctx_t* ctx, ovr_action* action) {
    ngx_int_t rc;

    if (ovr_filter_end(ctx->filter, action) != OVR_OK) return core_failed(ctx, "the scanner could not end the body");
    rc = obey(ctx, action);
    if (rc != NGX_OK) return rc;
    ctx->active = 0;
    ctx->judged = 1;
    report(ctx, action);
    return NGX_OK;
}

static ngx_int_t scan_trailers(overread_ctx_t* ctx, ovr_action* action) {
    ngx_list_t* list = &ctx->request->headers_out.trailers;
    size_t count = count_fields(list);
    ovr_header* fields;

    if (count == 0) return NGX_OK;
    fields = ngx_palloc(ctx->request->pool, count * sizeof(ovr_header));
    if (fields == NULL) return NGX_ERROR;
    if (ovr_filter_trailers(ctx->filter, fields, copy_fields(list, fields), action) != OVR_OK)
        return core_failed(ctx, "the scanner could not read the trailers");
    return obey(ctx, action);
}

/* ---- ending a response early ---- */

static ngx_uint_t is_full(overread_ctx_t* ctx);
static void look_again(overread_ctx_t* ctx);

/* What the producer still brings goes nowhere. */
static ngx_int_t after_end(overread_ctx_t* ctx, ngx_chain_t* in) {
    ngx_int_t rc;

    use_up(in);
    rc = pass_on(ctx, NULL);
    if (rc == NGX_ERROR || !ctx->broken) return rc;
    if (is_full(ctx)) { /* the last bytes are to arrive before the connection ends */
        mark(ctx, 1);
        look_again(ctx);
        return NGX_AGAIN;
    }
    ctx->stopped = 1;
    cut(ctx);
    return NGX_ERROR;
}

/* Makes the producer believe that it has brought everything: what follows is of no use, and may never end. */
static void release_producer(ngx_http_upstream_t* u) {
    if (u == NULL) return;
    if (u->buffering && u->pipe)
        u->pipe->upstream_done = 1;
    else
        u->length = 0;
}

/* Sends what belongs to the response and ends it: as the whole where no length was promised yet, else so that the client sees
 * that something is missing. */
static ngx_int_t shorten(overread_ctx_t* ctx, ngx_chain_t* in, const ovr_action* action) {
    ngx_http_request_t* r = ctx->request;
    uint64_t released = ngx_min(action->released, ctx->fed);
    ngx_chain_t out;
    ngx_int_t rc;

    if (!ctx->head_out && r->headers_out.status != NGX_HTTP_PARTIAL_CONTENT) {
        ngx_http_clear_content_length(r);
        ngx_http_clear_accept_ranges(r);
        r->headers_out.content_length_n = (off_t)released;
        r->allow_ranges = 0;
        r->expect_trailers = 0;
    } else {
        ctx->broken = !ctx->head_out || r->headers_out.content_length_n != -1 || r->expect_trailers;
    }
    count(ctx->broken ? &ctx->counters->cut : &ctx->counters->shortened, 1);
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "overread: response %s, id %s", ctx->broken ? "cut" : "shortened", ovr_filter_id(ctx->filter));
    rc = forward(ctx, in, released, 1);
    drop_waiting(ctx);
    if (rc == NGX_ERROR) return NGX_ERROR;
    out.buf = bare(r->pool, !ctx->broken);
    if (out.buf == NULL) return NGX_ERROR;
    out.next = NULL;
    if (next_body_filter(r, &out) == NGX_ERROR) return NGX_ERROR;
    if (!ctx->broken) release_producer(r->upstream);
    return after_end(ctx, NULL);
}

/* ---- the filters ---- */

static ovr_filter* remove_idle(overread_main_conf_t* main, ngx_uint_t at) {
    ovr_filter* filter = main->idle[at].filter;
    main->idle_count--;
    ngx_memmove(main->idle + at, main->idle + at + 1, (main->idle_count - at) * sizeof *main->idle);
    return filter;
}

/* Keeps the filter for the location's next response, but for one that broke off: it may hold a decoder. */
static void leave_filter(overread_ctx_t* ctx) {
    overread_main_conf_t* main = ngx_http_get_module_main_conf(ctx->request, ngx_http_overread_module);

    if (ctx->filter && ctx->judged) {
        if (main->idle_count == IDLE_FILTERS) ovr_filter_close(remove_idle(main, 0));
        main->idle[main->idle_count++] = (overread_idle_t){ctx->conf, ctx->mode, ctx->filter};
    } else {
        ovr_filter_close(ctx->filter);
    }
    ctx->filter = NULL;
}

static void close_ctx(void* data) {
    overread_ctx_t* ctx = data;
    if (ctx->timer.timer_set) ngx_del_timer(&ctx->timer);
    if (ctx->timer.posted) {
        ngx_delete_posted_event(&ctx->timer);
    }
    leave_filter(ctx);
}

/* Also finds the context that an internal redirect has hidden. */
static overread_ctx_t* find_ctx(ngx_http_request_t* r) {
    overread_ctx_t* ctx = ngx_http_get_module_ctx(r, ngx_http_overread_module);
    if (ctx) return ctx;
    for (ngx_pool_cleanup_t* c = r->pool->cleanup; c; c = c->next)
        if (c->handler == close_ctx) return c->data;
    return NULL;
}

static void arm(overread_ctx_t* ctx, ngx_msec_t ms, ngx_uint_t due) {
    if (ctx->timer.timer_set) ngx_del_timer(&ctx->timer);
    ctx->due = due;
    ngx_add_timer(&ctx->timer, ms);
}

/* The deadline belongs to the oldest held byte. */
static void rearm(overread_ctx_t* ctx, const ovr_action* action, ngx_uint_t older_ones_left) {
    if (ctx->held == NULL || action->hold_ms == 0) {
        disarm(ctx);
        return;
    }
    if (!ctx->due || !older_ones_left) arm(ctx, action->hold_ms, 1);
    mark(ctx, 1);
}

static void on_timer(ngx_event_t* event);

static ngx_uint_t matches(ngx_str_t type, const char* pattern, size_t size) {
    if (size == 1) return pattern[0] == '*';
    if (pattern[0] == '*') return type.len >= size - 1 && ngx_strncasecmp(type.data + type.len - (size - 1), (u_char*)pattern + 1, size - 1) == 0;
    if (pattern[size - 1] == '*') return type.len >= size - 1 && ngx_strncasecmp(type.data, (u_char*)pattern, size - 1) == 0;
    return type.len == size && ngx_strncasecmp(type.data, (u_char*)pattern, size) == 0;
}

static ngx_uint_t type_is_scanned(ngx_http_request_t* r, overread_loc_conf_t* conf) {
    ngx_str_t type = r->headers_out.content_type;
    ngx_str_t* pattern;

    for (size_t i = 0; i < type.len; i++)
        if (type.data[i] == ';' || type.data[i] == ' ') type.len = i;
    if (type.len == 0) return 1;
    if (conf->types == NULL) {
        for (size_t i = 0; i < sizeof DEFAULT_TYPES / sizeof *DEFAULT_TYPES; i++)
            if (matches(type, DEFAULT_TYPES[i], ngx_strlen(DEFAULT_TYPES[i]))) return 1;
        return 0;
    }
    pattern = conf->types->elts;
    for (ngx_uint_t i = 0; i < conf->types->nelts; i++)
        if (matches(type, (char*)pattern[i].data, pattern[i].len)) return 1;
    return 0;
}

static overread_ctx_t* new_ctx(ngx_http_request_t* r) {
    ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(r->pool, 0);
    overread_ctx_t* ctx = ngx_pcalloc(r->pool, sizeof *ctx);
    if (cleanup == NULL || ctx == NULL) return NULL;
    ctx->request = r;
    ctx->timer.handler = on_timer;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;
    cleanup->handler = close_ctx;
    cleanup->data = ctx;
    return ctx;
}

static ovr_policy policy_of(const overread_main_conf_t* main, const overread_loc_conf_t* conf) {
    ovr_policy policy;

    ngx_memzero(&policy, sizeof policy);
    policy.struct_size = sizeof policy;
    policy.mode = (int)conf->mode;
    for (ngx_uint_t tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) policy.action[tier] = (int)conf->action[tier];
    policy.on_error = (int)conf->on_error;
    policy.watch = (uint32_t)conf->watch;
    policy.hold = (uint32_t)conf->hold;
    policy.hold_ms = (uint32_t)conf->hold_ms;
    policy.threshold = conf->threshold;
    policy.block_bits = conf->block_bits;
    policy.most_blocked = conf->most_blocked;
    policy.ignores = conf->ignores;
    policy.control = main->control;
    policy.feature = bytes(conf->feature);
    policy.feature_header = bytes(conf->feature_header);
    policy.trip_alarms = (uint32_t)conf->trip_alarms;
    policy.trip_ms = (uint32_t)conf->trip_within;
    policy.rearm_ms = conf->trip_rearm;
    policy.events_per_second = (uint32_t)conf->events_limit;
    policy.weak_sample = (uint32_t)conf->weak_sample;
    if (main->keyed) {
        policy.test_key.data = main->key;
        policy.test_key.size = KEY_SIZE;
    }
    return policy;
}

static ovr_filter* open_filter(overread_main_conf_t* main, const overread_loc_conf_t* conf, ngx_uint_t mode) {
    ovr_filter* filter = NULL;
    ovr_policy policy;

    if (main->scanner == NULL) return NULL;
    for (ngx_uint_t i = main->idle_count; i-- > 0;)
        if (main->idle[i].conf == conf && main->idle[i].mode == mode) return remove_idle(main, i);
    policy = policy_of(main, conf);
    policy.mode = (int)mode;
    return ovr_filter_open(main->scanner, &policy, &filter, NULL) == OVR_OK ? filter : NULL;
}

static ngx_int_t header_filter(ngx_http_request_t* r) {
    overread_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_overread_module);
    overread_loc_conf_t* conf = ngx_http_get_module_loc_conf(r, ngx_http_overread_module);
    ngx_http_core_loc_conf_t* core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    overread_ctx_t* ctx;
    ovr_action action;
    ngx_uint_t mode;
    ngx_int_t rc;

    if (r != r->main) return next_header_filter(r); /* its body arrives as part of the main response */
    mode = allowed_mode(main, conf, r->connection->log);
    ctx = find_ctx(r);
    if (ctx) {
        if (ctx->head_out) return next_header_filter(r);
        /* An error page or an internal redirect takes the place of a response whose head had not gone out. */
        drop_waiting(ctx);
        leave_filter(ctx);
        ctx->active = ctx->judged = ctx->reported = ctx->last = ctx->no_store = ctx->redact = 0;
        ctx->fed = ctx->sent = ctx->flush_until = 0;
    }
    if (mode == OVR_MODE_OFF || conf->status || r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS) return next_header_filter(r);
    if (ctx == NULL) ctx = new_ctx(r);
    if (ctx == NULL) return NGX_ERROR;
    ngx_http_set_ctx(r, ctx, ngx_http_overread_module);
    ctx->conf = conf;
    ctx->mode = mode;
    ctx->counters = main->counters;
    count(&ctx->counters->responses, 1);
    ctx->filter = open_filter(main, conf, mode);
    rc = ctx->filter ? scan_head(ctx, &action) : NGX_DECLINED;
    if (rc == NGX_ERROR) return NGX_ERROR;
    if (rc == NGX_DECLINED) {
        if (core_failed(ctx, "the scanner could not start") != NGX_OK) return NGX_ERROR;
        ctx->head_out = 1;
        return next_header_filter(r);
    }
    if (obey(ctx, &action) != NGX_OK) return NGX_ERROR;

    if (r->method == NGX_HTTP_HEAD || r->header_only || r->headers_out.status == NGX_HTTP_NO_CONTENT || r->headers_out.status == NGX_HTTP_NOT_MODIFIED ||
        !type_is_scanned(r, conf)) {
        if (finish(ctx, &action) != NGX_OK) return NGX_ERROR;
        ctx->head_out = 1;
        return next_header_filter(r);
    }
    ctx->active = 1;
    if (core->aio != NGX_HTTP_AIO_OFF) { /* nginx then reads files without making the worker wait; this filter cannot */
        r->main_filter_need_in_memory = 1;
        r->filter_need_in_memory = 1;
    }
    /* nginx's own range filter cuts the body before it comes here, on what its head filter behind this one has found: for
     * its sake the head goes at once, and a leak is cut instead of blocked. */
    ctx->head_out = action.release_head || (r->headers_in.range && r->allow_ranges && core->max_ranges && r->headers_out.status == NGX_HTTP_OK);
    return ctx->head_out ? next_header_filter(r) : NGX_OK;
}

/* Bytes of the body. NGX_DONE: it ends in them, or before. */
static ngx_int_t scan(overread_ctx_t* ctx, const u_char* data, size_t size, ovr_action* action) {
    size_t limit = ctx->conf->max_body, part = size;
    ngx_int_t rc = NGX_OK;

    if (ctx->active && limit && ctx->fed + size > limit) part = limit - (size_t)ctx->fed;
    if (ctx->active && part) {
        count(&ctx->counters->body_bytes, (ngx_atomic_int_t)part);
        if (ovr_filter_body(ctx->filter, data, part, action) != OVR_OK)
            rc = core_failed(ctx, "the scanner could not take a part of the body");
        else
            rc = obey(ctx, action);
        if (rc == NGX_ERROR) return NGX_ERROR;
    }
    ctx->fed += size;
    return ctx->active && part < size ? finish(ctx, action) : rc;
}

/* What comes next of a buffer that is a file's bytes: they are read to be scanned, and go out as they are in the file. Once nothing
 * is scanned any more, all that is left of it. NGX_DECLINED: there is more of it. */
static ngx_int_t scan_file(overread_ctx_t* ctx, ngx_buf_t* b, ovr_action* action) {
    static u_char scratch[READ_SIZE];
    off_t start = ngx_max(ctx->looked, b->file_pos), end = ctx->active ? ngx_min(start + TURN, b->file_last) : b->file_last, at = start;
    ngx_chain_t* held;
    ngx_int_t rc = NGX_OK;

    if (ctx->active && ctx->looked == 0 && b->file_last - b->file_pos <= SMALL_FILE) {
        size_t size = (size_t)(end - start);
        held = new_block(ctx, size);
        if (held == NULL || read_file(ctx, b->file, held->buf->start, size, start) != NGX_OK) return NGX_ERROR;
        held->buf->last += size;
        b->file_pos = b->file_last;
        append_held(ctx, held);
        return scan(ctx, held->buf->start, size, action);
    }
    while (at < end && ctx->active && rc == NGX_OK) {
        size_t size = (size_t)ngx_min(end - at, READ_SIZE);
        if (read_file(ctx, b->file, scratch, size, at) != NGX_OK) return NGX_ERROR;
        rc = scan(ctx, scratch, size, action);
        if (rc == NGX_ERROR) return NGX_ERROR;
        at += (off_t)size;
    }
    if (rc == NGX_OK) { /* the scan may have ended */
        ctx->fed += (uint64_t)(end - at);
        at = end;
    }
    held = new_range(ctx, b, start, at);
    if (held == NULL) return NGX_ERROR;
    append_held(ctx, held);
    ctx->looked = at;
    return rc == NGX_OK && at < b->file_last ? NGX_DECLINED : rc;
}

/* Whether own copies wait for a socket or a window that takes no more: nginx comes again when it does. */
static ngx_uint_t is_full(overread_ctx_t* ctx) { return ctx->busy && (ctx->request->connection->buffered & (NGX_HTTP_WRITE_BUFFERED | NGX_LOWLEVEL_BUFFERED)); }

/* nginx's buffering producer does not know of these bytes and would not push them when the socket is free again. Ever
 * rarer looks: most clients are back soon, and one that is not costs next to nothing. */
static void look_again(overread_ctx_t* ctx) {
    if (ctx->timer.timer_set) return;
    ctx->look_ms = ctx->look_ms ? ngx_min(2 * ctx->look_ms, LOOK_LIMIT) : ngx_min(ctx->conf->hold_ms, LOOK_LIMIT);
    arm(ctx, ctx->look_ms, 0);
}

/* Scans what came next, a run of buffers in memory or a batch of a file, and sends what may go. */
static ngx_int_t advance(overread_ctx_t* ctx, ovr_action* action) {
    ngx_chain_t *in = NULL, **end = &in;
    ngx_uint_t last = 0;
    ngx_int_t rc = NGX_OK;

    if (only_in_file(ctx->unread->buf)) {
        ngx_buf_t* b = ctx->unread->buf;
        rc = scan_file(ctx, b, action);
        if (rc == NGX_ERROR) return rc;
        if (rc == NGX_DECLINED) {
            rc = NGX_OK;
        } else {
            ngx_chain_t* gone = ctx->unread;
            ctx->unread = gone->next;
            ctx->looked = 0;
            ngx_free_chain(ctx->request->pool, gone);
            last = ctx->last = b->last_buf;
            if (b->flush) want_flush(ctx);
        }
    } else {
        while (ctx->unread && !only_in_file(ctx->unread->buf)) {
            *end = ctx->unread;
            end = &ctx->unread->next;
            ctx->unread = *end;
        }
        *end = NULL;
        for (ngx_chain_t* cl = in; cl && rc == NGX_OK; cl = cl->next) {
            rc = scan(ctx, cl->buf->pos, (size_t)ngx_buf_size(cl->buf), action);
            last |= cl->buf->last_buf;
            if (cl->buf->flush) want_flush(ctx);
        }
    }
    if (rc == NGX_OK && last && ctx->active) rc = scan_trailers(ctx, action);
    if (rc == NGX_OK && last && ctx->active) rc = finish(ctx, action);
    if (rc == NGX_ERROR) return rc;

    if (rc == NGX_DONE)
        rc = shorten(ctx, in, action);
    else
        rc = forward(ctx, in, ctx->active ? ngx_min(action->released, ctx->fed) : ctx->fed, !ctx->active || action->release_head);
    while (in) { /* later filters keep buffers, never our links */
        ngx_chain_t* gone = in;
        in = in->next;
        ngx_free_chain(ctx->request->pool, gone);
    }
    return rc;
}

static ngx_int_t body_filter(ngx_http_request_t* r, ngx_chain_t* in) {
    overread_ctx_t* ctx = ngx_http_get_module_ctx(r, ngx_http_overread_module);
    ngx_connection_t* c = r->connection;
    ngx_uint_t advanced = 0;
    uint64_t fed_before;
    ovr_action action;
    ngx_int_t rc = NGX_OK;

    if (ctx && ctx->stopped) return NGX_ERROR;
    if (ctx && ctx->ended) return after_end(ctx, in);
    if (ctx == NULL) return next_body_filter(r, in);
    if (!ctx->active && ctx->held == NULL && ctx->unread == NULL && !ctx->redact) return pass_on(ctx, in);
    if (in && ngx_chain_add_copy(r->pool, &ctx->unread, in) != NGX_OK) return NGX_ERROR;
    if (ctx->timer.posted) { /* this call is the turn that it waits for */
        ngx_delete_posted_event(&ctx->timer);
    }
    if (in == NULL || is_full(ctx)) rc = ctx->head_out ? pass_on(ctx, NULL) : NGX_OK;
    if (rc == NGX_ERROR || ctx->unread == NULL) return rc;

    ngx_memzero(&action, sizeof action);
    action.released = ctx->sent;
    action.hold_ms = ctx->due ? (uint32_t)ctx->conf->hold_ms : 0;
    fed_before = ctx->fed;
    /* What is on its way out would pile up behind a slow client: nginx's producers stop only when their own buffers stay full. */
    while (ctx->unread && !is_full(ctx) && ctx->fed - fed_before < TURN) {
        rc = advance(ctx, &action);
        if (rc == NGX_ERROR || ctx->ended) return rc;
        advanced = 1;
    }
    if (advanced) {
        ctx->look_ms = 0;
        rearm(ctx, &action, ctx->sent < fed_before);
    } else {
        mark(ctx, ctx->held != NULL);
    }
    if (is_full(ctx)) {
        look_again(ctx);
    } else if (ctx->unread) { /* both are woken: a producer with nothing of its own to send does not come here */
        ngx_post_event(c->write, &ngx_posted_next_events);
        ngx_post_event(&ctx->timer, &ngx_posted_next_events);
    }
    return ctx->unread ? NGX_AGAIN : rc;
}

static ngx_int_t flush_held(overread_ctx_t* ctx) {
    ovr_action action;
    ngx_int_t rc;

    ctx->due = 0;
    want_flush(ctx);
    if (ovr_filter_flush(ctx->filter, &action) != OVR_OK) {
        rc = core_failed(ctx, "the scanner could not flush");
        return rc == NGX_OK ? forward(ctx, NULL, ctx->fed, 1) : rc;
    }
    rc = obey(ctx, &action);
    if (rc == NGX_DONE) return shorten(ctx, NULL, &action);
    if (rc == NGX_OK) rc = forward(ctx, NULL, ngx_min(action.released, ctx->fed), action.release_head);
    if (rc != NGX_ERROR) rearm(ctx, &action, 0);
    return rc;
}

static void on_timer(ngx_event_t* event) {
    overread_ctx_t* ctx = event->data;
    ngx_http_request_t* r = ctx->request;
    ngx_connection_t* c = r->connection;
    ngx_int_t rc = NGX_OK;

    ngx_http_set_log_request(c->log, r);
    if (event->timedout) { /* not posted for another turn */
        event->timedout = 0;
        mark(ctx, 0);
        if (ctx->due && ctx->active) rc = flush_held(ctx);
    }
    if (rc != NGX_ERROR && (c->write->ready || !is_full(ctx))) rc = body_filter(r, NULL);
    if (rc == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
    } else if (is_full(ctx)) {
        look_again(ctx); /* without waking the producer, which would give the client another send_timeout */
    } else if (ctx->unread == NULL) {
        ngx_post_event(c->write, &ngx_posted_events); /* the request may only have waited for the held bytes */
    }
    ngx_http_run_posted_requests(c);
}

/* ---- variables ---- */

enum { VARIABLE_TIER, VARIABLE_BITS, VARIABLE_RULES, VARIABLE_ACTION, VARIABLE_ID };

static ngx_int_t put_rules(ngx_http_request_t* r, const ovr_verdict* verdict, ngx_str_t* out) {
    size_t size = 0;
    u_char* p;

    for (size_t i = 0; i < verdict->finding_count; i++) size += ngx_strlen(verdict->findings[i].rule) + 1;
    p = out->data = ngx_pnalloc(r->pool, size + 1);
    if (p == NULL) return NGX_ERROR;
    for (size_t i = 0; i < verdict->finding_count; i++) {
        const char* rule = verdict->findings[i].rule;
        size_t j = 0;
        while (j < i && verdict->findings[j].rule != rule) j++;
        if (j < i) continue; /* named already: ids of one ruleset are one string each */
        if (p > out->data) *p++ = ',';
        p = ngx_cpymem(p, rule, ngx_strlen(rule));
    }
    out->len = p - out->data;
    return NGX_OK;
}

static ngx_int_t get_variable(ngx_http_request_t* r, ngx_http_variable_value_t* v, uintptr_t which) {
    overread_ctx_t* ctx = find_ctx(r->main);
    ovr_verdict verdict;
    ngx_str_t text = ngx_null_string;

    v->not_found = 1;
    if (ctx == NULL || !ctx->judged || ovr_filter_verdict(ctx->filter, &verdict) != OVR_OK) return NGX_OK;
    if (which == VARIABLE_TIER) {
        text.data = (u_char*)ovr_tier_name(verdict.tier);
        text.len = ngx_strlen(text.data);
    } else if (which == VARIABLE_BITS) {
        text.data = ngx_pnalloc(r->pool, NGX_INT64_LEN + 3);
        if (text.data == NULL) return NGX_ERROR;
        text.len = ngx_sprintf(text.data, "%.1f", verdict.bits) - text.data;
    } else if (which == VARIABLE_ACTION || which == VARIABLE_ID) { /* as the event has them */
        if (!ctx->reported) return NGX_OK;
        ngx_str_t whole = {0, (u_char*)(which == VARIABLE_ID ? ovr_filter_id(ctx->filter) : ovr_filter_done(ctx->filter))};
        whole.len = ngx_strlen(whole.data);
        text.len = whole.len;
        text.data = ngx_pstrdup(r->pool, &whole); /* the filter goes where an error page takes the response's place */
        if (text.data == NULL) return NGX_ERROR;
    } else if (verdict.finding_count == 0) {
        return NGX_OK;
    } else if (put_rules(r, &verdict, &text) != NGX_OK) {
        return NGX_ERROR;
    }
    v->data = text.data;
    v->len = (unsigned)text.len;
    v->valid = 1;
    v->not_found = 0;
    v->no_cacheable = 0;
    return NGX_OK;
}

/* The features that are switched off, with commas between; empty where none is, so that proxy_set_header leaves its field out. */
static ngx_int_t get_tripped(ngx_http_request_t* r, ngx_http_variable_value_t* v, uintptr_t data) {
    overread_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_overread_module);
    uint64_t tripped = look_at_control(main, r->connection->log).tripped;
    ovr_feature feature;
    u_char* p;

    (void)data;
    v->valid = 1;
    v->not_found = 0;
    v->no_cacheable = 0; /* one request has one answer */
    v->len = 0;
    if (tripped == 0) return NGX_OK;
    p = v->data = ngx_pnalloc(r->pool, OVR_FEATURES * sizeof feature.name);
    if (p == NULL) return NGX_ERROR;
    for (; tripped; tripped &= tripped - 1) {
        if (ovr_control_feature(main->control, (size_t)__builtin_ctzll(tripped), &feature) != OVR_OK) continue;
        if (p > v->data) *p++ = ',';
        p = ngx_cpymem(p, feature.name, ngx_strlen(feature.name));
    }
    v->len = (unsigned)(p - v->data);
    return NGX_OK;
}

static ngx_int_t add_variables(ngx_conf_t* cf) {
    static ngx_str_t names[] = {ngx_string("overread_tier"), ngx_string("overread_bits"), ngx_string("overread_rules"), ngx_string("overread_action"),
                                ngx_string("overread_id")};
    static ngx_str_t tripped = ngx_string("overread_tripped");
    ngx_http_variable_t* variable = ngx_http_add_variable(cf, &tripped, 0);
    if (variable == NULL) return NGX_ERROR;
    variable->get_handler = get_tripped;
    for (ngx_uint_t i = 0; i < sizeof names / sizeof *names; i++) {
        /* Not cacheable: asked before the end they have no value yet. */
        variable = ngx_http_add_variable(cf, &names[i], NGX_HTTP_VAR_NOCACHEABLE);
        if (variable == NULL) return NGX_ERROR;
        variable->get_handler = get_variable;
        variable->data = i;
    }
    return NGX_OK;
}

/* ---- counters for Prometheus ---- */

static u_char* put_counter(u_char* p, const char* name, const char* help, const char* label, ngx_atomic_t value) {
    if (help) p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
    return ngx_sprintf(p, "%s%s %uA\n", name, label, (ngx_atomic_uint_t)value);
}

static u_char* put_label(u_char* p, const ngx_str_t* text) {
    for (size_t i = 0; i < text->len; i++) { /* at most 256, as the core says */
        u_char c = text->data[i];
        if (c == '"' || c == '\\') *p++ = '\\';
        *p++ = c < 0x20 ? '?' : c;
    }
    return p;
}

static u_char* put_ignores(u_char* p, const overread_main_conf_t* main) {
    const overread_ignore_t* line = main->ignores->elts;
    ngx_uint_t n = ngx_min(main->ignores->nelts, COUNTED_IGNORES);

    if (n) p = ngx_sprintf(p, "# HELP overread_ignored_total Responses that an ignore took something out of.\n# TYPE overread_ignored_total counter\n");
    for (ngx_uint_t i = 0; i < n; i++) {
        p = put_label(ngx_sprintf(p, "overread_ignored_total{ignore=\""), &line[i].text);
        p = ngx_sprintf(p, "\"} %uA\n", (ngx_atomic_uint_t)main->counters->ignored[i]);
    }
    if (n) p = ngx_sprintf(p, "# HELP overread_ignore_expired Whether an ignore's last day is over.\n# TYPE overread_ignore_expired gauge\n");
    for (ngx_uint_t i = 0; i < n; i++) {
        p = put_label(ngx_sprintf(p, "overread_ignore_expired{ignore=\""), &line[i].text);
        p = ngx_sprintf(p, "\"} %d\n", unix_ms() >= line[i].until_ms);
    }
    return p;
}

static u_char* put_control(u_char* p, overread_main_conf_t* main, ngx_log_t* log) {
    ovr_control_state state = look_at_control(main, log);
    uint64_t now = unix_ms();
    ovr_feature feature;

    p = ngx_sprintf(p,
                    "# HELP overread_mode_allowed The most that any location does now: 0 off, 1 monitor, 2 enforce.\n# TYPE overread_mode_allowed gauge\n"
                    "overread_mode_allowed %d\n",
                    state.mode);
    if (state.agent_ms)
        p = ngx_sprintf(
            p, "# HELP overread_agent_age_seconds Since the agent showed life.\n# TYPE overread_agent_age_seconds gauge\noverread_agent_age_seconds %uL\n",
            (now - ngx_min(now, state.agent_ms)) / 1000);
    for (size_t i = 0; ovr_control_feature(main->control, i, &feature) == OVR_OK; i++) {
        if (i == 0) p = ngx_sprintf(p, "# HELP overread_feature_tripped Whether a feature is switched off.\n# TYPE overread_feature_tripped gauge\n");
        p = ngx_sprintf(p, "overread_feature_tripped{feature=\"%s\"} %d\n", feature.name, feature.tripped);
    }
    return p;
}

static u_char* put_registry(u_char* p, const overread_registry_t* of) {
    ovr_registry_state state;
    ngx_memzero(&state, sizeof state);
    state.struct_size = sizeof state;
    if (ovr_registry_state_of(of->registry, unix_ms(), &state) != OVR_OK) return p;
    p = ngx_sprintf(p,
                    "# HELP overread_registry_slots Windows of secrets that the registry holds at most.\n# TYPE overread_registry_slots gauge\n"
                    "overread_registry_slots %uL\n# HELP overread_registry_live Of them in use.\n# TYPE overread_registry_live gauge\n"
                    "overread_registry_live %uL\n",
                    state.slots, state.live);
    p = put_counter(p, "overread_registry_stored_total", "Windows stored.", "", state.stored);
    p = put_counter(p, "overread_registry_observed_total", "Values observed.", "", state.observed);
    p = put_counter(p, "overread_registry_weak_total", "Of them left out: under 64 bits of entropy, or too long.", "", state.weak);
    p = put_counter(p, "overread_registry_full_total", "Windows that found no place.", "", state.full);
    p = put_counter(p, "overread_registry_quota_total", "Values beyond an owner's quota.", "", state.quota);
    p = put_counter(p, "overread_registry_shared_total", "Windows dropped because they recurred across owners.", "", state.shared);
    p = put_counter(p, "overread_registry_exposed_total", "Windows that are no secret any more: pages show them.", "", state.exposed);
    p = put_counter(p, "overread_registry_lookups_total", "Windows of responses looked up.", "", state.lookups);
    p = put_counter(p, "overread_registry_foreign_total", "Of them another owner's.", "", state.foreign);
    p = put_counter(p, "overread_registry_exported_total", "Records given to other machines.", "", state.exported);
    return put_counter(p, "overread_registry_imported_total", "Records taken from other machines.", "", state.imported);
}

static ngx_int_t show_status(ngx_http_request_t* r) {
    overread_main_conf_t* main = ngx_http_get_module_main_conf(r, ngx_http_overread_module);
    const overread_counters_t* c = main->counters;
    ngx_buf_t* b;
    ngx_chain_t out;
    ngx_int_t rc;

    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) return NGX_HTTP_NOT_ALLOWED;
    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) return rc;
    b = ngx_create_temp_buf(r->pool, STATUS_CAPACITY + (OVR_FEATURES + ngx_min(main->ignores->nelts, COUNTED_IGNORES)) * STATUS_LINE);
    if (b == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last = put_counter(b->last, "overread_responses_total", "Responses scanned.", "", c->responses);
    b->last = put_counter(b->last, "overread_blocked_total", "Responses answered with 502 instead.", "", c->blocked);
    b->last = put_counter(b->last, "overread_cut_total", "Responses that ended in an error.", "", c->cut);
    b->last = put_counter(b->last, "overread_shortened_total", "Responses that ended early as the whole.", "", c->shortened);
    b->last = put_counter(b->last, "overread_alarms_total", "Responses by the tier they reached.", "{tier=\"weak\"}", c->alarms[OVR_TIER_WEAK]);
    b->last = put_counter(b->last, "overread_alarms_total", NULL, "{tier=\"strong\"}", c->alarms[OVR_TIER_STRONG]);
    b->last = put_counter(b->last, "overread_alarms_total", NULL, "{tier=\"certain\"}", c->alarms[OVR_TIER_CERTAIN]);
    b->last = put_counter(b->last, "overread_tests_total", "Echoes of test tokens: no alarms.", "", c->tests);
    b->last = put_counter(b->last, "overread_events_left_out_total", "Events that a limit or a sample left out.", "", c->left_out);
    b->last = put_counter(b->last, "overread_repetitions_total", "Paths on which signs were too many for chance, once a day each.", "", c->repetitions);
    b->last = put_counter(b->last, "overread_errors_total", "Failures of the scanner and events not written.", "", c->errors);
    b->last = put_counter(b->last, "overread_body_bytes_total", "Body bytes scanned, as they came.", "", c->body_bytes);
    b->last = put_ignores(b->last, main);
    if (main->control) b->last = put_control(b->last, main, r->connection->log);
    if (main->registry) b->last = put_registry(b->last, main->registry);
    b->last_buf = r == r->main;
    b->last_in_chain = 1;
    out.buf = b;
    out.next = NULL;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");
    r->headers_out.content_type_len = sizeof("text/plain") - 1;
    rc = add_field(r, literal("Cache-Control"), literal("no-store"));
    if (rc == NGX_OK) rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) return rc;
    return ngx_http_output_filter(r, &out);
}

static ngx_atomic_uint_t digest_of_ignores(const overread_main_conf_t* main) {
    const overread_ignore_t* line = main->ignores->elts;
    ngx_uint_t key = 1;
    for (ngx_uint_t i = 0; i < main->ignores->nelts; i++)
        for (size_t n = 0; n < line[i].text.len; n++) key = ngx_hash(key, line[i].text.data[n]);
    return key;
}

/* Counts go on over a reload. */
static ngx_int_t init_zone(ngx_shm_zone_t* zone, void* old) {
    overread_main_conf_t* main = zone->data;
    ngx_slab_pool_t* pool = (ngx_slab_pool_t*)zone->shm.addr;

    main->counters = old ? ((overread_main_conf_t*)old)->counters : pool->data;
    if (main->counters == NULL) {
        main->counters = pool->data = ngx_slab_calloc(pool, sizeof *main->counters);
        if (main->counters == NULL) return NGX_ERROR;
        main->counters->shared = ngx_slab_calloc(pool, ovr_shared_size());
        main->counters->since = ngx_time();
        if (main->counters->shared == NULL) return NGX_ERROR;
    }
    if (main->counters->ignores_are != digest_of_ignores(main)) {
        ngx_memzero((void*)main->counters->ignored, sizeof main->counters->ignored);
        main->counters->ignores_are = digest_of_ignores(main);
    }
    return NGX_OK;
}

/* The size is that of the counters; what the core shares comes on top, with what nginx keeps of each page. */
static ngx_int_t add_zone(ngx_conf_t* cf, overread_main_conf_t* main, ngx_str_t name, size_t size) {
    size += ovr_shared_size() + ovr_shared_size() / 64 + ngx_pagesize;
    main->zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_overread_module);
    if (main->zone == NULL) return NGX_ERROR;
    main->zone->init = init_zone;
    main->zone->data = main;
    return NGX_OK;
}

/* ---- configuration ---- */

static char* set_word(ngx_conf_t* cf, ngx_uint_t* field, const overread_word_t* words, const char* expected) {
    ngx_str_t* value = cf->args->elts;
    if (*field != NGX_CONF_UNSET_UINT) return "is duplicate";
    for (; words->name.len; words++) {
        if (words->name.len == value[1].len && ngx_strcmp(words->name.data, value[1].data) == 0) {
            *field = words->value;
            return NGX_CONF_OK;
        }
    }
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected %s, found \"%V\"", &value[0], expected, &value[1]);
    return NGX_CONF_ERROR;
}

static char* set_mode(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    char* failed = set_word(cf, &conf->mode, MODES, "off, monitor or enforce");
    if (failed == NGX_CONF_OK && conf->mode != OVR_MODE_OFF) main->used = 1;
    return failed;
}

static char* set_block_from(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    static const overread_word_t words[] = {
        {ngx_string("weak"), OVR_TIER_WEAK}, {ngx_string("strong"), OVR_TIER_STRONG}, {ngx_string("certain"), OVR_TIER_CERTAIN}, {ngx_null_string, 0}};
    return set_word(cf, &((overread_loc_conf_t*)data)->block_from, words, "weak, strong or certain");
}

static char* set_action(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ngx_uint_t tier = OVR_TIER_WEAK, action = OVR_DO_LOG;

    while (tier <= OVR_TIER_CERTAIN && ngx_strcmp(value[1].data, ovr_tier_name((int)tier)) != 0) tier++;
    while (action <= OVR_DO_TRIP && ngx_strcmp(value[2].data, ovr_do_name((int)action)) != 0) action++;
    if (tier > OVR_TIER_CERTAIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected weak, strong or certain, found \"%V\"", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    if (action > OVR_DO_TRIP) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected log, no-store, redact, trim, truncate, block or trip, found \"%V\"", &value[0], &value[2]);
        return NGX_CONF_ERROR;
    }
    if (conf->action[tier] != NGX_CONF_UNSET_UINT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: \"%V\" has an action already", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    conf->action[tier] = action;
    if (action == OVR_DO_TRIP) ((overread_main_conf_t*)ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module))->trips = 1;
    return NGX_CONF_OK;
}

static ovr_policy no_policy(void) {
    ovr_policy policy;
    ngx_memzero(&policy, sizeof policy);
    policy.struct_size = sizeof policy;
    return policy;
}

/* The core says what is wrong with a policy of one directive. */
static char* check_policy(ngx_conf_t* cf, const ovr_policy* policy) {
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    ngx_str_t* value = cf->args->elts;
    ovr_filter* filter = NULL;
    ovr_error why;

    if (main->probe == NULL && ovr_scanner_new(NULL, NULL, &main->probe, &why) != OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: %s", &value[0], why.message);
        return NGX_CONF_ERROR;
    }
    if (ovr_filter_open(main->probe, policy, &filter, &why) != OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: found \"%V\": %s", &value[0], &value[1], why.message);
        return NGX_CONF_ERROR;
    }
    ovr_filter_close(filter);
    return NGX_CONF_OK;
}

/* A decimal number and nothing else. */
static ngx_int_t read_number(const ngx_str_t* text, double* out) {
    char* end = NULL;
    if (text->len == 0 || text->data[0] < '0' || text->data[0] > '9') return NGX_ERROR;
    *out = strtod((char*)text->data, &end); /* arguments of directives end in NUL */
    return end == (char*)text->data + text->len ? NGX_OK : NGX_ERROR;
}

static char* set_number(ngx_conf_t* cf, double* field) {
    ngx_str_t* value = cf->args->elts;
    if (*field != UNSET_BITS) return "is duplicate";
    if (read_number(&value[1], field) == NGX_OK) return NGX_CONF_OK;
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected a number, found \"%V\"", &value[0], &value[1]);
    return NGX_CONF_ERROR;
}

static char* set_threshold(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    double* field = &((overread_loc_conf_t*)data)->threshold;
    char* failed = set_number(cf, field);
    ovr_policy policy = no_policy();
    policy.threshold = *field > 0 ? *field : -1;
    return failed == NGX_CONF_OK ? check_policy(cf, &policy) : failed;
}

static char* set_most_blocked(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    double* field = &((overread_loc_conf_t*)data)->most_blocked;
    char* failed = set_number(cf, field);
    ovr_policy policy = no_policy();
    policy.most_blocked = *field;
    return failed == NGX_CONF_OK ? check_policy(cf, &policy) : failed;
}

/* Never below tier strong; 365 days a year. */
static char* set_budget(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t *value = cf->args->elts, text;
    double budget, a_day;

    if (conf->block_bits != UNSET_BITS) return "is duplicate";
    text.data = value[2].data + sizeof("per_day=") - 1;
    text.len = value[2].len - (sizeof("per_day=") - 1);
    if (ngx_strncmp(value[2].data, "per_day=", 8) != 0 || read_number(&text, &a_day) != NGX_OK || read_number(&value[1], &budget) != NGX_OK || !(budget > 0) ||
        !(a_day > 0) || budget > 1e18 || a_day > 1e18) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected false blocks a year and per_day=RESPONSES, numbers above 0, found \"%V %V\"", &value[0],
                           &value[1], &value[2]);
        return NGX_CONF_ERROR;
    }
    conf->block_bits = log2(a_day) + log2(365) - log2(budget);
    if (conf->block_bits < STRONG_BITS) conf->block_bits = STRONG_BITS;
    return NGX_CONF_OK;
}

static char* set_feature(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ovr_policy policy = no_policy();

    if (conf->feature.data) return "is duplicate";
    conf->feature = value[1];
    policy.feature = bytes(value[1]);
    if (value[1].len == 0) policy.feature.size = 1; /* a name that is empty is none */
    return check_policy(cf, &policy);
}

static char* set_feature_header(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ovr_policy policy = no_policy();

    if (conf->feature_header.data) return "is duplicate";
    conf->feature_header = value[1];
    policy.feature_header = bytes(value[1]);
    return check_policy(cf, &policy);
}

static char* set_trip(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    ngx_str_t *value = cf->args->elts, text;
    ngx_int_t alarms = ngx_atoi(value[1].data, value[1].len), ms;
    ovr_policy policy = no_policy();

    if (conf->trip_alarms != NGX_CONF_UNSET_UINT) return "is duplicate";
    if (alarms == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected a number of alarms, found \"%V\"", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    conf->trip_alarms = (ngx_uint_t)alarms;
    for (ngx_uint_t i = 2; i < cf->args->nelts; i++) {
        ngx_uint_t within = ngx_strncmp(value[i].data, "within=", 7) == 0, rearm = ngx_strncmp(value[i].data, "rearm=", 6) == 0;
        text.data = value[i].data + (within ? 7 : 6);
        text.len = value[i].data + value[i].len - text.data;
        ms = within || rearm ? ngx_parse_time(&text, 0) : NGX_ERROR;
        if (ms == NGX_ERROR || ms == 0 || ms > 0x7fffffff) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected within=TIME or rearm=TIME of at least 1ms, found \"%V\"", &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
        *(within ? &conf->trip_within : &conf->trip_rearm) = (ngx_msec_t)ms;
    }
    main->trips |= alarms > 0;
    policy.trip_alarms = (uint32_t)ngx_min(alarms, 0x7fffffff);
    return check_policy(cf, &policy);
}

static char* set_owner(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_http_compile_complex_value_t compile;

    if (conf->owner != NGX_CONF_UNSET_PTR) return "is duplicate";
    conf->owner = ngx_palloc(cf->pool, sizeof *conf->owner);
    if (conf->owner == NULL) return NGX_CONF_ERROR;
    ngx_memzero(&compile, sizeof compile);
    compile.cf = cf;
    compile.value = (ngx_str_t*)cf->args->elts + 1;
    compile.complex_value = conf->owner;
    return ngx_http_compile_complex_value(&compile) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static char* set_ignore(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    size_t size = 1;
    ovr_ignores* list;
    ovr_error why;
    const char *line, **slot;
    u_char* p;

    if (conf->ignore_lines == NGX_CONF_UNSET_PTR) conf->ignore_lines = ngx_array_create(cf->pool, 4, sizeof(char*));
    if (conf->ignore_lines == NULL) return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) size += value[i].len + 1;
    p = ngx_pnalloc(cf->pool, size);
    if (p == NULL) return NGX_CONF_ERROR;
    line = (char*)p;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) p = ngx_sprintf(p, i > 1 ? " %V" : "%V", &value[i]);
    *p = 0;
    /* Which rules there are is known once all of the configuration is. */
    if (ovr_ignores_new(NULL, &line, 1, &list, &why) != OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: %s", &value[0], why.message);
        return NGX_CONF_ERROR;
    }
    ovr_ignores_free(list);
    slot = ngx_array_push(conf->ignore_lines);
    if (slot == NULL) return NGX_CONF_ERROR;
    *slot = line;
    return NGX_CONF_OK;
}

static void free_ignores(void* data) { ovr_ignores_free(data); }

/* The place of a line among the main configuration's. */
static ngx_int_t place_of_ignore(ngx_conf_t* cf, overread_main_conf_t* main, const ovr_ignore* line) {
    overread_ignore_t* known = main->ignores->elts;
    size_t size = ngx_strlen(line->text);

    for (ngx_uint_t i = 0; i < main->ignores->nelts; i++)
        if (known[i].text.len == size && ngx_strncmp(known[i].text.data, line->text, size) == 0) return (ngx_int_t)i;
    if (unix_ms() >= line->until_ms) ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "overread_ignore: \"%s\" is expired", line->text);
    known = ngx_array_push(main->ignores);
    if (known == NULL) return NGX_ERROR;
    known->text.data = (u_char*)line->text;
    known->text.len = size;
    known->until_ms = line->until_ms;
    return (ngx_int_t)main->ignores->nelts - 1;
}

static char* make_ignores(ngx_conf_t* cf, overread_loc_conf_t* conf) {
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    ovr_ignore line;
    ovr_error why;

    if (cleanup == NULL) return NGX_CONF_ERROR;
    if (ovr_ignores_new(main->ruleset ? main->ruleset : ovr_ruleset_default(), conf->ignore_lines->elts, conf->ignore_lines->nelts, &conf->ignores, &why) !=
        OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "overread_ignore: %s", why.message);
        return NGX_CONF_ERROR;
    }
    cleanup->handler = free_ignores;
    cleanup->data = conf->ignores;
    for (size_t i = 0; ovr_ignores_line(conf->ignores, i, &line) == OVR_OK; i++) {
        ngx_int_t place = place_of_ignore(cf, main, &line);
        if (place == NGX_ERROR) return NGX_CONF_ERROR;
        conf->ignore_place[i] = (ngx_uint_t)place;
    }
    return NGX_CONF_OK;
}

static char* set_on_error(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    static const overread_word_t words[] = {{ngx_string("pass"), OVR_ON_ERROR_PASS}, {ngx_string("block"), OVR_ON_ERROR_BLOCK}, {ngx_null_string, 0}};
    return set_word(cf, &((overread_loc_conf_t*)data)->on_error, words, "pass or block");
}

static char* set_hold(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ssize_t size = ngx_parse_size(&value[1]);

    if (conf->hold != NGX_CONF_UNSET_SIZE) return "is duplicate";
    if (size == NGX_ERROR || size > HOLD_LIMIT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected a size of at most 64m, found \"%V\"", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    conf->hold = (size_t)size;
    return NGX_CONF_OK;
}

static char* set_hold_ms(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ngx_int_t ms = ngx_parse_time(&value[1], 0);

    if (conf->hold_ms != NGX_CONF_UNSET_MSEC) return "is duplicate";
    if (ms == NGX_ERROR || ms < 1 || ms > 60000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected a time from 1ms to 60s, found \"%V\"", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    conf->hold_ms = (ngx_msec_t)ms;
    return NGX_CONF_OK;
}

static char* set_max_body(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ssize_t size = ngx_parse_size(&value[1]);

    if (conf->max_body != NGX_CONF_UNSET_SIZE) return "is duplicate";
    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected a size, 0 for none, found \"%V\"", &value[0], &value[1]);
        return NGX_CONF_ERROR;
    }
    conf->max_body = (size_t)size;
    return NGX_CONF_OK;
}

static char* set_types(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;

    if (conf->types != NGX_CONF_UNSET_PTR) return "is duplicate";
    conf->types = ngx_array_create(cf->pool, cf->args->nelts - 1, sizeof(ngx_str_t));
    if (conf->types == NULL) return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        u_char *p = value[i].data, *end = p + value[i].len, *star = ngx_strlchr(p, end, '*');
        ngx_uint_t all = value[i].len == 1 && star;
        ngx_uint_t suffix = value[i].len > 2 && p[0] == '*' && p[1] == '+';
        ngx_uint_t stars = star ? 1 + (ngx_strlchr(star + 1, end, '*') != NULL) : 0;
        ngx_uint_t named = ngx_strlchr(p, end, '/') != NULL && (star == NULL || (star == end - 1 && star[-1] == '/'));
        if (!all && (stars > 1 || !(suffix || named))) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected type/subtype, type/*, *+suffix or *, found \"%V\"", &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
        *(ngx_str_t*)ngx_array_push(conf->types) = value[i]; /* room was made above */
    }
    return NGX_CONF_OK;
}

static char* set_events(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;

    if (conf->events != NGX_CONF_UNSET_PTR) return "is duplicate";
    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        conf->events = NULL;
        return NGX_CONF_OK;
    }
    conf->events_limit = conf->weak_sample = 0;
    for (ngx_uint_t i = 2; i < cf->args->nelts; i++) {
        ngx_uint_t limit = ngx_strncmp(value[i].data, "limit=", 6) == 0, sample = ngx_strncmp(value[i].data, "weak_sample=", 12) == 0;
        size_t name = limit ? 6 : 12;
        ngx_int_t n = (limit || sample) && value[i].len > name ? ngx_atoi(value[i].data + name, value[i].len - name) : NGX_ERROR;
        if (n < 1 || n > 0x7fffffff) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected limit=N (events a second) or weak_sample=N, found \"%V\"", &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
        *(limit ? &conf->events_limit : &conf->weak_sample) = (ngx_uint_t)n;
    }
    /* Opened with nginx's own logs, as root, and again on the signal that rotates them. */
    conf->events = ngx_conf_open_file(cf->cycle, &value[1]);
    return conf->events ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static char* set_zone(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t* value = cf->args->elts;
    ngx_str_t name = ngx_string(ZONE_NAME), text;
    ssize_t size = ZONE_SIZE;

    if (main->zone) return "is duplicate";
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        if (ngx_strncmp(value[i].data, "name=", 5) == 0 && value[i].len > 5) {
            name.data = value[i].data + 5;
            name.len = value[i].len - 5;
            continue;
        }
        if (ngx_strncmp(value[i].data, "size=", 5) == 0) {
            text.data = value[i].data + 5;
            text.len = value[i].len - 5;
            size = ngx_parse_size(&text);
            if (size >= (ssize_t)(8 * ngx_pagesize)) continue;
        }
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected name=NAME and size=SIZE of at least %uzk, found \"%V\"", &value[0], 8 * ngx_pagesize / 1024,
                           &value[i]);
        return NGX_CONF_ERROR;
    }
    return add_zone(cf, main, name, (size_t)size) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static char* set_status(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    ngx_http_core_loc_conf_t* core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->status) return "is duplicate";
    conf->status = 1;
    main->used = 1;
    core->handler = show_status;
    return NGX_CONF_OK;
}

static void free_ruleset(void* data) { ovr_ruleset_free(data); }

static char* set_rules(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t* value = cf->args->elts;
    ngx_str_t path = value[1];
    ngx_pool_cleanup_t* cleanup;
    ovr_error why;
    struct stat info;
    FILE* file;
    void* blob;
    size_t size;
    int status;

    if (main->ruleset) return "is duplicate";
    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) return NGX_CONF_ERROR;
    cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    if (cleanup == NULL) return NGX_CONF_ERROR;
    file = fopen((char*)path.data, "rb");
    if (file == NULL || fstat(fileno(file), &info) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "%V: cannot read \"%V\"", &value[0], &path);
        if (file) fclose(file);
        return NGX_CONF_ERROR;
    }
    size = (size_t)info.st_size;
    blob = ngx_alloc(size + 1, cf->log);
    if (blob == NULL) {
        fclose(file);
        return NGX_CONF_ERROR;
    }
    size = fread(blob, 1, size, file);
    fclose(file);
    status = ovr_ruleset_load(blob, size, &main->ruleset, &why);
    ngx_free(blob);
    if (status != OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: \"%V\": %s", &value[0], &path, why.message);
        return NGX_CONF_ERROR;
    }
    cleanup->handler = free_ruleset;
    cleanup->data = main->ruleset;
    return NGX_CONF_OK;
}

static char* set_watch(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    static const overread_word_t words[] = {{ngx_string("repetition"), OVR_WATCH_REPETITION},
                                            {ngx_string("sameness"), OVR_WATCH_SAMENESS},
                                            {ngx_string("twins"), OVR_WATCH_TWINS},
                                            {ngx_null_string, 0}};
    overread_loc_conf_t* conf = data;
    ngx_str_t* value = cf->args->elts;
    ngx_uint_t watch = 0;

    if (conf->watch != NGX_CONF_UNSET_UINT) return "is duplicate";
    conf->watch = 0;
    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) return NGX_CONF_OK;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        const overread_word_t* word = words;
        while (word->name.len && ngx_strcmp(word->name.data, value[i].data) != 0) word++;
        if (word->name.len == 0 || watch & word->value) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected off, or repetition, sameness and twins once each, found \"%V\"", &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
        watch |= word->value;
    }
    conf->watch = watch;
    return NGX_CONF_OK;
}

static char* set_site_counts(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t* value = cf->args->elts;

    if (main->site_counts.len) return "is duplicate";
    if (value[1].len == 0) return "needs the path of a file";
    main->site_counts = value[1];
    return ngx_conf_full_name(cf->cycle, &main->site_counts, 0) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static char* set_control(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t* value = cf->args->elts;

    if (main->control_path.len) return "is duplicate";
    if (value[1].len == 0) return "needs the path of a file";
    main->control_path = value[1];
    return ngx_conf_full_name(cf->cycle, &main->control_path, 0) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

/* 32 hexadecimal digits, as `overread selftest --new-key` writes them. Read by the master, which may see more than a worker. */
static char* read_key(ngx_conf_t* cf, ngx_str_t path, u_char key[KEY_SIZE]) {
    ngx_str_t* directive = cf->args->elts;
    u_char text[2 * KEY_SIZE + 2];
    struct stat info;
    ssize_t size;
    int fd;

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) return NGX_CONF_ERROR;
    fd = open((char*)path.data, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size = fd == -1 || fstat(fd, &info) == -1 ? -1 : read(fd, text, sizeof text);
    if (size == -1) ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "%V: cannot read \"%V\"", directive, &path);
    if (fd != -1) close(fd);
    if (size == -1) return NGX_CONF_ERROR;
    if (info.st_mode & (S_IRWXG | S_IRWXO)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: others than its owner may use \"%V\": chmod 600 it", directive, &path);
        return NGX_CONF_ERROR;
    }
    while (size && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
    for (ngx_uint_t i = 0; size == 2 * KEY_SIZE && i < KEY_SIZE; i++) {
        ngx_int_t byte = ngx_hextoi(text + 2 * i, 2);
        if (byte == NGX_ERROR) size = 0;
        key[i] = (u_char)byte;
    }
    ngx_explicit_memzero(text, sizeof text);
    if (size != 2 * KEY_SIZE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: \"%V\" does not hold 32 hexadecimal digits", directive, &path);
        return NGX_CONF_ERROR;
    }
    return NGX_CONF_OK;
}

static char* set_key(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t* value = cf->args->elts;

    if (main->keyed) return "is duplicate";
    if (read_key(cf, value[1], main->key) != NGX_CONF_OK) return NGX_CONF_ERROR;
    main->keyed = 1;
    return NGX_CONF_OK;
}

/* ---- the registry ---- */

static overread_registry_t* registries; /* of all configurations that are in use: of one, and of the next while it is read */

static void leave_registry(void* data) {
    overread_registry_t *of = data, **at = &registries;
    if (--of->users) return;
    while (*at != of) at = &(*at)->next;
    *at = of->next;
    ovr_registry_close(of->registry);
    ngx_free(of);
}

/* The same key has the same id; a small registry tells it, so that no key needs to be kept. */
static ngx_uint_t has_key(const ovr_registry* registry, ovr_bytes key) {
    ovr_registry_options options;
    ovr_registry* other = NULL;
    ngx_uint_t same;

    if (key.size == 0) return 1;
    ngx_memzero(&options, sizeof options);
    options.struct_size = sizeof options;
    options.memory = 65536;
    options.key = key;
    if (ovr_registry_open(&options, &other, NULL) != OVR_OK) return 0;
    same = ngx_strcmp(ovr_registry_key_id(other), ovr_registry_key_id(registry)) == 0;
    ovr_registry_close(other);
    return same;
}

/* Opened here, in the master, so that its workers have the same memory. */
static char* open_registry(ngx_conf_t* cf, overread_main_conf_t* main, const ovr_registry_options* options) {
    ngx_str_t* value = cf->args->elts;
    ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    overread_registry_t* of;
    size_t size = 0;
    ovr_error why;
    u_char* p;

    if (cleanup == NULL) return NGX_CONF_ERROR;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) size += value[i].len + 1;
    of = ngx_alloc(sizeof *of + size, cf->log);
    if (of == NULL) return NGX_CONF_ERROR;
    of->size = size;
    p = of->words;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) p = ngx_cpymem(p, value[i].data, value[i].len + 1);
    for (overread_registry_t* old = registries; old; old = old->next) {
        if (old->size != size || ngx_memcmp(old->words, of->words, size) != 0 || !has_key(old->registry, options->key)) continue;
        ngx_free(of);
        main->registry = old;
        break;
    }
    if (main->registry == NULL) {
        if (ovr_registry_open(options, &of->registry, &why) != OVR_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: %s", &value[0], why.message);
            ngx_free(of);
            return NGX_CONF_ERROR;
        }
        of->users = 0;
        of->next = registries;
        main->registry = registries = of;
    }
    main->registry->users++;
    cleanup->handler = leave_registry;
    cleanup->data = main->registry;
    return NGX_CONF_OK;
}

static char* set_registry(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    static const ngx_str_t OPTIONS[] = {ngx_string("memory="), ngx_string("life="), ngx_string("segment="), ngx_string("key="), ngx_string("name=")};
    enum { MEMORY, LIFE, SEGMENT, KEY, NAME, COUNT };
    overread_main_conf_t* main = data;
    ngx_str_t *value = cf->args->elts, text = ngx_null_string;
    const char** names = ngx_palloc(cf->pool, cf->args->nelts * sizeof(char*));
    ovr_registry_options options;
    u_char key[KEY_SIZE];
    char* failed;

    if (main->registry_said) return "is duplicate";
    main->registry_said = 1;
    if (names == NULL) return NGX_CONF_ERROR;
    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) return NGX_CONF_OK;
    ngx_memzero(&options, sizeof options);
    options.struct_size = sizeof options;
    options.names = names;
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        ngx_uint_t which = 0;
        off_t n = 1;
        while (which < COUNT && ngx_strncmp(value[i].data, OPTIONS[which].data, OPTIONS[which].len) != 0) which++;
        if (which < COUNT) {
            text.data = value[i].data + OPTIONS[which].len;
            text.len = value[i].len - OPTIONS[which].len;
        }
        if (which == MEMORY && options.memory == 0) {
            n = ngx_parse_offset(&text);
            if (n < 65536 || n > (off_t)64 << 30) n = NGX_ERROR;
            options.memory = (uint64_t)n;
        } else if (which == LIFE && options.life_ms == 0) {
            n = ngx_parse_time(&text, 1);
            if (n > 86400) n = NGX_ERROR;
            options.life_ms = (uint32_t)n * 1000;
        } else if (which == SEGMENT && options.segment == NULL && text.len) {
            if (ngx_conf_full_name(cf->cycle, &text, 0) != NGX_OK) return NGX_CONF_ERROR;
            options.segment = (char*)text.data;
        } else if (which == KEY && options.key.size == 0 && text.len) {
            if (read_key(cf, text, key) != NGX_CONF_OK) return NGX_CONF_ERROR;
            options.key.data = key;
            options.key.size = KEY_SIZE;
        } else if (which == NAME && text.len) {
            names[options.name_count++] = (char*)text.data;
        } else if (cf->args->nelts > 2 || ngx_strcmp(value[i].data, "on") != 0) {
            n = NGX_ERROR;
        }
        if (n < 1) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0,
                "%V: expected off, on, or memory=SIZE (64k to 64g), life=TIME (1s to 1d), segment=FILE, key=FILE, each once, and name=NAME, found \"%V\"",
                &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
    }
    failed = open_registry(cf, main, &options);
    ngx_explicit_memzero(key, sizeof key);
    return failed;
}

static char* set_canary(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_loc_conf_t* conf = data;
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);
    char* failed = ngx_conf_set_flag_slot(cf, cmd, conf);

    if (failed == NGX_CONF_OK && conf->canary) main->plants = 1;
    return failed;
}

static char* set_decode(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    overread_main_conf_t* main = data;
    ngx_str_t *value = cf->args->elts, text;

    if (main->max_decoded || main->max_ratio) return "is duplicate";
    for (ngx_uint_t i = 1; i < cf->args->nelts; i++) {
        ngx_uint_t size = ngx_strncmp(value[i].data, "max=", 4) == 0, ratio = ngx_strncmp(value[i].data, "ratio=", 6) == 0;
        off_t n = NGX_ERROR;
        text.data = value[i].data + (size ? 4 : 6);
        text.len = size || ratio ? value[i].data + value[i].len - text.data : 0;
        if (size && text.len) n = ngx_parse_offset(&text);
        if (ratio && text.len) n = ngx_atoi(text.data, text.len);
        if (n < 1 || (ratio && n > 0x7fffffff)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V: expected max=SIZE or ratio=N, found \"%V\"", &value[0], &value[i]);
            return NGX_CONF_ERROR;
        }
        *(size ? &main->max_decoded : &main->max_ratio) = (size_t)n;
    }
    return NGX_CONF_OK;
}

static void close_control(void* data) { ovr_control_close(data); }

static ngx_int_t open_control(ngx_conf_t* cf, overread_main_conf_t* main) {
    ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    ovr_error why;

    if (cleanup == NULL) return NGX_ERROR;
    /* Made here, where the master may; workers go on with its descriptor. Only alarms are written, and only where they may trip. */
    if (ovr_control_open((char*)main->control_path.data, (int)main->trips, &main->control, &why) != OVR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "overread_control: %s", why.message);
        return NGX_ERROR;
    }
    cleanup->handler = close_control;
    cleanup->data = main->control;
    return NGX_OK;
}

static void* create_main_conf(ngx_conf_t* cf) {
    overread_main_conf_t* conf = ngx_pcalloc(cf->pool, sizeof *conf);
    if (conf == NULL) return NULL;
    conf->most = OVR_MODE_ENFORCE;
    conf->ignores = ngx_array_create(cf->pool, 4, sizeof(overread_ignore_t));
    return conf->ignores ? conf : NULL;
}

static void* create_loc_conf(ngx_conf_t* cf) {
    overread_loc_conf_t* conf = ngx_pcalloc(cf->pool, sizeof *conf);
    if (conf == NULL) return NULL;
    conf->mode = conf->block_from = conf->on_error = conf->watch = NGX_CONF_UNSET_UINT;
    for (ngx_uint_t tier = 0; tier <= OVR_TIER_CERTAIN; tier++) conf->action[tier] = NGX_CONF_UNSET_UINT;
    conf->hold = conf->max_body = NGX_CONF_UNSET_SIZE;
    conf->hold_ms = NGX_CONF_UNSET_MSEC;
    conf->types = NGX_CONF_UNSET_PTR;
    conf->events = NGX_CONF_UNSET_PTR;
    conf->threshold = conf->block_bits = conf->most_blocked = UNSET_BITS;
    conf->trip_alarms = NGX_CONF_UNSET_UINT;
    conf->owner = NGX_CONF_UNSET_PTR;
    conf->canary = NGX_CONF_UNSET;
    conf->ignore_lines = NGX_CONF_UNSET_PTR;
    return conf;
}

/* overread_block_from speaks of all tiers of its block that have no action of their own there. */
static void resolve(overread_loc_conf_t* conf, ngx_uint_t tier) {
    if (conf->block_from != NGX_CONF_UNSET_UINT && conf->action[tier] == NGX_CONF_UNSET_UINT)
        conf->action[tier] = tier >= conf->block_from ? OVR_DO_BLOCK : OVR_DO_DEFAULT;
}

static void merge_bits(double* to, double from) {
    if (*to == UNSET_BITS) *to = from == UNSET_BITS ? 0 : from;
}

static char* merge_loc_conf(ngx_conf_t* cf, void* parent, void* child) {
    overread_loc_conf_t *from = parent, *to = child;
    ngx_conf_merge_uint_value(to->mode, from->mode, OVR_MODE_OFF);
    for (ngx_uint_t tier = OVR_TIER_WEAK; tier <= OVR_TIER_CERTAIN; tier++) {
        resolve(from, tier);
        resolve(to, tier);
        ngx_conf_merge_uint_value(to->action[tier], from->action[tier], OVR_DO_DEFAULT);
    }
    ngx_conf_merge_uint_value(to->on_error, from->on_error, OVR_ON_ERROR_PASS);
    ngx_conf_merge_uint_value(to->watch, from->watch, 0);
    ngx_conf_merge_size_value(to->hold, from->hold, OVR_HOLD_DEFAULT);
    ngx_conf_merge_msec_value(to->hold_ms, from->hold_ms, 50);
    ngx_conf_merge_size_value(to->max_body, from->max_body, 0);
    ngx_conf_merge_ptr_value(to->types, from->types, NULL);
    if (to->events == NGX_CONF_UNSET_PTR) {
        to->events_limit = from->events_limit;
        to->weak_sample = from->weak_sample;
    }
    ngx_conf_merge_ptr_value(to->events, from->events, NULL);
    merge_bits(&to->threshold, from->threshold);
    merge_bits(&to->block_bits, from->block_bits);
    merge_bits(&to->most_blocked, from->most_blocked);
    ngx_conf_merge_str_value(to->feature, from->feature, "");
    ngx_conf_merge_str_value(to->feature_header, from->feature_header, "");
    if (to->trip_alarms == NGX_CONF_UNSET_UINT) {
        to->trip_within = from->trip_within;
        to->trip_rearm = from->trip_rearm;
    }
    ngx_conf_merge_uint_value(to->trip_alarms, from->trip_alarms, 0);
    ngx_conf_merge_ptr_value(to->owner, from->owner, NULL);
    ngx_conf_merge_value(to->canary, from->canary, 0);
    /* Of the outermost block nobody asks: what it has is made once, for its first child. */
    if (from->ignore_lines != NGX_CONF_UNSET_PTR && from->ignore_lines && from->ignores == NULL && make_ignores(cf, from) != NGX_CONF_OK) return NGX_CONF_ERROR;
    if (to->ignore_lines == NGX_CONF_UNSET_PTR) {
        to->ignore_lines = from->ignore_lines == NGX_CONF_UNSET_PTR ? NULL : from->ignore_lines;
        to->ignores = from->ignores;
        ngx_memcpy(to->ignore_place, from->ignore_place, sizeof to->ignore_place);
    } else if (to->ignores == NULL) {
        return make_ignores(cf, to);
    }
    return NGX_CONF_OK;
}

/* Before what may answer, and once the location is known. */
static ngx_int_t add_planter(ngx_conf_t* cf, const overread_main_conf_t* main) {
    ngx_http_core_main_conf_t* core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt* handler;

    if (main->registry == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "overread_canary: needs overread_registry, which knows canaries again");
        return NGX_ERROR;
    }
    handler = ngx_array_push(&core->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (handler == NULL) return NGX_ERROR;
    *handler = plant_canary;
    return NGX_OK;
}

static ngx_int_t install_filters(ngx_conf_t* cf) {
    static ngx_str_t name = ngx_string(ZONE_NAME);
    overread_main_conf_t* main = ngx_http_conf_get_module_main_conf(cf, ngx_http_overread_module);

    ovr_scanner_free(main->probe);
    main->probe = NULL;
    if (main->used && main->zone == NULL && add_zone(cf, main, name, ZONE_SIZE) != NGX_OK) return NGX_ERROR;
    if (main->control_path.len && open_control(cf, main) != NGX_OK) return NGX_ERROR;
    if (main->plants && add_planter(cf, main) != NGX_OK) return NGX_ERROR;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = body_filter;
    return NGX_OK;
}

/* ---- the file of counts ---- */

/* In the zone the counts are of all workers, and outlive each; the file is replaced at once, never half. A zone's file has its time in
 * its name: after a restart another one is begun, and all of them add up. */
static void write_site_counts(ngx_cycle_t* cycle, overread_main_conf_t* main) {
    u_char path[NGX_MAX_PATH], part[NGX_MAX_PATH];
    size_t size = 0;
    char* text = ngx_alloc(SITE_COUNTS_CAPACITY, cycle->log);
    ngx_fd_t fd;
    ngx_int_t bad;

    if (text == NULL) return;
    *ngx_snprintf(path, sizeof path - 1, "%V.%T", &main->site_counts, main->counters->since) = '\0';
    *ngx_snprintf(part, sizeof part - 1, "%s.%P", path, ngx_pid) = '\0';
    bad = ovr_scanner_site_counts(main->scanner, text, SITE_COUNTS_CAPACITY, &size) != OVR_OK;
    fd = bad ? NGX_INVALID_FILE : ngx_open_file(part, NGX_FILE_WRONLY, NGX_FILE_CREATE_OR_OPEN | NGX_FILE_TRUNCATE, NGX_FILE_DEFAULT_ACCESS);
    if (fd != NGX_INVALID_FILE) {
        bad = ngx_write_fd(fd, text, size) != (ssize_t)size;
        bad |= ngx_close_file(fd) == NGX_FILE_ERROR;
        if (bad || ngx_rename_file(part, path) == NGX_FILE_ERROR) fd = NGX_INVALID_FILE;
    }
    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "overread: cannot write \"%s\"", path);
        count(&main->counters->errors, 1);
    }
    ngx_free(text);
}

static ngx_event_t write_timer;

static void write_in_time(ngx_event_t* event) {
    write_site_counts((ngx_cycle_t*)ngx_cycle, event->data);
    ngx_add_timer(event, SITE_COUNTS_EVERY);
}

static ngx_uint_t writes_site_counts(const overread_main_conf_t* main) {
    return main->site_counts.len && main->scanner && ngx_worker == 0 && ngx_process != NGX_PROCESS_HELPER;
}

/* After the fork: the scanner's keys differ from worker to worker, and none is in the master. */
static ngx_int_t start_worker(ngx_cycle_t* cycle) {
    overread_main_conf_t* main = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_overread_module);
    ovr_scanner_options options;
    ovr_error why;

    if (main == NULL || !main->used) return NGX_OK;
    ngx_memzero(&options, sizeof options);
    options.struct_size = sizeof options;
    options.hold = OVR_HOLD_DEFAULT;
    options.key.data = main->key;
    options.key.size = main->keyed ? KEY_SIZE : 0;
    options.max_decoded = main->max_decoded;
    options.max_ratio = (uint32_t)main->max_ratio;
    if (main->registry) options.registry = main->registry->registry;
    /* A worker that ends here is never started again: responses then go as overread_on_error says. */
    if (ovr_scanner_new(main->ruleset, &options, &main->scanner, &why) != OVR_OK)
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "overread: no scanner: %s", why.message);
    if (main == NULL || main->scanner == NULL) return NGX_OK;
    if (ovr_scanner_share(main->scanner, main->counters->shared, ovr_shared_size()) != OVR_OK)
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "overread: each worker counts for itself: the zone is another build's");
    if (writes_site_counts(main)) {
        write_timer.handler = write_in_time;
        write_timer.data = main;
        write_timer.log = cycle->log;
        write_timer.cancelable = 1;
        ngx_add_timer(&write_timer, SITE_COUNTS_EVERY);
    }
    return NGX_OK;
}

static void stop_worker(ngx_cycle_t* cycle) {
    overread_main_conf_t* main = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_overread_module);
    if (main == NULL) return;
    if (writes_site_counts(main)) write_site_counts(cycle, main);
    while (main->idle_count) ovr_filter_close(remove_idle(main, main->idle_count - 1));
    ovr_scanner_free(main->scanner);
}

#define ANYWHERE NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF

static ngx_command_t commands[] = {
    {ngx_string("overread"), ANYWHERE | NGX_CONF_TAKE1, set_mode, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_action"), ANYWHERE | NGX_CONF_TAKE2, set_action, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_block_from"), ANYWHERE | NGX_CONF_TAKE1, set_block_from, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_hold"), ANYWHERE | NGX_CONF_TAKE1, set_hold, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_hold_ms"), ANYWHERE | NGX_CONF_TAKE1, set_hold_ms, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_types"), ANYWHERE | NGX_CONF_1MORE, set_types, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_max_body"), ANYWHERE | NGX_CONF_TAKE1, set_max_body, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_on_error"), ANYWHERE | NGX_CONF_TAKE1, set_on_error, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_events"), ANYWHERE | NGX_CONF_TAKE123, set_events, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_threshold"), ANYWHERE | NGX_CONF_TAKE1, set_threshold, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_budget"), ANYWHERE | NGX_CONF_TAKE2, set_budget, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_most_blocked"), ANYWHERE | NGX_CONF_TAKE1, set_most_blocked, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_ignore"), ANYWHERE | NGX_CONF_1MORE, set_ignore, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_owner"), ANYWHERE | NGX_CONF_TAKE1, set_owner, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_canary"), ANYWHERE | NGX_CONF_FLAG, set_canary, NGX_HTTP_LOC_CONF_OFFSET, offsetof(overread_loc_conf_t, canary), NULL},
    {ngx_string("overread_feature"), ANYWHERE | NGX_CONF_TAKE1, set_feature, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_feature_header"), ANYWHERE | NGX_CONF_TAKE1, set_feature_header, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_trip"), ANYWHERE | NGX_CONF_TAKE123, set_trip, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_decode"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE12, set_decode, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_key"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_key, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_registry"), NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE, set_registry, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_watch"), ANYWHERE | NGX_CONF_1MORE, set_watch, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_site_counts"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_site_counts, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_status, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE12, set_zone, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_control"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_control, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("overread_rules"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_rules, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    ngx_null_command,
};

static ngx_http_module_t module_context = {
    add_variables, install_filters, create_main_conf, NULL, NULL, NULL, create_loc_conf, merge_loc_conf,
};

ngx_module_t ngx_http_overread_module = {
    NGX_MODULE_V1, &module_context, commands, NGX_HTTP_MODULE, NULL, NULL, start_worker, NULL, NULL, stop_worker, NULL, NGX_MODULE_V1_PADDING,
};
