"""Records: what each job was made from and what it made, one line of canonical JSON a job.

A record is two lines with the same `id`. That in `.ml_experiment/records.jsonl` has what is looked
at all the time: job, state, seed, digests of inputs and outputs, metrics. That in `details.jsonl`
has the rest: command, code, parameters, environment, boot report, the end of a failed job's log.
`runs.jsonl` has a line for the beginning and one for the end of each run of Snakemake. All of them
are only ever appended to, one write a line, so that a reader sees whole lines and a crash loses
nothing that was written. The last record of a job that finished is what its outputs are compared
with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # a third faster than json's, for what is read most

from ml_experiment import hashing
from ml_experiment.errors import UserError
from ml_experiment.plan import STATE

Line = dict[str, Any]

DETAILS = ("boot", "code", "command", "environment", "exit_code", "key", "metrics_file", "params",
           "reports", "resources", "tail", "threads")  # fmt: skip


def add(file: Path, record: Mapping[str, Any]) -> str:
    """Add a record to a file of records and to that of its details.

    Returns:
        Its id, the digest of all that it says.

    Raises:
        UserError: it cannot be written.
    """
    identity = hashing.of_text(hashing.canonical(dict(record)))
    details = {name: record[name] for name in DETAILS if name in record}
    slim = {name: value for name, value in record.items() if name not in details}
    append(details_of(file), {**details, "id": identity})
    append(file, {**slim, "id": identity})
    return identity


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Add one line. After a torn one (a full disk) it begins on a line of its own.

    Raises:
        UserError: it cannot be written, or not whole.
    """
    text = hashing.canonical(dict(line)) + "\n"
    data = text.encode("utf-8", "surrogateescape")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            data = b"\n" + data if torn else data
            if os.write(handle, data) != len(data):
                raise OSError(28, "No space left on device")
        finally:
            os.close(handle)
    except OSError as error:
        raise UserError(f"no record can be written: {error.strerror}", where=str(file)) from None


def details_of(file: Path) -> Path:
    """The file of the details of a file of records."""
    return file.with_name(file.name.replace("records", "details", 1))


def files(folder: Path) -> list[Path]:
    """The files of records of a workspace: one for each variant and experiment file."""
    return sorted((folder / STATE).glob("records*.jsonl"))


def runs_file(folder: Path) -> Path:
    """Where the runs of Snakemake in a workspace are."""
    return folder / STATE / "runs.jsonl"


@dataclass(frozen=True)
class Records:
    """What a file of records says now.

    Attributes:
        finished: job -> its last record that finished; one that was found does not count.
        failed: job -> its last record, where that is a failure.
        found: job -> the record of outputs that nobody knows the making of.
        earlier: job -> its records before the last one that finished, the newest first.
    """

    finished: dict[str, Line]
    failed: dict[str, Line]
    found: dict[str, Line]
    earlier: dict[str, list[Line]] = field(default_factory=dict)

    def of(self, job: str) -> list[Line]:
        """All records of a job that finished, the newest first."""
        last = self.finished.get(job)
        return [] if last is None else [last, *self.earlier.get(job, ())]


def read(file: Path) -> Records:
    """The records of every job."""
    known = Records({}, {}, {})
    for record in lines(file):
        job, state = record.get("job"), record.get("state")
        if not isinstance(job, str):
            continue
        if state == "finished":
            if job in known.finished:
                known.earlier.setdefault(job, []).insert(0, known.finished[job])
            known.finished[job] = record
            known.failed.pop(job, None)
            known.found.pop(job, None)
        elif state == "failed":
            known.failed[job] = record
        elif state == "found":
            known.found[job] = record
    return known


def details(file: Path, ids: Collection[str]) -> dict[str, Line]:
    """The details of these records, by id."""
    if not ids:
        return {}
    # Details are long: a line is parsed only where one of the ids is in it.
    wanted = {identity.encode() for identity in ids}
    texts = (text for text in _texts(details_of(file)) if not wanted.isdisjoint(_ID.findall(text)))
    return {line["id"]: line for line in parsed(texts) if line.get("id") in ids}


def runs(folder: Path) -> dict[str, Line]:
    """Every run of Snakemake, by id, in their order; the line of its end laid on that of its start."""
    known: dict[str, Line] = {}
    for line in lines(runs_file(folder)):
        if isinstance(line.get("run"), str):
            known[line["run"]] = {**known.get(line["run"], {}), **line}
    return known


def lines(file: Path) -> Iterator[Line]:
    """All lines of a file that is appended to. A torn one is passed over.

    Raises:
        UserError: the file is there and cannot be read.
    """
    yield from parsed(_texts(file))


@dataclass
class Growing:
    """A file that is appended to, of which each line is wanted once."""

    file: Path
    place: int = 0

    def new(self) -> list[Line]:
        """The whole lines that were added since the last call."""
        data = _bytes(self.file, self.place)
        end = data.rfind(b"\n") + 1
        self.place += end
        return list(parsed(data[:end].splitlines()))


def _texts(file: Path) -> list[bytes]:
    return _bytes(file, 0).splitlines()


def _bytes(file: Path, place: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(place)
            return stream.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(file)) from None


_ID = re.compile(rb'"id":"([^"]*)"')


def parsed(texts: Iterable[bytes]) -> Iterator[Line]:
    """The JSON objects among some lines."""
    for text in texts:
        try:
            line = from_json(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def imported(boot: Iterable[Mapping[str, Any]]) -> set[str]:
    """The project's modules that a job's Python processes imported, by its boot report."""
    return {path for line in boot for path in line.get("project") or ()}
