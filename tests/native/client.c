/* The shortest use of overread from C; also proves that overread.h is C99. */
#include <overread.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    ovr_scanner* scanner = NULL;
    ovr_stream* stream = NULL;
    ovr_verdict verdict;
    ovr_error error;
    const char* body = "page text\r\nCookie: session=Zk3Yx8QmZr7LwPvB2nHs5TdJ\r\nReferer: https://a.example/\r\n";

    if (ovr_scanner_new(NULL, NULL, &scanner, &error) != OVR_OK || ovr_stream_open(scanner, NULL, &stream, &error) != OVR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    ovr_stream_feed(stream, body, strlen(body), NULL);
    ovr_stream_finish(stream, &verdict);
    printf("%.1f bits, tier %s, %u findings\n", verdict.bits, ovr_tier_name(verdict.tier), (unsigned)verdict.finding_count);
    ovr_stream_close(stream);
    ovr_scanner_free(scanner);
    return verdict.finding_count == 0;
}
