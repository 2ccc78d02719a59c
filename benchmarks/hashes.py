"""How fast are files hashed? 1 GB against hashlib's MD5, and 10,000 files of 1 kB."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import Row, Target, main, row, scratch, timed

BIG = 1024  # MB
MANY = 10_000

OURS = """\
import sys, time
from ml_experiment import hashing
begun = time.perf_counter()
hashing.of_path(sys.argv[1])
print(time.perf_counter() - begun)
"""
HASHLIB = """\
import hashlib, sys, time
begun = time.perf_counter()
digest = hashlib.md5()
with open(sys.argv[1], "rb") as file:
    while block := file.read(1 << 20):
        digest.update(block)
digest.hexdigest()
print(time.perf_counter() - begun)
"""


def seconds(program: str, path: Path) -> float:
    """What a program says that it took, start and imports aside."""
    return float(timed([sys.executable, "-c", program, str(path)], path.parent).printed)


def measure(rounds: int) -> list[Row]:
    """Both, with the files in the page cache."""
    with scratch() as folder:
        big, many = folder / "big", folder / "many"
        with big.open("wb") as file:
            for _ in range(BIG):
                file.write(os.urandom(1 << 20))
        many.mkdir()
        for index in range(MANY):
            (many / str(index)).write_bytes(os.urandom(1024))
        seconds(HASHLIB, big)  # into the cache
        pairs = [(seconds(OURS, big), seconds(HASHLIB, big)) for _ in range(rounds)]
        small = [seconds(OURS, many) for _ in range(rounds)]
    ours, peer = zip(*pairs, strict=True)
    return [
        row("hash 1 GB (peer: hashlib on one core)", ours, peer, Target("ratio", 1.11)),
        row("hash 10,000 files of 1 kB", small, target=Target("ours", 2.0)),
    ]


if __name__ == "__main__":
    sys.exit(main(("hashes", measure), rounds=3))
