/* An nginx module for tests only: `chains;` makes a location send its files as chains of buffers cut at random.
 *
 * Arguments of a request: seed=N, and length=1 for a Content-Length. A chain has buffers in memory, in the file, in both, flushes and syncs without a
 * byte, and ends with or without a buffer of its own; it is sent at once, after a pause, or when the socket is writable again. A buffer that was
 * used up is overwritten, as its producer may: who still points to it sends garbage. */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

enum { BUSY_LIMIT = 32, LARGEST = 40000 };

typedef struct {
    ngx_http_request_t* request;
    ngx_event_t timer;
    uint64_t random;
    ngx_file_t file;
    u_char* data;
    size_t size, at;
    unsigned ended : 1;
    ngx_chain_t *free, *busy;
} chains_t;

ngx_module_t ngx_http_chains_module;

static ngx_uint_t below(chains_t* c, ngx_uint_t limit) { /* xorshift64*: Vigna 2016 */
    c->random ^= c->random >> 12;
    c->random ^= c->random << 25;
    c->random ^= c->random >> 27;
    return (ngx_uint_t)((c->random * 0x2545f4914f6cdd1dULL) >> 33) % limit;
}

static ngx_chain_t* own_buffer(chains_t* c, size_t size) {
    ngx_chain_t* cl;
    for (ngx_chain_t** at = &c->free; *at; at = &(*at)->next) {
        cl = *at;
        if ((size_t)(cl->buf->end - cl->buf->start) < size) continue;
        *at = cl->next;
        cl->buf->pos = cl->buf->last = cl->buf->start;
        cl->buf->in_file = cl->buf->flush = cl->buf->recycled = cl->buf->last_buf = cl->buf->last_in_chain = 0;
        return cl;
    }
    cl = ngx_alloc_chain_link(c->request->pool);
    if (cl == NULL) return NULL;
    cl->buf = ngx_create_temp_buf(c->request->pool, size < 4096 && below(c, 2) ? 4096 : size);
    if (cl->buf == NULL) return NULL;
    cl->buf->tag = (ngx_buf_tag_t)&ngx_http_chains_module;
    return cl;
}

static ngx_chain_t* next_buffer(chains_t* c) {
    static const ngx_uint_t limits[] = {1, 16, 300, 5000, LARGEST};
    size_t size = 1 + below(c, limits[below(c, 5)]);
    ngx_uint_t kind = below(c, 8);
    ngx_chain_t* cl;

    if (size > c->size - c->at) size = c->size - c->at;
    if (kind < 4 && size) {
        cl = own_buffer(c, size);
        if (cl == NULL) return NULL;
        cl->buf->last = ngx_cpymem(cl->buf->pos, c->data + c->at, size);
        cl->buf->recycled = kind == 0;
    } else {
        cl = ngx_alloc_chain_link(c->request->pool);
        if (cl == NULL) return NULL;
        cl->buf = ngx_calloc_buf(c->request->pool);
        if (cl->buf == NULL) return NULL;
        if (kind == 7 || size == 0) {
            size = 0;
            cl->buf->sync = below(c, 3) == 0;
            cl->buf->flush = !cl->buf->sync;
        } else if (kind < 6) {
            cl->buf->memory = 1;
            cl->buf->pos = cl->buf->start = c->data + c->at;
            cl->buf->last = cl->buf->end = cl->buf->pos + size;
        }
    }
    if (size && (kind == 6 || below(c, 4) == 0)) { /* in the file as well, or alone */
        cl->buf->in_file = 1;
        cl->buf->file = &c->file;
        cl->buf->file_pos = (off_t)c->at;
        cl->buf->file_last = (off_t)(c->at + size);
    }
    if (size && below(c, 6) == 0) cl->buf->flush = 1;
    c->at += size;
    cl->next = NULL;
    return cl;
}

/* Pushes what the write filter postpones: without a byte behind it no one would. */
static ngx_int_t push(chains_t* c) {
    ngx_chain_t link = {ngx_calloc_buf(c->request->pool), NULL}, *out = NULL;
    if (link.buf == NULL) return NGX_ERROR;
    link.buf->flush = 1;
    ngx_int_t rc = ngx_http_output_filter(c->request, &link);
    ngx_chain_update_chains(c->request->pool, &c->free, &c->busy, &out, (ngx_buf_tag_t)&ngx_http_chains_module);
    return rc;
}

static ngx_int_t send_chain(chains_t* c) {
    ngx_chain_t *out = NULL, **end = &out, *last = NULL;
    ngx_int_t rc;

    for (ngx_uint_t n = 1 + below(c, 5); n && c->at < c->size; n--) {
        last = next_buffer(c);
        if (last == NULL) return NGX_ERROR;
        *end = last;
        end = &last->next;
    }
    if (c->at == c->size && (last == NULL || below(c, 2))) {
        if (last == NULL || below(c, 2)) { /* the end comes without a byte, alone or not */
            last = next_buffer(c);
            if (last == NULL) return NGX_ERROR;
            last->buf->sync = last->buf->flush = 0;
            *end = last;
        }
        last->buf->last_buf = 1;
        c->ended = 1;
    }
    /* Only the end has it: nginx's own copies of other bufs are flushed (`recycled`), those of this one wait in the write filter, and in
     * HTTP/2 no event would come to push them. */
    if (last && c->ended) last->buf->last_in_chain = 1;
    rc = ngx_http_output_filter(c->request, out);
    ngx_chain_update_chains(c->request->pool, &c->free, &c->busy, &out, (ngx_buf_tag_t)&ngx_http_chains_module);
    for (ngx_chain_t* cl = c->free; cl; cl = cl->next) ngx_memset(cl->buf->start, 0xdb, cl->buf->end - cl->buf->start);
    return rc;
}

static void go_on(ngx_http_request_t* r) {
    chains_t* c = ngx_http_get_module_ctx(r, ngx_http_chains_module);
    ngx_event_t* write = r->connection->write;
    ngx_http_core_loc_conf_t* core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_int_t rc;

    if (c->timer.timer_set) return; /* a socket that is writable does not make a producer faster */
    if (write->timedout) {
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    if ((r->buffered || r->connection->buffered) && push(c) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }
    for (;;) {
        ngx_uint_t busy = 0;
        for (ngx_chain_t* cl = c->busy; cl; cl = cl->next) busy++;
        rc = busy < BUSY_LIMIT ? send_chain(c) : push(c);
        if (rc == NGX_ERROR || rc > NGX_OK || c->ended) {
            ngx_http_finalize_request(r, rc);
            return;
        }
        /* A socket that takes no more is waited for, or not, as a producer without buffers to spare may. */
        if (rc == NGX_AGAIN && !write->ready && (busy >= BUSY_LIMIT || below(c, 2))) {
            if (!write->delayed) ngx_add_timer(write, core->send_timeout);
            if (ngx_handle_write_event(write, core->send_lowat) != NGX_OK) ngx_http_finalize_request(r, NGX_ERROR);
            return;
        }
        if (busy >= BUSY_LIMIT || below(c, 8) == 0) {
            ngx_add_timer(&c->timer, 1 + below(c, 3));
            return;
        }
    }
}

static void on_timer(ngx_event_t* event) {
    chains_t* c = event->data;
    ngx_connection_t* connection = c->request->connection;
    ngx_http_set_log_request(connection->log, c->request);
    go_on(c->request);
    ngx_http_run_posted_requests(connection);
}

static void forget(void* data) {
    chains_t* c = data;
    if (c->timer.timer_set) ngx_del_timer(&c->timer);
    if (c->file.fd != NGX_INVALID_FILE) ngx_close_file(c->file.fd);
}

static ngx_int_t handler(ngx_http_request_t* r) {
    ngx_str_t value;
    ngx_file_info_t info;
    size_t root;
    ngx_int_t rc;

    if (ngx_http_discard_request_body(r) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    chains_t* c = ngx_pcalloc(r->pool, sizeof *c);
    ngx_pool_cleanup_t* cleanup = ngx_pool_cleanup_add(r->pool, 0);
    if (c == NULL || cleanup == NULL || ngx_http_map_uri_to_path(r, &c->file.name, &root, 0) == NULL) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    c->file.fd = ngx_open_file(c->file.name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    c->file.log = r->connection->log;
    c->request = r;
    c->timer.data = c;
    c->timer.handler = on_timer;
    c->timer.log = r->connection->log;
    cleanup->handler = forget;
    cleanup->data = c;
    if (c->file.fd == NGX_INVALID_FILE || ngx_fd_info(c->file.fd, &info) == NGX_FILE_ERROR) return NGX_HTTP_NOT_FOUND;
    c->size = (size_t)ngx_file_size(&info);
    c->data = ngx_palloc(r->pool, c->size + 1);
    if (c->data == NULL || ngx_read_file(&c->file, c->data, c->size, 0) != (ssize_t)c->size) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    c->random = 0x9e3779b97f4a7c15ULL;
    if (ngx_http_arg(r, (u_char*)"seed", 4, &value) == NGX_OK) c->random += (uint64_t)ngx_atoi(value.data, value.len);
    ngx_http_set_ctx(r, c, ngx_http_chains_module);

    r->headers_out.status = NGX_HTTP_OK;
    if (ngx_http_arg(r, (u_char*)"length", 6, &value) == NGX_OK) r->headers_out.content_length_n = (off_t)c->size;
    if (ngx_http_set_content_type(r) != NGX_OK) return NGX_HTTP_INTERNAL_SERVER_ERROR;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) return rc;
    r->main->count++;
    r->write_event_handler = go_on;
    go_on(r);
    return NGX_DONE;
}

static char* set_chains(ngx_conf_t* cf, ngx_command_t* cmd, void* data) {
    (void)cmd;
    (void)data;
    ngx_http_core_loc_conf_t* core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    core->handler = handler;
    return NGX_CONF_OK;
}

static ngx_command_t commands[] = {{ngx_string("chains"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_chains, 0, 0, NULL}, ngx_null_command};

static ngx_http_module_t module_context = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};

ngx_module_t ngx_http_chains_module = {NGX_MODULE_V1, &module_context,      commands, NGX_HTTP_MODULE, NULL, NULL, NULL, NULL, NULL, NULL,
                                       NULL,          NGX_MODULE_V1_PADDING};

/* What nginx's configure writes for a module that is loaded. */
ngx_module_t* ngx_modules[] = {&ngx_http_chains_module, NULL};
char* ngx_module_names[] = {"ngx_http_chains_module", NULL};
char* ngx_module_order[] = {NULL};
