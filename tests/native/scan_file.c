/* scan_file FILE [CONTENT-TYPE]: prints the verdict on a file as the core gives it; exit code 0 clean, 1 leak, 2 not read.
 * The ARM suite runs it on both architectures and compares what they print. */
#include <stdio.h>
#include <string.h>

#include "overread.h"

int main(int argc, char** argv) {
    static char buffer[1 << 16];
    const char* type = argc > 2 ? argv[2] : "text/html; charset=utf-8";
    ovr_scanner* scanner;
    ovr_stream* stream;
    ovr_error error;
    ovr_verdict verdict;
    ovr_response response;
    FILE* file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t n, i;
    if (!file) {
        fprintf(stderr, "usage: scan_file FILE [CONTENT-TYPE]; the file cannot be read\n");
        return 2;
    }
    memset(&response, 0, sizeof response);
    response.struct_size = sizeof response;
    response.status = 200;
    response.content_type.data = (const uint8_t*)type;
    response.content_type.size = strlen(type);
    if (ovr_scanner_new(NULL, NULL, &scanner, &error) != OVR_OK || ovr_stream_open(scanner, &response, &stream, &error) != OVR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) ovr_stream_feed(stream, buffer, n, NULL);
    ovr_stream_finish(stream, &verdict);
    printf("%s %.3f bits, tier %s, first offset %lld\n", verdict.content_class, verdict.bits, ovr_tier_name(verdict.tier), (long long)verdict.first_offset);
    for (i = 0; i < verdict.finding_count; i++)
        printf("%s %s %llu+%u\n", verdict.findings[i].rule, ovr_part_name(verdict.findings[i].part), (unsigned long long)verdict.findings[i].offset,
               (unsigned)verdict.findings[i].length);
    n = verdict.leaked;
    ovr_stream_close(stream);
    ovr_scanner_free(scanner);
    fclose(file);
    return n ? 1 : 0;
}
