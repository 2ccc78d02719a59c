"""Digests of files, folders and data: the ones under which DVC stores them.

A file's digest is the MD5 of its bytes. A folder's is the MD5 of its listing, the JSON of
`[{"md5": …, "relpath": …}, …]` sorted by path, with `.dir` behind it. MD5 names content here, as
it does in DVC; it is no protection against somebody who forges content.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

IGNORED = frozenset({".snakemake_timestamp"})  # Snakemake's mark in a folder; in .dvcignore too

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(data: Any) -> str:
    """The one JSON text of some data: sorted keys, no spaces. NaN and infinities are kept."""
    return _CANONICAL.encode(data)


def of_text(text: str) -> str:
    """MD5 of a text's UTF-8."""
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def of_file(path: Path | str) -> str:
    """MD5 of a file's bytes. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def of_folder(path: Path | str) -> str:
    """DVC's digest of a folder, with its `.dir` ending. Links are followed, as DVC does."""
    listing = []
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            if name not in IGNORED:
                file = os.path.join(folder, name)
                listing.append({"md5": of_file(file), "relpath": os.path.relpath(file, path)})
    listing.sort(key=lambda entry: entry["relpath"])
    return of_text(json.dumps(listing, sort_keys=True)) + ".dir"


def of_path(path: Path | str) -> str | None:
    """The digest of a file or folder; None where there is nothing, or nothing that has bytes."""
    path = Path(path)
    if path.is_dir():
        return of_folder(path)
    return of_file(path) if path.is_file() else None


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
