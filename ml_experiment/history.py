"""What a trial waits for: the trials whose results its sampler is told.

Direct edges would be trials times trials. So every 16 trials there is a marker, touched when they
and the marker before have ended; a trial waits for one marker and the few trials since. Or for the
last trials of a window's length, where these are fewer: they have waited for all before them.
"""

from __future__ import annotations

from ml_experiment.plan import Job, Plan, job_id, trials_name
from ml_experiment.search import trial_label

BLOCK = 16  # trials whose ends one marker stands for


def of_trial(plan: Plan, job: Job) -> list[str]:
    """The inputs of a trial that stand for its history; none where its sampler has no memory.

    A part of a trial that waits for an earlier one of it has waited for all that.
    """
    if any(plan.steps[name].part for name in makers(job)):
        return []
    assert job.step.trials_of is not None
    assert job.trial is not None
    count = len(job.step.trials_of.sees(job.case, job.trial))
    window = job.step.trials_of.searches[job.case.label].window
    whole, last = divmod(count, BLOCK)
    if window <= last or not whole:
        return metrics(plan, job, range(max(0, count - window), count))
    return [marker(plan, job, whole - 1), *metrics(plan, job, range(whole * BLOCK, count))]


def makers(job: Job) -> list[str]:
    """The steps that the inputs of a job come from."""
    items = job.step.inputs[job.case.label].values()
    return [source.step for item in items for source in item.sources if source.step is not None]


def of_marker(plan: Plan, job: Job, block: int) -> list[str]:
    """The inputs of a marker: the one before, and the metrics of its trials."""
    before = [marker(plan, job, block - 1)] if block else []
    return [*before, *metrics(plan, job, range(block * BLOCK, (block + 1) * BLOCK))]


def metrics(plan: Plan, job: Job, numbers: range) -> list[str]:
    """The metrics files of some trials, of all their replicates."""
    step = plan.steps[trials_name(job.step.folder)]  # the last part of a trial
    study, case, file = step.folder, job.case.label, (step.step.metrics or "").rstrip("/")
    names = (job_id(study, case, r.label, n) for n in numbers for r in step.replicates)
    return [f"{plan.results}/{name}/{file}" for name in names]


def marker(plan: Plan, job: Job, block: int) -> str:
    """The file that says that the trials of a block, and those before, have ended."""
    study = job_id(job.step.folder, job.case.label, "")
    return plan.state("history", f"{study}/{trial_label(block)}")
