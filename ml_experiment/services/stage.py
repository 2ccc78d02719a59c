"""`ml-experiment stage NAME`: what DVC runs for a stage. By content, never by time.

Each output is compared with its record: what it was made from, and its bytes. Only what differs is
handed to Snakemake, and forced there, for what Snakemake knows of files are times. When that has
ended everything is compared again, so that DVC keeps nothing that the experiment does not say.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from ml_experiment import containers, stages, staleness, travelling, workspace
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files
from ml_experiment.services import run


def due(plan: Plan, name: str) -> dict[str, str]:
    """The outputs of a step or study that are not what the experiment says now, and why.

    Raises:
        UserError: there is no such stage.
    """
    steps = {step.name for step in plan.steps.values() if step.name not in plan.only_searched} - {
        each.name for each in plan.steps.values() if each.trials_of
    }
    if name not in steps:
        raise UserError("no such stage", value=name, hint=did_you_mean(name, steps))
    parts = {name} | {
        each.name for each in plan.steps.values() if each.trials_of and each.trials_of.name == name
    }
    return {
        path: f"{state.job} is {state.word}: {', '.join(state.reasons)}"
        for unit, state in staleness.judged(plan)
        if unit.step in parts and state.word != "current"
        for path in unit.outputs
    }


def due_of_rule(plan: Plan, name: str) -> dict[str, str]:
    """The same of a rule that was written by hand.

    Raises:
        UserError: dvc.yaml has no stage of it.
    """
    made = {stage.name: stage for stage in files.made_of(plan.folder / plan.file) if stage.by_hand}
    if name not in made:
        hint = did_you_mean(name, made) or f"`ml-experiment dvc --rule {name}` writes one"
        raise UserError("dvc.yaml has no stage of this rule", value=name, hint=hint)
    left = stages.due(made[name], staleness.judged(plan))
    return {
        path: f"{path} is not what its rule says: `ml-experiment status {name}`" for path in left
    }


def stage(name: str, cores: int, *, rule: bool) -> tuple[int, list[str]]:
    """Bring a stage up to date.

    Args:
        name: of a step or study; with `rule` of a rule that was written by hand.
        cores: how many Snakemake may use.
        rule: whether it is that of a rule.

    Returns:
        Snakemake's exit code (0 where there was nothing to do), and what is not current after it, a
        line for each job.

    Raises:
        UserError, ExperimentError: what is wrong with the experiment.
    """
    of = due_of_rule if rule else due
    plan = workspace.open_plan()
    travelling.take(plan)
    left = of(plan, name)
    if left:
        if status := _make(plan, [*left], cores):
            return status, []
        plan = workspace.open_plan()
        left = of(plan, name)
    if not left:
        travelling.write(plan, {name})
    return 0, [*dict.fromkeys(left.values())]


def _make(plan: Plan, paths: Sequence[str], cores: int) -> int:
    """Let Snakemake make these files anew; its exit code."""
    asked = containers.asked_of_snakemake(plan)
    words = run.command(plan.folder, {}, cores, ["--", *paths], ["--force"], asked)
    return subprocess.run(words, check=False, cwd=plan.folder).returncode
