"""What a trial has that other jobs have not: earlier parts, number, state, reports, products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_experiment import chosen, history, keys, search, staleness, trials
from ml_experiment.errors import MLExperimentError
from ml_experiment.hashing import canonical, of_text
from ml_experiment.plan import Job, Plan


def own_params(job: Job, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a trial's parameters that are of one of its steps."""
    assert job.step.trials_of is not None
    return search.own(params, job.step.searched, job.step.trials_of.study.step)


def earlier(plan: Plan, job: Job) -> list[dict[str, Any]]:
    """What the parts of a trial that one waits for have written down of their end."""
    parts = (plan.steps[name] for name in history.makers(job))
    found = [replace(job, step=step) for step in parts if step.part]
    return [
        {
            "part": part.step.part,
            **staleness.read_json(plan.folder / plan.path(part, "status.json")),
        }
        for part in found
    ]


def made_of(plan: Plan, job: Job, own: Mapping[str, Any]) -> str:
    """The digest of all that a part of a trial is made from: equal ones make the same.

    `own` are its parameters.
    """
    before = [part.get("made") for part in earlier(plan, job)]
    key = {
        name: value for name, value in keys.of_case(plan, job).items() if name not in keys.OF_STUDY
    }
    stats = []
    for path in plan.needs(replace(job, trial=0)):
        status = (plan.folder / path).stat() if not path.endswith("/status.json") else None
        stats.append([path, status and [status.st_size, status.st_mtime_ns]])
    return of_text(canonical(
        [key, dict(own), job.replicate.label, before,
         stats]
    ))  # fmt: skip


def holds(plan: Plan, job: Job, made: str) -> bool:
    """Whether a part of a trial is there, made from just this, for another trial as well."""
    told = staleness.read_json(plan.folder / plan.path(job, "status.json"))
    if told.get("made") != made or told.get("state") != "complete":
        return False
    assert job.step.trials_of is not None
    pruned = job.step.trials_of.searches[job.case.label].pruner is not None
    if pruned and (plan.folder / plan.path(job, "reports.txt")).exists():
        return False  # the same reports may be the end of another trial
    return all((plan.folder / path).exists() for path in plan.outputs(job).values())


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
    except (OSError, MLExperimentError):  # it failed before anything was suggested or chosen
        return dict(job.case.values)


def products(plan: Plan | None, job: Job | None) -> list[str]:
    """What a trial made that Snakemake does not know of; of the best it is kept."""
    if plan is None or job is None or job.trial is None:
        return []
    paths = [path.rstrip("/") for path in plan.outputs(job).values()]
    paths.append(plan.path(job, "reports.txt"))
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
