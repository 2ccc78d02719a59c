"""The rules that `workflow/rules/experiment.smk` declares: what each gets from the plan.

Functions that give a command declare `input`, so that Snakemake does not record their values: what
makes a job run again is its key file, an ordinary input. Snakemake looks at the signature of every
function each time that it calls it, which for a method takes longer than the call: `signed` keeps it.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import directory

from ml_experiment import chosen, environments, hashing, keys, launch, staleness, workspace
from ml_experiment.adapters import apptainer
from ml_experiment.digests import Digests
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.model import seconds
from ml_experiment.plan import Job, Plan, StepPlan

MARGIN = 10  # minutes that a cluster's limit lies behind a step's own `timeout`
FEW = 64  # as many jobs as a wildcard's pattern may list


class StepRule:
    """The attributes of one generated rule.

    Args:
        plan: of the experiment.
        step: whose jobs they are.
        nested: whether another Snakemake has started this one, for one job.
    """

    def __init__(self, plan: Plan, step: StepPlan, *, nested: bool = False) -> None:
        self.plan = plan
        self.step = step
        self.nested = nested
        self.name = step.name
        self.local = step.study is not None  # gathering takes no longer than asking a cluster
        # Whoever has started this process tries again: Snakemake gives it `--retries 0`, which a
        # rule's own number would overrule. Without one `--retries` counts.
        self.retries = 0 if nested else step.step.retries or None
        self.input = signed(self._input)
        self.command = signed(self._command)

    @property
    def output(self) -> list[Any]:
        """The patterns of what it writes; folders are marked as such."""
        patterns = []
        for file in self.step.files.values():
            pattern = self._pattern(self.plan.results, f"/{file.rstrip('/')}")
            patterns.append(directory(pattern) if file.endswith("/") else pattern)
        return patterns

    @property
    def container(self) -> Any:
        """The image, where Snakemake starts the container; None: no container, also if all rules have one."""
        if self.plan.experiment.runtime != "apptainer" or self.step.study is not None:
            return None
        addresses = {apptainer.address(self.plan, c.work.environment) for c in self.step.cases}
        if len(addresses) == 1:
            return addresses.pop()
        return lambda wildcards: apptainer.address(
            self.plan, self.job(wildcards).case.work.environment
        )

    @property
    def conda(self) -> Any:
        """The file from which Snakemake makes the environment, with `runtime: conda`."""
        if self.plan.experiment.runtime != "conda" or self.step.study is not None:
            return None
        if len({case.work.environment for case in self.step.cases}) == 1:
            return self._conda(self.step.cases[0].work.environment)
        return lambda wildcards: self._conda(self.job(wildcards).case.work.environment)

    def _conda(self, name: str | None) -> str | None:
        return None if name is None else str(environments.conda(self.plan.folder, name))

    @property
    def envmodules(self) -> list[str]:
        """The modules that Snakemake loads, with `runtime: env-modules`.

        Raises:
            WorkflowError: they are not the same for all cases, of which Snakemake knows nothing.
        """
        if self.plan.experiment.runtime != "env-modules" or self.step.study is not None:
            return []
        names = sorted({case.work.environment or "" for case in self.step.cases})
        if len(names) > 1:
            what = "cases of a step have one environment with runtime: env-modules"
            raise WorkflowError(str(UserError(what, where=self.name, value=", ".join(names))))
        return environments.modules(self.plan.folder, names[0])

    @property
    def log(self) -> dict[str, str]:
        """What the job printed, and its boot report."""
        return {
            "log": self._pattern(self.plan.logs, ".log"),
            "boot": self._pattern(self.plan.state("boot"), ".jsonl"),
        }

    @property
    def wildcard_constraints(self) -> dict[str, str]:
        """The values that there are; any text without `/`, `,` and `=` where they are many."""
        values = {
            axis: dict.fromkeys(case.slugs[axis] for case in self.step.cases)
            for axis in self.step.axes
        }
        if self.step.replicated:
            values["replicate"] = dict.fromkeys(r.label for r in self.step.replicates)
        return {
            name: "|".join(map(re.escape, known)) if len(known) <= FEW else "[^/,=]+"
            for name, known in values.items()
        }

    @property
    def resources(self) -> dict[str, Any]:
        """Memory, GPUs and time, where they are declared.

        Fractions of a GPU are thousandths, for who can share one; `gpu` is whole ones, by the name
        that plugins for clusters know. A cluster's limit of time lies behind the step's own.
        """
        found: dict[str, Any] = {}
        works = [case.work for case in self.step.cases]
        if any(work.mem_mb is not None for work in works):
            found["mem_mb"] = lambda wildcards: self.job(wildcards).case.work.mem_mb or 0
        if any(work.gpus for work in works):
            found["gpu_milli"] = lambda wildcards: round(self.job(wildcards).case.work.gpus * 1000)
            found["gpu"] = lambda wildcards: math.ceil(self.job(wildcards).case.work.gpus)
        if all(work.timeout is not None for work in works):
            found["runtime"] = lambda wildcards: self._minutes(self.job(wildcards))
        return found

    @staticmethod
    def _minutes(job: Job) -> int:
        limit = seconds(job.case.work.timeout)
        assert limit is not None
        return math.ceil(limit / 60) + MARGIN

    def job(self, wildcards: Any) -> Job:
        """The job that Snakemake's wildcards mean."""
        held = dict(wildcards.items())
        try:
            return self.plan.job(self.name, held)
        except KeyError:
            known = [job.id for job in self.plan.jobs(self.step)]
            asked = "/".join([self.name, ",".join(f"{k}={v}" for k, v in held.items())])
            problem = UserError("no such job", value=asked, hint=did_you_mean(asked, known))
            raise WorkflowError(str(problem)) from None

    def _input(self, wildcards: Any) -> list[str]:
        """The key first, then the declared inputs."""
        return self._inputs(self.job(wildcards))

    def _inputs(self, job: Job) -> list[str]:
        return [self.plan.key(job), *self.plan.needs(job)]

    @property
    def threads(self) -> Any:
        """As declared; Snakemake lowers its own number to the cores that there are."""
        declared = {case.work.threads for case in self.step.cases}
        if len(declared) == 1:
            return declared.pop()
        return lambda wildcards: self.job(wildcards).case.work.threads

    def _command(self, wildcards: Any, input: Any) -> str | Later:  # Snakemake goes by the names
        """All that the job's shell runs: what is printed, and what a person can paste."""
        job = self.job(wildcards)
        return self.changed(job) or self._line(job, chosen.params(self.plan, job))

    def changed(self, job: Job) -> str | None:
        """What the shell runs instead where the job is no longer what is going to be recorded.

        A job that has waited for a cluster is planned anew where it runs, from files that may have
        been edited since. Its key file is as it was when the run began.
        """
        if not self.nested:
            return None
        path = self.plan.key(job)
        now = keys.of_case(self.plan, job)
        before = staleness.read_json(self.plan.folder / path)
        changes = keys.changes(before, json.loads(hashing.canonical(now)))
        return refusal(job.id, changes, self.plan.log(job)) if changes else None

    def _line(self, job: Job, params: Mapping[str, Any], suggestion: str = "") -> str:
        """The program; in a study `suggestion` is the id of what the trial tries."""
        folder = self._checkpoint_folder(job, params, suggestion)
        checkpoints = {name: f"{folder}/{file}" for name, file in job.step.step.checkpoints.items()}
        resumed = any(_holds_something(self.plan.folder / path) for path in checkpoints.values())
        line = launch.line(self.plan, job, params, checkpoints, resumed=resumed)
        if not checkpoints:
            return line
        folders = [
            path if path.endswith("/") else os.path.dirname(path) for path in checkpoints.values()
        ]
        done = os.path.dirname(folder)  # those of other parameters as well
        return f"mkdir -p {shlex.join(folders)} && {line} && rm -rf {shlex.quote(done)}"

    def _pattern(self, root: str, ending: str) -> str:
        case = ",".join(f"{axis}={{{axis}}}" for axis in self.step.axes)
        trial = "trial-{trial}" if self.step.trials_of else ""
        seed = "seed-{replicate}" if self.step.replicated else ""
        parts = (root, self.step.folder, case, trial, seed, self.step.part)
        return "/".join(part for part in parts if part) + ending

    def _checkpoint_folder(self, job: Job, params: Mapping[str, Any], suggestion: str) -> str:
        """Of one state of a job; empty where it has no checkpoints.

        Another key, other inputs or another suggestion mean another one: never a stale resume.
        """
        if not job.step.step.checkpoints:
            return ""
        made_of: list[Any] = [keys.of_case(self.plan, job), dict(params)]
        digests = Digests(self.plan.folder)
        for path in self.plan.needs(job):
            status = digests.stat(path)
            if status is None:  # a dry run: the input is not there yet
                made_of.append(path)
            else:  # a file that was copied and has its time is the same
                files = [status.what] if status.folder else []
                made_of.append([path, status.size, status.mtime, *files])
        made_of += [suggestion] if suggestion else []
        digest = hashing.of_text(hashing.canonical(made_of))[:12]
        return f"{self.plan.state('checkpoints', job.id)}/{digest}"


class Later:
    """A text that is made when it is shown.

    Snakemake asks for the command of every job when it plans, and shows those of a dry run. It asks
    again for that of a job which is about to run.
    """

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    @cached_property
    def _text(self) -> str:
        return self._make()

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return repr(self._text)

    def __format__(self, spec: str) -> str:
        return format(self._text, spec)


class TableRule:
    """The rule of one step's table and summary."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.name = f"{step.name}.table"
        self.output = [plan.table(step, "table"), plan.table(step, "summary")]
        key = workspace.table_key(plan, step)
        self._paths = [key, *(plan.metrics(job) or "" for job in plan.jobs(step))]
        words = [sys.executable, "-P", "-m", "ml_experiment.table", key, *self.output]
        self._line = shlex.join(words)

    def input(self, wildcards: Any) -> list[str]:
        """The key, and every metrics file."""
        return self._paths

    def command(self, wildcards: Any, input: Any) -> str:
        """A Python of ours."""
        return self._line


def refusal(name: str, changes: Sequence[str], log: str | None = None) -> str:
    """What a shell runs in the place of a job that has changed since its run began."""
    told = f"{name}: {', '.join(changes)} changed since this run began: the next one runs it"
    return f"echo {shlex.quote(told)} | tee {shlex.quote(log or '/dev/null')} >&2; exit 1"


def signed(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method as a function whose signature needs no looking for."""

    def call(*args: Any, **named: Any) -> Any:
        return method(*args, **named)

    call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    return call


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
