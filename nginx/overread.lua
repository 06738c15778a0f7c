-- overread in nginx without compiling a module: liboverread.so through LuaJIT's FFI, for nginx with Debian's libnginx-mod-http-lua.
-- docs/nginx.md says how to set it up, and what only the module can: a head has left when Lua sees the body, so a leak is cut, not
-- answered with 502; nothing can be shortened, no cache is told, and held bytes wait for the next ones, not for a time.
local ffi = require "ffi"

-- The part of overread.h that is used here. Structs may end earlier than the header's: struct_size says where.
ffi.cdef [[
typedef struct { const uint8_t* data; size_t size; } overread_bytes;
typedef struct { overread_bytes name, value; } overread_header;
typedef struct { size_t struct_size; overread_bytes method, target; const overread_header* headers; size_t header_count; overread_bytes body; } overread_request;
typedef struct {
    size_t struct_size; uint32_t status; overread_bytes reason, content_type; const overread_header* headers; size_t header_count;
    const overread_request* request; uint64_t unix_ms;
} overread_response;
typedef struct { size_t struct_size; int mode; uint32_t hold, hold_ms; int action[4]; double block_bits; int on_error; } overread_policy;
typedef struct { int verb; uint8_t release_head, wants_event, no_store, test, redact, repeated; uint32_t hold_ms; uint64_t released; } overread_action;
typedef struct { size_t struct_size; const char* proxy; overread_bytes method, host, target; uint64_t unix_ms; } overread_exchange;
typedef struct { int status; char message[240]; } overread_error;
typedef struct ovr_scanner ovr_scanner;
typedef struct ovr_filter ovr_filter;
uint32_t ovr_abi_version(void);
const char* ovr_do_name(int action);
int ovr_scanner_new(const void* ruleset, const void* options, ovr_scanner** out, overread_error* err);
int ovr_filter_open(const ovr_scanner*, const overread_policy*, ovr_filter** out, overread_error* err);
int ovr_filter_head(ovr_filter*, const overread_response*, overread_action*);
int ovr_filter_body(ovr_filter*, const char* data, size_t size, overread_action*);
int ovr_filter_end(ovr_filter*, overread_action*);
uint64_t ovr_filter_redact(ovr_filter*, uint64_t offset, void* data, size_t size);
const char* ovr_filter_id(const ovr_filter*);
int ovr_filter_event(ovr_filter*, const overread_exchange*, char* buffer, size_t capacity, size_t* size);
void ovr_filter_close(ovr_filter*);
]]

local ABI, HOLD_DEFAULT, EVENT_CAPACITY = 1, 0xffffffff, 8192
local PASS = 0
local MODES = {off = 0, monitor = 1, enforce = 2}
local TIERS = {weak = 1, strong = 2, certain = 3}
local ON_ERROR = {pass = 0, block = 1}

local M = {}
local lib, scanner

local function checked(status, err, what)
    if status ~= 0 then error("overread: " .. what .. ": " .. ffi.string(err.message), 3) end
end

-- Loads the library and makes this worker's scanner: once, in init_worker_by_lua.
-- library: path of liboverread.so; by default where the dynamic linker finds it.
function M.start(library)
    lib = ffi.load(library or "overread")
    if lib.ovr_abi_version() ~= ABI then error("overread: the library has ABI " .. tonumber(lib.ovr_abi_version()) .. ", this file wants " .. ABI, 2) end
    local made, err = ffi.new("ovr_scanner*[1]"), ffi.new("overread_error")
    checked(lib.ovr_scanner_new(nil, nil, made, err), err, "no scanner")
    scanner = made[0] -- lives as long as the worker
end

local ACTIONS = {}

-- What to do with a location's responses: mode (off, monitor, enforce), action = {strong = "redact", ...}, hold (bytes), on_error (pass,
-- block), events (a path). An error names what is wrong.
function M.policy(options)
    for key in pairs(options) do
        if not ({mode = 1, action = 1, hold = 1, on_error = 1, events = 1})[key] then error("overread: unknown option " .. tostring(key), 2) end
    end
    if not next(ACTIONS) then
        for i = 1, 6 do ACTIONS[ffi.string(lib.ovr_do_name(i))] = i end
        ACTIONS.trim, ACTIONS.truncate = nil, nil -- Lua cannot end a body early
    end
    local p = ffi.new("overread_policy")
    p.struct_size = ffi.sizeof(p)
    p.mode = MODES[options.mode or "monitor"] or error("overread: mode: expected off, monitor or enforce", 2)
    p.hold = options.hold or HOLD_DEFAULT
    p.on_error = ON_ERROR[options.on_error or "pass"] or error("overread: on_error: expected pass or block", 2)
    for tier, action in pairs(options.action or {}) do
        local at = TIERS[tier] or error("overread: action: expected weak, strong or certain, found " .. tostring(tier), 2)
        p.action[at] = ACTIONS[action] or error("overread: action: expected log, no-store, redact or block, found " .. tostring(action), 2)
    end
    local filter, err = ffi.new("ovr_filter*[1]"), ffi.new("overread_error")
    checked(lib.ovr_filter_open(scanner, p, filter, err), err, "policy")
    lib.ovr_filter_close(filter[0])
    return {policy = p, off = p.mode == 0, blocks_on_error = options.on_error == "block" and p.mode == 2, events = options.events}
end

-- bytes of a Lua string; `alive` keeps it from the collector while C may look.
local function bytes(alive, s)
    s = tostring(s)
    alive[#alive + 1] = s
    return ffi.cast("const uint8_t*", s), #s
end

local function fields(alive, all)
    local list = {}
    for name, value in pairs(all) do
        for _, v in ipairs(type(value) == "table" and value or {value}) do list[#list + 1] = {name, v} end
    end
    local out = ffi.new("overread_header[?]", #list + 1)
    alive[#alive + 1] = out
    for i, pair in ipairs(list) do
        out[i - 1].name.data, out[i - 1].name.size = bytes(alive, pair[1])
        out[i - 1].value.data, out[i - 1].value.size = bytes(alive, pair[2])
    end
    return out, #list
end

local function write_event(ctx)
    if ctx.action.wants_event == 0 or not ctx.of.events then return end
    local alive, x = {}, ffi.new("overread_exchange")
    local line, size = ffi.new("char[?]", EVENT_CAPACITY), ffi.new("size_t[1]")
    x.struct_size = ffi.sizeof(x)
    x.proxy = "nginx-lua"
    x.method.data, x.method.size = bytes(alive, ngx.req.get_method())
    x.host.data, x.host.size = bytes(alive, ngx.var.host or "")
    x.target.data, x.target.size = bytes(alive, ngx.var.request_uri or "")
    x.unix_ms = ngx.now() * 1000
    if lib.ovr_filter_event(ctx.filter, x, line, EVENT_CAPACITY, size) ~= 0 or size[0] == 0 then return end
    local file, why = io.open(ctx.of.events, "a")
    if not file then
        ngx.log(ngx.ALERT, "overread: ", why)
        return
    end
    file:setvbuf("full", 2 * EVENT_CAPACITY) -- one write a line: those of several workers never mix
    file:write(ffi.string(line, size[0]), "\n")
    file:close()
end

local function failed(ctx)
    ngx.log(ngx.ALERT, "overread: the scanner failed")
    ctx.passes = true
    if ctx.of.blocks_on_error then return ngx.ERROR end
end

-- header_filter_by_lua. A response that leaks in its head is answered with 502 and no body.
function M.head(of)
    if of.off or ngx.is_subrequest or ngx.status < 200 then return end
    local made, err, alive = ffi.new("ovr_filter*[1]"), ffi.new("overread_error"), {}
    local ctx = {of = of, action = ffi.new("overread_action"), held = "", fed = 0, sent = 0}
    ngx.ctx.overread = ctx
    if lib.ovr_filter_open(scanner, of.policy, made, err) ~= 0 then return failed(ctx) end
    ctx.filter = ffi.gc(made[0], lib.ovr_filter_close)
    local q, r = ffi.new("overread_request"), ffi.new("overread_response")
    q.struct_size, r.struct_size = ffi.sizeof(q), ffi.sizeof(r)
    q.method.data, q.method.size = bytes(alive, ngx.req.get_method())
    q.target.data, q.target.size = bytes(alive, ngx.var.request_uri or "")
    q.headers, q.header_count = fields(alive, ngx.req.get_headers(0, true))
    r.status = ngx.status
    r.headers, r.header_count = fields(alive, ngx.resp.get_headers(0, true))
    r.request = q
    r.unix_ms = ngx.now() * 1000
    if lib.ovr_filter_head(ctx.filter, r, ctx.action) ~= 0 then return failed(ctx) end
    if ctx.action.verb == PASS then
        if ngx.req.get_method() == "HEAD" or ngx.status == 204 or ngx.status == 304 then
            lib.ovr_filter_end(ctx.filter, ctx.action)
            write_event(ctx)
            ctx.passes = true
        end
        if ctx.action.verb == PASS then return end
    else
        write_event(ctx)
    end
    for name in pairs(ngx.resp.get_headers(0, true)) do ngx.header[name] = nil end
    ngx.status = 502
    ngx.header["Content-Length"] = 0
    ngx.header["Cache-Control"] = "no-store"
    ngx.header["Overread-Id"] = ffi.string(lib.ovr_filter_id(ctx.filter))
    ctx.withheld = true
end

-- body_filter_by_lua: `return overread.body()`. ngx.ERROR aborts the connection before the leak.
function M.body()
    local ctx = ngx.ctx.overread
    if not ctx then return end
    if ctx.withheld then
        ngx.arg[1] = nil
        return
    end
    if ctx.passes then return end
    if ctx.stopped then return ngx.ERROR end
    local chunk, last, action = ngx.arg[1] or "", ngx.arg[2], ctx.action
    local status = 0
    if #chunk > 0 then status = lib.ovr_filter_body(ctx.filter, chunk, #chunk, action) end
    if status == 0 and last and action.verb == PASS then status = lib.ovr_filter_end(ctx.filter, action) end
    ctx.fed = ctx.fed + #chunk
    ctx.held = ctx.held .. chunk
    if status ~= 0 then
        ngx.arg[1] = ctx.held
        return failed(ctx)
    end
    write_event(ctx)
    if action.verb ~= PASS then
        ctx.stopped, ctx.held = true, ""
        ngx.arg[1] = nil
        ngx.log(ngx.ERR, "overread: response cut, id ", ffi.string(lib.ovr_filter_id(ctx.filter)))
        return ngx.ERROR
    end
    local released = ctx.fed
    if action.released < ctx.fed then released = tonumber(action.released) end
    local piece = ctx.held:sub(1, released - ctx.sent)
    ctx.held = ctx.held:sub(#piece + 1)
    if action.redact ~= 0 and #piece > 0 then
        local copy = ffi.new("char[?]", #piece)
        ffi.copy(copy, piece, #piece)
        lib.ovr_filter_redact(ctx.filter, ctx.sent, copy, #piece)
        piece = ffi.string(copy, #piece)
    end
    ctx.sent = ctx.sent + #piece
    ngx.arg[1] = piece
    if last then ctx.passes = true end
end

return M
