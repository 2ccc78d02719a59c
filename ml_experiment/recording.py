"""What a record says of a job, put together when the job has ended.

A job of a plan has a key, a seed and named parameters. Of any other, a hand-written rule's or one
of a foreign Snakefile, what Snakemake tells is recorded.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment import (
    keeping,
    keys,
    launcher,
    locks,
    metrics,
    records,
    redact,
    registered,
    staleness,
    trying,
)
from ml_experiment.attempts import Attempts, Failure, Started
from ml_experiment.digests import Digests
from ml_experiment.errors import MLExperimentError
from ml_experiment.hashing import of_text
from ml_experiment.plan import STATE, Plan, by_hand_id
from ml_experiment.records import Line, Records


@dataclass
class Recorder:
    """The records of one run of Snakemake.

    Args:
        folder: the workspace.
        plan: what the experiment file declares; None for a foreign Snakefile.
        run: the run's id.
        metadata: output -> what Snakemake has kept of the job that made it.
    """

    folder: Path
    plan: Plan | None
    run: str
    metadata: Callable[[str], Mapping[str, Any]]
    digests: Digests = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)  # attempts of each job
    _keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    _locks: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder, plan = self.folder, self.plan
        self.file = staleness.record_file(plan) if plan else folder / STATE / "records.jsonl"
        self.before = records.read(self.file)
        self.digests = Digests(folder, listed=keeping.is_wanted(plan, os.environ))
        earlier = [*self.before.found.values(), *self.before.finished.values()]
        for kind in ("inputs", "outputs"):  # what is learned last counts
            for record in earlier:
                self.digests.learn(record[kind])
        steps = plan.steps.values() if plan else ()
        passed = {name for step in steps for case in step.cases for name in case.work.env}
        self.redactor = redact.redactor(os.environ, sorted(passed))
        self.attempts = Attempts(folder, plan, self.redactor)

    def started(self, event: Mapping[str, Any], at: float) -> Started:
        """A job that is about to run, of the fields of Snakemake's event."""
        rule, wildcards = str(event["rule_name"]), dict(event["wildcards"] or {})
        job = None
        if self.plan and rule in self.plan.steps:
            job = self.plan.job(rule, wildcards)
        inputs = tuple(map(str, event["input"]))
        if job is not None and job.trial is not None and self.plan is not None:
            inputs = (*inputs, self.plan.suggestion(job))
        return Started(
            name=job.id if job else by_hand_id(rule, wildcards),
            rule=rule,
            job=job,
            wildcards=wildcards,
            inputs=inputs,
            outputs=tuple(map(str, event["output"])),
            logs=tuple(map(str, event["log"] or ())),
            command=str(event["shellcmd"] or ""),
            threads=int(event["threads"]),
            resources=_plain(event["resources"]),
            at=at,
            stats={path: self.digests.stat(path) for path in inputs if not staleness.is_ours(path)},
        )

    def finished(self, started: Started, at: float, host: str | None = None) -> dict[str, Any]:
        """Record a job that has succeeded; a trial may have, and have failed.

        `host` is where it has run, if not on this machine.
        """
        failed = trying.status(self.plan, started.job).get("state") == "failed"
        record = self._record(
            started, "finished", at, self.attempts.failure(started) if failed else None
        )
        self._add(record, host)
        return record

    def failed(
        self, started: Started, at: float, failure: Failure, host: str | None = None
    ) -> dict[str, Any]:
        """Record an attempt that has failed, with the end of its log."""
        record = self._record(started, "failed", at, failure)
        self._add(record, host)
        return record

    @staticmethod
    def unrecorded(plan: Plan, known: Records) -> bool:
        """Whether there may be outputs that no record tells of."""
        told = {*known.found, *known.finished}
        return any(
            unit.job not in told and all((plan.folder / path).exists() for path in unit.outputs)
            for unit in staleness.units(plan)
        )

    def found(self, begun: float, at: float) -> list[str]:
        """Record the outputs that were there when this run began, and no record says how made.

        What is newer is left alone: another run in the same workspace may be making it.

        Returns:
            The names of their jobs.
        """
        now = records.read(self.file)
        known = {*now.found, *now.finished, *self.counts}
        new = []
        for unit in staleness.units(self.plan) if self.plan else ():
            stats = () if unit.job in known else [self.digests.stat(p) for p in unit.outputs]
            if not stats or not all(s is not None and s.mtime < begun * 1e9 for s in stats):
                continue
            moment = utc(at)
            record = {
                "attempt": 0,
                "ended": moment,
                "inputs": {},  # of what they were made is not known
                "job": unit.job,
                "key_digest": None,
                "key_file": None,
                "log": "",
                "metrics": {},
                "outputs": self.digests.entries(unit.outputs),
                "rule": unit.step,
                "run": self.run,
                "seed": None,
                "started": moment,
                "state": "found",
                "wildcards": {},
            }
            records.add(self.file, record)
            new.append(unit.job)
        return new

    def with_details(self, pairs: Iterable[tuple[Line, Line]]) -> list[tuple[Line, Line]]:
        """Earlier records with their details, each beside the new one that it came with."""
        every = list(pairs)
        details = records.details(self.file, {before["id"] for before, _ in every})
        return [({**before, **details.get(before["id"], {})}, now) for before, now in every]

    def key(self, path: str) -> dict[str, Any]:
        """The content of a key file; it does not change while a workflow runs."""
        if path not in self._keys:
            self._keys[path] = staleness.read_json(self.folder / path)
        return self._keys[path]

    def _add(self, record: dict[str, Any], host: str | None) -> None:
        if host is not None:
            record["host"] = host
        record["id"] = records.add(self.file, record)

    def _record(
        self, started: Started, state: str, at: float, failure: Failure | None = None
    ) -> dict[str, Any]:
        key_file = next((path for path in started.inputs if staleness.is_key(path)), None)
        key = self.key(key_file) if key_file else None
        plan, job = self.plan, started.job
        attempt = self.counts[started.name] = self.counts.get(started.name, 0) + 1
        boot = failure.boot if failure else self.attempts.boot(started)
        made = (
            (*started.outputs, *trying.products(self.plan, started.job))
            if state == "finished"
            else ()
        )
        known = self.metadata(made[0]) if made and key is None else {}
        outputs = self.digests.entries(made)
        for entry in outputs.values():
            if entry["hash"] is None and entry["reason"] == "not there":
                entry["reason"] = "temporary"  # Snakemake had seen it, or the job had failed
        metrics_file, final = self._metrics(started, outputs)
        record = {
            "attempt": attempt,
            "boot": [{k: v for k, v in line.items() if k != "distributions"} for line in boot],
            "code": _code(key, known),
            "command": started.command,
            "ended": utc(at),
            "environment": self._environment(key, boot, known),
            "exit_code": failure.status if failure else 0,
            "inputs": self._inputs(started),
            "job": started.name,
            "key": key,
            "key_digest": None if key is None else keys.digest(key),
            "key_file": key_file,
            "log": started.log,
            "metrics": final,
            "metrics_file": metrics_file,
            "outputs": outputs,
            "params": trying.params(plan, job) if job and plan else _params(key, known),
            "resources": dict(started.resources),
            "rule": started.rule,
            "run": self.run,
            "seed": plan.seed(job) if plan and job else _seed(boot),
            "started": utc(started.at),
            "state": state,
            "threads": job.case.work.threads if job else started.threads,
            "wildcards": dict(started.wildcards),
        }
        if failure:
            record["tail"] = failure.tail
        if plan and not job and started.rule.rpartition(".")[0] not in plan.steps:
            record["by_hand"] = True
        if job and job.trial is not None:
            record["trial"] = trying.status(plan, job)
            record["reports"] = trying.reports(plan, job)
        if plan and job and state == "finished" and (models := registered.of_job(plan, job)):
            record["models"] = models
        return self._redacted(record)

    def _redacted(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record without secrets. Names that the project's own files have are none: by these it is
        compared with what is there.
        """
        found: dict[str, Any] = self.redactor.data(record)
        for name in ("job", "key_file", "log", "metrics_file", "rule", "wildcards"):
            found[name] = record[name]
        for name in ("code", "inputs", "outputs"):
            files = record[name] or {}
            found[name] = {path: self.redactor.data(entry) for path, entry in files.items()}
        return found

    def _inputs(self, started: Started) -> dict[str, dict[str, Any]]:
        """Digests of the inputs; one that is not as it was when the job began says so."""
        entries = self.digests.entries(started.stats)
        for path, before in started.stats.items():
            entry = entries[path]
            if before is not None and entry != before.entry(entry["hash"]):
                entry["changed"] = True
        return entries

    def _metrics(
        self, started: Started, outputs: Mapping[str, Mapping[str, Any]]
    ) -> tuple[str | None, dict[str, float]]:
        """The output that a job's metrics were read from, and their final values."""
        files = {self.folder / path: path for path in outputs}
        if started.job is not None and self.plan is not None:
            declared = self.plan.metrics(started.job)
            file = self.folder / declared if declared else None
        else:
            file = metrics.find([f for f, p in files.items() if outputs[p]["hash"] is not None])
        if file is None or file not in files:
            return None, {}
        try:
            return files[file], dict(metrics.read(file).final)
        except MLExperimentError:  # its reader says so: here it is no reason to lose the record
            return None, {}

    def _environment(
        self,
        key: Mapping[str, Any] | None,
        boot: Iterable[Mapping[str, Any]],
        known: Mapping[str, Any],
    ) -> dict[str, Any] | None:
        named = (key or {}).get("environment") or {}
        ran: dict[str, str] = {}
        for line in boot:
            ran.update(line.get("distributions") or {})
        python = next((line["python"]["version"] for line in boot if line.get("python")), None)
        found: dict[str, Any] = {
            "digest": named.get("digest"),
            "distributions": dict(sorted(ran.items())),
            "image": named.get("image"),
            "name": named.get("name"),
            "python": python,
        }
        for ours, theirs in (("image", "container_img_url"), ("conda", "conda_env")):
            if known.get(theirs):
                found[ours] = known[theirs]
        own = self.plan.pythons.get(found["name"] or "") if self.plan else None
        if own:
            found["venv"] = os.path.relpath(os.path.dirname(own), self.folder)
        if pulled := launcher.pulled_as(self.folder, found["image"] or ""):
            found["image"] = pulled["image"]
        if named and ran:
            found["differs"] = locks.differences(self._locked(named["name"]), ran)
        return found if any(found.values()) else None

    def _locked(self, name: str) -> dict[str, str]:
        """What an environment's folder pins; a file in it that cannot be read pins nothing."""
        if name not in self._locks:
            try:
                self._locks[name] = locks.locked(self.folder / "envs" / name)
            except MLExperimentError:
                self._locks[name] = {}
        return self._locks[name]


def _params(key: Mapping[str, Any] | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Named parameters; Snakemake keeps values without names, so those have numbers."""
    if key is not None:
        return dict(key.get("params") or {})
    return {f"params[{index}]": value for index, value in enumerate(known.get("params") or ())}


def _code(key: Mapping[str, Any] | None, known: Mapping[str, Any]) -> dict[str, str]:
    """File -> digest; of a foreign rule the digest of the code that Snakemake has kept."""
    if key is not None:
        return dict(key.get("code") or {})
    return {"rule": of_text(str(known["code"]))} if known.get("code") else {}


def _seed(boot: Iterable[Mapping[str, Any]]) -> int | None:
    """The seed of a hand-written rule, as its first process had it."""
    return next((line["seed"] for line in boot if line.get("seed") is not None), None)


def _plain(resources: Any) -> dict[str, Any]:
    """What a job asked for, without what Snakemake adds to every job."""
    items = dict(resources.items()) if resources else {}
    return {
        name: value
        for name, value in items.items()
        if isinstance(value, int | float | str) and name not in ("_cores", "_nodes", "tmpdir")
    }


def utc(seconds: float) -> str:
    """A moment as it stands in records, such as `2026-11-25T20:06:45.123Z`."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
