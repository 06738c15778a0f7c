/* A small HTTP/1.1 origin that truly over-reads its heap, for demonstration. Binds loopback only.
 *
 * Requests are kept in recycled slots of one slab that are never cleared, each with a parsed struct in front of
 * the wire text. Pages are rendered from the same slab by an HTML rewriter with a bug of the Cloudbleed kind: its
 * loop ends on `p != end`, but after `=` inside a tag it steps two bytes. A page that ends in an unclosed tag
 * (`<script type=`) steps over `end`, and the rewriter runs on through other visitors' requests until its output
 * buffer is full. The slab is padded, so the process itself never faults.
 *
 * A second bug spills plain text: a name that fills its field gets no NUL (strncpy), so that whoever prints it runs on into the next
 * field, where the session of the one who had the record before still stands.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { SLOT = 2048, SLOTS = 192, PAD = 16384, IN_MAX = 65536, CONNS = 256, EVENTS = 12, EVENT_MS = 200 };
enum { NAME = 24, SESSION = 33, MEMBERS = 64 };

struct request { /* lives at the start of a slot, followed by the request as it came */
    struct request* previous;
    struct conn* owner;
    char *method, *target, *host, *cookie, *authorization, *body;
    size_t head_length, body_length;
    uint64_t serial, arrived_ns;
};

struct page { /* the same for a page on its way through the rewriter */
    struct request* asked_by;
    char *begin, *end;
    size_t written;
    uint64_t serial;
};

struct conn {
    int fd;
    char* in;
    size_t in_len;
    char* out;
    size_t out_len, out_sent, out_cap;
    int close_after, websocket, events_left;
    uint64_t next_event_ms;
    char* later; /* the second part of a page that comes in two */
    size_t later_len;
};

static char* slab;
static size_t next_slot;
static struct request* latest;
static uint64_t serial;
static uint64_t rng_state;
static struct conn conns[CONNS];
static char chat[20][256];
static size_t chat_count;
static char members[MEMBERS * (NAME + SESSION)]; /* who came last: a name, then a session */
static size_t next_member;
static char* logo;
static size_t logo_len;

static uint64_t rng(void) {
    rng_state += 0x9e3779b97f4a7c15u;
    uint64_t z = rng_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static uint64_t now_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000u; }

/* ---- output ---- */
static void put(struct conn* c, const void* data, size_t n) {
    if (c->out_len + n > c->out_cap) {
        size_t cap = c->out_cap ? c->out_cap : 16384;
        while (cap < c->out_len + n) cap *= 2;
        char* grown = realloc(c->out, cap);
        if (!grown) {
            c->close_after = 1;
            return;
        }
        c->out = grown;
        c->out_cap = cap;
    }
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
}
__attribute__((format(printf, 2, 3))) static void putf(struct conn* c, const char* format, ...) {
    char b[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(b, sizeof b, format, args);
    va_end(args);
    if (n > 0) put(c, b, (size_t)n < sizeof b ? (size_t)n : sizeof b - 1);
}

static void respond(struct conn* c, int head_only, const char* status, const char* headers, const void* body, size_t n) {
    putf(c, "HTTP/1.1 %s\r\nServer: demo-origin\r\n%sContent-Length: %zu\r\nConnection: %s\r\n\r\n", status, headers, n,
         c->close_after ? "close" : "keep-alive");
    if (!head_only) put(c, body, n);
}

/* ---- checksums and containers ---- */
static uint32_t crc32_of(const void* data, size_t n, uint32_t crc) {
    const uint8_t* p = data;
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}
static size_t stored(uint8_t* out, const uint8_t* data, size_t n) { /* deflate, stored blocks */
    size_t o = 0;
    do {
        size_t k = n < 65535 ? n : 65535;
        out[o++] = k == n;
        out[o++] = (uint8_t)k, out[o++] = (uint8_t)(k >> 8);
        out[o++] = (uint8_t)~k, out[o++] = (uint8_t)(~k >> 8);
        memcpy(out + o, data, k);
        o += k, data += k, n -= k;
    } while (n);
    return o;
}
static size_t gzip(uint8_t* out, const void* data, size_t n) {
    static const uint8_t head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    memcpy(out, head, 10);
    size_t o = 10 + stored(out + 10, data, n);
    const uint32_t tail[2] = {crc32_of(data, n, 0), (uint32_t)n};
    for (int i = 0; i < 8; i++) out[o++] = (uint8_t)(tail[i / 4] >> (8 * (i % 4)));
    return o;
}
static void be32(uint8_t* p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}
static size_t png_chunk(uint8_t* out, const char* type, const uint8_t* data, size_t n) {
    be32(out, (uint32_t)n);
    memcpy(out + 4, type, 4);
    if (n) memcpy(out + 8, data, n);
    be32(out + 8 + n, crc32_of(out + 4, n + 4, 0));
    return n + 12;
}
static void make_logo(void) {
    enum { W = 48, H = 48, ROW = 1 + 3 * W };
    static uint8_t raw[ROW * H], zlib[ROW * H + 64];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            uint8_t* p = raw + y * ROW + 1 + 3 * x;
            p[0] = (uint8_t)(x * 5), p[1] = (uint8_t)(y * 5), p[2] = (uint8_t)((x ^ y) * 4);
        }
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < sizeof raw; i++) a = (a + raw[i]) % 65521, b = (b + a) % 65521;
    zlib[0] = 0x78, zlib[1] = 0x01;
    size_t z = 2 + stored(zlib + 2, raw, sizeof raw);
    be32(zlib + z, b << 16 | a);
    z += 4;
    logo = malloc(z + 128);
    if (!logo) exit(1);
    uint8_t *o = (uint8_t*)logo, header[13] = {0, 0, 0, W, 0, 0, 0, H, 8, 2, 0, 0, 0};
    memcpy(o, "\x89PNG\r\n\x1a\n", 8);
    logo_len = 8;
    logo_len += png_chunk(o + logo_len, "IHDR", header, 13);
    logo_len += png_chunk(o + logo_len, "IDAT", zlib, z);
    logo_len += png_chunk(o + logo_len, "IEND", NULL, 0);
}
static void sha1(const uint8_t* data, size_t n, uint8_t out[20]) { /* n <= 200: the WebSocket handshake only */
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
    uint8_t m[256] = {0};
    memcpy(m, data, n);
    m[n] = 0x80;
    size_t blocks = (n + 9 + 63) / 64;
    be32(m + blocks * 64 - 4, (uint32_t)(n * 8));
    for (size_t k = 0; k < blocks; k++) {
        for (int i = 0; i < 16; i++) {
            const uint8_t* q = m + k * 64 + i * 4;
            w[i] = (uint32_t)q[0] << 24 | (uint32_t)q[1] << 16 | (uint32_t)q[2] << 8 | q[3];
        }
        for (int i = 16; i < 80; i++) {
            uint32_t v = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = v << 1 | v >> 31;
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t kk = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
            uint32_t t = (a << 5 | a >> 27) + f + e + kk + w[i];
            e = d, d = c, c = b << 30 | b >> 2, b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 5; i++) be32(out + 4 * i, h[i]);
}

/* ---- the slab ---- */
static char* take_slot(void) { /* recycled in turn, never cleared */
    char* s = slab + next_slot * SLOT;
    next_slot = (next_slot + 1) % SLOTS;
    return s;
}

static char* find_header(char* head, size_t n, const char* name, size_t* len) {
    size_t k = strlen(name);
    for (char* p = memchr(head, '\n', n); p && p + 1 + k < head + n; p = memchr(p + 1, '\n', (size_t)(head + n - p - 1)))
        if (!strncasecmp(p + 1, name, k) && p[1 + k] == ':') {
            char *v = p + 2 + k, *e = memchr(v, '\r', (size_t)(head + n - v));
            while (*v == ' ') v++;
            *len = e ? (size_t)(e - v) : 0;
            return v;
        }
    *len = 0;
    return NULL;
}

static struct request* remember(struct conn* c, char* head, size_t head_n, size_t body_n) {
    char* slot = take_slot();
    struct request* r = (struct request*)(void*)slot;
    char* text = slot + sizeof *r;
    size_t room = SLOT - sizeof *r - 1, n = head_n + body_n < room ? head_n + body_n : room, len;
    memcpy(text, head, n);
    size_t h = n < head_n ? n : head_n;
    char* space = memchr(text, ' ', h);
    r->previous = latest;
    r->owner = c;
    r->method = text;
    r->target = space ? space + 1 : text;
    r->host = find_header(text, h, "Host", &len);
    r->cookie = find_header(text, h, "Cookie", &len);
    r->authorization = find_header(text, h, "Authorization", &len);
    r->body = text + h;
    r->head_length = h;
    r->body_length = n - h;
    r->serial = ++serial;
    r->arrived_ns = clock_ns(CLOCK_MONOTONIC);
    latest = r;
    return r;
}

/* Makes links secure: inside a tag, http:// becomes https://. Returns the length written. */
static size_t rewrite(const char* page, size_t page_n, char* out, size_t cap) {
    struct page* job = (struct page*)(void*)(slab + rng() % (SLOTS - 8) * SLOT); /* recycled like all slots */
    char* source = (char*)(job + 1);
    if (page_n > SLOT - sizeof *job) page_n = SLOT - sizeof *job;
    memcpy(source, page, page_n);
    *job = (struct page){latest, source, source + page_n, 0, serial};
    const char *p = source, *end = job->end;
    size_t o = 0;
    int in_tag = 0;
    while (p != end && o + 8 < cap) { /* the bug: `=` below can step over end; it must be `p < end` */
        if (*p == '<')
            in_tag = 1;
        else if (*p == '>')
            in_tag = 0;
        if (in_tag && *p == '=') { /* the value's first character goes along with the sign */
            out[o++] = *p++;
            out[o++] = *p++;
        } else if (in_tag && end - p > 7 && !memcmp(p, "http://", 7)) {
            memcpy(out + o, "https://", 8);
            o += 8, p += 7;
        } else
            out[o++] = *p++;
    }
    job->written = o;
    return o;
}

static const char TOP[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Harbour Books</title>\n"
    "<link rel=\"icon\" href=\"/logo.png\"><style>body{font:16px/1.5 serif;margin:2rem auto;max-width:42rem}</style></head>\n"
    "<body><h1><img src=\"/logo.png\" alt=\"\" width=\"48\" height=\"48\"> Harbour Books</h1>\n"
    "<nav><a href=\"/\">Home</a> <a href=\"/about\">About</a> <a href=\"/chat\">Chat</a> <a href=\"/login\">Sign in</a></nav>\n";
static const char END[] = "<footer>Harbour Books, 12 Quay Street. <a href=\"http://example.org/\">Friends</a></footer>\n</body></html>\n";

enum sending { PLAIN, ZIPPED, SLOWLY };

static void html(struct conn* c, int head_only, const char* headers, const char* content, const char* end, enum sending how) {
    char page[8192], all[256];
    int n = snprintf(page, sizeof page, "%s%s%s", TOP, content, end);
    size_t page_n = n < 0 ? 0 : (size_t)n < sizeof page ? (size_t)n : sizeof page - 1;
    static char out[24576];
    static uint8_t packed[sizeof out + 128];
    /* A well-formed page never meets this limit; only the over-read runs up to it. */
    size_t m = rewrite(page, page_n, out, page_n + 3072 + rng() % 4096);
    snprintf(all, sizeof all, "Content-Type: text/html; charset=utf-8\r\n%s%s", headers, how == ZIPPED ? "Content-Encoding: gzip\r\n" : "");
    if (how == SLOWLY && !head_only && m > 400 && (c->later = malloc(m - 400))) {
        c->later_len = m - 400;
        memcpy(c->later, out + 400, c->later_len);
        c->next_event_ms = now_ms() + EVENT_MS;
        putf(c, "HTTP/1.1 200 OK\r\nServer: demo-origin\r\n%sContent-Length: %zu\r\n\r\n", all, m);
        put(c, out, 400);
    } else if (how == ZIPPED)
        respond(c, head_only, "200 OK", all, packed, gzip(packed, out, m));
    else
        respond(c, head_only, "200 OK", all, out, m);
}

static size_t escape(char* out, size_t cap, const char* s, size_t n) {
    size_t o = 0;
    for (size_t i = 0; i < n && o + 8 < cap; i++) {
        const char* e = s[i] == '<' ? "&lt;" : s[i] == '>' ? "&gt;" : s[i] == '&' ? "&amp;" : s[i] == '"' ? "&quot;" : NULL;
        if (e)
            o += (size_t)sprintf(out + o, "%s", e);
        else
            out[o++] = s[i];
    }
    out[o] = 0;
    return o;
}

/* Keeps a visitor's name, up to `end` or '&', in a record that is recycled in turn and never cleared. */
static char* keep_member(const char* name, const char* end) {
    char decoded[NAME + 1] = "";
    size_t n = 0;
    for (; name < end && *name != '&' && n < NAME; name++) {
        char digits[3] = {0};
        if (*name == '%' && end - name > 2) {
            memcpy(digits, name + 1, 2);
            name += 2;
            decoded[n++] = (char)strtol(digits, NULL, 16);
        } else
            decoded[n++] = *name == '+' ? ' ' : *name;
    }
    char* member = members + next_member++ % MEMBERS * (NAME + SESSION);
    strncpy(member, decoded, NAME); /* the bug: no NUL behind a name of NAME characters */
    return member;
}

static void upgrade(struct conn* c, const char* key, size_t n) {
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char B64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t in[128], d[21] = {0};
    char accept[29];
    memcpy(in, key, n);
    memcpy(in + n, GUID, 36);
    sha1(in, n + 36, d);
    for (int i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)d[3 * i] << 16 | (uint32_t)d[3 * i + 1] << 8 | d[3 * i + 2];
        for (int k = 0; k < 4; k++) accept[4 * i + k] = B64[v >> (18 - 6 * k) & 63];
    }
    accept[27] = '=', accept[28] = 0;
    putf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    c->websocket = 1;
}

static int is(const char* s, size_t n, const char* literal) { return strlen(literal) == n && !memcmp(s, literal, n); }

static void serve(struct conn* c, char* head, size_t head_n, size_t body_n) {
    size_t n, len;
    char *text = head, *t = memchr(head, ' ', head_n), *sp;
    if (!t || !(sp = memchr(t + 1, ' ', head_n - (size_t)(t + 1 - head)))) {
        c->close_after = 1;
        respond(c, 0, "400 Bad Request", "Content-Type: text/plain\r\n", "bad request\n", 12);
        return;
    }
    int head_only = is(head, (size_t)(t - head), "HEAD"), post = is(head, (size_t)(t - head), "POST");
    remember(c, head, head_n, body_n);
    char *path = t + 1, *value;
    for (n = 0; path + n < sp && path[n] != '?'; n++) {
    }
    if ((value = find_header(text, head_n, "Connection", &len)) && is(value, len, "close")) c->close_after = 1;

    if (is(path, n, "/"))
        html(c, head_only, "",
             "<p>Second-hand sea charts, atlases and pilot books, sorted by coast.</p>\n<ul><li>Baltic approaches, 1911<li>Skagerrak pilot, 3rd "
             "edition<li>Tables of tides for the Channel ports</ul>\n",
             END, PLAIN);
    else if (is(path, n, "/about")) {
        if ((value = find_header(text, head_n, "If-None-Match", &len)) && is(value, len, "\"about-1\"")) {
            putf(c, "HTTP/1.1 304 Not Modified\r\nServer: demo-origin\r\nETag: \"about-1\"\r\nConnection: %s\r\n\r\n", c->close_after ? "close" : "keep-alive");
            return;
        }
        html(c, head_only, "ETag: \"about-1\"\r\n",
             "<p>We opened in 1984 between the chandler and the fish market and have been short of shelves ever since.</p>\n", END, PLAIN);
    } else if (is(path, n, "/leak"))
        html(c, head_only, "", "<p>Today only: three boxes of unsorted charts.</p>\n", "<script type=", PLAIN);
    else if (is(path, n, "/slow"))
        html(c, head_only, "", "<p>The index is fetched from the cellar.</p>\n", END, SLOWLY);
    else if (is(path, n, "/slow-leak"))
        html(c, head_only, "", "<p>The cellar is damp.</p>\n", "<script type=", SLOWLY);
    else if (is(path, n, "/gzip"))
        html(c, head_only, "Vary: Accept-Encoding\r\n", "<p>The same shelves, packed for the post.</p>\n", END, ZIPPED);
    else if (is(path, n, "/gzip-leak"))
        html(c, head_only, "Vary: Accept-Encoding\r\n", "<p>A parcel that was never closed.</p>\n", "<script type=", ZIPPED);
    else if (is(path, n, "/api/items")) {
        static const char json[] =
            "{\"items\":[{\"id\":1,\"title\":\"Baltic approaches\",\"year\":1911,\"price\":42.5},{\"id\":2,\"title\":\"Skagerrak "
            "pilot\",\"year\":1938,\"price\":18},{\"id\":3,\"title\":\"Channel tides\",\"year\":1957,\"price\":9.25}],\"next\":null}\n";
        respond(c, head_only, "200 OK", "Content-Type: application/json\r\n", json, sizeof json - 1);
    } else if (is(path, n, "/logo.png")) {
        size_t from = 0, to = logo_len - 1;
        if ((value = find_header(text, head_n, "Range", &len)) && sscanf(value, "bytes=%zu-%zu", &from, &to) >= 1 && from < logo_len) {
            char h[200];
            if (to >= logo_len) to = logo_len - 1;
            if (to < from) to = from;
            snprintf(h, sizeof h, "Content-Type: image/png\r\nAccept-Ranges: bytes\r\nContent-Range: bytes %zu-%zu/%zu\r\n", from, to, logo_len);
            respond(c, head_only, "206 Partial Content", h, logo + from, to - from + 1);
        } else
            respond(c, head_only, "200 OK", "Content-Type: image/png\r\nAccept-Ranges: bytes\r\n", logo, logo_len);
    } else if (is(path, n, "/login") && post) {
        char h[160], *name = memmem(head + head_n, body_n, "email=", 6);
        char* session = keep_member(name ? name + 6 : head + head_n, head + head_n + body_n) + NAME;
        snprintf(session, SESSION, "%016llx%016llx", (unsigned long long)rng(), (unsigned long long)rng());
        snprintf(h, sizeof h, "Location: /\r\nSet-Cookie: sid=%s; Path=/; HttpOnly\r\n", session);
        respond(c, head_only, "303 See Other", h, "", 0);
    } else if (is(path, n, "/login"))
        html(c, head_only, "",
             "<form method=\"post\" action=\"/login\"><label>E-mail <input name=\"email\" type=\"email\"></label> <label>Password <input name=\"password\" "
             "type=\"password\"></label> <button>Sign in</button></form>\n",
             END, PLAIN);
    else if (is(path, n, "/chat")) {
        if (post) {
            char* slot = chat[chat_count++ % 20];
            escape(slot, sizeof chat[0], "visitor: ", 9);
            escape(slot + 9, sizeof chat[0] - 9, head + head_n, body_n < 200 ? body_n : 200);
            respond(c, head_only, "303 See Other", "Location: /chat\r\n", "", 0);
            return;
        }
        /* What is said is shown to its writer's room only; the page itself is the same for all. */
        char content[512];
        snprintf(content, sizeof content,
                 "<p>%zu messages so far.</p>\n<form method=\"post\" action=\"/chat\"><input name=\"message\"><button>Send</button></form>\n", chat_count);
        html(c, head_only, "", content, END, PLAIN);
    } else if (is(path, n, "/hello")) {
        char content[512] = "<p>Good to see you, ", *name = memmem(path, (size_t)(sp - path), "name=", 5);
        name = keep_member(name ? name + 5 : sp, sp);
        size_t o = strlen(content);
        o += escape(content + o, sizeof content - 64, name, strlen(name)); /* the over-read */
        snprintf(content + o, sizeof content - o, ". The kettle is on.</p>\n");
        html(c, head_only, "", content, END, PLAIN);
    } else if (is(path, n, "/events")) {
        putf(c, "HTTP/1.1 200 OK\r\nServer: demo-origin\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
        if (head_only) return;
        c->events_left = EVENTS;
        c->next_event_ms = now_ms();
    } else if (is(path, n, "/echo")) {
        static char content[1400]; /* a page fits its slot */
        size_t o = (size_t)sprintf(content, "<p>Your request:</p><pre>");
        o += escape(content + o, sizeof content - 64, head, head_n);
        sprintf(content + o, "</pre>\n");
        html(c, head_only, "", content, END, PLAIN);
    } else if (is(path, n, "/digest")) { /* a trailer section behind the body, as gRPC and integrity fields use it */
        putf(c,
             "HTTP/1.1 200 OK\r\nServer: demo-origin\r\nContent-Type: text/plain; charset=utf-8\r\nTrailer: X-Body-Digest\r\nTransfer-Encoding: "
             "chunked\r\n\r\n");
        if (!head_only) putf(c, "10\r\na body to check\n\r\n0\r\nX-Body-Digest: 9a0364b9e99bb480dd25e1f0284c8555\r\n\r\n");
    } else if (is(path, n, "/empty")) {
        putf(c, "HTTP/1.1 204 No Content\r\nServer: demo-origin\r\nConnection: %s\r\n\r\n", c->close_after ? "close" : "keep-alive");
    } else if (is(path, n, "/ws")) {
        value = find_header(text, head_n, "Sec-WebSocket-Key", &len);
        if (value && len < 64)
            upgrade(c, value, len);
        else
            respond(c, head_only, "426 Upgrade Required", "Upgrade: websocket\r\nContent-Type: text/plain\r\n", "websocket only\n", 15);
    } else
        respond(c, head_only, "404 Not Found", "Content-Type: text/plain\r\n", "not found\n", 10);
}

/* ---- connections ---- */
static void drop(struct conn* c) {
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c->later);
    memset(c, 0, sizeof *c);
    c->fd = -1;
}

static int frame(struct conn* c) { /* one short masked WebSocket frame; 1: consumed */
    uint8_t* b = (uint8_t*)c->in;
    if (c->in_len < 6) return 0;
    size_t n = b[1] & 127;
    if (n > 125 || !(b[1] & 128)) {
        c->close_after = 1;
        return 0;
    }
    if (c->in_len < 6 + n) return 0;
    for (size_t i = 0; i < n; i++) b[6 + i] ^= b[2 + i % 4];
    uint8_t head[2] = {b[0], (uint8_t)n};
    put(c, head, 2);
    put(c, b + 6, n);
    if ((b[0] & 15) == 8) c->close_after = 1;
    c->in_len -= 6 + n;
    memmove(c->in, c->in + 6 + n, c->in_len);
    return 1;
}

static void work(struct conn* c) {
    while (!c->close_after && !c->events_left && !c->later) {
        if (c->websocket) {
            if (!frame(c)) return;
            continue;
        }
        char *e = memmem(c->in, c->in_len, "\r\n\r\n", 4), *value;
        if (!e) {
            if (c->in_len == IN_MAX) c->close_after = 1;
            return;
        }
        size_t head_n = (size_t)(e + 4 - c->in), len, body_n = 0;
        if ((value = find_header(c->in, head_n, "Transfer-Encoding", &len))) {
            char* last = memmem(c->in + head_n, c->in_len - head_n, "0\r\n\r\n", 5);
            if (!last) {
                if (c->in_len == IN_MAX) c->close_after = 1;
                return;
            }
            body_n = (size_t)(last + 5 - c->in) - head_n; /* kept with its chunk sizes: nothing here reads it */
        } else if ((value = find_header(c->in, head_n, "Content-Length", &len)))
            body_n = strtoul(value, NULL, 10);
        if (body_n > IN_MAX - head_n) {
            c->close_after = 1;
            return;
        }
        if (c->in_len < head_n + body_n) return;
        serve(c, c->in, head_n, body_n);
        c->in_len -= head_n + body_n;
        memmove(c->in, c->in + head_n + body_n, c->in_len);
    }
}

static int flush_out(struct conn* c) { /* 0: the connection is done */
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN;
        c->out_sent += (size_t)n;
    }
    c->out_len = c->out_sent = 0;
    return !c->close_after;
}

static void tick(struct conn* c, uint64_t now) {
    if (now < c->next_event_ms) return;
    if (c->later) {
        put(c, c->later, c->later_len);
        free(c->later);
        c->later = NULL;
        work(c); /* what was asked meanwhile */
    }
    if (!c->events_left) return;
    char data[160];
    int n = snprintf(data, sizeof data, "id: %d\ndata: {\"unix_ms\": %llu}\n\n", EVENTS - c->events_left + 1,
                     (unsigned long long)(clock_ns(CLOCK_REALTIME) / 1000000u));
    putf(c, "%x\r\n%s\r\n", (unsigned)n, data);
    c->next_event_ms = now + EVENT_MS;
    if (!--c->events_left) putf(c, "0\r\n\r\n");
}

int main(int argc, char** argv) {
    int port = 0;
    rng_state = clock_ns(CLOCK_REALTIME);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port"))
            port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seed"))
            rng_state = strtoull(argv[i + 1], NULL, 10);
        else
            argc = 0;
    }
    if (argc % 2 == 0 || port < 0 || port > 65535) {
        fprintf(stderr, "usage: origin [--port N] [--seed N]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    slab = calloc(1, SLOT * SLOTS + PAD);
    if (!slab) return 1;
    make_logo();
    for (int i = 0; i < CONNS; i++) conns[i].fd = -1;

    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t at_n = sizeof at;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listener < 0 || bind(listener, (struct sockaddr*)&at, sizeof at) || listen(listener, 256) || getsockname(listener, (struct sockaddr*)&at, &at_n)) {
        fprintf(stderr, "origin: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
        return 2;
    }
    printf("listening 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);

    for (;;) {
        struct pollfd fds[CONNS + 1] = {{listener, POLLIN, 0}};
        int timeout = -1;
        uint64_t now = now_ms();
        for (int i = 0; i < CONNS; i++) {
            struct conn* c = &conns[i];
            fds[i + 1].fd = c->fd;
            fds[i + 1].events = (short)((c->in_len < IN_MAX ? POLLIN : 0) | (c->out_len ? POLLOUT : 0));
            if (c->fd >= 0 && (c->events_left || c->later)) {
                int wait = c->next_event_ms > now ? (int)(c->next_event_ms - now) : 0;
                if (timeout < 0 || wait < timeout) timeout = wait;
            }
        }
        if (poll(fds, CONNS + 1, timeout) < 0 && errno != EINTR) return 1;
        now = now_ms();
        for (int i = 0; i < CONNS; i++) {
            struct conn* c = &conns[i];
            if (c->fd < 0) continue;
            if (fds[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) {
                ssize_t n = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, 0);
                if (n == 0 || (n < 0 && errno != EAGAIN)) {
                    drop(c);
                    continue;
                }
                if (n > 0) c->in_len += (size_t)n;
                work(c);
            }
            tick(c, now);
            if (!flush_out(c)) drop(c);
        }
        if (fds[0].revents)
            for (int i = 0; i < CONNS; i++) {
                if (conns[i].fd >= 0) continue;
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) break;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                conns[i].fd = fd;
                conns[i].in = malloc(IN_MAX);
                if (!conns[i].in) drop(&conns[i]);
            }
    }
}
