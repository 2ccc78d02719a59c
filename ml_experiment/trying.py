"""What the record of a trial has that other jobs have not: number, state, reports, products."""

from __future__ import annotations

from typing import Any

from ml_experiment import chosen, staleness, trials
from ml_experiment.errors import MLExperimentError
from ml_experiment.plan import Job, Plan


def status(plan: Plan | None, job: Job | None) -> dict[str, Any]:
    """What a trial's status says, which its shell has written; nothing for other jobs."""
    if plan is None or job is None or job.trial is None:
        return {}
    told = staleness.read_json(plan.folder / plan.path(job, "status.json"))
    return {"number": job.trial, **{name: told.get(name) for name in ("state", "suggestion")}}


def params(plan: Plan, job: Job) -> dict[str, Any]:
    """All parameters of a job, matrix values among them."""
    try:
        return {**job.case.values, **chosen.params(plan, job)}
    except (OSError, MLExperimentError):  # a trial that failed before anything was suggested
        return {**job.case.values, **job.case.params}


def products(plan: Plan | None, job: Job | None) -> list[str]:
    """What a trial made that Snakemake does not know of; of the best it is kept."""
    if plan is None or job is None or job.trial is None:
        return []
    paths = (path.rstrip("/") for path in plan.outputs(job).values())
    return [path for path in paths if (plan.folder / path).exists()]


def reports(plan: Plan | None, job: Job) -> dict[str, list[list[float]]]:
    """What a trial reported on its way, below the name of its objective."""
    if plan is None or job.step.trials_of is None:
        return {}
    objective = next(iter(job.step.trials_of.study.objectives))
    try:
        told = trials.reports(plan.folder / plan.path(job, "reports.txt"))
    except MLExperimentError:  # the study says so when it is told
        return {}
    return {objective: [[step, value] for step, value in told]} if told else {}
