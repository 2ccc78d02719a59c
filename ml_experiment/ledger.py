"""What has been sent to a tracking server: a file of ours for each, only appended to.

A line `{"of": KEY, "mlflow": null}` says that a run is about to be made, one with an id that it is
there and complete. One that was begun and not completed may or may not be there: it has to be
looked for before it is made again, so that everything arrives exactly once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ml_experiment import records
from ml_experiment.hashing import of_text
from ml_experiment.plan import STATE

EXPERIMENT = "experiment:"
MODEL = "model:"


@dataclass
class Ledger:
    """The runs of one server, by what they are of: `record:ID`, `run:ID` or `step:ID/RULE`.

    A model version, `model:NAME/HASH`, is there with its number in the registry.

    An experiment, `experiment:NAME`, is there once the server was asked what it has of it. All is
    as it was at the last `refresh`: other processes append to the file as well.

    Attributes:
        last: the run that was completed last.
    """

    file: Path
    sent: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    last: str | None = None
    _lines: records.Growing = field(init=False)
    _inode: int | None = None  # of the file that was read

    def __post_init__(self) -> None:
        self._lines = records.Growing(self.file)

    def refresh(self) -> bool:
        """Take in the lines that were added since.

        Returns:
            Whether the file is another one than before, so that nothing of what was known holds.
        """
        inode = _inode(self.file)
        anew = self._inode not in (None, inode)
        if anew:
            self._forget()
        self._inode = inode
        for line in self._lines.new():
            key, mlflow = line.get("of"), line.get("mlflow")
            if isinstance(key, str) and isinstance(mlflow, str):
                self._take(key, mlflow)
            elif isinstance(key, str):
                self.begun.add(key)
        return anew

    def begin(self, key: str) -> None:
        """A run is about to be made."""
        self.begun.add(key)
        records.append(self.file, {"mlflow": None, "of": key})

    def complete(self, key: str, mlflow: str) -> None:
        """A run is there, with all that belongs to it."""
        self._take(key, mlflow)
        records.append(self.file, {"mlflow": mlflow, "of": key})

    def void(self) -> None:
        """The server has forgotten everything: keep the file aside and begin anew."""
        if self.file.exists():
            os.replace(self.file, self.file.with_suffix(".old"))
        self._forget()

    def _take(self, key: str, mlflow: str) -> None:
        self.begun.discard(key)
        self.sent[key] = mlflow
        if not key.startswith((EXPERIMENT, MODEL)):
            self.last = mlflow

    def _forget(self) -> None:
        self.sent, self.begun, self.last = {}, set(), None
        self._lines, self._inode = records.Growing(self.file), None


def met(experiment: str) -> str:
    """The key that says that a server was asked what it has of an experiment."""
    return EXPERIMENT + experiment


def model(name: str, digest: str) -> str:
    """The key of a model version: the same bytes are the same version."""
    return f"{MODEL}{name}/{digest}"


def ledger(folder: Path, uri: str) -> Ledger:
    """The ledger of a server, as it is on disk."""
    found = Ledger(file(folder, uri))
    found.refresh()
    return found


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def file(folder: Path, uri: str) -> Path:
    """Where the ledger of a server is: its address, which may hold a password, is not shown."""
    return folder / STATE / "tracking" / f"{of_text(uri)[:12]}.jsonl"
