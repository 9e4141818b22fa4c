"""Large payloads in a few words: where CI has pytest show a whole difference, a megabyte takes a minute."""

from __future__ import annotations

import hashlib


def brief(payload: bytes) -> str:
    """A text that tells payloads apart and people something: the length, the beginning, the SHA-256."""
    return f"{len(payload):,} bytes {payload[:12]!r} sha256 {hashlib.sha256(payload).hexdigest()[:16]}"
