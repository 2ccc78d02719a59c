"""Sending records to MLflow: what the writer process and `ml-experiment track` do.

Everything is sent once. The ledger says what a server has; one process sends at a time, under a
lock; a run that was begun by one that was killed is looked for and completed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_experiment import ledger, metrics, modelfiles, modelrecords, records, tracked, tracking
from ml_experiment.adapters.mlflow import MODEL_BYTES, RefusedError, Tracker, TrackingError
from ml_experiment.adapters.mlflow_registry import Registry
from ml_experiment.digests import Digests, stat_of
from ml_experiment.errors import MLExperimentError
from ml_experiment.hashing import of_path
from ml_experiment.plan import STATE
from ml_experiment.records import Line
from ml_experiment.versions import Version

ARTIFACT_BYTES = 1_000_000  # outputs up to this size are sent as artifacts
ARTIFACT_FILES = 100  # of a folder


@dataclass
class Sender:
    """Sends the records of a workspace to one server.

    Args:
        folder: the workspace.
        uri: the server.
        heard: called after each record that was sent.
        also: versions of models that belong into the registry besides those that records name.
    """

    folder: Path
    uri: str
    heard: Callable[[], None] = lambda: None
    also: Sequence[Version] = ()
    refused: dict[str, str] = field(default_factory=dict)  # job -> why
    pending: dict[str, Line] = field(default_factory=dict)  # by id
    sent: list[str] = field(default_factory=list)  # runs of Snakemake, one for each record
    _book: ledger.Ledger = field(init=False)
    _growing: dict[Path, records.Growing] = field(default_factory=dict)
    _details: dict[str, Line] = field(default_factory=dict)
    _makers: dict[tuple[str, str], str] = field(default_factory=dict)
    _runs: dict[str, Line] = field(default_factory=dict)
    _tracker: Tracker | None = None
    _models: bool = False  # whether a record that was read names a model
    _checked: bool = False  # whether the server still has what it was sent

    def __post_init__(self) -> None:
        self._book = ledger.Ledger(ledger.file(self.folder, self.uri))

    def read(self) -> None:
        """Take in what was recorded since, and what other processes have sent."""
        if self._book.refresh():
            self._forget()
        for file in records.files(self.folder):
            new = self._new(file)
            # Details are written before their record, and a run's line before both: read the other
            # way round, nothing is missed that is being written just now.
            for line in self._new(records.details_of(file)):
                self._details[str(line.get("id"))] = line
            for record in new:
                self._take(record)
        for line in self._new(records.runs_file(self.folder)):
            known = self._runs.setdefault(str(line.get("run")), {})
            known.update(line)
        sent = self._book.sent
        self.pending = {i: r for i, r in self.pending.items() if f"record:{i}" not in sent}

    def _take(self, record: Line) -> None:
        identity = record.get("id")
        if not isinstance(identity, str):
            return
        for path, entry in record["outputs"].items():
            if entry["hash"]:
                self._makers[path, entry["hash"]] = identity
        self._models = self._models or bool(record.get("models"))
        details = self._details.pop(identity, {})
        if f"record:{identity}" not in self._book.sent:
            self.pending[identity] = {**record, **details}

    def _new(self, file: Path) -> list[Line]:
        return self._growing.setdefault(file, records.Growing(file)).new()

    def _forget(self) -> None:
        """Nothing counts as sent any more: every record is read again."""
        self._growing.clear()
        self.pending.clear()

    def send(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Send what waits, and end the runs of Snakemake that have ended.

        Args:
            until: asked before each record whether to stop here.

        Raises:
            TrackingError: the server cannot be reached; what was not sent waits.
        """
        with _lock(self.folder, self._wait):
            self.read()  # first of all: how many wait is said of a dead server, too
            tracker = self._tracker = self._tracker or Tracker(self.uri, self.folder)
            tracker.probe()
            self._check(tracker)
            for identity, record in list(self.pending.items()):
                if until():
                    return
                self._send(tracker, record)
                del self.pending[identity]
                self.heard()
            self._end(tracker)
            self._register(tracker)

    def registry(self) -> Registry:
        """The registry of the server, once something was sent to it."""
        assert self._tracker is not None
        return Registry(self._tracker)

    def _wait(self) -> None:
        """Another process is sending."""
        self.read()
        self.heard()

    def _check(self, tracker: Tracker) -> None:
        """Begin anew where the server has forgotten what it was sent; asked once."""
        last = self._book.last
        if last is not None and not self._checked and not tracker.exists(last):
            self._book.void()
            self._forget()
            self.read()
        self._checked = True

    def _send(self, tracker: Tracker, record: Line) -> None:
        line = self._line(record)
        self._meet(tracker, str(line["experiment"]))
        key = f"record:{record['id']}"
        if key in self._book.sent:
            return
        there = self._there(record)
        run = tracked.of_record(record, line, self._made_by, _curves(record, there))
        files, models = _files(record, run, there)
        try:
            parent = self._parent(tracker, line, record)
            existing = self._existing(tracker, run)
            self._book.begin(key)
            made = tracker.send(run, parent, files, models, existing)
            if best := _best(record, there):
                # a study with a matrix has a best trial for each value, and one run for all
                tracker.add(
                    tracked.of_best(run, best), made if record["wildcards"] else parent or made
                )
            self._book.complete(key, made)
            self.sent.append(str(record["run"]))
        except RefusedError as error:
            self.refused[record["job"]] = str(error)

    def _existing(self, tracker: Tracker, run: tracked.Run) -> str | None:
        """The id of a run that was begun by a process that did not complete it."""
        return tracker.find(run) if run.key in self._book.begun else None

    def _parent(self, tracker: Tracker, line: Line, record: Line) -> str | None:
        """The run that a job is nested in: of Snakemake, and of its step where that is many jobs."""
        if "started" not in line:
            return None  # nobody knows of that run of Snakemake any more
        top = self._ensure(tracker, tracked.of_run({**line, "ended": None}), None)
        group = tracked.group(record)
        if group is None:
            return top
        step = tracked.of_step(line, group, str(record["started"]))
        return self._ensure(tracker, step, top)

    def _ensure(self, tracker: Tracker, run: tracked.Run, parent: str | None) -> str:
        book = self._book
        if run.key not in book.sent:
            existing = self._existing(tracker, run)
            book.begin(run.key)
            book.complete(run.key, existing or tracker.send(run, parent, {}, ()))
        return book.sent[run.key]

    def _end(self, tracker: Tracker) -> None:
        """End the runs of Snakemake that have ended, and the steps in them."""
        book = self._book
        for identity, line in self._runs.items():
            key = f"run:{identity}"
            if key not in book.sent or f"{key}:ended" in book.sent or "ended" not in line:
                continue
            run = tracked.of_run(line)
            nested = [k for k in book.sent if k.startswith(f"step:{identity}/")]
            for part in [*nested, key]:
                with suppress(RefusedError):  # somebody has deleted it
                    tracker.end(book.sent[part], run.status, run.end or run.start)
            book.complete(f"{key}:ended", book.sent[key])

    def _register(self, tracker: Tracker) -> None:
        """Add the versions of models that the registry has not got; the same bytes are one version."""
        if not self._models and not self.also:
            return
        recorded = modelrecords.recorded(self.folder) if self._models else []
        versions = {version.key: version for version in [*self.also, *recorded]}
        registry, known = Registry(tracker), dict[str, list[Version]]()
        for version in sorted(versions.values(), key=lambda each: str(each.facts.get("made"))):
            key = ledger.model(version.name, version.hash)
            if key in self._book.sent:
                continue
            try:
                there = known.setdefault(version.name, registry.versions(version.name))
                run = self._book.sent.get(f"record:{version.facts.get('record')}")
                number = registry.register(_described(self.folder, version), run, there)
            except RefusedError as error:
                self.refused[f"the model {version.name}"] = str(error)
                continue
            self._book.complete(key, str(number))
            known.pop(version.name)
        self._models = False

    def _meet(self, tracker: Tracker, experiment: str) -> None:
        """What a server has of an experiment that the ledger does not know of: asked once."""
        book, key = self._book, ledger.met(experiment)
        if key in book.sent:
            return
        try:
            there = tracker.records(experiment)
            own = tracker.experiment(experiment)
        except RefusedError as error:  # no record is the trouble: the server, or its database
            raise TrackingError(str(error)) from None
        for identity, mlflow in there.items():
            if f"record:{identity}" not in book.sent:
                book.complete(f"record:{identity}", mlflow)
        book.complete(key, own)

    def _line(self, record: Line) -> Line:
        """The run of Snakemake that a record is of; a bare one where its line is lost."""
        known = self._runs.get(str(record["run"]))
        if known and "experiment" in known:
            return known
        return {"experiment": self.folder.resolve().name, "run": record["run"]}

    def _made_by(self, path: str, digest: str) -> str | None:
        """The run in MLflow that made these bytes."""
        identity = self._makers.get((path, digest))
        return self._book.sent.get(f"record:{identity}")

    def _there(self, record: Line) -> dict[str, Path]:
        """The outputs that are still what was recorded."""
        digests = Digests(self.folder)
        found = {}
        for path, entry in record["outputs"].items():
            before = stat_of(entry)
            if before is not None and digests.stat(path) == before:
                found[path] = self.folder / path
        return found


def _curves(record: Line, there: Mapping[str, Path]) -> Mapping[str, list[tuple[int, float]]]:
    """The curves of a job's metrics, if the file is still the one that was recorded.

    Of a trial also what it reported on its way.
    """
    reports = {name: [(s, v) for s, v in told] for name, told in record.get("reports", {}).items()}
    return {**reports, **_of_file(record, there)}


def _of_file(record: Line, there: Mapping[str, Path]) -> Mapping[str, list[tuple[int, float]]]:
    file = there.get(record.get("metrics_file") or "")
    if file is None:
        return {}
    try:
        curves = metrics.read(file).curves
    except MLExperimentError:
        return {}
    return {name: [(p.step, p.value) for p in points] for name, points in curves.items()}


def _best(record: Line, there: Mapping[str, Path]) -> Mapping[str, Any] | None:
    """The best trial, of the job that gathers a study with one objective."""
    if "study" not in (record.get("key") or {}):
        return None
    file = next((file for file in there.values() if file.name == "best.json"), None)
    try:
        return json.loads(file.read_bytes()) if file else None
    except (OSError, ValueError):
        return None


def _files(
    record: Line, run: tracked.Run, there: Mapping[str, Path]
) -> tuple[dict[str, Path], list[tuple[tracked.Model, Path | None]]]:
    """Artifacts and models of a job: small outputs that are still what they were."""
    models = {model.path: model for model in run.models}
    files: dict[str, Path] = {}
    logged: list[tuple[tracked.Model, Path | None]] = []
    for path, entry in record["outputs"].items():
        file = there.get(path)
        if path in models:
            small = file is not None and entry["size"] <= MODEL_BYTES and file.is_file()
            logged.append((models[path], file if small else None))
        elif file and _is_small(entry):
            name = Path(path).name
            files[name if name not in files else path] = file
    return files, logged


def _described(folder: Path, version: Version) -> Version:
    """With format and framework, where its file is still what was recorded."""
    path = str(version.facts["path"])
    before = stat_of(version.entry) if version.entry else None
    try:
        same = before is not None and Digests(folder).stat(path) == before
        # another inode: DVC may have put a link there meanwhile
        if not same and of_path(folder / path) != version.hash:
            return version
        found = modelfiles.describe(folder / path)
    except OSError:
        return version
    more = {"format": found.format, "framework": found.framework}
    return replace(version, facts={**version.facts, **{k: v for k, v in more.items() if v}})


def track(folder: Path, uri: str, heard: Callable[[Sender], None]) -> Sender:
    """Send everything that a server has not got yet.

    Raises:
        TrackingError: it cannot be reached.
    """
    sender = Sender(folder, uri)
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
