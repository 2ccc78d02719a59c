"""The process that sends records to MLflow, as the process that runs Snakemake sees it.

It is started with the first job, so that importing MLflow overlaps with the run, and works by
itself: nothing waits for it before the end of the run, and nothing that befalls it reaches the
workflow. It reads the files of records and lives as long as its standard input is open.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ml_experiment import ledger, marked, records
from ml_experiment.plan import STATE

DEFAULT_STORE = "mlflow.db"
PATIENCE = 20.0  # seconds without a sign of the server until it is called dead

Show = Callable[[dict[str, Any] | None], None]  # of what is sent and waits; None ends it


def uri(folder: Path) -> str:
    """Where records go: what MLFLOW_TRACKING_URI says, or a database of the workspace."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return given or default_uri(folder)


def default_uri(folder: Path) -> str:
    """The database of a workspace."""
    return f"sqlite:///{folder.resolve() / DEFAULT_STORE}"


def shown(address: str, folder: Path) -> str:
    """An address as a person wants to see it: short, without a password."""
    if address == default_uri(folder):
        return f"sqlite:///{DEFAULT_STORE}"
    scheme, _, rest = address.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else address


def waiting(folder: Path) -> bool:
    """Whether there are records that were not sent; quick, so it goes by the number of lines."""
    recorded = sum(_lines(file) for file in records.files(folder))
    sent = ledger.file(folder, uri(folder))
    return recorded > sum(1 for line in records.lines(sent) if _is_record(line))


def _is_record(line: dict[str, Any]) -> bool:
    return line.get("mlflow") is not None and str(line.get("of")).startswith("record:")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


class Writer:
    """The writer process of one run of Snakemake; of none where earlier records only wait."""

    def __init__(self, folder: Path, run: str | None = None) -> None:
        self.folder = folder
        self.uri = uri(folder)
        state = folder / STATE
        state.mkdir(parents=True, exist_ok=True)
        with (state / "tracking.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ml_experiment.services.writer",
                    str(folder),
                    *([run] if run else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=marked.without(os.environ),  # it sends also what a run that is ended has left
                start_new_session=True,  # Ctrl-C is for Snakemake; it then tells the writer
            )
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)

    def notify(self) -> None:
        """There is a new record. Never waits: a writer that lags finds it by itself."""
        self._say(b"\n")

    def _say(self, what: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.process.stdin.fileno(), what)

    def finish(self, stream: TextIO, show: Show) -> None:
        """Wait until everything is sent, show that if it takes long, and say what came of it."""
        assert self.process.stdin is not None
        self._say(b"end\n")
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            told = self._follow(show)
        except KeyboardInterrupt:
            told = {"problem": "interrupted"}
        finally:
            self._stop()
        print(self.sentence(told), file=stream, flush=True)

    def _follow(self, show: Show) -> dict[str, Any]:
        """What the writer says last. Without a sign of life for a while it is dead."""
        assert self.process.stdout is not None
        last: dict[str, Any] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(PATIENCE):
                    last["problem"] = f"no answer for {PATIENCE:.0f} seconds"
                    break
                line = self.process.stdout.readline()
                if not line:
                    break
                last = _told(line) or last
                show(last)
        show(None)
        if not last:
            last["problem"] = f"the writer ended: see {STATE}/tracking.log"
        return last

    def _stop(self) -> None:
        if self.process.poll() is None:
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def sentence(self, told: dict[str, Any]) -> str:
        """What came of it, in one line."""
        where = shown(self.uri, self.folder)
        problem = told.get("problem")
        if problem:
            wait = told.get("waiting")
            kept = f"{wait} records are kept" if wait else "the records are kept"
            return f"MLflow: {where}: {problem}; {kept}, the next run or `ml-experiment track` sends them"
        sent, again = told.get("sent", 0), told.get("others", 0)
        more = f", and {again} of earlier runs" if again else ""
        jobs = "1 job" if sent == 1 else f"{sent} jobs"
        return f"MLflow: {jobs} logged{more} · {where} · to look: `ml-experiment ui`"


def _told(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
