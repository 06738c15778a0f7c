"""Some seconds of `make soak` for the proxies."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

import overread

from .soak import SOAKS, Book, soak


@pytest.mark.parametrize("proxy", SOAKS)
def test_load_and_mishap(proxy: str, tmp_path: Path) -> None:
    assert soak(proxy, tmp_path, 3, secrets.randbits(32)) == []


def test_what_leaks_in_the_pages_is_found_by_the_scanner() -> None:
    seed = secrets.randbits(32)
    book = Book(seed)
    for i in book.leaking:
        page = book.pages[i]
        head = [("Content-Encoding", page.coding)] if page.coding != "identity" else []
        assert overread.Scanner().scan(page.leak, page.content_type, headers=head).tier in ("strong", "certain"), (seed, i)
        assert overread.Scanner().scan(page.body, page.content_type, headers=head).tier == "none", (seed, i)
