"""What is put behind a clean body, so that a scanner that finds nothing is seen."""

from __future__ import annotations

import random
import struct


def memory(rng: random.Random) -> bytes:
    """A piece of a server's heap as an over-read sends it: a parsed request of somebody else, structs with pointers, NULs."""
    token = "".join(rng.choices("ABCDEFGHabcdefgh0123456789", k=40))
    head = f"GET /inbox HTTP/1.1\r\nHost: mail.example\r\nCookie: session={token}\r\nReferer: https://mail.example/\r\n\r\n".encode()
    base = 0x7F3A_0000_0000 | rng.randrange(1 << 24) << 8
    structs = b"".join(struct.pack("<QQIIQ", base + rng.randrange(1 << 16), rng.randrange(256), rng.randrange(1 << 31), 0, base) for _ in range(24))
    return structs + head + bytes(64) + rng.randbytes(200) + structs
