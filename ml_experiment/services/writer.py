"""The process that sends records to MLflow while Snakemake runs: `python -m … FOLDER [RUN]`.

Standard input wakes it: a line for each record, `end` when the run is over. When it closes
without that, Snakemake was killed: then the run is recorded as killed and what waits is sent for a
few seconds more. Standard output is for the end only, one line of JSON for each record sent.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import sys
import time
from pathlib import Path
from typing import Any

from ml_experiment import records, tracking
from ml_experiment.adapters.mlflow import TrackingError
from ml_experiment.recording import utc
from ml_experiment.services.track import Sender

PAUSE = 5.0  # seconds until a server that did not answer is tried again
LAST = 3.0  # seconds that a killed run's writer has


class Writer:
    """The loop.

    Args:
        folder: the workspace.
        run: the run of Snakemake that it belongs to, if there is one.
    """

    def __init__(self, folder: Path, run: str | None) -> None:
        self.folder = folder
        self.run = run
        self.over = self.closed = False
        self.closed_at = 0.0
        self.sender = Sender(folder, tracking.uri(folder), self.told)
        self.problem: str | None = None

    def loop(self) -> None:
        """Until the run is over or standard input closes; then everything that waits, once more."""
        os.set_blocking(0, False)
        self.attempt()  # a new database is made while the first jobs run
        tried = time.monotonic()
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(0, selectors.EVENT_READ)
                selector.select(PAUSE if self.problem else None)
            self.listen()
            if self.over or self.closed:
                break
            if not self.problem or time.monotonic() - tried >= PAUSE:
                self.attempt()
                tried = time.monotonic()
        if not self.over:
            self.killed()
        self.attempt()
        self.say(done=True)

    def listen(self) -> None:
        """Everything that was said since; the last line counts."""
        data = b""
        try:
            while part := os.read(0, 65536):
                data += part
            self.closed, self.closed_at = True, time.monotonic()
        except BlockingIOError:
            pass
        for line in data.decode("utf-8", "replace").splitlines():
            self.over = self.over or line == "end"

    def attempt(self) -> None:
        """Send what waits; a server that is the trouble is tried again later."""
        try:
            self.sender.send(until=self.late)
            self.problem = None
        except TrackingError as error:
            self.problem = str(error)

    def late(self) -> bool:
        """Whether a killed run's time is up. Between records is when news are heard."""
        if not self.closed:
            self.listen()
        return self.closed and not self.over and time.monotonic() - self.closed_at > LAST

    def killed(self) -> None:
        """Snakemake is gone without a word: say so in its place."""
        if self.run is not None:
            line = {"ended": utc(time.time()), "run": self.run, "state": "killed"}
            records.append(records.runs_file(self.folder), line)

    def told(self) -> None:
        """One record has been sent, or another process is still sending."""
        if self.over:
            self.say()

    def say(self, *, done: bool = False) -> None:
        """How far it is."""
        ours = sum(1 for run in self.sender.sent if run == self.run)
        told: dict[str, Any] = {
            "done": done,
            "others": len(self.sender.sent) - ours,
            "sent": ours,
            "waiting": len(self.sender.pending),
        }
        if done and self.problem:
            told["problem"] = self.problem
        elif done and self.sender.refused:
            job, why = next(iter(self.sender.refused.items()))
            told["problem"] = f"{len(self.sender.refused)} jobs were refused, first {job}: {why}"
        try:
            os.write(1, json.dumps(told).encode() + b"\n")
        except BrokenPipeError:  # nobody listens any more
            self.over = True


def main() -> None:
    """The process. It yields to the workflow, and does not look for garbage among MLflow's modules."""
    os.nice(5)
    gc.freeze()
    Writer(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None).loop()


if __name__ == "__main__":
    main()
