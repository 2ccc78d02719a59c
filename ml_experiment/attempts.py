"""What an attempt of a job has left: its boot report, its exit status, the end of its log.

The next attempt may be running already, and writes to the same files; so the shell of one that has
failed puts its own aside (launch.py).
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import records
from ml_experiment.digests import Stat
from ml_experiment.ending import last_lines
from ml_experiment.plan import Job, Plan
from ml_experiment.records import Line
from ml_experiment.redact import Redactor

FEW = 8  # lines of an executor's log, most of which is Snakemake's
CLOCKS = 2.0  # seconds by which the clocks of two machines may differ


@dataclass(frozen=True)
class Started:
    """A job that Snakemake has announced.

    Attributes:
        job: of the plan; None for a table or a rule that was written by hand.
        at: when, in seconds since 1970.
        stats: what its inputs were then.
    """

    name: str
    rule: str
    job: Job | None
    wildcards: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    command: str
    threads: int
    resources: Mapping[str, Any]
    at: float
    stats: Mapping[str, Stat | None]

    @property
    def log(self) -> str:
        """What the program prints."""
        return self.logs[0] if self.logs else ""


class Failure(NamedTuple):
    """What an attempt that failed has left: boot report, exit status, the end of its log."""

    boot: list[Line]
    status: int | None
    tail: str


@dataclass(frozen=True)
class Attempts:
    """The attempts of a workspace's jobs; `plan` is None for a foreign Snakefile."""

    folder: Path
    plan: Plan | None
    redactor: Redactor

    def failure(self, started: Started) -> Failure:
        """What the attempt that failed has left; the next one may be running already."""
        boot = self._boot_file(started)
        kept = _kept(boot, started.at - CLOCKS) if boot else None
        if kept is None:
            tail = last_lines(self.folder / started.log) if started.log else ""
            return Failure(self.boot(started), None, self.redactor.text(tail))
        log = kept.with_name(f"{kept.name}.log")
        lines = list(records.lines(kept))
        status = next((int(line["status"]) for line in lines if "status" in line), None)
        tail = last_lines(log)
        for file in (kept, log):
            file.unlink(missing_ok=True)
        boots = [line for line in lines if "status" not in line]
        return Failure(boots, status, self.redactor.text(tail))

    def unfinished(self, started: Started, failure: Failure, said: str, log: str) -> Failure:
        """A failure with what its executor says, where the program said nothing of its end.

        It was killed, or was never begun: then what it printed may be of another time. `log` is the
        executor's, empty where it has none of this job.
        """
        own = self.folder / started.log
        fresh = started.log and own.exists() and own.stat().st_mtime >= started.at - CLOCKS
        printed = failure.tail if fresh else ""
        more = printed or (self.redactor.text(last_lines(self.folder / log, FEW)) if log else "")
        return failure._replace(tail=f"{self.redactor.text(said)}\n{more}".rstrip())

    def _boot_file(self, started: Started) -> Path | None:
        if self.plan is None:
            return None
        job = started.job
        path = self.plan.boot(job) if job else self.plan.state("boot", f"{started.name}.jsonl")
        return self.folder / path

    def boot(self, started: Started) -> list[Line]:
        """The boot report's lines of this attempt; a hand-written rule's has earlier ones as well."""
        file = self._boot_file(started)
        since = started.at - CLOCKS
        return [
            line
            for line in (records.lines(file) if file else ())
            if line.get("process", {}).get("began", 0.0) >= since
        ]


def _kept(boot: Path, since: float) -> Path | None:
    """The report of the earliest attempt that failed since then; older ones are removed."""
    kept = (f for f in boot.parent.glob(f"{glob.escape(boot.name)}.*") if f.suffix != ".log")
    for time, file in sorted((file.stat().st_mtime, file) for file in kept):
        if time >= since:
            return file
        file.unlink(missing_ok=True)
        file.with_name(f"{file.name}.log").unlink(missing_ok=True)
    return None
