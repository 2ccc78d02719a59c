"""What the Snakefile sees: the plan as rules.

`workflow/rules/experiment.smk` asks `experiment(config)` and declares a rule for each of its
`rules`, `tables`, `trials`, `histories` and `views` (snakemake_rules.py, snakemake_studies.py).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from ml_experiment import (
    environments,
    keys,
    launch,
    launcher,
    overrides,
    rawdata,
    sources,
    staleness,
    workspace,
)
from ml_experiment.adapters import apptainer, docker_run, slurm, snakemake_command
from ml_experiment.adapters.snakemake_rules import StepRule, TableRule, refusal
from ml_experiment.adapters.snakemake_studies import (
    HistoryRule,
    StudyRule,
    TrialByHand,
    TrialRule,
    ViewRule,
)
from ml_experiment.asking import Asking
from ml_experiment.errors import MLExperimentError, UserError, did_you_mean
from ml_experiment.model import Seeding
from ml_experiment.plan import Job, Plan, by_hand_id
from ml_experiment.suggestions import Suggestions

# Snakemake keeps what it makes of jobs to its end, and Python by itself looks through it for garbage
# every 700 objects, and again when it ends: two fifths of the time that planning 5,000 trials took, and
# nothing is found.
GARBAGE = 50_000

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
    if 0 < gc.get_threshold()[0] < GARBAGE:  # 0: somebody has turned it off
        gc.set_threshold(GARBAGE)
        atexit.register(gc.freeze)
    file, given = config.get("experiment"), overrides.from_config(config)
    nested = snakemake_command.nested(sys.argv)
    if nested:
        slurm.end_with_job(os.environ)
    try:
        given = overrides.ours(given)
        plan = workspace.open_plan(Path(str(file)) if file else None, given)
        snakemake_command.check_profile(sys.argv, plan.folder)
        apptainer.see(plan)
        if snakemake_command.asks_for_containers(sys.argv, plan.folder, os.environ):
            launcher.offer()
    except MLExperimentError as error:
        raise WorkflowError(str(error)) from None
    opened = Experiment(plan, nested=nested)
    if not nested:  # that one is written by whoever has started this process
        for told in (*staleness.searched_again(plan), *rawdata.absences(plan)):
            sys.stderr.write(f"{told}\n")
        workspace.write_keys(plan, _before if _dry else None)
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

    def __init__(self, plan: Plan, *, nested: bool = False) -> None:
        self.plan = plan
        self.nested = nested  # whether another Snakemake has started this one, for one job
        self.folder = str(plan.folder)
        self.results = plan.results
        self.logs = plan.logs
        self._seeding: dict[str, Seeding] = {}  # of hand-written rules, as their key says
        self._changed: dict[
            str, list[str]
        ] = {}  # what differs from those keys, in a nested process
        self._asking = Asking()
        studied = (step for step in plan.steps.values() if step.trials_of)
        studies: dict[str, Suggestions] = {}
        self._trials = [
            TrialRule(plan, step, self._asking, studies, nested=nested) for step in studied
        ]

    @property
    def rules(self) -> list[StepRule]:
        """A rule for each step, in declared order, and for what gathers a study."""
        return [
            (StudyRule if step.study else StepRule)(self.plan, step, nested=self.nested)
            for step in self.plan.steps.values()
            if not step.trials_of and not step.step.by_hand
        ]

    @property
    def trials(self) -> list[TrialRule]:
        """A rule for the trials of each study, but for those that are written by hand."""
        return [rule for rule in self._trials if not rule.step.step.by_hand]

    def study(self, name: str) -> TrialByHand:
        """What a rule written by hand needs to be the trials of a study.

        Raises:
            WorkflowError: there is no such study, or its step is not `by_hand`.
        """
        by_hand = {r.step.folder: r for r in self._trials if r.step.step.by_hand}
        if name not in by_hand:
            hint = did_you_mean(name, by_hand) or "its step needs `by_hand: true`"
            problem = UserError("no study whose trials are by hand", value=name, hint=hint)
            raise WorkflowError(str(problem))
        return TrialByHand(by_hand[name])

    @property
    def histories(self) -> list[HistoryRule]:
        """A rule for the markers of each study."""
        return [HistoryRule(self.plan, rule.step) for rule in self._trials if not rule.step.part]

    @property
    def tables(self) -> list[TableRule]:
        """A rule for each step that has a table."""
        searched = self.plan.only_searched
        steps = self.plan.steps.values()
        return [TableRule(self.plan, s) for s in steps if s.tabled and s.name not in searched]

    @property
    def views(self) -> list[ViewRule]:
        """A rule for the views of each study."""
        return [ViewRule(self.plan, step) for step in self.plan.steps.values() if step.study]

    @property
    def targets(self) -> list[str]:
        """Every output that no other job takes, tables and views: what `rule all` asks for.

        A step that only a study uses is not run by itself, and its trials are what studies take.
        """
        taken: set[str] = set()
        asked = [job for job in self.plan.all_jobs() if not job.step.trials_of]
        for job in asked:
            taken.update(self.plan.needs(job))
            if job.step.tabled:
                taken.add(self.plan.metrics(job) or "")
        searched = self.plan.only_searched
        asked = [job for job in asked if job.step.name not in searched]
        paths = [self.plan.path(job, file) for job in asked for file in job.step.files.values()]
        tables = [path for table in self.tables for path in table.output]
        views = [self.plan.path(job, "view") for job in asked if job.step.study]
        return [path for path in [*paths, *tables, *views] if path not in taken]

    def started(self, *, elsewhere: bool = False) -> None:
        """Before the first job: images and virtual environments are there, an earlier run's jobs have
        ended, and what was edited by hand is kept.

        Args:
            elsewhere: whether jobs run on nodes, which may have what this machine has not.

        Raises:
            WorkflowError: an image is not there, or a virtual environment cannot be made.
        """
        if self.plan.images:
            self._containers = self._contained(elsewhere=elsewhere)
        if self.plan.pythons:
            self._hosted()
        for told in slurm.end_leftovers(self.plan.folder):
            sys.stderr.write(f"{told}\n")
        for rule in self._trials:
            rule.begin()
        try:
            kept = staleness.keep_edited(self.plan)
        except MLExperimentError as error:
            sys.stderr.write(f"what was edited by hand is not known: {error}\n")
            return
        for path, copy in kept:
            sys.stderr.write(f"{path} was edited by hand: a copy is in {copy}\n")

    def _contained(self, *, elsewhere: bool) -> docker_run.Watch | None:
        in_docker = self.plan.experiment.runtime == "docker"
        try:
            said = (docker_run if in_docker else apptainer).prepare(self.plan)
        except MLExperimentError as error:
            if not (elsewhere and in_docker):
                raise WorkflowError(str(error)) from None
            said = [f"on this machine, which need not be so on the nodes: {error}"]
            if shutil.which("docker") is None:
                sys.stderr.write(f"{said[0]}\n")
                return None
        left = docker_run.end_leftovers(self.plan.folder) if in_docker else ()
        for told in [*said, *left]:
            sys.stderr.write(f"{told}\n")
        return docker_run.Watch(self.plan.folder) if in_docker else None

    def _hosted(self) -> None:
        from ml_experiment.adapters import pip  # noqa: PLC0415  # packaging, and rich
        from ml_experiment.adapters.terminal import telling  # noqa: PLC0415

        try:
            with telling(sys.stderr) as say:
                pip.prepare(self.plan, say)
        except MLExperimentError as error:
            raise WorkflowError(str(error)) from None

    def taken_from(self, job: Job) -> list[str]:
        """The folders of other trials that a job takes what they have made from."""
        return [rule.taken[job.id] for rule in self._trials if job.id in rule.taken]

    def path(self, reference: str) -> str | list[str]:
        """The path of `step.output`, or the paths where the step is many jobs.

        Of a study: `tune.best`, `tune.table`, `tune.best.OUTPUT`, ….

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
        return paths if step.axes or step.replicated else paths[0]

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
        if self.nested:
            self._changed[name] = keys.changes(
                staleness.read_json(self.plan.folder / path), json.loads(text)
            )
        else:
            workspace.write_key(self.plan.folder / path, text, _before if _dry else None)
        return path

    def container(self, environment: str | None = None) -> str | None:
        """The image of an environment, for the `container:` of a hand-written rule.

        Args:
            environment: a folder of envs/; the experiment's own where it is None.

        Returns:
            None where Snakemake starts no container: `runtime: host` and `runtime: docker`.
        """
        if self.plan.experiment.runtime != "apptainer":
            return None
        return apptainer.address(self.plan, environment or self.plan.experiment.environment)

    def conda(self, environment: str | None = None) -> str | None:
        """The same for its `conda:`, with `runtime: conda`."""
        chosen = environment or self.plan.experiment.environment
        if self.plan.experiment.runtime != "conda" or chosen is None:
            return None
        return str(environments.conda(self.plan.folder, chosen))

    def envmodules(self, environment: str | None = None) -> list[str]:
        """The same for its `envmodules:`, with `runtime: env-modules`: `*experiment.envmodules()`."""
        chosen = environment or self.plan.experiment.environment
        if self.plan.experiment.runtime != "env-modules" or chosen is None:
            return []
        return environments.modules(self.plan.folder, chosen)

    def launch(
        self, name: str, *, threads: int = 1, environment: str | None = None
    ) -> Callable[[Any, Any], str]:
        """The launch prefix of a hand-written rule, for its `params:`.

        With a wildcard `replicate` each replicate has a seed of its own; other wildcards do not
        change it, so that what they name is compared under common random numbers. Where jobs run
        in containers, the program behind it does in that of `environment`, or of the experiment's.
        """
        plan = self.plan
        chosen = environment or plan.experiment.environment
        if plan.experiment.runtime in ("docker", "apptainer") and chosen not in plan.images:
            known = ", ".join(plan.images)
            problem = UserError(
                f"rule {name}: no step runs in the image of this environment, so it is not known",
                value=chosen,
                expected=f"one of {known}" if known else None,
            )
            raise WorkflowError(str(problem))

        def prefix(wildcards: Any, input: Any) -> str:  # Snakemake goes by the names
            if changes := self._changed.get(name):
                return f"{refusal(name, changes)};"
            held = dict(wildcards.items())
            replicate = int(held.get("replicate", 0))
            job = by_hand_id(name, held)
            seeding = self._seeding.get(name, "full")
            return launch.by_hand(plan, name, replicate, job, threads, seeding, chosen)

        return prefix
