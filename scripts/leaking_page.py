"""Writes FOLDER/leak.html, a page with memory of another process in it, and FOLDER/clean.html; always the same. Usage: leaking_page.py FOLDER"""

import random
import struct
import sys
from pathlib import Path

folder = Path(sys.argv[1])
rng = random.Random(5)
page = b"<!doctype html><html><body>" + b"<p>An ordinary paragraph of an ordinary page.</p>\n" * 60
base = 0x7F0000000000 + rng.randrange(1 << 30) * 16
memory = b"".join(struct.pack("<QQ", base + 64 * i, rng.randrange(1 << 20)) for i in range(12))
secret = "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=32)).encode()
memory += b"\r\nCookie: session=" + secret + b"\r\nReferer: https://shop.example/cart\r\n\r\n" + rng.randbytes(64)
(folder / "leak.html").write_bytes(page + memory + page)
(folder / "clean.html").write_bytes(page * 20 + b"</body></html>\n")
