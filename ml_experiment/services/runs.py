"""`ml-experiment runs`: what was run, when, how long it took and what came out, by the records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_experiment import records
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.records import Line


@dataclass(frozen=True)
class RunRow:
    """One run of Snakemake.

    Attributes:
        seconds: how long it took; until its last job where nobody saw its end.
        state: finished, failed, killed, or running (or nobody saw its end).
        job: the last of its jobs that has metrics.
        metrics: those of that job.
    """

    run: str
    experiment: str
    command: str
    started: str
    seconds: float
    state: str
    finished: int
    failed: int
    job: str | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class JobRow:
    """One job, or one attempt of it."""

    job: str
    state: str
    started: str
    seconds: float
    seed: int | None
    metrics: Mapping[str, float]
    id: str


def runs(folder: Path) -> list[RunRow]:
    """All runs of a workspace, the last one last."""
    of_run: dict[str, list[Line]] = {}
    for record in _all(folder):
        of_run.setdefault(str(record["run"]), []).append(record)
    known = records.runs(folder)
    lost = {run: {"run": run} for run in of_run if run not in known}
    return [_row(line, of_run.get(run, [])) for run, line in {**lost, **known}.items()]


def jobs(folder: Path, run: str) -> list[JobRow]:
    """The jobs of one run.

    Args:
        folder: the workspace.
        run: its id, the beginning of its id, or `last`.

    Raises:
        UserError: there is no such run, or more than one.
    """
    known = list(dict.fromkeys([*records.runs(folder), *(str(r["run"]) for r in _all(folder))]))
    meant = known[-1:] if run == "last" else [name for name in known if name.startswith(run)]
    if len(meant) != 1:
        what = "several runs begin so" if meant else "no such run"
        raise UserError(what, value=run, hint=did_you_mean(run, meant or known))
    return [
        JobRow(
            job=str(record["job"]),
            state=str(record["state"]),
            started=str(record["started"]),
            seconds=_seconds(record["started"], record["ended"]),
            seed=record["seed"],
            metrics=record["metrics"],
            id=str(record["id"]),
        )
        for record in _all(folder)
        if record["run"] == meant[0]
    ]


def _all(folder: Path) -> list[Line]:
    found = [record for file in records.files(folder) for record in records.lines(file)]
    return sorted((r for r in found if "run" in r), key=lambda record: str(record["ended"]))


def _row(line: Line, made: list[Line]) -> RunRow:
    last = next((record for record in reversed(made) if record["metrics"]), None)
    started = str(line.get("started") or (made[0]["started"] if made else ""))
    ended = str(line.get("ended") or (made[-1]["ended"] if made else started))
    return RunRow(
        run=str(line["run"]),
        experiment=str(line.get("experiment", "")),
        command=str(line.get("command", "")),
        started=started,
        seconds=_seconds(started, ended),
        state=str(line.get("state", "running")),
        finished=sum(1 for record in made if record["state"] == "finished"),
        failed=sum(1 for record in made if record["state"] == "failed"),
        job=str(last["job"]) if last else None,
        metrics=last["metrics"] if last else {},
    )


def _seconds(started: str, ended: str) -> float:
    if not started:
        return 0.0
    between = dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(started)
    return round(between.total_seconds(), 3)
