"""What makes a job run again, besides its inputs: one small canonical file for each case.

A key holds names and values of everything that a job's result depends on and that is no input
file: command, code, parameters, seed, threads, environment. It is an ordinary input of the rule,
rewritten only when its content changes. Versions of ml-experiment, cores, executor and the
checkout's place are not in it. Nor are an axis's other values or the number of replicates, so
adding one runs only the new jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_experiment import containers
from ml_experiment.errors import MISSING
from ml_experiment.hashing import canonical, of_text
from ml_experiment.plan import MATCHING, Job, Plan, Replicate, StepPlan, job_id, trials_name
from ml_experiment.search import Layout, own, since

PARTS = {  # a key's entries, as `status` names a change of them
    "run": "code",
    "call": "code",
    "code": "code",
    "params": "parameter",
    "params_from": "parameter",
    "matrix": "parameter",
    "space": "space",
    "enqueued": "enqueue",
    "seed": "seed",
    "environment": "environment",
    "threads": "threads",
    "gpus": "threads",
    "inputs": "inputs",
    "folders": "data",
    "outputs": "outputs",
    "rows": "inputs",
    "search": "search",
    "study": "study",
    "window": "window",
}


def of_case(plan: Plan, job: Job) -> dict[str, Any]:
    """The key of a job's case, equal for all its replicates, and for trials that see the same."""
    if job.step.study is not None:
        return of_study(plan, job)
    work = job.case.work
    replicate = Replicate(MATCHING) if job.step.replicated else Replicate()
    any_trial = None if job.trial is None else 0
    any_replicate = Job(job.step, job.case, replicate, any_trial)
    key: dict[str, Any] = {
        "code": dict(job.case.code.files),
        "environment": environment(plan, work.environment),
        "inputs": plan.inputs(any_replicate),
        "matrix": dict(job.case.values),
        "outputs": job.step.files,
        "params": dict(job.case.params),
        "seed": _seed(plan, job.step),
        "threads": work.threads,
    }
    key["run" if work.run is not None else "call"] = work.run or work.call
    if work.gpus:
        key["gpus"] = work.gpus
    if work.params_from is not None:
        key["params_from"] = work.params_from
    items = job.step.inputs[job.case.label].values()
    raw = {source.path for item in items for source in item.sources}
    if folders := {path: digest for path, digest in plan.folders.items() if path in raw}:
        key["folders"] = folders  # Snakemake sees of a folder only when a name in it changes
    return {**key, **_of_trial(job)} if job.trial is not None else key


# Of what follows: what says nothing of one trial, so that equal ones may be told by the rest.
OF_STUDY = ("constraints", "enqueued", "objectives", "search", "space", "stop", "window")


def _of_trial(job: Job) -> dict[str, Any]:
    """What a trial's key says of its study: not how many trials there are, nor their values."""
    trials = job.step.trials_of
    assert trials is not None
    assert job.trial is not None
    search = trials.searches[job.case.label]
    last = 2 * since(job.trial) or 1
    always = {parameter.name: None for parameter in search.parameters if not parameter.when}
    searched = own(always, job.step.searched, trials.study.step)
    declared = search.declared()
    space = {p["name"]: {k: v for k, v in p.items() if k != "name"} for p in declared.pop("space")}
    # where no trial of these sees anything, every window is the same, and what is made of results
    sees = bool(trials.sees(job.case, last - 1))
    study = trials.study
    results = {
        "constraints": {name: bounds.model_dump() for name, bounds in study.constraints.items()},
        "objectives": list(study.objectives.items()),
        "stop": None if study.stop is None else study.stop.model_dump(),
    }
    return {
        # of all trials up to these: a suggestion names the one before it
        "enqueued": list(search.enqueued[:last]),
        "params": {n: v for n, v in job.case.params.items() if n not in searched},
        "search": declared,
        "space": space,
        "window": search.window if sees else None,
        **(results if sees else {}),
    }


def of_study(plan: Plan, job: Job) -> dict[str, Any]:
    """The key of the job that gathers a study, so that it needs nothing else."""
    trials = job.step.study
    assert trials is not None
    return {
        "count": trials.counts[job.case.label],
        "layout": layout(plan, job).data(),
        "logs": f"{plan.logs}/{job.id}",
        "search": trials.searches[job.case.label].data(),
        "study": trials.study.model_dump(
            mode="json", include={"keep", "max_failures", "remove", "stop"}
        ),
    }


def of_view(plan: Plan, job: Job) -> dict[str, Any]:
    """The key of the view of a study, of the job that gathers it."""
    trials = job.step.study
    assert trials is not None
    return {
        "folder": layout(plan, job).folder,
        "name": job.id,
        "objectives": list(trials.study.objectives.items()),  # a key's mappings are sorted
        "parameters": trials.searches[job.case.label].data()["parameters"],
    }


def trial_outputs(plan: Plan, study: str) -> dict[str, str]:
    """Name -> file of all that a trial makes, `step.name` of its earlier parts; in its folder."""
    found = {}
    for step in plan.steps.values():
        if step.trials_of is not None and step.trials_of.name == study:
            within = f"{step.part}/" if step.part else ""
            dotted = f"{step.part}." if step.part else ""
            found.update({f"{dotted}{n}": within + file for n, file in step.step.outputs.items()})
    return found


def layout(plan: Plan, job: Job) -> Layout:
    """Where the trials of a study are, of any of its jobs."""
    trials = job.step.trials_of or job.step.study
    assert trials is not None
    step = plan.steps[trials_name(trials.name)]
    study = trials.study
    return Layout(
        folder=f"{plan.results}/{job_id(trials.name, job.case.label, '')}",
        replicates=tuple(replicate.label for replicate in step.replicates),
        metrics=step.step.metrics or "",
        outputs=trial_outputs(plan, trials.name),
        objectives=dict(study.objectives),
        constraints={name: bounds.model_dump() for name, bounds in study.constraints.items()},
    )


def of_table(plan: Plan, step: StepPlan) -> dict[str, Any]:
    """The key of a step's table: its rows, so that the table's job needs nothing else."""
    rows = [
        {
            "axes": {axis: job.case.values[axis] for axis in step.axes},
            "metrics": plan.metrics(job),
            "replicate": job.replicate.label,
            "seed": plan.seed(job),
        }
        for job in plan.jobs(step)
    ]
    return {"axes": list(step.axes), "rows": rows}


def environment(plan: Plan, name: str | None) -> dict[str, str] | None:
    """An environment as it stands in a key, with the image that jobs run in, if they do."""
    if name is None:
        return None
    found = {"name": name, "digest": plan.environments[name]}
    if name in plan.images:
        found["image"] = plan.images[name]
    elif method := containers.by_snakemake(plan, name):
        found["runtime"] = method
    return found


def _seed(plan: Plan, step: StepPlan) -> dict[str, Any] | None:
    if step.step.seeding == "none":
        return None
    seed: dict[str, Any] = {"seeding": step.step.seeding, "stream": plan.stream(step)}
    if step.replicates[0].seed is None:  # listed seeds stand in the paths instead
        seed["root"] = plan.experiment.seed
    return seed


def digest(key: Mapping[str, Any]) -> str:
    """One word for a whole key; 1, 1.0 and true are three."""
    return of_text(canonical(key))


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The parts in which two keys differ, as `code`, `parameter C`, `seed`, …; sorted."""
    found = set()
    for entry in {*old, *new}:
        before, after = old.get(entry), new.get(entry)
        word = PARTS.get(entry, entry)
        if not _differ(before, after):
            continue
        if entry in {"params", "matrix", "code", "space", "folders"} and isinstance(
            before or {}, dict
        ):
            was, now = before or {}, after or {}
            names = {*was, *now}
            found |= {
                f"{word} {n}" for n in names if _differ(was.get(n, MISSING), now.get(n, MISSING))
            }
        else:
            found.add(word)
    return sorted(found)


def _differ(one: Any, other: Any) -> bool:
    """As texts: to a program 1, 1.0 and true are not the same, and a NaN is."""
    if one is MISSING or other is MISSING:
        return one is not other
    return canonical(one) != canonical(other)
