"""Files that others read while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """In one step: whoever reads it finds the old text or the new."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
