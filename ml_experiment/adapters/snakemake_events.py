"""What Snakemake's events mean for us: records, the live display, a run's last lines.

Everything here runs on Snakemake's listener thread, one event after the other.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from ml_experiment import (
    atomic,
    compare,
    ending,
    host,
    keeping,
    keys,
    locks,
    records,
    repository,
    staleness,
    tracking,
    travelling,
)
from ml_experiment.adapters import outcomes, slurm, snakemake_metadata
from ml_experiment.adapters import snakemake as rules
from ml_experiment.attempts import Started
from ml_experiment.hashing import of_text
from ml_experiment.plan import STATE, Plan
from ml_experiment.recording import Recorder, utc
from ml_experiment.records import Line, Records
from ml_experiment.trials import TIMEOUT

if TYPE_CHECKING:
    from ml_experiment.adapters.terminal import Display

KILLED = 128  # an exit status above is a signal's, in a shell
REMARKS = 5  # lines of one kind at the end of a run
INTERRUPTED = "Terminating processes on user request"  # what Snakemake says of a Ctrl-C


class Session:
    """One run of a workflow, as its events tell it.

    Args:
        stream: where its last lines go.
        live: whether it shows what runs, in the place of Snakemake.
        offline: whether records are only kept, to be sent later.
        name: the MLflow experiment of a workflow that has no experiment file.
    """

    def __init__(
        self, stream: TextIO, *, live: bool, offline: bool = False, name: str | None = None
    ) -> None:
        outcomes.expect(lambda: keeping.is_wanted(self.plan, os.environ))
        self.stream = stream
        self.display = _display(stream) if live else None
        self.offline = offline
        self.name = name
        self.begun = time.time()
        self.cores: int | None = None
        self.recorder: Recorder | None = None
        self.writer: tracking.Writer | None = None
        self.watch: slurm.Watch | None = None
        self.started: dict[int, Started] = {}
        self.ran: list[str] = []
        self.again: list[tuple[Line, Line]] = []  # the record that a job had, and its new one
        self.failed: dict[int, str] = {}
        self.errors: list[str] = []
        self.remarks: dict[str, None] = {}
        self.differs: dict[str, dict[str, Any]] = {}  # of environments, from what they lock
        self.changes: list[str] = []  # the parts of keys that differ from those of earlier records

    def take(self, event: LogEvent, fields: Mapping[str, Any]) -> None:
        """One event with its fields; `created` is its time."""
        if event == LogEvent.JOB_INFO:
            self.job_info(fields)
        elif event == LogEvent.JOB_FINISHED:
            self.finished(fields["job_id"], fields["created"])
        elif event == LogEvent.JOB_ERROR:
            self.error(fields)
        elif event == LogEvent.RESOURCES_INFO:
            self.cores = fields.get("cores", self.cores)
        elif event == LogEvent.RUN_INFO and self.display:
            self.display.studies.planned = fields["stats"]
        elif event == LogEvent.PROGRESS and self.display:
            self.display.progress(fields["done"], fields["total"])

    def said(self, message: str) -> None:
        """Something that is no event: which jobs in Slurm are ours, and that somebody wants an end."""
        if named := slurm.NAMED.match(message):
            self.watch = slurm.Watch(self.folder, named[1])
        elif message.startswith(INTERRUPTED):
            self.errors.append("interrupted")
            if self.watch is not None:
                self.watch.interrupt()

    def trouble(self, message: str) -> None:
        """Something that Snakemake says against the workflow; a failed job has a card instead."""
        self.errors.append(message)

    @property
    def plan(self) -> Plan | None:
        """The plan of this workflow, once its Snakefile has been read; None for a foreign one."""
        return rules.opened()[-1].plan if rules.opened() else None

    @property
    def folder(self) -> Path:
        """The workspace: where Snakemake works."""
        return self.plan.folder if self.plan else Path.cwd()

    def open(self) -> Recorder:
        """Where this run's jobs are recorded; the run itself is, when this is first called."""
        if self.recorder is None:
            moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.begun))
            run = f"{moment}-{secrets.token_hex(3)}"
            folder = self.folder
            if self.plan is not None:
                travelling.take(self.plan)
            self.recorder = Recorder(folder, self.plan, run, snakemake_metadata.reader(folder))
            records.append(records.runs_file(folder), self._run(self.recorder))
            if not self.offline:
                self.writer = tracking.Writer(folder, run)
        return self.recorder

    def _run(self, recorder: Recorder) -> dict[str, Any]:
        """What is the same for all jobs of this run."""
        plan = recorder.plan
        state = repository.state(recorder.folder)
        git = None
        if state is not None:
            git = {**dataclasses.asdict(state), "diff": _keep_diff(recorder, state.diff)}
        line = {
            "command": shlex.join(["snakemake", *sys.argv[1:]]),
            "config": dict(plan.config) if plan else {},
            "cores": self.cores,
            "experiment": plan.experiment.name if plan else self.name or recorder.folder.name,
            "file": plan.file if plan else None,
            "git": git,
            "host": host.describe(),
            "results": plan.results if plan else None,
            "run": recorder.run,
            "seed": plan.experiment.seed if plan else None,
            "started": utc(self.begun),
        }
        redacted: dict[str, Any] = recorder.redactor.data(line)
        return redacted

    def job_info(self, fields: Mapping[str, Any]) -> None:
        """A job is about to start."""
        if not fields["output"]:
            return
        if all(staleness.is_ours(str(path)) for path in fields["output"]):  # a marker
            return
        bare = {name: [_bare(path) for path in fields[name]] for name in ("input", "output", "log")}
        started = self.open().started({**fields, **bare}, fields["created"])
        self.started[fields["jobid"]] = started
        if self.display:
            before = self.open().before.finished
            self.display.studies.begun(self.plan, started.job, before, started.at)
            self.display.started(started.name)

    def finished(self, jobid: int, at: float) -> None:
        """A job has succeeded, and its outputs are there."""
        started = self.started.pop(jobid, None)
        if started is None:
            return
        self.failed.pop(jobid, None)
        self.ran.append(started.name)
        recorder = self.open()
        recorder.digests.take(outcomes.of(jobid))
        record = recorder.finished(started, at, outcomes.host_of(jobid))
        if self.plan is not None:
            step = started.job.step if started.job else None
            travelling.withdraw(self.plan, started.rule, step)
        if self.display:
            self.display.studies.ended(started.job, record, at)
        if self.display and (record.get("trial") or {}).get("state") == "failed":
            self.display.failed(started.name)
        elif self.display:
            self.display.finished(started.name, at - started.at)
        self._remark(recorder, started, record)
        if self.writer:
            self.writer.notify()

    def _remark(self, recorder: Recorder, started: Started, record: dict[str, Any]) -> None:
        """What is to be said of a job at the end of the run."""
        key = record["key"] or {}
        before = recorder.before.finished.get(started.name)
        if before is not None:
            self.again.append((before, record))
        environment = record["environment"] or {}
        if environment.get("differs"):
            self.differs.setdefault(environment["name"], {}).update(environment["differs"])
        if record.get("trial") and record["exit_code"] == TIMEOUT:
            text = "a timeout: what is found from here on depends on how fast this machine is"
            self.remarks[f"{started.name}: {text}"] = None
        for path, entry in record["inputs"].items():
            if entry.get("changed"):
                text = "changed while the job ran: what was made of it is not to be trusted"
                self.remarks[f"{started.name}: {path} {text}"] = None
        if started.job is not None and not started.job.step.step.by_hand:
            for path in sorted(records.imported(record["boot"]) - {*key.get("code", {})}):
                text = (
                    f"{started.rule} imported {path} in a way that cannot be read from its code: "
                    f"a change of it does not run {started.rule} again; make it an input"
                )
                self.remarks[text] = None

    def error(self, fields: Mapping[str, Any]) -> None:
        """An attempt of a job has failed; Snakemake may try again."""
        started = self.started.pop(fields["jobid"], None)
        if started is None:
            return
        recorder, plan, job = self.open(), self.plan, started.job
        if self.display:
            self.display.studies.gave_up(started.job)
            self.display.failed(started.name)
        failure, log = recorder.attempts.failure(started), started.log
        beside = [path for path in fields.get("log") or () if _bare(path) not in started.logs]
        said = _reason(str(fields.get("rule_msg") or ""))
        # An executor may know best why a program was ended from outside, and have a log of its own.
        ended = failure.status is None or (beside and failure.status > KILLED)
        if ended and (said or beside):
            own = os.path.relpath(beside[-1], self.folder) if beside else ""
            failure = recorder.attempts.unfinished(started, failure, said, own)
            log = ", ".join(path for path in (log, own) if path)
        if plan is not None:
            target = started.outputs[0] if job is None else ending.job_target(plan, job)
            self.failed[fields["jobid"]] = ending.card(
                started.name,
                log or "none: the rule declares no log",
                ending.rerun(plan, target),
                params={} if job is None else {**job.case.values, **job.case.params},
                seed=None if job is None else plan.seed(job),
                tail=failure.tail,
            )
        recorder.failed(started, fields["created"], failure, outcomes.host_of(fields["jobid"]))
        if self.writer:
            self.writer.notify()

    def end(self) -> None:
        """Cards of what failed, then the last lines; nothing where nothing ran."""
        if self.watch is not None:
            self.watch.end()
        if self.display:
            self.display.close()
            if self.errors and not self.failed:  # Snakemake itself is told to be quiet then
                print(*self.errors, sep="\n", file=self.stream, flush=True)
        plan = self.plan
        before = self._before(plan) if plan is not None and not self.errors else None
        found = self._found(plan, before) if plan is not None and before is not None else []
        if self.recorder is not None:
            self._close(self.recorder)
        elif not self.offline and tracking.waiting(self.folder):
            self.writer = tracking.Writer(self.folder)
        if self.ran or self.failed:
            self._tell(found)
            if plan is not None:
                elapsed = time.time() - self.begun
                kept = "" if self.failed or self.errors else keeping.keep(plan)
                text = ending.summary(plan, self.ran, self.changes, len(self.failed), elapsed, kept)
                print(*self.failed.values(), text, sep="\n", file=self.stream, flush=True)
        elif plan is not None and before is not None:
            self._nothing_to_do(plan, before)
        if self.writer is not None:
            self.writer.finish(self.stream, _sending(self.stream))

    def _before(self, plan: Plan) -> Records:
        """What was recorded before this run."""
        return self.recorder.before if self.recorder else records.read(staleness.record_file(plan))

    def _nothing_to_do(self, plan: Plan, before: Records) -> None:
        """Snakemake goes by time; an output with other bytes than its record says is named."""
        edited = sorted(staleness.edited(plan, before))
        for path in edited[:REMARKS]:
            text = "is not what its record says: edited by hand, or made without a record"
            print(f"{path} {text}", file=self.stream)
        if len(edited) > REMARKS:
            print(f"… and {len(edited) - REMARKS} more (`ml-experiment status`)", file=self.stream)
        if self.display:
            state = "" if edited else ", everything is up to date"
            print(f"{plan.experiment.name}: nothing to do{state}", file=self.stream)

    def _found(self, plan: Plan, before: Records) -> list[str]:
        """Outputs without a record get one, unless something failed."""
        if self.failed or (self.recorder is None and not Recorder.unrecorded(plan, before)):
            return []
        return self.open().found(self.begun, time.time())

    def _close(self, recorder: Recorder) -> None:
        """The run's last line, and what came out otherwise although nothing declared changed."""
        line = {
            "ended": utc(time.time()),
            "failed": len(self.failed),
            "finished": len(self.ran),
            "run": recorder.run,
            "state": "failed" if self.failed or self.errors else "finished",
        }
        records.append(records.runs_file(recorder.folder), line)
        pairs = recorder.with_details(self.again)
        told = [text for before, now in pairs if (text := compare.unexplained(before, now))]
        more = [f"… and {len(told) - REMARKS} more"] if len(told) > REMARKS else []
        self.remarks.update(dict.fromkeys([*told[:REMARKS], *more]))
        found = {
            change
            for before, now in pairs
            if before["key_digest"] != now["key_digest"]
            for change in keys.changes(before.get("key") or {}, now["key"] or {})
        }
        self.changes = sorted(found)

    def _tell(self, found: list[str]) -> None:
        for name, packages in sorted(self.differs.items()):
            print(f"{name}: not as it is locked: {locks.told(packages)}", file=self.stream)
        for text in self.remarks:
            print(text, file=self.stream)
        if found:
            what = ", ".join(found[:REMARKS]) + (", …" if len(found) > REMARKS else "")
            print(f"made before without a record, now recorded as found: {what}", file=self.stream)


def _sending(stream: TextIO) -> Callable[[dict[str, Any] | None], None]:
    from ml_experiment.adapters.terminal import sending  # noqa: PLC0415  # 25 ms of rich

    return sending(stream)


def _reason(said: str) -> str:
    """What an executor says of a job that has failed, without what it says of every one."""
    return _ASIDE.split(said, maxsplit=1)[0].strip()


_ASIDE = re.compile(r"For further error details|^\s*sbatch call:", re.MULTILINE)


def _bare(path: object) -> str:
    """A path without the note that Snakemake puts behind some."""
    return _NOTE.sub("", str(path))


_NOTE = re.compile(
    r" \((?:(?:cached|pipe|service|nodelocal|update|before update|access: \w+)(?:, )?)?"
    r"(?:retrieve from storage|only provide storage uri|send to storage|in storage)?\)$"
)


def _keep_diff(recorder: Recorder, diff: str | None) -> str | None:
    """Keep the text of a diff once, under its digest."""
    if not diff:
        return None
    text = recorder.redactor.text(diff)
    path = f"{STATE}/diffs/{of_text(text)}.patch"
    atomic.write_if_changed(recorder.folder / path, text)
    return path


def _display(stream: TextIO) -> Display:
    from ml_experiment.adapters.terminal import Display  # noqa: PLC0415  # 25 ms of rich

    return Display(stream)
