"""The rules that `workflow/rules/experiment.smk` declares: what each gets from the plan.

Functions that give a command declare `input`, so that Snakemake does not record their values: what
makes a job run again is its key file, an ordinary input. Snakemake looks at the signature of every
function each time that it calls it, which for a method takes longer than the call: `_known` keeps it.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from snakemake.exceptions import WorkflowError
from snakemake.io import directory

from ml_experiment import chosen, hashing, history, keys, launch, trying, workspace
from ml_experiment.asking import Asking
from ml_experiment.errors import MLExperimentError, UserError, did_you_mean
from ml_experiment.plan import Job, Plan, StepPlan, job_id
from ml_experiment.suggestions import Suggestions
from ml_experiment.trials import Kept

FEW = 64  # as many jobs as a wildcard's pattern may list
FIRST = 1_000_000  # the priority of the first trial


class StepRule:
    """The attributes of one generated rule."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.plan = plan
        self.step = step
        self.name = step.name
        self.retries = step.step.retries
        self.input = _known(self._input)
        self.command = _known(self._command)

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

    def _command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """All that the job's shell runs: what is printed, and what a person can paste."""
        job = self.job(wildcards)
        return self._line(job, chosen.params(self.plan, job))

    def _line(self, job: Job, params: Mapping[str, Any]) -> str:
        checkpoints = self._checkpoints(job, params)
        resumed = any(_holds_something(self.plan.folder / path) for path in checkpoints.values())
        line = launch.line(self.plan, job, params, checkpoints, resumed=resumed)
        if not checkpoints:
            return line
        folders = [
            path if path.endswith("/") else os.path.dirname(path) for path in checkpoints.values()
        ]
        done = self._checkpoint_folder(job)  # those of other parameters as well
        return f"mkdir -p {shlex.join(folders)} && {line} && rm -rf {shlex.quote(done)}"

    def _pattern(self, root: str, ending: str) -> str:
        case = ",".join(f"{axis}={{{axis}}}" for axis in self.step.axes)
        trial = "trial-{trial}" if self.step.trials_of else ""
        seed = "seed-{replicate}" if self.step.replicated else ""
        parts = (root, self.step.folder, case, trial, seed, self.step.part)
        return "/".join(part for part in parts if part) + ending

    def _checkpoint_folder(self, job: Job) -> str:
        return self.plan.state("checkpoints", job.id)

    def _checkpoints(self, job: Job, params: Mapping[str, Any]) -> dict[str, str]:
        """Name -> path. Another key or other inputs mean another folder: never a stale resume."""
        declared = job.step.step.checkpoints
        if not declared:
            return {}
        made_of: list[Any] = [keys.of_case(self.plan, job), dict(params)]
        for path in self.plan.needs(job):
            try:
                status = (self.plan.folder / path).stat()
                made_of.append([path, status.st_size, status.st_mtime_ns])
            except OSError:  # a dry run: the input is not there yet
                made_of.append(path)
        digest = hashing.of_text(hashing.canonical(made_of))[:12]
        folder = f"{self._checkpoint_folder(job)}/{digest}"
        return {name: f"{folder}/{file}" for name, file in declared.items()}


class TrialRule(StepRule):
    """The rule of a study's trials, or of an earlier part of them.

    Args:
        plan: of the experiment.
        step: of the trials.
        asking: suggests what is not suggested yet.
        studies: study and case -> its suggestions, which all parts of its trials share.
    """

    def __init__(
        self, plan: Plan, step: StepPlan, asking: Asking, studies: dict[str, Suggestions]
    ) -> None:
        super().__init__(plan, step)
        self.asking = asking
        self.running = False  # before that nobody is asked, and nothing is kept in mind
        self.priority = _known(self._priority)
        self._studies = studies
        self._equal: dict[str, list[int]] = {}  # own parameters -> the trials that have them

    def begin(self) -> None:
        """Jobs are about to run: what is on disk now may be what they replace."""
        self.running = True
        self._studies.clear()

    @property
    def wildcard_constraints(self) -> dict[str, str]:
        """Trials have numbers."""
        return {**super().wildcard_constraints, "trial": "[0-9]+"}

    @property
    def resources(self) -> dict[str, Any]:
        """The attempt too: a trial that fails is tried again first, and is a result then."""
        attempt = (lambda wildcards, attempt: attempt) if self.retries else 1
        return {**super().resources, "attempt": attempt}

    def _priority(self, wildcards: Any) -> int:
        """The first trials first: others wait for them."""
        return FIRST - int(wildcards.trial)

    def _inputs(self, job: Job) -> list[str]:
        """Key, declared inputs, and the trials that have to end before."""
        return [*super()._inputs(job), *history.of_trial(self.plan, job)]

    def _command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """The program with what the trial tries, which is decided now."""
        job = self.job(wildcards)
        found = self.decide(job)
        if isinstance(found, str):
            return found
        own = trying.own_params(job, found.suggestion.params)
        known = self.step.part and self.running  # a dry run need not know
        made = trying.made_of(self.plan, job, own) if known else ""
        line = self._same(job, own, made) or self._line(job, {**job.case.params, **own})
        return launch.trial(self.plan, job, line, found.identity, made)

    def decide(self, job: Job) -> Kept | str:
        """What a trial tries, or the line that its shell runs instead."""
        try:
            suggested = self._suggested(job)
        except MLExperimentError as error:
            return launch.no_trial(self.plan, job, str(error))
        if suggested is None:
            message = f"what {job.id} tries is not known before the trials have ended that it sees"
            return launch.no_trial(self.plan, job, message)
        if suggested == "stopped":
            return launch.no_trial(self.plan, job, None)
        for status in trying.earlier(self.plan, job):
            if status.get("state") != "complete":
                return launch.ended_before(self.plan, job, suggested.identity, status)
        return suggested

    def _same(self, job: Job, own: Mapping[str, Any], made: str) -> str | None:
        """The line that takes over what an earlier trial has made of the same, if one has."""
        if not made:
            return None
        assert job.trial is not None
        numbers = self._equal.setdefault(f"{job.case.label} {hashing.canonical(dict(own))}", [])
        for number in numbers:
            other = replace(job, trial=number)
            if number < job.trial and trying.holds(self.plan, other, made):
                return launch.taken_over(self.plan, job, other)
        if job.trial not in numbers:
            numbers.append(job.trial)
        return None

    def _suggested(self, job: Job) -> Kept | Literal["stopped"] | None:
        trials = self.step.trials_of
        assert trials is not None
        assert job.trial is not None
        label = job_id(trials.name, job.case.label, "")
        if label not in self._studies:
            layout = keys.layout(self.plan, job)
            self._studies[label] = Suggestions(
                self.plan.folder, layout, trials, job.case, self.asking
            )
        return self._studies[label].at(job.trial, ask=self.running)


class TrialByHand:
    """What a rule written by hand needs to be the trials of a study.

    Attributes:
        name: what the rule has to be called.
        input, output, log, priority, wildcard_constraints: for these directives.
        trial: for `params:`, a function; the first thing in the rule's shell.
    """

    def __init__(self, rule: TrialRule) -> None:
        self.name = rule.name
        self.input = rule.input
        status, metrics = rule.output
        self.output = {"metrics": metrics, "status": status}
        self.log = rule.log
        self.priority = rule.priority
        self.wildcard_constraints = rule.wildcard_constraints
        self.trial = _known(self._trial)
        self._rule = rule

    def param(self, name: str) -> Callable[..., Any]:
        """For `params:`, a function: the value of one parameter in a trial."""

        def value(wildcards: Any, input: Any) -> Any:  # Snakemake goes by the names
            job = self._rule.job(wildcards)
            try:
                known = chosen.params(self._rule.plan, job)
            except (FileNotFoundError, MLExperimentError):  # `trial` says what is wrong
                return ""
            return known.get(name, "")

        return value

    def product(self, name: str) -> Callable[..., str]:
        """For `params:`, a function: where a trial writes an output of the step."""

        def path(wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
            return self._rule.plan.outputs(self._rule.job(wildcards))[name]

        return path

    def _trial(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """Makes the suggestion, and what goes before the program in the shell."""
        job = self._rule.job(wildcards)
        found = self._rule.decide(job)
        if isinstance(found, str):
            return f"{found}; exit 0;"
        own = trying.own_params(job, found.suggestion.params)
        params = {**job.case.params, **own}
        return launch.trial_by_hand(self._rule.plan, job, params, found.identity)


class HistoryRule:
    """The rule of the markers of one study: see `history`."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.plan = plan
        self.trials = TrialRule(plan, step, Asking(), {})
        self.name = f"{step.folder}.history"
        case = ",".join(f"{axis}={{{axis}}}" for axis in step.axes)
        parts = (plan.state("history", step.folder), case, "{trial}")
        self.output = "/".join(part for part in parts if part)
        known = self.trials.wildcard_constraints
        self.wildcard_constraints = {axis: known[axis] for axis in (*step.axes, "trial")}

    def input(self, wildcards: Any) -> list[str]:
        """The metrics of its trials, and the marker before."""
        held = dict(wildcards.items())
        first = next(iter(self.trials.step.replicates)).label
        job = self.plan.job(self.trials.name, {**held, "replicate": first})
        assert job.trial is not None
        return history.of_marker(self.plan, job, job.trial)


class StudyRule(StepRule):
    """The rule of the job that gathers a study's trials."""

    @property
    def log(self) -> dict[str, str]:
        """What it had to say; it is no process that is seeded."""
        return {"log": self._pattern(self.plan.logs, ".log")}

    def _command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """A Python of ours."""
        job = self.job(wildcards)
        words = [sys.executable, "-m", "ml_experiment.services.gather", self.plan.key(job)]
        return f"{shlex.join(words)} > {shlex.quote(self.plan.log(job))} 2>&1"


class ViewRule(StepRule):
    """The rule of the views of one study: its dashboard's storage and its plots."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        super().__init__(plan, step)
        self.name = f"{step.name}.view"

    @property
    def output(self) -> list[Any]:
        """A folder: what is in it depends on what there is to draw."""
        return [directory(self._pattern(self.plan.results, "/view"))]

    @property
    def log(self) -> dict[str, str]:
        """What was left out and why."""
        return {"log": self._pattern(self.plan.logs, ".view.log")}

    def job(self, wildcards: Any) -> Job:
        """The job that gathers what is shown."""
        return self.plan.job(self.step.name, dict(wildcards.items()))

    def _input(self, wildcards: Any) -> list[str]:
        """Its key, and the trials as they were gathered."""
        job = self.job(wildcards)
        key = workspace.view_key(self.plan, job)
        return [key, self.plan.path(job, "trials"), self.plan.path(job, "trials.csv")]

    def _command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """A Python of ours."""
        job = self.job(wildcards)
        key = workspace.view_key(self.plan, job)
        words = [sys.executable, "-m", "ml_experiment.services.view", key]
        return f"{shlex.join(words)} > {shlex.quote(f'{self.plan.logs}/{job.id}.view.log')} 2>&1"


class TableRule:
    """The rule of one step's table and summary."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.name = f"{step.name}.table"
        self.output = [plan.table(step, "table"), plan.table(step, "summary")]
        key = workspace.table_key(plan, step)
        self._paths = [key, *(plan.metrics(job) or "" for job in plan.jobs(step))]
        words = [sys.executable, "-m", "ml_experiment.table", key, *self.output]
        self._line = shlex.join(words)

    def input(self, wildcards: Any) -> list[str]:
        """The key, and every metrics file."""
        return self._paths

    def command(self, wildcards: Any, input: Any) -> str:
        """A Python of ours."""
        return self._line


def _known(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method as a function whose signature needs no looking for."""

    def call(*args: Any, **named: Any) -> Any:
        return method(*args, **named)

    call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    return call


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
