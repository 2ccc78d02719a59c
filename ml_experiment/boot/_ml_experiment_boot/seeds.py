"""The seed of each random number generator: documented, and never to change."""

from __future__ import annotations

import hashlib
import json


def derive(root: int, stream: str, replicate: int | None, name: str) -> int:
    """The seed of the generator `name`: 31 bits of SHA-256 over the four, as compact JSON.

    31 bits are what every library takes, R and TensorFlow with their signed integers as well.
    The name `seed` gives ML_EXPERIMENT_SEED; in a child process the place of the process
    follows the name (`random@2`), so that no two processes draw the same numbers.
    """
    text = json.dumps([root, stream, replicate, name], separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF
