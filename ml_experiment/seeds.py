"""Where every random number of an experiment comes from.

A seed is the first four bytes of SHA-256 over the canonical JSON of
`[root, stream, replicate, generator]`, without the top bit, so that it fits every library's idea
of a seed (R's is a signed 32-bit integer). The stream is `seed_as` or the step's name. Matrix
values and trial numbers are not in it: methods, datasets and trials are compared under common
random numbers. `boot/` derives the same numbers in the job; a test holds the two together.
"""

from __future__ import annotations

import functools
import hashlib
import json

JOB = "seed"  # the generator name of the number that a job gets as {seed}


@functools.cache  # few numbers, asked for by every job
def derive(root: int, stream: str, replicate: int, generator: str = JOB) -> int:
    """The seed of one generator of one job, from 0 to 2**31 - 1."""
    text = json.dumps([root, stream, replicate, generator], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF


def hash_seed(root: int) -> int:
    """PYTHONHASHSEED: one value for the whole experiment, so that one warm server serves it."""
    return derive(root, "", 0, "PYTHONHASHSEED")
