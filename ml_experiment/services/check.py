"""`ml-experiment check`: everything that can be known to be wrong without running anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_experiment import containers, rawdata, sources
from ml_experiment.adapters import docker_run
from ml_experiment.asking import Asking
from ml_experiment.config import Loaded, find, load
from ml_experiment.errors import ExperimentError, Place, Problem, UserError
from ml_experiment.plan import Plan, StepPlan
from ml_experiment.resolve import resolve
from ml_experiment.services import dvc, run


@dataclass(frozen=True)
class Checked:
    """A plan without faults."""

    plan: Plan
    jobs: int
    workflow: bool  # whether Snakemake was asked as well


def check(folder: Path, file: Path | None, config: Mapping[str, Any]) -> Checked:
    """Check the experiment, its tools and inputs, then have Snakemake plan the workflow.

    Raises:
        ExperimentError, UserError: what is wrong.
    """
    loaded = load(file or find(Path.cwd()), config)
    plan = resolve(loaded)
    problems = [*_tools(plan, loaded), *_variables(plan, loaded), *_samplers(plan, loaded)]
    problems += [*_images(plan, loaded), *_stages(plan), *_lost(plan, loaded)]
    missing = list(_missing_inputs(plan, loaded))
    refusal = None
    try:
        words = run.command(folder, {**config, **_named(file)}, 1, (), ("--dry-run", "--nolock"))
    except UserError:
        words = []  # no Snakefile: then nothing can make a missing input
    if words:
        refusal = _dry_run(words, folder)
    if refusal is not None or not words:
        problems += missing
    if problems:
        raise ExperimentError(problems)
    if refusal is not None:
        raise UserError(f"Snakemake cannot plan the workflow:\n{refusal}")
    return Checked(plan, sum(1 for _ in plan.all_jobs()), bool(words))


def _named(file: Path | None) -> dict[str, str]:
    return {} if file is None else {"experiment": str(file)}


def _tools(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    """Programs that commands begin with and this machine has not."""
    for step in _declared(plan):
        words = {
            word
            for case in step.cases
            if case.template is not None and not _elsewhere(plan, case.work.environment)
            for word in case.template.words
            if sources.INTERPRETERS.match(word) and not word.startswith("python")
        }
        if any(
            case.work.timeout and not _elsewhere(plan, case.work.environment) for case in step.cases
        ):
            words.add("timeout")
        for word in sorted(words):
            if shutil.which(word) is None:
                yield _problem(loaded, step, f"the program {word} is not on this machine")


def _elsewhere(plan: Plan, environment: str | None) -> bool:
    """Whether an environment's programs are not those of this machine."""
    return bool(containers.image(plan, environment) or containers.by_snakemake(plan, environment))


def _images(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    """Whether Docker has the images that jobs run in."""
    if plan.experiment.runtime != "docker":
        return
    try:
        docker_run.prepare(plan, fetch=False)
    except UserError as error:
        problem = error.problem
        where = problem.where or loaded.place("runtime")
        yield Problem(problem.what, where, value=problem.value, hint=problem.hint)


def _stages(plan: Plan) -> Iterator[Problem]:
    """Whether the stages in dvc.yaml, where there is one, are the experiment's and can be kept."""
    if plan.suffix or plan.overridden or not (plan.folder / dvc.FILE).is_file():
        return
    made = dvc.proposed(plan.folder / plan.file)
    if dvc.FILE in dvc.changed(made):
        what = f"not what {plan.file} says:\n{dvc.difference(made).rstrip()}"
        yield Problem(what, Place(dvc.FILE, dvc.first(made)), hint="`ml-experiment dvc` writes it")
    for path in dvc.in_git(made):
        yield Problem(dvc.IN_GIT, Place(path))


def _variables(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    for step in _declared(plan):
        for name in sorted({name for case in step.cases for name in case.work.env}):
            if name not in os.environ:
                yield _problem(loaded, step, f"the environment variable {name} is not set", "env")


def _samplers(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    """Whether Optuna makes the sampler and pruner of each study, with these options."""
    asking = Asking()
    for step in plan.steps.values():
        for label, search in step.study.searches.items() if step.study else ():
            try:
                asking.suggest(f"{step.name}/{label}", search, [], [])
            except UserError as error:
                path = ("studies", step.name)
                yield Problem(str(error), loaded.place(*path), ".".join(path))
                break
    asking.close()


def _missing_inputs(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    for step in _declared(plan):
        for inputs in step.inputs.values():
            for name, item in inputs.items():
                for source in item.sources:
                    if source.path is not None and not (plan.folder / source.path).exists():
                        told = rawdata.absent(plan, source.path)
                        what = f"no such file, and no step makes it: {source.path}"
                        found = _problem(loaded, step, told.what if told else what, "inputs", name)
                        yield replace(found, hint=told.hint) if told else found


def _lost(plan: Plan, loaded: Loaded) -> Iterator[Problem]:
    """Raw data that are not there and can come from nowhere."""
    for name, declared in plan.experiment.data.items():
        if rawdata.lost(plan.folder, declared):
            what = "it is not there, and neither DVC nor the experiment says where it comes from"
            hint = f"put it there and `ml-experiment data add {name}`, or write `from`"
            path = ("data", name)
            yield Problem(what, loaded.place(*path), ".".join(path), declared.path, hint=hint)


def _declared(plan: Plan) -> list[StepPlan]:
    """The steps as they were declared: a study's are those of the step that it names."""
    return [step for step in plan.steps.values() if not step.trials_of and not step.study]


def _problem(loaded: Loaded, step: StepPlan, what: str, *below: str) -> Problem:
    path = ("steps", step.name, *below)
    return Problem(what, loaded.place(*path), ".".join(path))


def _dry_run(words: Sequence[str], folder: Path) -> str | None:
    """What Snakemake says against the workflow, or None."""
    quiet = run.quietly(words, "rules", "progress", "host")
    done = subprocess.run(quiet, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.splitlines() or done.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith("Using workflow specific"))
