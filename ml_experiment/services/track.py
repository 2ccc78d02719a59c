"""Sending records to MLflow: what the writer process and `ml-experiment track` do.

Everything is sent once. The ledger says what a server has; one process sends at a time, under a
lock; a run that was begun by one that was killed is looked for and completed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment import ledger, metrics, records, tracked, tracking
from ml_experiment.adapters.mlflow import MODEL_BYTES, RefusedError, Tracker, TrackingError
from ml_experiment.digests import Digests, stat_of
from ml_experiment.errors import MLExperimentError
from ml_experiment.plan import STATE
from ml_experiment.records import Line

ARTIFACT_BYTES = 1_000_000  # outputs up to this size are sent as artifacts
ARTIFACT_FILES = 100  # of a folder


@dataclass
class Feed:
    """Lines of a file that grows, each once."""

    file: Path
    place: int = 0

    def new(self) -> list[Line]:
        """The whole lines that were added since."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.place)
                data = stream.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.place += end
        return list(records.parsed(data[:end].splitlines()))


@dataclass
class Sender:
    """Sends the records of a workspace to one server.

    Args:
        folder: the workspace.
        uri: the server.
        heard: called after each record that was sent.
    """

    folder: Path
    uri: str
    heard: Callable[[], None] = lambda: None
    refused: dict[str, str] = field(default_factory=dict)  # job -> why
    pending: list[Line] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # runs of Snakemake, one for each record
    _feeds: dict[Path, Feed] = field(default_factory=dict)
    _details: dict[str, Line] = field(default_factory=dict)
    _makers: dict[tuple[str, str], str] = field(default_factory=dict)
    _runs: dict[str, Line] = field(default_factory=dict)
    _tracker: Tracker | None = None
    _met: set[str] = field(default_factory=set)  # experiments whose runs are known
    _steps: set[str] = field(default_factory=set)

    def read(self) -> int:
        """Take in what was recorded since. Returns how many records wait."""
        book = ledger.ledger(self.folder, self.uri)
        for line in self._feed(records.runs_file(self.folder)):
            known = self._runs.setdefault(str(line.get("run")), {})
            known.update(line)
        for file in records.files(self.folder):
            for line in self._feed(records.details_of(file)):
                self._details[str(line.get("id"))] = line
            for record in self._feed(file):
                self._take(record, book)
        self.pending = [r for r in self.pending if f"record:{r['id']}" not in book.sent]
        return len(self.pending)

    def _take(self, record: Line, book: ledger.Ledger) -> None:
        identity = record.get("id")
        if not isinstance(identity, str):
            return
        for path, entry in record["outputs"].items():
            if entry["hash"]:
                self._makers[path, entry["hash"]] = identity
        details = self._details.pop(identity, {})
        if f"record:{identity}" not in book.sent:
            self.pending.append({**record, **details})

    def _feed(self, file: Path) -> list[Line]:
        return self._feeds.setdefault(file, Feed(file)).new()

    def send(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Send what waits, and end the runs of Snakemake that have ended.

        Args:
            until: asked before each record whether to stop here.

        Raises:
            TrackingError: the server cannot be reached; what was not sent waits.
        """
        with _lock(self.folder, self.heard):
            tracker = self._tracker = self._tracker or Tracker(self.uri, self.folder)
            tracker.probe()
            book = self._book(tracker)
            self.read()
            for record in list(self.pending):
                if until():
                    return
                self._send(tracker, book, record)
                self.pending.remove(record)
                self.heard()
            self._end(tracker, book)

    def _book(self, tracker: Tracker) -> ledger.Ledger:
        """The ledger; begun anew where the server has forgotten what it was sent."""
        book = ledger.ledger(self.folder, self.uri)
        if book.last is not None and not self._met and not tracker.exists(book.last):
            book.void()
            self._feeds.clear()
            self.pending.clear()
        return book

    def _send(self, tracker: Tracker, book: ledger.Ledger, record: Line) -> None:
        line = self._line(record)
        self._meet(tracker, book, str(line["experiment"]))
        key = f"record:{record['id']}"
        if key in book.sent:
            return
        run = tracked.of_record(record, line, self._maker(book), self._curves(record))
        files, models = self._files(record, run)
        try:
            parent = self._parent(tracker, book, line, record)
            existing = self._existing(tracker, book, run)
            book.begin(key)
            book.complete(key, tracker.send(run, parent, files, models, existing))
            self.sent.append(str(record["run"]))
        except RefusedError as error:
            self.refused[record["job"]] = str(error)

    def _existing(self, tracker: Tracker, book: ledger.Ledger, run: tracked.Run) -> str | None:
        """The id of a run that was begun by a process that did not complete it."""
        found = tracker.find(run) if run.key in book.begun else None
        return found[0] if found else None

    def _parent(
        self, tracker: Tracker, book: ledger.Ledger, line: Line, record: Line
    ) -> str | None:
        """The run that a job is nested in: of Snakemake, and of its step where that is many jobs."""
        if "started" not in line:
            return None  # nobody knows of that run of Snakemake any more
        top = self._ensure(tracker, book, tracked.of_run({**line, "ended": None}), None)
        if not record["wildcards"] or record.get("key_digest") is None:
            return top
        step = tracked.of_step(line, str(record["rule"]), str(record["started"]))
        return self._ensure(tracker, book, step, top)

    def _ensure(
        self, tracker: Tracker, book: ledger.Ledger, run: tracked.Run, parent: str | None
    ) -> str:
        if run.key not in book.sent:
            existing = self._existing(tracker, book, run)
            book.begin(run.key)
            book.complete(run.key, existing or tracker.send(run, parent, {}, ()))
        return book.sent[run.key]

    def _end(self, tracker: Tracker, book: ledger.Ledger) -> None:
        """End the runs of Snakemake that have ended, and the steps in them."""
        for identity, line in self._runs.items():
            key = f"run:{identity}"
            if key not in book.sent or f"{key}:ended" in book.sent or "ended" not in line:
                continue
            run = tracked.of_run(line)
            nested = [k for k in book.sent if k.startswith(f"step:{identity}/")]
            for part in [*nested, key]:
                tracker.end(book.sent[part], run.status, run.end or run.start)
            book.complete(f"{key}:ended", book.sent[key])

    def _meet(self, tracker: Tracker, book: ledger.Ledger, experiment: str) -> None:
        """What a server has already that this workspace's ledger does not know of: asked once."""
        if experiment in self._met:
            return
        self._met.add(experiment)
        if book.sent:
            return
        for identity, mlflow in tracker.records(experiment).items():
            book.complete(f"record:{identity}", mlflow)

    def _line(self, record: Line) -> Line:
        """The run of Snakemake that a record is of; a bare one where its line is lost."""
        known = self._runs.get(str(record["run"]))
        if known and "experiment" in known:
            return known
        return {"experiment": self.folder.resolve().name, "run": record["run"]}

    def _maker(self, book: ledger.Ledger) -> Callable[[str, str], str | None]:
        def made_by(path: str, digest: str) -> str | None:
            identity = self._makers.get((path, digest))
            return book.sent.get(f"record:{identity}")

        return made_by

    def _curves(self, record: Line) -> Mapping[str, list[tuple[int, float]]]:
        """The curves of a job's metrics, if the file is still the one that was recorded."""
        if not record["metrics"]:
            return {}
        there = [self.folder / p for p in record["outputs"] if self._unchanged(record, p)]
        declared = (record.get("key") or {}).get("outputs", {}).get("metrics")
        if declared:
            there = [file for file in there if file.as_posix().endswith(f"/{declared.rstrip('/')}")]
        file = next(iter(there), None) if declared else metrics.find(there)
        if file is None:
            return {}
        try:
            curves = metrics.read(file).curves
        except MLExperimentError:
            return {}
        return {name: [(p.step, p.value) for p in points] for name, points in curves.items()}

    def _files(
        self, record: Line, run: tracked.Run
    ) -> tuple[dict[str, Path], list[tuple[tracked.Model, Path | None]]]:
        """Artifacts and models of a job: small outputs that are still what they were."""
        models = {model.path: model for model in run.models}
        files: dict[str, Path] = {}
        logged: list[tuple[tracked.Model, Path | None]] = []
        for path, entry in record["outputs"].items():
            there = self.folder / path if self._unchanged(record, path) else None
            if path in models:
                small = there is not None and entry["size"] <= MODEL_BYTES and there.is_file()
                logged.append((models[path], there if small else None))
            elif there and _is_small(entry):
                name = Path(path).name
                files[name if name not in files else path] = there
        return files, logged

    def _unchanged(self, record: Line, path: str) -> bool:
        before = stat_of(record["outputs"][path])
        return before is not None and Digests(self.folder).stat(path) == before


def track(folder: Path, uri: str, heard: Callable[[Sender], None]) -> Sender:
    """Send everything that a server has not got yet.

    Raises:
        TrackingError: it cannot be reached.
    """
    sender = Sender(folder, uri)
    sender.read()
    sender.heard = lambda: heard(sender)
    try:
        sender.send()
    except TrackingError as error:
        where = tracking.shown(uri, folder)
        raise TrackingError(f"{where}: {error}; {len(sender.pending)} records wait") from None
    return sender


def _is_small(entry: Mapping[str, Any]) -> bool:
    small: bool = entry["size"] <= ARTIFACT_BYTES
    return small and entry.get("files", 1) <= ARTIFACT_FILES


@contextmanager
def _lock(folder: Path, heard: Callable[[], None]) -> Iterator[None]:
    """One process sends at a time. `heard` while another does, so that nobody thinks it is dead."""
    file = folder / STATE / "tracking" / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                heard()
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
