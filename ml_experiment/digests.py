"""Digests of a workspace's files, each read once while it does not change.

An entry is how a file stands in a record: `{"hash", "size", "mtime", "inode"}`; of a folder
`files`, their number, instead of the inode. Where there is nothing to hash, `{"hash": null,
"reason"}`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import atomic, hashing
from ml_experiment.plan import STATE

LISTINGS = f"{STATE}/listings"


class Stat(NamedTuple):
    """What tells whether a file or folder was touched: while it holds, so does a digest."""

    what: int  # the inode of a file, the number of files in a folder
    size: int  # bytes, of a folder those of its files
    mtime: int  # ns, of a folder the latest of its files
    folder: bool

    def entry(self, digest: str | None) -> dict[str, Any]:
        """As it stands in a record."""
        what = "files" if self.folder else "inode"
        return {"hash": digest, "size": self.size, "mtime": self.mtime, what: self.what}


Known = dict[str, tuple[Stat, str]]


def stat_of(entry: Mapping[str, Any]) -> Stat | None:
    """The Stat of a record's entry, or None where it has none."""
    if entry.get("hash") is None or "mtime" not in entry:
        return None
    folder = "files" in entry
    return Stat(entry["files" if folder else "inode"], entry["size"], entry["mtime"], folder)


class Member(NamedTuple):
    """A file of a folder as it was when it was hashed; `mtime` in ns."""

    digest: str
    inode: int
    size: int
    mtime: int


@dataclass
class Digests:
    """The digests of one folder's files, by path: relative to it, or absolute.

    `listed`: keep the digests of a hashed folder's files, for whoever asks for `members`.
    """

    folder: Path
    known: Known = field(default_factory=dict)
    made: Known = field(default_factory=dict)  # digests that hold although the file is gone
    seen: dict[str, Stat | None] | None = None  # of a look at one moment: each file once
    listed: bool = False

    def stat(self, path: str) -> Stat | None:
        """What tells whether a file or folder was touched; None where there is nothing."""
        if self.seen is None:
            return self._stat(path)
        if path not in self.seen:
            self.seen[path] = self._stat(path)
        return self.seen[path]

    def _stat(self, path: str) -> Stat | None:
        file = os.path.join(self.folder, path)
        try:
            status = os.stat(file)
            if stat.S_ISDIR(status.st_mode):
                return _folder_stat(file)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Stat(status.st_ino, status.st_size, status.st_mtime_ns, folder=False)

    def of(self, path: str) -> str | None:
        """The digest of a file or folder, or None where there is nothing to hash."""
        digest: str | None = self.entries([path])[path]["hash"]
        return digest

    def entries(self, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Files as they stand in a record. Those not known yet are read, side by side."""
        # before their bytes are read: a later change is then seen, not missed
        stats = {path: self.stat(path) for path in paths}
        unknown = {
            path: found
            for path, found in stats.items()
            if found is not None and self.known.get(path, (None,))[0] != found
        }
        files = [path for path, found in unknown.items() if not found.folder]
        reasons: dict[str, str] = {}
        try:
            digests = hashing.of_files([os.path.join(self.folder, path) for path in files])
            found_now = dict(zip(files, digests, strict=True))
        except OSError:  # one of them cannot be read: which one, and why
            found_now = {path: d for path in files if (d := self._try(path, reasons)) is not None}
        for path in unknown:
            if path not in files and (digest := self._try(path, reasons)) is not None:
                found_now[path] = digest
        for path, digest in found_now.items():
            self.known[path] = unknown[path], digest
        return {path: self._entry(path, found, reasons) for path, found in stats.items()}

    def _try(self, path: str, reasons: dict[str, str]) -> str | None:
        file = os.path.join(self.folder, path)
        try:
            return (
                self._list(file) if self.listed and os.path.isdir(file) else hashing.of_path(file)
            )
        except OSError as error:
            reasons[path] = f"cannot be read: {error.strerror}"
            return None

    def _list(self, folder: str) -> str:
        """The digest of a folder, those of its files being kept."""
        files = hashing.regular_files(folder)
        stats = [os.stat(file) for file in files]  # before their bytes are read
        digests = hashing.of_files(files)
        members = {
            os.path.relpath(file, folder): Member(d, s.st_ino, s.st_size, s.st_mtime_ns)
            for file, d, s in zip(files, digests, stats, strict=True)
        }
        whole = hashing.of_listing({name: member.digest for name, member in members.items()})
        atomic.write(self.folder / LISTINGS / whole, json.dumps(members), durable=False)
        return whole

    def _entry(self, path: str, found: Stat | None, reasons: Mapping[str, str]) -> dict[str, Any]:
        if found is None and path in self.made:
            before, digest = self.made[path]
            return before.entry(digest)
        if found is not None and path not in reasons:
            return found.entry(self.known[path][1])
        there = os.path.lexists(os.path.join(self.folder, path))
        missing = "not a file or folder" if there else "not there"
        return {"hash": None, "reason": reasons.get(path, missing)}

    def learn(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Believe a record's digests for files that were not touched since."""
        for path, entry in entries.items():
            found = stat_of(entry)
            if found is not None:
                self.known[path] = found, entry["hash"]

    def take(self, made: Known) -> None:
        """Believe what was hashed when a job had just ended.

        Snakemake gives every output another time after that, so a file's time is not compared. Of a
        file that is removed meanwhile, or later, this is what is known.
        """
        for path, (before, digest) in made.items():
            now = self.stat(path)
            self.made[path] = before, digest
            if now is not None and (now == before or _only_touched(before, now)):
                self.known[path] = self.made[path] = now, digest


def members(folder: Path, digest: str) -> dict[str, Member]:
    """The files of a folder with this digest, if they were kept when it was hashed."""
    try:
        found = json.loads((folder / LISTINGS / digest).read_text("utf-8"))
        return {str(name): Member(*member) for name, member in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _only_touched(before: Stat, now: Stat) -> bool:
    same = now._replace(mtime=before.mtime) == before
    return same and not now.folder and now.mtime > before.mtime


def _folder_stat(folder: str) -> Stat:
    count = size = latest = 0
    for file in hashing.regular_files(folder):
        status = os.stat(file)
        count += 1
        size += status.st_size
        latest = max(latest, status.st_mtime_ns)
    return Stat(count, size, latest, folder=True)
