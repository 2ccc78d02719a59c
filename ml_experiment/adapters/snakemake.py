"""What the Snakefile sees: the plan as rules.

`workflow/rules/experiment.smk` asks `experiment(config)` and declares a rule for each of
`.rules`. Functions that give command and prefix declare `input`, so that Snakemake does not
record their values: what makes a job run again is its key file, an ordinary input.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import directory

from ml_experiment import hashing, keys, launch, overrides, sources, staleness, workspace
from ml_experiment.errors import MLExperimentError, UserError, did_you_mean
from ml_experiment.model import Seeding
from ml_experiment.plan import Job, Plan, StepPlan, by_hand_id

FEW = 64  # as many jobs as a wildcard's pattern may list

_opened: list[Experiment] = []
_before: list[workspace.Before] = []
_dry = False


def experiment(config: Mapping[str, Any]) -> Experiment:
    """The experiment of this workflow, planned, with its key files written.

    Args:
        config: Snakemake's: `experiment` names the file, `variant` the variant; a key of the
            experiment overrides the file's; others are the Snakefile's own.

    Raises:
        WorkflowError: everything that is wrong with the experiment.
    """
    file, given = config.get("experiment"), overrides.from_config(config)
    try:
        given = overrides.ours(given)
        opened = Experiment(workspace.open_plan(Path(str(file)) if file else None, given))
    except MLExperimentError as error:
        raise WorkflowError(str(error)) from None
    workspace.write_keys(opened.plan, _before if _dry else None)
    _opened.append(opened)
    return opened


def dry_run() -> None:
    """Say that this process runs nothing: then its key files are put back by `close`."""
    global _dry  # noqa: PLW0603  # one process, one Snakemake
    _dry = True


def close() -> None:
    """The last that this process does with the experiment."""
    workspace.put_back(_before)


def opened() -> list[Experiment]:
    """The experiments that this process's Snakefiles have opened: for the logger plugin."""
    return list(_opened)


class Experiment:
    """The global `experiment` of a Snakefile."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = str(plan.folder)
        self.results = plan.results
        self.logs = plan.logs
        self._seeding: dict[str, Seeding] = {}  # of hand-written rules, as their key says

    @property
    def rules(self) -> list[StepRule]:
        """A rule for each step, in declared order."""
        return [StepRule(self.plan, step) for step in self.plan.steps.values()]

    @property
    def tables(self) -> list[TableRule]:
        """A rule for each step that has a table."""
        return [TableRule(self.plan, step) for step in self.plan.steps.values() if step.tabled]

    @property
    def targets(self) -> list[str]:
        """Every output that no other job takes, and the tables: what `rule all` asks for."""
        taken: set[str] = set()
        for job in self.plan.all_jobs():
            taken.update(_flat(self.plan.inputs(job)))
            if job.step.tabled:
                taken.add(self.plan.metrics(job) or "")
        paths = [
            self.plan.path(job, file)
            for job in self.plan.all_jobs()
            for file in job.step.files.values()
        ]
        tables = [path for table in self.tables for path in table.output]
        return [path for path in [*paths, *tables] if path not in taken]

    def started(self) -> None:
        """Before the first job: outputs that were edited by hand are kept aside."""
        try:
            kept = staleness.keep_edited(self.plan)
        except MLExperimentError as error:
            sys.stderr.write(f"what was edited by hand is not known: {error}\n")
            return
        for path, copy in kept:
            sys.stderr.write(f"{path} was edited by hand: a copy is in {copy}\n")

    def path(self, reference: str) -> str | list[str]:
        """The path of `step.output`, or the paths where the step is many jobs.

        Raises:
            WorkflowError: there is no such step or output.
        """
        name, _, output = reference.partition(".")
        step = self.plan.steps.get(name)
        if step is None:
            hint = did_you_mean(name, self.plan.steps)
            raise WorkflowError(str(UserError("no such step", value=reference, hint=hint)))
        if output in ("table", "summary") and step.tabled and output not in step.step.outputs:
            return self.plan.table(step, output)
        if output not in step.files:
            hint = did_you_mean(output, step.files)
            raise WorkflowError(str(UserError("no such output", value=reference, hint=hint)))
        paths = [self.plan.path(job, step.files[output]) for job in self.plan.jobs(step)]
        return paths if step.many else paths[0]

    def key(
        self,
        name: str,
        *code: str,
        params: Mapping[str, Any] | None = None,
        seeding: Seeding = "full",
        environment: str | None = None,
    ) -> str:
        """The key file of a hand-written rule, for its `input:`.

        Args:
            name: the rule's name; its seed stream.
            code: its scripts; what they import of the project is found.
            params: what else makes it run again.
            seeding: "none" where nothing is random: then the seed is not part of the key.
            environment: a folder of envs/; the experiment's own where it is None.
        """
        self._seeding[name] = seeding
        found = sources.of_files(code, self.plan.folder)
        if found.problems or name in self.plan.steps:
            lines = [f"{what} ({hint})" if hint else what for what, hint in found.problems]
            if name in self.plan.steps:
                lines.append("a step of the experiment has this name")
            raise WorkflowError("\n".join(f"rule {name}: {line}" for line in lines))
        chosen = environment or self.plan.experiment.environment
        content = {
            "code": dict(found.files),
            "environment": keys.environment(self.plan, chosen),
            "params": dict(params or {}),
            "seed": None
            if seeding == "none"
            else {"root": self.plan.experiment.seed, "seeding": seeding, "stream": name},
        }
        path = self.plan.state("keys", f"{name}.json")
        text = workspace.key_text(content)
        workspace.write_key(self.plan.folder / path, text, _before if _dry else None)
        return path

    def launch(self, name: str, *, threads: int = 1) -> Callable[[Any, Any], str]:
        """The launch prefix of a hand-written rule, for its `params:`.

        With a wildcard `replicate` each replicate has a seed of its own; other wildcards do not
        change it, so that what they name is compared under common random numbers.
        """
        plan = self.plan

        def prefix(wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
            held = dict(wildcards.items())
            replicate = int(held.get("replicate", 0))
            job = by_hand_id(name, held)
            seeding = self._seeding.get(name, "full")
            return launch.by_hand(plan, name, replicate, job, threads, seeding)

        return prefix


class StepRule:
    """The attributes of one generated rule."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.plan = plan
        self.step = step
        self.name = step.name
        self.retries = step.step.retries
        self._jobs: dict[tuple[str, ...], Job] = {}

    @property
    def output(self) -> list[Any]:
        """The patterns of what it writes; folders are marked as such."""
        patterns = []
        for file in self.step.files.values():
            pattern = self._pattern(self.plan.results, f"/{file.rstrip('/')}")
            patterns.append(directory(pattern) if file.endswith("/") else pattern)
        return patterns

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
        """Memory and GPUs, where a case declares any. Fractions of a GPU are thousandths."""
        found: dict[str, Any] = {}
        works = [case.work for case in self.step.cases]
        if any(work.mem_mb is not None for work in works):
            found["mem_mb"] = lambda wildcards: self.job(wildcards).case.work.mem_mb or 0
        if any(work.gpus for work in works):
            found["gpu_milli"] = lambda wildcards: round(self.job(wildcards).case.work.gpus * 1000)
        return found

    def job(self, wildcards: Any) -> Job:
        """The job that Snakemake's wildcards mean."""
        held = dict(wildcards.items())
        try:
            return self.plan.job(self.name, held, held.get("replicate", ""))
        except KeyError:
            known = [job.id for job in self.plan.jobs(self.step)]
            asked = "/".join([self.name, ",".join(f"{k}={v}" for k, v in held.items())])
            problem = UserError("no such job", value=asked, hint=did_you_mean(asked, known))
            raise WorkflowError(str(problem)) from None

    def input(self, wildcards: Any) -> list[str]:
        """The key first, then the declared inputs."""
        job = self.job(wildcards)
        paths = [self.plan.key(job)]
        for value in self.plan.inputs(job).values():
            paths.extend([value] if isinstance(value, str) else value)
        return list(dict.fromkeys(paths))

    def threads(self, wildcards: Any) -> int:
        """As declared; Snakemake lowers its own number to the cores that there are."""
        return self.job(wildcards).case.work.threads

    def command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """All that the job's shell runs: what is printed, and what a person can paste."""
        job = self.job(wildcards)
        checkpoints = self._checkpoints(job)
        resumed = any(_holds_something(self.plan.folder / path) for path in checkpoints.values())
        line = launch.line(self.plan, job, checkpoints, resumed=resumed)
        if not checkpoints:
            return line
        folders = [
            path if path.endswith("/") else os.path.dirname(path) for path in checkpoints.values()
        ]
        done = self._checkpoint_folder(job)  # those of other parameters as well
        return f"mkdir -p {shlex.join(folders)} && {line} && rm -rf {shlex.quote(done)}"

    def _pattern(self, root: str, ending: str) -> str:
        case = ",".join(f"{axis}={{{axis}}}" for axis in self.step.axes)
        seed = "seed-{replicate}" if self.step.replicated else ""
        return "/".join(part for part in (root, self.name, case, seed) if part) + ending

    def _checkpoint_folder(self, job: Job) -> str:
        return self.plan.state("checkpoints", job.id)

    def _checkpoints(self, job: Job) -> dict[str, str]:
        """Name -> path. Another key or other inputs mean another folder: never a stale resume."""
        declared = job.step.step.checkpoints
        if not declared:
            return {}
        made_of: list[Any] = [keys.of_case(self.plan, job)]
        for path in _flat(self.plan.inputs(job)):
            try:
                status = (self.plan.folder / path).stat()
                made_of.append([path, status.st_size, status.st_mtime_ns])
            except OSError:  # a dry run: the input is not there yet
                made_of.append(path)
        digest = hashing.of_text(hashing.canonical(made_of))[:12]
        folder = f"{self._checkpoint_folder(job)}/{digest}"
        return {name: f"{folder}/{file}" for name, file in declared.items()}


class TableRule:
    """The rule of one step's table and summary."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.name = f"{step.name}.table"
        self.output = [plan.table(step, "table"), plan.table(step, "summary")]
        key = workspace.table_key(plan, step)
        self._input = [key, *(plan.metrics(job) or "" for job in plan.jobs(step))]
        words = [sys.executable, "-m", "ml_experiment.table", key, *self.output]
        self._command = shlex.join(words)

    def input(self, wildcards: Any) -> list[str]:
        """The key, and every metrics file."""
        return self._input

    def command(self, wildcards: Any, input: Any) -> str:
        """A Python of ours."""
        return self._command


def _flat(inputs: Mapping[str, str | list[str]]) -> Iterator[str]:
    for value in inputs.values():
        yield from [value] if isinstance(value, str) else value


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
