// Verifies a literal candidate: what stands before and after the anchor, then the rule's named check.
// Every loop is bounded by an element's repeat count; nothing backtracks.
#include <algorithm>
#include <cstring>

#include "verify/credential.h"
#include "verify/escaped.h"
#include "verify/signal.h"

namespace overread {
namespace {

// Runs up to this long are not worth remembering.
constexpr size_t SHORT_RUN = 8;

// Greedy run forward from `at`. Returns false with `answer` set when the sequence fails or must wait.
bool match_after(const Ruleset& rs, Reading& reading, const Rule& rule, const View& v, uint64_t& at, uint64_t limit, Answer& answer) {
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    for (size_t i = 0; i < rule.after_count; i++) {
        const Element& e = rs.elements[rule.after_first + i];
        const uint64_t from = at, until = std::min(at + e.max, stop);
        if (e.max > SHORT_RUN && at < stop) {
            at = reading.run_end(rs, e.cls, v, at, until);
        } else {
            const CharClass& c = rs.classes[e.cls];
            while (at < until && c.has(*v.at(at))) at++;
        }
        const size_t n = size_t(at - from);
        if (n < e.max && at == stop && may_grow) {
            answer = Answer::more;
            return false;
        }
        if (n < e.min && !(at == stop && (e.flags & ELEMENT_EDGE))) {
            answer = Answer::no;
            return false;
        }
    }
    return true;
}

bool match_before(const Ruleset& rs, const Rule& rule, const View& v, uint64_t start) {
    uint64_t at = start;
    for (size_t i = rule.before_count; i-- > 0;) {
        const Element& e = rs.elements[rule.before_first + i];
        const CharClass& c = rs.classes[e.cls];
        size_t n = 0;
        while (n < e.max && at > v.base && c.has(*v.at(at - 1))) n++, at--;
        if (n < e.min && !(at == 0 && (e.flags & ELEMENT_EDGE))) return false;
    }
    return true;
}

enum class Before : uint8_t { none, edge, lf, crlf, nul };

Before line_start(const View& v, uint64_t start) {
    if (start == 0) return Before::edge;
    const uint8_t c = *v.at(start - 1);
    if (c == 0) return Before::nul;
    if (c == '\r') return Before::lf;
    if (c != '\n') return Before::none;
    if (start >= 2 && *v.at(start - 2) == '\r') return Before::crlf;
    // Apache ends a parsed line with NUL LF.
    return start >= 2 && *v.at(start - 2) == 0 ? Before::nul : Before::lf;
}

// The anchor is a header field name. Wire form `Name: value`, or parsed form `Name\0 value\0`
// (nginx and Apache overwrite colon and line ends with NUL).
Answer header_line(const Ruleset& rs, Reading& reading, const Rule& rule, const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const Before before = line_start(v, start);
    if (before == Before::none) return Answer::no;
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    uint64_t at = start + a.length;
    if (at >= stop) return may_grow ? Answer::more : Answer::no;
    const uint8_t separator = *v.at(at);
    if (separator != ':' && separator != 0) return Answer::no;
    at++;
    for (int i = 0; i < 2 && at < stop && *v.at(at) == ' '; i++) at++;
    if (at >= stop && may_grow) return Answer::more;
    const uint64_t value = at;
    // The rule's `after` says what the value must begin with.
    Answer answer;
    uint64_t head = at;
    if (!match_after(rs, reading, rule, v, head, limit, answer)) return answer;
    if (at < stop) at = reading.run_end(rs, rs.value_class, v, at, std::min(value + MAX_REPEAT, stop));
    if (at == stop && may_grow) return Answer::more;
    if (at == value) return Answer::no;
    const bool ended = at < stop;
    if (ended && *v.at(at) == '\r' && at + 1 >= stop && may_grow) return Answer::more;
    const bool crlf_after = ended && *v.at(at) == '\r' && at + 1 < stop && *v.at(at + 1) == '\n';
    const bool nul_after = ended && *v.at(at) == 0;
    m.start = start;
    m.end = at;
    m.value_start = value;
    m.value_end = at;
    while (m.value_end > value && *v.at(m.value_end - 1) == ' ') m.value_end--;
    if (separator == 0 || (before == Before::nul && (nul_after || crlf_after)))
        m.sign = Sign::parsed_header;
    else if (crlf_after || before == Before::crlf || nul_after)
        m.sign = Sign::crlf_header;
    else
        m.sign = Sign::lf_header;
    return Answer::yes;
}

constexpr uint64_t FIRST_LOOK = 64;  // bytes of escaped text that are decoded at first

// The anchor is an escaped CR LF, as it stands in URLs, in HTML attributes and in JSON. A header name must follow as it is
// written; then the value is decoded and judged as a header line. Never more than an LF line: forms submit such text.
Answer escaped_header(const Ruleset& rs, Reading& reading, const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    const uint8_t kind = *v.at(start);
    const uint64_t name = skip_line_ends(v, start + a.length, stop, kind);
    if (may_grow && stop - name < MAX_ANCHOR + 3) return Answer::more;
    if (name >= stop) return Answer::no;
    const FieldName field(v.at(name), size_t(stop - name), 1);
    const size_t n = field.size;
    if (name + n >= stop || (*v.at(name + n) != ':' && *v.at(name + n) != kind)) return Answer::no;
    for (uint32_t i = rs.field_head(field); i != NO_ANCHOR; i = rs.anchors[i].next) {
        const Anchor& h = rs.anchors[i];
        if (h.stride != 1 || !field.is(h)) continue;
        // Ever more of the value is decoded until it shows what it is: floods of names must not be decoded to the end of
        // the look-ahead.
        Answer answer = Answer::more;
        for (uint64_t look = FIRST_LOOK; answer == Answer::more; look *= 2) {
            const bool whole = name + n + look >= stop;
            const View part = whole ? v : View{v.data, v.base, size_t(name + n + look - v.base), false};
            Decoded text(part, start, name, n, limit, kind);
            answer = Answer::no;
            if (!text.is_line(n)) break;
            Match inner;
            const View decoded{text.bytes, 0, text.size, !text.open, Space::decoded};
            answer = header_line(rs, reading, rs.rules[h.rule], h, decoded, 2, UINT64_MAX, inner);
            auto place = [&](uint64_t at) { return at < text.size ? text.from[at] : text.from[text.size - 1] + 1; };
            if (answer == Answer::yes) m = {Sign::lf_header, start, place(inner.end), place(inner.value_start), place(inner.value_end)};
            if (whole) break;
        }
        if (answer != Answer::no) return answer;
    }
    return Answer::no;
}

// The anchor is the name of a CGI variable, an environment variable or an HTTP/2 field. Forms: `NAME=value` and
// `NAME\0value` between NULs (CGI and process environments, SCGI), with lengths before name and value in uwsgi's two
// little-endian bytes, in FastCGI's one or four bytes before both, and in HPACK's one byte before each.
Answer field(const Ruleset& rs, Reading& reading, const Rule& rule, const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    const uint64_t name_end = start + a.length;
    if (may_grow && stop - name_end < 2) return Answer::more;
    // v holds at least LOOK_BEHIND bytes before a window, if they are there.
    auto byte_before = [&](uint64_t n) { return start - v.base >= n ? int(*v.at(start - n)) : -1; };
    auto byte_after = [&](uint64_t n) { return name_end + n < stop ? int(*v.at(name_end + n)) : -1; };
    const uint8_t first_byte = a.bytes[0];
    const int previous = first_byte == 0 ? 0 : byte_before(1);
    uint64_t value = 0, size = 0;  // size 0: up to a NUL or a line end
    if ((previous == 0 || start == 0 || previous == '\n') && (a.bytes[a.length - 1] == '=' || byte_after(0) == '='))
        value = name_end + (a.bytes[a.length - 1] != '=');
    else if (byte_before(2) == a.length && byte_before(1) == 0 && byte_after(0) > 0 && byte_after(1) == 0)
        value = name_end + 2, size = uint64_t(byte_after(0));
    else if (previous == 0 && byte_after(0) == 0)
        value = name_end + 1;
    else if (byte_before(2) == a.length && byte_before(1) > 0 && byte_before(1) < 128)
        value = name_end, size = uint64_t(byte_before(1));
    else if (byte_before(5) == a.length && byte_before(4) == 0x80 && byte_before(3) == 0 && byte_before(2) + byte_before(1) > 0)
        value = name_end, size = uint64_t(byte_before(2) << 8 | byte_before(1));
    else if (byte_before(1) == a.length && byte_after(0) > 0 && byte_after(0) < 127)
        value = name_end + 1, size = uint64_t(byte_after(0));
    else
        return Answer::no;
    Answer answer;
    uint64_t head = value;
    if (!match_after(rs, reading, rule, v, head, limit, answer)) return answer;
    const uint64_t most = size && size < MAX_REPEAT ? size : MAX_REPEAT;
    uint64_t at = value;
    if (at < stop) at = reading.run_end(rs, rs.value_class, v, at, std::min(value + most, stop));
    if (at == stop && at - value < most && may_grow) return Answer::more;
    if (at == value || (size && at - value < most)) return Answer::no;
    const bool line = previous == '\n' || (!size && at < stop && *v.at(at) != 0 && at - value < MAX_REPEAT);
    m = {line ? Sign::lf_header : Sign::parsed_header, start + (first_byte == 0), at, value, at};
    return Answer::yes;
}

// The anchor is " HTTP/1.": a request line ends here. RFC 9112, section 3.
Answer request_line(const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    uint64_t at = start;  // back over the target, then the method
    while (at > v.base && *v.at(at - 1) > 0x20 && *v.at(at - 1) < 0x7f && start - at < 96) at--;
    if (at == start || at == v.base || *v.at(at - 1) != ' ') return Answer::no;
    const uint8_t first = *v.at(at);
    if (first != '/' && first != 'h' && first != '*') return Answer::no;
    const uint64_t target = at;
    uint64_t method = at - 1;
    while (method > v.base && *v.at(method - 1) >= 'A' && *v.at(method - 1) <= 'Z' && at - method < 12) method--;
    if (target - 1 - method < 3 || line_start(v, method) == Before::none) return Answer::no;
    const uint64_t digit = start + a.length;
    if (digit + 2 >= stop && may_grow) return Answer::more;
    if (digit >= stop || (*v.at(digit) != '0' && *v.at(digit) != '1')) return Answer::no;
    const bool crlf = digit + 2 < stop && *v.at(digit + 1) == '\r' && *v.at(digit + 2) == '\n';
    const bool line = digit + 1 < stop && (*v.at(digit + 1) == '\n' || *v.at(digit + 1) == 0 || crlf);
    if (!line) return Answer::no;
    m = {crlf ? Sign::request_line : Sign::lf_header, method, digit + 1, target, start};
    return Answer::yes;
}

// The anchor is "HTTP/1.": a status line. RFC 9112, section 4.
Answer status_line(const Ruleset& rs, Reading& reading, const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const uint64_t stop = v.end() < limit ? v.end() : limit;
    const bool may_grow = !v.final && v.end() < limit;
    if (line_start(v, start) == Before::none) return Answer::no;
    uint64_t at = start + a.length;
    if (at + 5 >= stop) return may_grow ? Answer::more : Answer::no;
    const uint8_t* p = v.at(at);
    auto digit = [](uint8_t c) { return c >= '0' && c <= '9'; };
    if ((p[0] != '0' && p[0] != '1') || p[1] != ' ' || !digit(p[2]) || !digit(p[3]) || !digit(p[4])) return Answer::no;
    at += 5;
    const uint64_t reason = at;
    at = reading.run_end(rs, rs.value_class, v, at, std::min(reason + 64, stop));
    if (at + 1 >= stop && may_grow) return Answer::more;
    const bool crlf = at + 1 < stop && *v.at(at) == '\r' && *v.at(at + 1) == '\n';
    m = {crlf ? Sign::request_line : Sign::lf_header, start, at, start, at};
    return Answer::yes;
}

}  // namespace

Answer verify(const Ruleset& rs, Reading& reading, const Anchor& a, const View& v, uint64_t start, uint64_t limit, Match& m) {
    const Rule& rule = rs.rules[a.rule];
    if (rule.check != Check::header_line && !match_before(rs, rule, v, start)) return Answer::no;
    switch (rule.check) {
        case Check::header_line:
            return header_line(rs, reading, rule, a, v, start, limit, m);
        case Check::request_line:
            return request_line(a, v, start, limit, m);
        case Check::status_line:
            return status_line(rs, reading, a, v, start, limit, m);
        case Check::field:
            return field(rs, reading, rule, a, v, start, limit, m);
        case Check::replacement_run:
            return replacement_run(v, start, limit, m);
        case Check::escaped_run:
            return escaped_run(v, start, limit, m);
        case Check::escaped_header:
            return escaped_header(rs, reading, a, v, start, limit, m);
        default:
            break;
    }
    uint64_t at = start + a.length;
    Answer answer;
    if (!match_after(rs, reading, rule, v, at, limit, answer)) return answer;
    m = {rule.check == Check::html_end ? Sign::html_end : Sign::credential, start, at, start, at};
    const uint8_t* token = v.at(start);
    const size_t size = size_t(at - start);
    const uint64_t value = start + a.length;
    const uint8_t* tail = token + a.length;
    const size_t tail_size = size_t(at - value);
    bool good = true;
    switch (rule.check) {
        case Check::jwt:
            good = check_jwt(token, size);
            break;
        case Check::github_crc:
            good = check_github_crc(token, size);
            break;
        case Check::entropy:
        case Check::session_cookie:
            good = reading.random_looking(v, value, tail_size, true);
            break;
        case Check::letters:
            good = reading.random_looking(v, value, tail_size, false);
            break;
        case Check::basic:
            good = check_basic(tail, tail_size);
            break;
        case Check::pem:
            good = check_pem(tail, tail_size);
            break;
        default:
            break;
    }
    if (rule.check == Check::entropy || rule.check == Check::letters || rule.check == Check::basic || rule.check == Check::session_cookie)
        m.value_start = value;
    return good ? Answer::yes : Answer::no;
}

}  // namespace overread
