"""What Snakemake's events mean for us: records, the live display, a run's last lines.

Everything here runs on Snakemake's listener thread, one event after the other.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from ml_experiment import ending, keys, records, staleness
from ml_experiment.adapters import snakemake as rules
from ml_experiment.plan import Job, Plan
from ml_experiment.records import Digests

if TYPE_CHECKING:
    from ml_experiment.adapters.terminal import Display


@dataclass(frozen=True)
class Started:
    """A job that Snakemake has announced."""

    name: str
    rule: str
    job: Job | None  # of the plan; None for a table or a hand-written rule
    wildcards: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    log: str
    command: str
    at: float


class Session:
    """One run of a workflow, as its events tell it."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self.stream = stream
        self.display = _display(stream) if live else None
        self.begun = time.monotonic()
        self.started: dict[int, Started] = {}
        self.ran: list[str] = []
        self.changed: dict[str, None] = {}
        self.failed: dict[int, str] = {}
        self.errors: list[str] = []
        self.keys: dict[Path, dict[str, Any]] = {}
        self.unseen: dict[tuple[str, str], None] = {}  # modules that no import statement names
        self._plan: Plan | None = None

    def take(self, event: LogEvent, fields: Mapping[str, Any]) -> None:
        """One event with its fields."""
        if event == LogEvent.JOB_INFO:
            self.job_info(fields)
        elif event == LogEvent.JOB_FINISHED:
            self.finished(fields["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.error(fields)
        elif event == LogEvent.PROGRESS and self.display:
            self.display.progress(fields["done"], fields["total"])

    def trouble(self, message: str) -> None:
        """Something that Snakemake says against the workflow; a failed job has a card instead."""
        self.errors.append(message)

    def plan(self) -> Plan | None:
        """The plan of this workflow, once its Snakefile has been read; None for a foreign one."""
        if self._plan is None and rules.opened():
            self._plan = plan = rules.opened()[-1].plan
            self.file = staleness.record_file(plan)
            self.before = records.read(self.file).finished
            self.digests = Digests(plan.folder)
            for record in self.before.values():
                self.digests.learn(record["outputs"])
        return self._plan

    def job_info(self, fields: Mapping[str, Any]) -> None:
        """A job is about to start."""
        plan = self.plan()
        if plan is None or not fields["output"]:
            return
        rule, wildcards = str(fields["rule_name"]), dict(fields["wildcards"] or {})
        job = None
        if rule in plan.steps:
            job = plan.job(rule, wildcards, wildcards.get("replicate", ""))
        parts = [f"{key}={value}" for key, value in wildcards.items()]
        self.started[fields["jobid"]] = started = Started(
            name=job.id if job else "/".join([rule, *parts]),
            rule=rule,
            job=job,
            wildcards=wildcards,
            inputs=tuple(map(str, fields["input"])),
            outputs=tuple(map(str, fields["output"])),
            log=next(map(str, fields["log"] or []), ""),
            command=str(fields["shellcmd"] or ""),
            at=time.time(),
        )
        if self.display:
            self.display.started(started.name)

    def finished(self, jobid: int) -> None:
        """A job has succeeded, and its outputs are there."""
        started = self.started.pop(jobid, None)
        plan = self.plan()
        if started is None or plan is None:
            return
        record = self.record(plan, started, "finished")
        before = self.before.get(started.name)
        if before is not None:
            self.changed.update(dict.fromkeys(keys.changes(before["key"], record["key"])))
        records.append(self.file, record)
        self.failed.pop(jobid, None)
        self.ran.append(started.name)
        if started.job is not None:
            unseen = records.imported(plan.folder / plan.boot(started.job)) - {
                *record["key"]["code"]
            }
            self.unseen.update(dict.fromkeys((started.rule, path) for path in sorted(unseen)))
        if self.display:
            self.display.finished(started.name, time.time() - started.at)

    def error(self, fields: Mapping[str, Any]) -> None:
        """An attempt of a job has failed; Snakemake may try again."""
        started = self.started.pop(fields["jobid"], None)
        plan = self.plan()
        if started is None or plan is None:
            return
        tail = ending.last_lines(plan.folder / started.log) if started.log else ""
        records.append(self.file, {**self.record(plan, started, "failed"), "tail": tail})
        job = started.job
        target = started.outputs[0] if job is None else ending.job_target(plan, job)
        self.failed[fields["jobid"]] = ending.card(
            started.name,
            started.log or "none: the rule declares no log",
            ending.rerun(plan, target),
            params={} if job is None else {**job.case.values, **job.case.params},
            seed=None if job is None else plan.seed(job),
            tail=tail,
        )
        if self.display:
            self.display.failed(started.name)

    def record(self, plan: Plan, started: Started, state: str) -> dict[str, Any]:
        """The record of a job that has ended."""
        key_file = next((path for path in started.inputs if staleness.is_key(path)), None)
        inputs = [path for path in started.inputs if path != key_file]
        outputs = started.outputs if state == "finished" else ()
        job = started.job
        key = self.key(plan.folder / key_file) if key_file else {}
        return {
            "command": started.command,
            "ended": _utc(time.time()),
            "inputs": {path: self.digests.entry(path) for path in inputs},
            "job": started.name,
            "key": key,
            "key_digest": keys.digest(key),
            "key_file": key_file,
            "log": started.log,
            "outputs": {path: self.digests.entry(path) for path in outputs},
            "rule": started.rule,
            "seed": plan.seed(job) if job else None,
            "started": _utc(started.at),
            "state": state,
            "wildcards": dict(started.wildcards),
        }

    def key(self, file: Path) -> dict[str, Any]:
        """The content of a key file; it does not change while a workflow runs."""
        if file not in self.keys:
            self.keys[file] = _key(file)
        return self.keys[file]

    def end(self) -> None:
        """Cards of what failed, then the last lines; nothing where nothing ran."""
        if self.display:
            self.display.close()
            if self.errors and not self.failed:  # Snakemake itself is told to be quiet then
                print(*self.errors, sep="\n", file=self.stream, flush=True)
        plan = self.plan()
        if plan is None:
            return
        if not self.ran and not self.failed:
            if self.display and not self.errors:
                name = plan.experiment.name
                print(f"{name}: nothing to do, everything is up to date", file=self.stream)
            return
        for rule, path in self.unseen:
            text = (
                f"{rule} imported {path} in a way that cannot be read from its code: a change of it"
            )
            print(f"{text} does not run {rule} again; make it an input", file=self.stream)
        elapsed = time.monotonic() - self.begun
        text = ending.summary(plan, self.ran, self.changed, len(self.failed), elapsed)
        print(*self.failed.values(), text, sep="\n", file=self.stream, flush=True)


def _display(stream: TextIO) -> Display:
    from ml_experiment.adapters.terminal import Display  # noqa: PLC0415  # 25 ms of rich

    return Display(stream)


def _utc(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
