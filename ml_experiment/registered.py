"""The models that an experiment names: which output of which job each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ml_experiment.errors import did_you_mean
from ml_experiment.model import Registered
from ml_experiment.placeholders import as_text
from ml_experiment.plan import Job, Plan, StepPlan
from ml_experiment.versions import RESERVED

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


@dataclass(frozen=True)
class Declared:
    """A model that the experiment names.

    Attributes:
        job: the one that makes it.
        path: where it writes it.
        said: description and licence, where they are given.
    """

    name: str
    job: Job
    path: str
    said: Mapping[str, str]


def declared(plan: Plan) -> dict[str, Declared]:
    """The models of a plan without mistakes, by name."""
    found = {}
    for name, model in plan.experiment.models.items():
        whole = _whole(model)
        head, _, output = whole.source.partition(".")
        step = plan.steps[head]
        job = next(_jobs(plan, step, whole))
        path = plan.path(job, step.step.outputs[output]).rstrip("/")
        told = {"description": whole.description, "licence": whole.licence}
        found[name] = Declared(name, job, path, {k: v for k, v in told.items() if v})
    return found


def _whole(model: Registered | str) -> Registered:
    return model if isinstance(model, Registered) else Registered.model_construct(source=model)


def _jobs(plan: Plan, step: StepPlan, model: Registered) -> Iterator[Job]:
    """The jobs of a step that a model may be of."""
    wanted = {axis: as_text(value) for axis, value in model.case.items()}
    for job in plan.jobs(step):
        here = {axis: as_text(value) for axis, value in job.case.values.items()}
        if job.replicate.index == model.replicate and here.items() >= wanted.items():
            yield job


def check(made: Plan, faulty: frozenset[str], problem: Report) -> None:
    """Report what is wrong with `models`: what they refer to, and which of many jobs is meant."""
    for name, model in made.experiment.models.items():
        whole = _whole(model)
        path = ("models", name) if isinstance(model, str) else ("models", name, "from")
        head, _, output = whole.source.partition(".")
        if name in RESERVED:
            problem(("models", name), "this name is taken", value=name, hint="choose another")
        if head in faulty:
            continue
        step = made.steps.get(head)
        if step is None or step.trials_of is not None:
            known = [f"{s.name}.{o}" for s in made.steps.values() for o in _models(s)]
            expected = "an output of a step or study, such as final.model or tune.best.model"
            hint = did_you_mean(whole.source, known)
            problem(path, "no such step or study", value=whole.source, expected=expected, hint=hint)
        elif output not in _models(step):
            hint = did_you_mean(whole.source, [f"{head}.{known}" for known in _models(step)])
            what = f"{output or head} is no output of {head} that could be a model"
            problem(path, what, value=whole.source, hint=hint)
        elif head in made.only_searched:
            studies = sorted(
                s.trials_of.name for s in made.steps.values() if s.trials_of and s.searched == head
            )
            hint = f"the best of its trials is {studies[0]}.best.{output}"
            what = f"{head} is there for its study only, and not run by itself"
            problem(path, what, value=whole.source, hint=hint)
        else:
            _check_job(made, step, whole, ("models", name), problem)


def _models(step: StepPlan) -> list[str]:
    """The outputs that may be models: of a study, those of its best trial."""
    names = step.step.outputs
    return [name for name in names if step.study is None or name.startswith("best.")]


def _check_job(
    made: Plan, step: StepPlan, model: Registered, path: tuple[str, ...], problem: Report
) -> None:
    """One job has to be meant."""
    if model.replicate >= len(step.replicates):
        count = len(step.replicates) if step.replicated else "no"
        what = f"{step.name} has {count} replicates"
        hint = "they are counted from 0" if step.replicated else "remove it"
        problem((*path, "replicate"), what, value=model.replicate, hint=hint)
        return
    jobs = list(_jobs(made, step, model))
    unknown = [axis for axis in model.case if axis not in step.axes]
    if len(jobs) == 1 and not unknown:
        return
    values = [
        ", ".join(f"{axis}: {as_text(case.values[axis])}" for axis in step.axes)
        for case in step.cases[:5]
    ]
    listed = " or ".join(f"{{{each}}}" for each in values) + (" …" if len(step.cases) > 5 else "")
    if not step.axes:
        problem((*path, "case"), f"{step.name} has no matrix", value=dict(model.case))
    elif unknown or not jobs:
        what = f"{step.name} has no such case"
        problem((*path, "case"), what, value=dict(model.case), expected=listed)
    else:
        what = f"{step.name} makes a model for each {', '.join(step.axes)}: which one is not said"
        problem(path, what, expected=f"case: {listed}")


def of_job(plan: Plan, job: Job) -> dict[str, dict[str, str]]:
    """What a job's record says of the models that it makes: name -> path, description, licence.

    Nothing where values are not those of the experiment file.
    """
    if plan.overridden or plan.suffix or not plan.experiment.models:
        return {}
    known = declared(plan).values()
    return {each.name: {"path": each.path, **each.said} for each in known if each.job.id == job.id}
