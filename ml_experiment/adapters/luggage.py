"""What a job of an experiment has besides what its rule declares, for executors that send jobs away."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_experiment.adapters import snakemake as rules
from ml_experiment.plan import by_hand_id


class Luggage(NamedTuple):
    """Paths relative to the workspace.

    Attributes:
        needs: what it reads, if it is there.
        products: patterns of what it may write, also where it fails; what it has not is not there.
        makes: patterns of what it may add.
        passed: names of the variables that it is to have from Snakemake's environment.
    """

    needs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def of(job: Any) -> Luggage:
    """The luggage of one of Snakemake's jobs, or of all in a group."""
    if job.is_group():
        found = [of(each) for each in job.jobs]
        return Luggage(*(tuple(p for each in found for p in each[kind]) for kind in range(4)))
    opened = rules.opened()
    if not opened:
        return Luggage()
    return _of_rule(opened[-1], job.rule.name, dict(job.wildcards.items()))


def _of_rule(experiment: rules.Experiment, rule: str, wildcards: Mapping[str, str]) -> Luggage:
    plan = experiment.plan
    if rule not in plan.steps:
        boot = glob.escape(plan.state("boot", f"{by_hand_id(rule, wildcards)}.jsonl"))
        return Luggage(makes=(boot, f"{boot}.*"))
    job = plan.job(rule, wildcards)
    needs = [path for given in plan.inputs(job).values() for path in _listed(given)]
    products: list[str] = []
    if job.trial is not None:
        reports = plan.path(job, "reports.txt")
        failures = plan.path(job, "attempts.txt")
        needs += [plan.suggestion(job), reports, failures]
        made = [*(path.rstrip("/") for path in plan.outputs(job).values()), reports, failures]
        products += map(glob.escape, made)
    if job.step.step.checkpoints:
        kept = plan.state("checkpoints", job.id)
        needs.append(kept)
        products.append(glob.escape(kept))
    needs += experiment.taken_from(job)
    failed = f"{glob.escape(plan.boot(job))}.*"
    return Luggage(tuple(needs), tuple(products), (failed,), tuple(job.case.work.env))


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given
