/* The table _core hands to _stream in a capsule: one core in the process, whoever calls it. */
#ifndef OVERREAD_CAPI_H
#define OVERREAD_CAPI_H

#include "overread.h"

#define OVERREAD_CAPSULE "overread._core._C_API"

typedef struct overread_capi {
    uint32_t abi_version;
    int (*scanner_new)(const ovr_ruleset*, const ovr_scanner_options*, ovr_scanner**, ovr_error*);
    void (*scanner_free)(ovr_scanner*);
    const char* (*scanner_kernel)(const ovr_scanner*);
    int (*scanner_site_counts)(const ovr_scanner*, char*, size_t, size_t*);
    int (*stream_open)(const ovr_scanner*, const ovr_response*, ovr_stream**, ovr_error*);
    int (*stream_reset)(ovr_stream*, const ovr_response*);
    int (*stream_feed)(ovr_stream*, const void*, size_t, ovr_progress*);
    int (*stream_flush)(ovr_stream*, ovr_progress*);
    int (*stream_trailers)(ovr_stream*, const ovr_header*, size_t, ovr_progress*);
    void (*stream_progress)(const ovr_stream*, ovr_progress*);
    int (*stream_finish)(ovr_stream*, ovr_verdict*);
    void (*stream_close)(ovr_stream*);
    int (*filter_open)(const ovr_scanner*, const ovr_policy*, ovr_filter**, ovr_error*);
    int (*filter_head)(ovr_filter*, const ovr_response*, ovr_action*);
    int (*filter_body)(ovr_filter*, const void*, size_t, ovr_action*);
    int (*filter_flush)(ovr_filter*, ovr_action*);
    int (*filter_trailers)(ovr_filter*, const ovr_header*, size_t, ovr_action*);
    int (*filter_end)(ovr_filter*, ovr_action*);
    uint64_t (*filter_redact)(ovr_filter*, uint64_t, void*, size_t);
    int (*filter_verdict)(ovr_filter*, ovr_verdict*);
    const char* (*filter_id)(const ovr_filter*);
    uint64_t (*filter_ignored)(const ovr_filter*);
    void (*filter_unsent)(ovr_filter*);
    int (*filter_event)(ovr_filter*, const ovr_exchange*, char*, size_t, size_t*);
    void (*filter_close)(ovr_filter*);
    int (*registry_open)(const ovr_registry_options*, ovr_registry**, ovr_error*);
    int (*registry_observe_request)(ovr_registry*, ovr_bytes, const ovr_request*, uint64_t);
    int (*registry_observe_response)(ovr_registry*, const ovr_response*, ovr_bytes);
    int (*registry_state_of)(const ovr_registry*, uint64_t, ovr_registry_state*);
    int (*registry_export)(ovr_registry*, uint64_t, void*, size_t, size_t*);
    int (*registry_import)(ovr_registry*, const void*, size_t, uint64_t);
    int (*registry_plant)(ovr_registry*, const void*, size_t, uint64_t);
    int (*registry_retire)(ovr_registry*, const void*, size_t);
    int (*registry_canary)(ovr_registry*, ovr_bytes, uint64_t, char*);
    int (*registry_poison_key)(ovr_registry*, uint64_t, uint8_t*);
    const char* (*registry_key_id)(const ovr_registry*);
    void (*registry_close)(ovr_registry*);
    void (*poison)(void*, size_t, const uint8_t*);
    const char* const* (*no_store_strips)(void);
    const ovr_header* (*no_store_sets)(size_t*);
    const char* (*tier_name)(int);
    const char* (*family_name)(int);
    const char* (*part_name)(int);
    const char* (*decode_name)(int);
} overread_capi;

#endif
