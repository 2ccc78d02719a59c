"""Digests of files, folders and data: the ones under which DVC stores them.

A file's digest is the MD5 of its bytes. A folder's is the MD5 of its listing, the JSON of
`[{"md5": …, "relpath": …}, …]` sorted by path, with `.dir` behind it. MD5 names content here, as
it does in DVC; it is no protection against somebody who forges content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LARGE = 1_000_000  # bytes from which a thread of its own pays
MARK = ".snakemake_timestamp"  # Snakemake's, in a folder that a rule has made; in .dvcignore too
REPOSITORIES = frozenset({".git", ".hg", ".dvc"})  # in a folder, which DVC never looks into
DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")  # what a digest looks like that came from elsewhere

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


def of_files(paths: Sequence[Path | str]) -> list[str]:
    """The digests of several files, large ones in threads (MD5 lets go of the interpreter)."""
    large = [path for path in paths if os.path.getsize(path) >= LARGE]
    if len(large) < 2:
        return [of_file(path) for path in paths]
    with ThreadPoolExecutor(min(len(large), os.cpu_count() or 1)) as pool:
        known = dict(zip(large, pool.map(of_file, large), strict=True))
    return [known.get(path) or of_file(path) for path in paths]


def of_folder(path: Path | str) -> str:
    """DVC's digest of a folder, with its `.dir` ending. Links are followed, as DVC does."""
    files = regular_files(path)
    names = [os.path.relpath(file, path) for file in files]
    return of_listing(dict(zip(names, of_files(files), strict=True)))


def of_listing(digests: Mapping[str, str]) -> str:
    """The digest of a folder in which these files are: path relative to it -> digest."""
    return of_text(listing(digests)) + ".dir"


def listing(digests: Mapping[str, str]) -> str:
    """The object that DVC's cache has of a folder in which these files are."""
    entries = [{"md5": digest, "relpath": name} for name, digest in sorted(digests.items())]
    return json.dumps(entries, sort_keys=True)


def regular_files(folder: Path | str) -> list[str]:
    """Every file below a folder but pipes, sockets, and what repositories in it keep for themselves. A
    broken link is left to fail: it is no file that could be left out without a word.
    """
    found = []
    hidden = {MARK, *REPOSITORIES}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in REPOSITORIES]
        files = (os.path.join(parent, name) for name in names if name not in hidden)
        found += [file for file in files if os.path.isfile(file) or not os.path.exists(file)]
    return found


def of_path(path: Path | str) -> str | None:
    """The digest of a file or folder; None where there is nothing, or nothing that has bytes."""
    if os.path.isdir(path):
        return of_folder(path)
    return of_file(path) if os.path.isfile(path) else None


def of_readable(path: Path | str) -> str | None:
    """The same; None also for what cannot be read, such as a link to nothing."""
    try:
        return of_path(path)
    except OSError:
        return None


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)
