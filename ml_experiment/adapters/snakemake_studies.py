"""The rules of studies: trials, also written by hand, their histories, what gathers and shows them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from snakemake.io import directory

from ml_experiment import chosen, hashing, history, keys, launch, trying, workspace
from ml_experiment.adapters.snakemake_rules import Later, StepRule, signed
from ml_experiment.asking import Asking
from ml_experiment.ending import last_lines
from ml_experiment.errors import MLExperimentError
from ml_experiment.plan import Job, Plan, StepPlan, job_id
from ml_experiment.suggestions import Suggestions, TrialsFailedError
from ml_experiment.trials import Kept

FIRST = 1_000_000  # the priority of the first trial
NUMBER = {"trial": "[0-9]+"}  # a trial's wildcard
SHOWN = 15  # lines of the log of the first trial that failed
WARM = "ML_EXPERIMENT_WARM"  # where an executor keeps warm servers: boot/warm.sh


class TrialRule(StepRule):
    """The rule of a study's trials, or of an earlier part of them.

    Args:
        plan: of the experiment.
        step: of the trials.
        asking: suggests what is not suggested yet.
        studies: study and case -> its suggestions, which all parts of its trials share.
        nested: whether another Snakemake has started this one, for one job.
    """

    def __init__(
        self,
        plan: Plan,
        step: StepPlan,
        asking: Asking,
        studies: dict[str, Suggestions],
        *,
        nested: bool = False,
    ) -> None:
        super().__init__(plan, step, nested=nested)
        self.asking = asking
        # Before it runs nobody is asked, and nothing is kept in mind. A process that is there for
        # one job runs from the start; what it tries is known by then, and not asked again.
        self.running = nested
        self.priority = signed(self._priority)
        self.taken: dict[str, str] = {}  # job -> the folder of the trial that has made the same
        self._studies = studies
        self._warmed = False
        self._equal: dict[str, list[int]] = {}  # own parameters -> the trials that have them

    def begin(self) -> None:
        """Jobs are about to run: what is on disk now may be what they replace."""
        self.running = True
        self._studies.clear()

    @property
    def wildcard_constraints(self) -> dict[str, str]:
        """Trials have numbers."""
        return {**super().wildcard_constraints, **NUMBER}

    @property
    def resources(self) -> dict[str, Any]:
        """The attempt too: a trial that fails is tried again first, and is a result then."""
        attempt = (lambda wildcards, attempt: attempt) if self.step.step.retries else 1
        return {**super().resources, "attempt": attempt}

    def _priority(self, wildcards: Any) -> int:
        """The first trials first: others wait for them."""
        return FIRST - int(wildcards.trial)

    def _inputs(self, job: Job) -> list[str]:
        """Key, declared inputs, and the trials that have to end before."""
        return [*super()._inputs(job), *history.of_trial(self.plan, job)]

    def _command(self, wildcards: Any, input: Any) -> str | Later:  # Snakemake goes by the names
        """The program with what the trial tries, which is decided when that is about to run."""
        job = self.job(wildcards)
        return self._decided(job) if self.running else Later(lambda: self._decided(job))

    def _decided(self, job: Job) -> str:
        """What the shell of a trial runs."""
        self._warm_up(job)
        found = self.changed(job) or self.decide(job)
        if isinstance(found, str):
            return found
        own = trying.own_params(job, found.suggestion.params)
        known = self.step.part and self.running  # a dry run need not know
        made = trying.made_of(self.plan, job, own) if known else ""
        params = {**job.case.params, **own}
        line = self._same(job, own, made) or self._line(job, params, found.identity)
        checkpoint = self._checkpoint_folder(job, params, found.identity)
        return launch.trial(self.plan, job, line, found.identity, made, checkpoint)

    def _warm_up(self, job: Job) -> None:
        """The first trial's program will ask a warm server, which imports while the sampler does."""
        if not self.running or self.nested or self._warmed or WARM not in os.environ:
            return
        self._warmed = True
        line = launch.warm_up(self.plan, job)
        if line is not None:
            nowhere = subprocess.DEVNULL
            self._shell = subprocess.Popen(  # which ends at once, and nobody waits for
                ["bash", "-c", line], stdin=nowhere, stdout=nowhere, stderr=nowhere
            )

    def decide(self, job: Job) -> Kept | str:
        """What a trial tries, or the line that its shell runs instead."""
        try:
            suggested = self._suggested(job)
        except TrialsFailedError as error:
            log = self.plan.log(replace(job, trial=error.first))
            end = last_lines(self.plan.folder / log, SHOWN)
            return launch.no_trial(
                self.plan, job, f"{error}\nits log is {log} and ends with\n{end}"
            )
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
        numbers = self._tried(job, own)
        for number in numbers:
            other = replace(job, trial=number)
            if number < job.trial and trying.holds(self.plan, other, made):
                self.taken[job.id] = self.plan.path(other, "").rstrip("/")
                return launch.taken_over(self.plan, job, other)
        if job.trial not in numbers:
            numbers.append(job.trial)
        return None

    def _tried(self, job: Job, own: Mapping[str, Any]) -> list[int]:
        """The trials that have tried just this, as far as this process knows; to be added to."""
        if not self.nested:
            key = f"{job.case.label} {hashing.canonical(dict(own))}"
            return self._equal.setdefault(key, [])
        assert job.trial is not None
        found = []
        for number in range(job.trial):
            other = self._suggested(replace(job, trial=number))
            if isinstance(other, Kept):
                params = trying.own_params(job, other.suggestion.params)
                if hashing.canonical(params) == hashing.canonical(dict(own)):
                    found.append(number)
        return found

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
        self.trial = signed(self._trial)
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
        found = self._rule.changed(job) or self._rule.decide(job)
        if isinstance(found, str):
            return f"{found}; exit 0;"
        own = trying.own_params(job, found.suggestion.params)
        params = {**job.case.params, **own}
        return launch.trial_by_hand(self._rule.plan, job, params, found.identity)


class HistoryRule:
    """The rule of the markers of one study: see `history`."""

    def __init__(self, plan: Plan, step: StepPlan) -> None:
        self.plan = plan
        self.step = step
        self.name = f"{step.folder}.history"
        case = ",".join(f"{axis}={{{axis}}}" for axis in step.axes)
        parts = (plan.state("history", step.folder), case, "{trial}")
        self.output = "/".join(part for part in parts if part)
        values = StepRule(plan, step).wildcard_constraints
        self.wildcard_constraints = {**{axis: values[axis] for axis in step.axes}, **NUMBER}

    def input(self, wildcards: Any) -> list[str]:
        """The metrics of its trials, and the marker before."""
        held = dict(wildcards.items())
        first = next(iter(self.step.replicates)).label
        job = self.plan.job(self.step.name, {**held, "replicate": first})
        assert job.trial is not None
        return history.of_marker(self.plan, job, job.trial)


class StudyRule(StepRule):
    """The rule of the job that gathers a study's trials, where all that they have made is."""

    @property
    def log(self) -> dict[str, str]:
        """What it had to say; it is no process that is seeded."""
        return {"log": self._pattern(self.plan.logs, ".log")}

    def _command(self, wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
        """A Python of ours."""
        job = self.job(wildcards)
        words = [sys.executable, "-P", "-m", "ml_experiment.services.gather", self.plan.key(job)]
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
        words = [sys.executable, "-P", "-m", "ml_experiment.services.view", key]
        return f"{shlex.join(words)} > {shlex.quote(f'{self.plan.logs}/{job.id}.view.log')} 2>&1"
