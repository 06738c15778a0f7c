"""Whether a second response head inside a body says more than the header block in it: ``python -m calibration.second_heads CORPUS``.

A head is a status line, at least two header lines and an empty line, with CR LF or LF throughout. CORPUS is a folder whose ``load.py`` gives ``clean()`` and
``leaks()``, as ``make evaluate`` takes it.
"""

from __future__ import annotations

import collections
import importlib.util
import re
import sys
from pathlib import Path

import overread

from .bounds import bits_of

LINE = rb"[A-Za-z][A-Za-z0-9-]{1,40}: ?[^\r\n\0]{0,4096}"
ENDS = {"CR LF": rb"\r\n", "LF": rb"\n"}
HEAD = {name: re.compile(rb"HTTP/1\.[01] [1-5]\d\d [^\r\n\0]{0,60}%s(?:%s%s){2,64}%s" % (end, LINE, end, end)) for name, end in ENDS.items()}
CRLF_LINE = 3  # http level from which the group stands at its cap in most text classes


def main() -> int:
    """Command line; 2 when no corpus is named."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    spec = importlib.util.spec_from_file_location("load", Path(sys.argv[1]) / "load.py")
    assert spec
    assert spec.loader
    corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    scanner = overread.Scanner(hold=0)
    for what, bodies in (("clean bodies", corpus.clean()), ("leaks", corpus.leaks())):
        n, found, above = 0, collections.Counter[str](), collections.Counter[str]()
        classes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for row, body in bodies:
            n += 1
            # Of a leak only the window: what the page itself shows is no leak's.
            start = row.get("splice_offset", 0)
            window = body[start : start + row["window_len"]] if "window_len" in row else body
            for name, head in HEAD.items():
                if head.search(window):
                    found[name] += 1
                    classes[name][row["content_class"]] += 1
                    terms = scanner.scan(body, row["content_type"]).terms
                    above[name] += any(t.group == "http" and t.level_index >= CRLF_LINE for t in terms)
        for name in HEAD:
            k = found[name]
            print(f"{what}: {k} of {n} hold a head with {name}, {above[name]} of them at http level {CRLF_LINE} or above; {bits_of(k, n)} bits")
            print("  by class:", dict(classes[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
