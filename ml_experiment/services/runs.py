"""`ml-experiment runs`: what was run, when, how long it took and what came out, by the records.

Two runs are compared by what there was after each: of a job that a run did not run, that is its last
record before.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import compare, records
from ml_experiment.compare import Difference, Pairs
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
        run: its id, the beginning of its id, `last`, or `last~1` for the one before.

    Raises:
        UserError: there is no such run, or more than one.
    """
    meant = _meant(folder, run)
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
        if record["run"] == meant
    ]


def _meant(folder: Path, run: str) -> str:
    """The id of the run that somebody means."""
    known = list(dict.fromkeys([*records.runs(folder), *(str(r["run"]) for r in _all(folder))]))
    if back := re.fullmatch(r"last(?:~(\d+))?", run):
        number = int(back[1] or 0)
        meant = known[-1 - number : len(known) - number] if number < len(known) else []
    else:
        meant = [name for name in known if name.startswith(run)]
    if len(meant) != 1:
        what = "several runs begin so" if meant else "no such run"
        raise UserError(what, value=run, hint=did_you_mean(run, meant or known))
    return meant[0]


@dataclass(frozen=True)
class Compared:
    """Two runs.

    Attributes:
        first, second: their ids.
        run: what was given, checked out and there for all jobs: seed, config, commit, machine.
        jobs: those that differ, in the order of their names.
        same: how many do not.
    """

    first: str
    second: str
    run: Pairs
    jobs: tuple[Difference, ...]
    same: int


def diff(folder: Path, first: str, second: str) -> Compared:
    """In what two runs differ, job by job.

    Args:
        folder: the workspace.
        first: its id, or a word for it, as of `jobs`.
        second: that of the other one.

    Raises:
        UserError: there is no such run, or more than one.
    """
    names = _meant(folder, first), _meant(folder, second)
    known = records.runs(folder)
    lines = [known.get(name, {}) for name in names]
    before, now = (_after(folder, name, line) for name, line in zip(names, lines, strict=True))
    found = [_job(job, before.get(job), now.get(job)) for job in sorted({*before, *now})]
    jobs = tuple(difference for difference in found if difference)
    of_run = compare.pairs(*map(_given, lines)) if all(lines) else {}
    return Compared(*names, of_run, jobs, len(found) - len(jobs))


def _job(job: str, before: Line | None, now: Line | None) -> Difference:
    if before is None or now is None:
        return Difference(job, only="second" if before is None else "first")
    return compare.between(before, now) if before["id"] != now["id"] else Difference(job)


def _after(folder: Path, run: str, line: Line) -> dict[str, Line]:
    """Job -> its last record when a run had ended, with its details."""
    files = records.files(folder)
    lines = {file: list(records.lines(file)) for file in files}
    own = [file for file in files if any(each.get("run") == run for each in lines[file])]
    if not own and line.get("results"):  # it ran nothing
        name = f"records{str(line['results']).removeprefix('results')}.jsonl"
        own = [file for file in files if file.name == name]
    found: dict[str, Line] = {}
    for file in own:
        ended = [str(each["ended"]) for each in lines[file] if each.get("run") == run]
        last = max([*ended, str(line.get("ended") or "")])
        wanted = (each for each in lines[file] if each.get("state") in ("finished", "failed"))
        then = {str(each["job"]): each for each in wanted if str(each["ended"]) <= last}
        details = records.details(file, {str(each["id"]) for each in then.values()})
        found.update({job: {**each, **details.get(each["id"], {})} for job, each in then.items()})
    return found


def _given(line: Line) -> dict[str, Any]:
    """What a run was given, and where it was."""
    host, git = line.get("host") or {}, line.get("git") or {}
    machine = {name: host.get(name) for name in ("hostname", "cpu", "gpus", "versions")}
    files = {"commit": git.get("commit"), "uncommitted": git.get("diff")}
    given = {name: line.get(name) for name in ("experiment", "file", "seed", "config")}
    return {**given, **files, **machine}


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
