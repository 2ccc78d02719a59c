"""Parameters that nobody knows before a job is about to run: a trial's, and the best of a study."""

from __future__ import annotations

import errno
import json
from typing import Any

from ml_experiment import trials
from ml_experiment.errors import UserError
from ml_experiment.plan import NEEDED, Job, Plan
from ml_experiment.references import best_of
from ml_experiment.search import own


def params(plan: Plan, job: Job) -> dict[str, Any]:
    """All parameters of a job: those that are declared, and what a study has found laid on them.

    Raises:
        FileNotFoundError: that is not known yet.
        UserError: the file that says it is not what it should be.
    """
    return {**job.case.params, **_found(plan, job)}


def _found(plan: Plan, job: Job) -> dict[str, Any]:
    if job.trial is not None:
        kept = trials.kept(plan.folder / plan.suggestion(job))
        if kept is None:
            raise FileNotFoundError(plan.suggestion(job))
        assert job.step.trials_of is not None
        last = job.step.trials_of.study.step
        return own(kept.suggestion.params, job.step.searched, last)
    if job.case.work.params_from is None:
        return {}
    (path,) = plan.expand(job.step.inputs[job.case.label][NEEDED], job)
    try:
        data = json.loads((plan.folder / path).read_bytes())
    except FileNotFoundError:
        # by the name that the rule has for it: then Snakemake knows that it is only not there yet
        raise FileNotFoundError(errno.ENOENT, "not there yet", path) from None
    except ValueError:
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("params"), dict):
        raise UserError("no best parameters of a study", where=path)
    study, step = best_of(job.case.work.params_from)
    last = plan.experiment.studies[study].step
    return own(data["params"], step or last, last)
