"""What one node tells the others: records of its registry, sealed under the registry's key.

The seal is for those who may write to the shared store and have no key: they could else turn a fingerprint they saw there into another
client's, and get its owner's own responses blocked.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

RECORD = 24  # bytes: OVR_REGISTRY_RECORD
_HEAD = struct.Struct("<8sQ")
_SEAL = 16  # bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of a node, and when it took them out of its registry: milliseconds since 1970 by the store's clock."""

    node: bytes
    unix_ms: int
    records: bytes


class Sealer:
    """Seals batches under a key derived from the registry's."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(b"overread: batches of a registry", key=key, digest_size=32).digest()

    def seal(self, batch: Batch) -> bytes:
        """The bytes of a batch."""
        text = _HEAD.pack(batch.node, batch.unix_ms) + batch.records
        return text + self._of(text)

    def open(self, sealed: bytes) -> Batch | None:
        """The batch of the bytes; ``None`` where they are none, or sealed under another key."""
        text, seal = sealed[:-_SEAL], sealed[-_SEAL:]
        if len(text) < _HEAD.size or (len(text) - _HEAD.size) % RECORD or not hmac.compare_digest(seal, self._of(text)):
            return None
        node, unix_ms = _HEAD.unpack_from(text)
        return Batch(node, unix_ms, text[_HEAD.size :])

    def _of(self, text: bytes) -> bytes:
        return hashlib.blake2b(text, key=self._key, digest_size=_SEAL).digest()
