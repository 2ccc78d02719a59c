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


@dataclass
class Ledger:
    """The runs of one server, by what they are of: `record:ID`, `run:ID` or `step:ID/RULE`."""

    file: Path
    sent: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    last: str | None = None

    def begin(self, key: str) -> None:
        """A run is about to be made."""
        self.begun.add(key)
        records.append(self.file, {"mlflow": None, "of": key})

    def complete(self, key: str, mlflow: str) -> None:
        """A run is there, with all that belongs to it."""
        self.take(key, mlflow)
        records.append(self.file, {"mlflow": mlflow, "of": key})

    def void(self) -> None:
        """The server has forgotten everything: keep the file aside and begin anew."""
        if self.file.exists():
            os.replace(self.file, self.file.with_suffix(".old"))
        self.sent, self.begun, self.last = {}, set(), None

    def take(self, key: str, mlflow: str) -> None:
        """A run is known to be there."""
        self.begun.discard(key)
        self.sent[key] = self.last = mlflow


def ledger(folder: Path, uri: str) -> Ledger:
    """The ledger of a server, as it is on disk."""
    found = Ledger(file(folder, uri))
    for line in records.lines(found.file):
        key, mlflow = line.get("of"), line.get("mlflow")
        if isinstance(key, str) and isinstance(mlflow, str):
            found.take(key, mlflow)
        elif isinstance(key, str):
            found.begun.add(key)
    return found


def file(folder: Path, uri: str) -> Path:
    """Where the ledger of a server is: its address, which may hold a password, is not shown."""
    return folder / STATE / "tracking" / f"{of_text(uri)[:12]}.jsonl"
