"""Records: what each job was made from and what it made, one line of canonical JSON a job.

`.ml_experiment/records.jsonl` is only ever appended to, one write a record, so that a reader sees
whole lines and a crash loses nothing that was written. The last record of a job that finished is
what its outputs are compared with.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # a third faster than json's, for what is read most

from ml_experiment import hashing

Stat = tuple[int, int, int]  # inode, size, mtime in ns: while they hold, so does a digest


@dataclass
class Digests:
    """Digests of a workspace's files, each read once while it does not change."""

    folder: Path
    known: dict[str, tuple[Stat, str]] = field(default_factory=dict)
    seen: dict[str, Stat | None] | None = None  # of a look at one moment: each file once

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
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            return status.st_ino, status.st_size, status.st_mtime_ns
        return _folder_stat(Path(file))

    def of(self, path: str) -> str | None:
        """The digest of a file or folder, or None where there is nothing to hash."""
        return self._of(path, self.stat(path))

    def entry(self, path: str) -> dict[str, Any]:
        """A file as it stands in a record."""
        found = self.stat(path)  # before its bytes are read: a later change is seen, not missed
        return {"hash": self._of(path, found), "stat": list(found) if found else None}

    def _of(self, path: str, found: Stat | None) -> str | None:
        if found is None:
            return None
        if path in self.known and self.known[path][0] == found:
            return self.known[path][1]
        digest = hashing.of_path(self.folder / path)
        if digest is not None:
            self.known[path] = found, digest
        return digest

    def learn(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Believe a record's digests for files that were not touched since."""
        for path, entry in entries.items():
            if entry.get("hash") and entry.get("stat"):
                inode, size, time = entry["stat"]
                self.known[path] = (inode, size, time), entry["hash"]


def _folder_stat(folder: Path) -> Stat:
    """Files of a folder, their sizes together, and the latest time among them."""
    count = size = latest = 0
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name not in hashing.IGNORED:
                status = os.stat(os.path.join(parent, name))
                count += 1
                size += status.st_size
                latest = max(latest, status.st_mtime_ns)
    return count, size, latest


def append(file: Path, record: Mapping[str, Any]) -> None:
    """Add one record."""
    line = hashing.canonical(dict(record)) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode("utf-8", "surrogateescape"))
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Records:
    """What a file of records says now.

    Attributes:
        finished: job -> its last record that finished.
        failed: job -> its last record, where that is a failure.
    """

    finished: dict[str, dict[str, Any]]
    failed: dict[str, dict[str, Any]]


def read(file: Path) -> Records:
    """All records. A torn line (a full disk) is passed over."""
    found = Records({}, {})
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for record in _parsed(lines):
        job, state = record.get("job"), record.get("state")
        if state == "finished" and isinstance(job, str):
            found.finished[job] = record
            found.failed.pop(job, None)
        elif state == "failed" and isinstance(job, str):
            found.failed[job] = record
    return found


def imported(boot: Path) -> set[str]:
    """The project's modules that a job's Python processes imported, by its boot report."""
    try:
        lines = boot.read_bytes().splitlines()
    except OSError:
        return set()
    return {path for line in _parsed(lines) for path in line.get("project") or ()}


def _parsed(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = from_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
