"""Tables in docs/detection.md: each stands between two comments that name it, and is redrawn by the command that measures it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "detection.md"


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises
    ------
    ValueError
        When the page has not both marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    whole = page.read_text()
    head, found, rest = whole.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page}: the marks of {name!r} are missing")
    page.write_text(head + begin + text.rstrip("\n") + "\n" + end + tail)
