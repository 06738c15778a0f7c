/* The part of Envoy's dynamic-module ABI that the overread filter uses, declared by hand.
 *
 * Written for Envoy v1.40.0, whose ABI calls itself "v0.2.0" (the string a module returns from
 * program_init). Names, types and order of arguments follow source/extensions/dynamic_modules/abi/abi.h of
 * that tag. Declaring these few functions keeps the module free of a vendored copy of a 700 kB header, and
 * makes the surface to re-check on an Envoy upgrade small.
 */
#ifndef OVERREAD_ENVOY_ABI_H
#define OVERREAD_ENVOY_ABI_H

#include <cstddef>
#include <cstdint>

#define OVR_ENVOY_HOOK extern "C" __attribute__((visibility("default")))

constexpr const char* kEnvoyVersion = "1.40";
constexpr const char* kEnvoyAbiVersion = "v0.2.0";

struct envoy_buffer { /* owned by Envoy, or by the module when passed to Envoy: same layout */
    const char* ptr;
    size_t length;
};

struct envoy_header {
    const char* key_ptr;
    size_t key_length;
    const char* value_ptr;
    size_t value_length;
};

enum envoy_header_type { kRequestHeaders = 0, kRequestTrailers = 1, kResponseHeaders = 2, kResponseTrailers = 3 };
enum envoy_body_type { kReceivedRequestBody = 0, kBufferedRequestBody = 1, kReceivedResponseBody = 2, kBufferedResponseBody = 3 };
enum envoy_headers_status { kHeadersContinue = 0, kHeadersStopIteration = 1 };
enum envoy_body_status { kBodyContinue = 0, kBodyStopAndBuffer = 1, kBodyStopAndWatermark = 2, kBodyStopNoBuffer = 3 };
enum envoy_trailers_status { kTrailersContinue = 0, kTrailersStopIteration = 1 };
enum envoy_local_reply_status { kLocalReplyContinue = 0, kLocalReplyReset = 1 };

/* ---- what Envoy offers ---- */
extern "C" {
int envoy_dynamic_module_callback_http_filter_config_define_counter(void* config, envoy_buffer name, envoy_buffer* label_names, size_t label_count, size_t* id);
int envoy_dynamic_module_callback_http_filter_config_define_gauge(void* config, envoy_buffer name, envoy_buffer* label_names, size_t label_count, size_t* id);
int envoy_dynamic_module_callback_http_filter_set_gauge(void* filter, size_t id, envoy_buffer* label_values, size_t label_count, uint64_t value);
int envoy_dynamic_module_callback_http_filter_increment_counter(void* filter, size_t id, envoy_buffer* label_values, size_t label_count, uint64_t value);
size_t envoy_dynamic_module_callback_http_get_headers_size(void* filter, envoy_header_type type);
bool envoy_dynamic_module_callback_http_get_headers(void* filter, envoy_header_type type, envoy_header* out);
bool envoy_dynamic_module_callback_http_set_header(void* filter, envoy_header_type type, envoy_buffer key, envoy_buffer value); /* empty: removes it */
size_t envoy_dynamic_module_callback_http_get_body_size(void* filter, envoy_body_type type);
size_t envoy_dynamic_module_callback_http_get_body_chunks_size(void* filter, envoy_body_type type);
bool envoy_dynamic_module_callback_http_get_body_chunks(void* filter, envoy_body_type type, envoy_buffer* out);
bool envoy_dynamic_module_callback_http_append_body(void* filter, envoy_body_type type, envoy_buffer data);
bool envoy_dynamic_module_callback_http_drain_body(void* filter, envoy_body_type type, size_t bytes);
uint64_t envoy_dynamic_module_callback_http_get_buffer_limit(void* filter); /* 0: none */
void envoy_dynamic_module_callback_http_set_buffer_limit(void* filter, uint64_t limit);
void envoy_dynamic_module_callback_http_send_response(void* filter, uint32_t status, envoy_header* headers, size_t header_count, envoy_buffer body,
                                                      envoy_buffer details);
void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(void* filter, envoy_buffer ns, envoy_buffer key, envoy_buffer value);
void envoy_dynamic_module_callback_http_set_dynamic_metadata_number(void* filter, envoy_buffer ns, envoy_buffer key, double value);
const void* envoy_dynamic_module_callback_get_most_specific_route_config(void* filter);
void envoy_dynamic_module_callback_http_filter_continue_encoding(void* filter); /* does nothing but once behind a hook that stopped */
void* envoy_dynamic_module_callback_http_filter_scheduler_new(void* filter);
void envoy_dynamic_module_callback_http_filter_scheduler_delete(void* scheduler);
void envoy_dynamic_module_callback_http_filter_scheduler_commit(void* scheduler, uint64_t event);
}

/* The same by name. Envoy binds a module's symbols when they are first called: one that it lacks would end it with the first response. */
constexpr const char* kEnvoyCallbacks[] = {
    "envoy_dynamic_module_callback_http_filter_config_define_counter",
    "envoy_dynamic_module_callback_http_filter_config_define_gauge",
    "envoy_dynamic_module_callback_http_filter_set_gauge",
    "envoy_dynamic_module_callback_http_filter_increment_counter",
    "envoy_dynamic_module_callback_http_get_headers_size",
    "envoy_dynamic_module_callback_http_get_headers",
    "envoy_dynamic_module_callback_http_set_header",
    "envoy_dynamic_module_callback_http_get_body_size",
    "envoy_dynamic_module_callback_http_get_body_chunks_size",
    "envoy_dynamic_module_callback_http_get_body_chunks",
    "envoy_dynamic_module_callback_http_append_body",
    "envoy_dynamic_module_callback_http_drain_body",
    "envoy_dynamic_module_callback_http_get_buffer_limit",
    "envoy_dynamic_module_callback_http_set_buffer_limit",
    "envoy_dynamic_module_callback_http_send_response",
    "envoy_dynamic_module_callback_http_set_dynamic_metadata_string",
    "envoy_dynamic_module_callback_http_set_dynamic_metadata_number",
    "envoy_dynamic_module_callback_get_most_specific_route_config",
    "envoy_dynamic_module_callback_http_filter_continue_encoding",
    "envoy_dynamic_module_callback_http_filter_scheduler_new",
    "envoy_dynamic_module_callback_http_filter_scheduler_delete",
    "envoy_dynamic_module_callback_http_filter_scheduler_commit",
};

/* ---- what Envoy calls: every one must exist, or the configuration is rejected ---- */
OVR_ENVOY_HOOK const char* envoy_dynamic_module_on_program_init(void);
OVR_ENVOY_HOOK const void* envoy_dynamic_module_on_http_filter_config_new(void* envoy, envoy_buffer name, envoy_buffer config);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_destroy(const void* config);
OVR_ENVOY_HOOK const void* envoy_dynamic_module_on_http_filter_per_route_config_new(envoy_buffer name, envoy_buffer config);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void* config);
OVR_ENVOY_HOOK const void* envoy_dynamic_module_on_http_filter_new(const void* config, void* envoy);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_destroy(const void* filter);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_request_headers(void* envoy, const void* filter, bool end);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_request_body(void* envoy, const void* filter, bool end);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_request_trailers(void* envoy, const void* filter);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_response_headers(void* envoy, const void* filter, bool end);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_response_body(void* envoy, const void* filter, bool end);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_response_trailers(void* envoy, const void* filter);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_stream_complete(void* envoy, const void* filter);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_scheduled(void* envoy, const void* filter, uint64_t event);
OVR_ENVOY_HOOK int envoy_dynamic_module_on_http_filter_local_reply(void* envoy, const void* filter, uint32_t status, envoy_buffer details, bool reset_imminent);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(void* envoy, const void* f);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(void* envoy, const void* f);
/* Call-outs are not used; the hooks must still be there. */
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_callout_done(void*, const void*, uint64_t, int, envoy_header*, size_t, envoy_buffer*, size_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_stream_headers(void*, const void*, uint64_t, envoy_header*, size_t, bool);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_stream_data(void*, const void*, uint64_t, const envoy_buffer*, size_t, bool);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_stream_trailers(void*, const void*, uint64_t, envoy_header*, size_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_stream_complete(void*, const void*, uint64_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_http_stream_reset(void*, const void*, uint64_t, int);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_scheduled(void*, const void*, uint64_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_callout_done(void*, const void*, uint64_t, int, envoy_header*, size_t, envoy_buffer*,
                                                                                 size_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_stream_headers(void*, const void*, uint64_t, envoy_header*, size_t, bool);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_stream_data(void*, const void*, uint64_t, const envoy_buffer*, size_t, bool);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_stream_trailers(void*, const void*, uint64_t, envoy_header*, size_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_stream_complete(void*, const void*, uint64_t);
OVR_ENVOY_HOOK void envoy_dynamic_module_on_http_filter_config_http_stream_reset(void*, const void*, uint64_t, int);

#endif
