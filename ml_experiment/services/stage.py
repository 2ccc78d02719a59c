"""`ml-experiment stage NAME`: what DVC runs for a stage. By content, never by time.

Each output is compared with its record: what it was made from, and its bytes. Only what differs is
handed to Snakemake, and forced there, for what Snakemake knows of files are times. When that has
ended everything is compared again, so that DVC keeps nothing that the experiment does not say.
"""

from __future__ import annotations

import subprocess

from ml_experiment import containers, staleness, travelling, workspace
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.plan import Plan
from ml_experiment.services import run
from ml_experiment.staleness import State, Unit


def due(plan: Plan, name: str) -> list[tuple[Unit, State]]:
    """The jobs of a step or study that are not what the experiment says now.

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
    return [
        (unit, state)
        for unit, state in staleness.judged(plan)
        if unit.step in parts and state.word != "current"
    ]


def stage(name: str, cores: int) -> tuple[int, list[State]]:
    """Bring a stage up to date.

    Returns:
        Snakemake's exit code (0 where there was nothing to do), and what is not current after it.

    Raises:
        UserError, ExperimentError: what is wrong with the experiment.
    """
    plan = workspace.open_plan()
    travelling.take(plan)
    found = due(plan, name)
    if not found:
        travelling.write(plan, {name})
        return 0, []
    targets = [path for unit, _ in found for path in unit.outputs]
    asked = containers.asked_of_snakemake(plan)
    words = run.command(plan.folder, {}, cores, ["--", *targets], ["--force"], asked)
    status = subprocess.run(words, check=False, cwd=plan.folder).returncode
    if status:
        return status, []
    plan = workspace.open_plan()
    left = [state for _, state in due(plan, name)]
    if not left:
        travelling.write(plan, {name})
    return 0, left
