"""The plan as DVC's stages: one for each step and each study, as plain data.

A rule that was written by hand has one where its user wants it: what its jobs read and write, their
records say. From then on it stands in dvc.yaml, as the user's.

A stage's command is `ml-experiment stage NAME`. What it depends on tells DVC when to call that; the
command then looks for itself, by content, which of the jobs are not what the experiment says now.

The files of DVC: https://dvc.org/doc/user-guide/project-structure/dvcyaml-files
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment import travelling
from ml_experiment.plan import TABLES, Plan, StepPlan
from ml_experiment.staleness import State, Unit

COMMAND = "ml-experiment stage"
RULE = "--rule"  # after it, where the name is that of a rule
SHOWN = (".json", ".yaml", ".yml", ".toml")  # what DVC reads as metrics


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml.

    Attributes:
        name: the step's or study's; of a rule that was written by hand the rule's.
        deps: files and folders: inputs, code, environments.
        params: experiment file -> the keys in it that the stage depends on.
        outs: what DVC keeps in its cache.
        folders: those of them that are folders.
        metrics: what it reads as metrics, in git and not in the cache.
        by_hand: whether it is that of a rule that was written by hand.
    """

    name: str
    deps: tuple[str, ...]
    params: Mapping[str, tuple[str, ...]]
    outs: tuple[str, ...]
    folders: tuple[str, ...]
    metrics: tuple[str, ...]
    by_hand: bool = False

    def data(self) -> dict[str, Any]:
        """As it stands in dvc.yaml. DVC deletes no output before it runs: `persist`."""
        parts: dict[str, Any] = {
            "cmd": f"{COMMAND} {RULE} {self.name}" if self.by_hand else f"{COMMAND} {self.name}",
            "deps": list(self.deps),
            "params": [{file: list(names)} for file, names in self.params.items()],
            "outs": [{path: {"persist": True}} for path in self.outs],
            "metrics": [{path: {"cache": False, "persist": True}} for path in self.metrics],
        }
        return {name: value for name, value in parts.items() if value}


def stages(plan: Plan, likes: Mapping[str, str], files: Mapping[str, Any]) -> list[Stage]:
    """A stage for each step that is run, and for each study; in the plan's order.

    Args:
        plan: of the experiment.
        likes: step -> the step that it is like.
        files: the experiment file, and those that it extends: name -> what is in it.
    """
    of = _of_study, _of_step
    return [
        of[step.study is None](plan, step, likes, files)
        for name, step in plan.steps.items()
        if step.trials_of is None and name not in plan.only_searched
    ]


def of_rule(
    plan: Plan,
    rule: str,
    jobs: Iterable[tuple[Unit, Mapping[str, Any]]],
    files: Mapping[str, Any],
) -> Stage:
    """A stage for a rule that was written by hand.

    Args:
        plan: of the experiment.
        rule: its name.
        jobs: its jobs, each with its record.
        files: as of `stages`.
    """
    deps: list[str] = []
    code: set[str] = set()
    outs: list[tuple[str, str]] = []
    params: list[str] = []
    for unit, record in jobs:
        deps += unit.inputs
        code.update(unit.key.get("code") or ())
        if environment := unit.key.get("environment"):
            code.add(f"envs/{environment['name']}")
        if unit.key.get("seed"):
            params.append("seed")
        outs += [(path, each["hash"]) for path, each in record["outputs"].items() if each["hash"]]
    return Stage(
        rule,
        _unique([*sorted(deps), *sorted(code)]),
        _params(files, params),
        (*_unique(path for path, _ in sorted(outs)), travelling.file_of_rule(plan, rule)),
        _unique(path for path, digest in sorted(outs) if digest.endswith(".dir")),
        (),
        by_hand=True,
    )


def due(stage: Stage, judged: Iterable[tuple[Unit, State]]) -> list[str]:
    """The outputs of the stage of a rule that no job of it has made as it would now."""
    lacking = dict.fromkeys(out for out in stage.outs if not _travels(out))
    for unit, state in judged:
        if unit.step == stage.name and state.word == "current":
            for path in unit.outputs:
                lacking.pop(path, None)
    return list(lacking)


def needed(
    made: Sequence[Stage], targets: Iterable[str], raw: Callable[[str], str | None]
) -> list[str]:
    """For outputs (or stages, by name): what has to be fetched to have all that they are made from.

    Outputs of the same stages that nobody asked for are not among it, but for the records; a target
    that no stage makes stays as it is.

    Args:
        made: all stages.
        targets: what is asked for.
        raw: a path that no stage makes -> the raw data of DVC's that it is or is in, or None.
    """
    by_name = {stage.name: stage for stage in made}
    found: dict[str, None] = {}
    above: list[str] = []
    for target in targets:
        stage = by_name.get(target) or maker(made, target)
        found[target] = None
        if stage is not None:
            found.update(dict.fromkeys(out for out in stage.outs if _travels(out)))
            above += stage.deps
    done: dict[str, None] = {}
    while above:
        path = above.pop()
        stage = maker(made, path)
        if stage is not None and stage.name not in done:
            done[stage.name] = None
            above += stage.deps
        elif stage is None and (data := raw(path)) is not None:
            done[data] = None
    return [*dict.fromkeys([*found, *done])]


def maker(made: Iterable[Stage], path: str) -> Stage | None:
    """The stage whose output a path is, or is in."""
    within = f"{path}/"
    outs = ((stage, out) for stage in made for out in (*stage.outs, *stage.metrics))
    return next((stage for stage, out in outs if within.startswith(f"{out}/")), None)


def _travels(out: str) -> bool:
    return out.endswith((f"/{travelling.NAME}", f".{travelling.NAME}"))


def shown(plan: Plan) -> dict[str, Any]:
    """What DVC shows of files inside of outputs, the best trials of studies: `metrics`, `plots`."""
    metrics: list[str] = []
    plots: list[dict[str, Any]] = []
    for step in plan.steps.values():
        if step.study is None:
            continue
        for job in plan.jobs(step):
            metrics.append(plan.path(job, "best.json"))
            columns = list(step.study.study.objectives)
            plots.append({plan.path(job, "trials.csv"): {"x": "trial", "y": columns}})
    return {"metrics": metrics, "plots": plots} if metrics else {}


def _of_step(
    plan: Plan, step: StepPlan, likes: Mapping[str, str], files: Mapping[str, Any]
) -> Stage:
    jobs = list(plan.jobs(step))
    needed = [path.rstrip("/") for job in jobs for path in plan.needs(job)]
    made = [path for job in jobs for path in plan.outputs(job).values()]
    metrics = [path for job in jobs if (path := plan.metrics(job)) is not None]
    kept = [*made, *(path for path in metrics if not path.endswith(SHOWN))]
    if step.tabled:
        kept += [plan.table(step, kind) for kind in TABLES]
    return Stage(
        step.name,
        _unique([*needed, *_code([step]), *_environments([step])]),
        _params(files, ["seed", "params", "runtime", *_declared(likes, step, step.name)]),
        (*_unique(path.rstrip("/") for path in kept), travelling.file_of(plan, step)),
        _unique(path.rstrip("/") for path in kept if path.endswith("/")),
        _unique(path for path in metrics if path.endswith(SHOWN)),
    )


def _of_study(
    plan: Plan, step: StepPlan, likes: Mapping[str, str], files: Mapping[str, Any]
) -> Stage:
    """Its output is the study's folder: trials with their suggestions, table, best, views."""
    assert step.study is not None
    name = step.study.name
    trials = [
        each for each in plan.steps.values() if each.trials_of and each.trials_of.name == name
    ]
    own = f"{plan.results}/{name}"
    needed = [
        path.rstrip("/")
        for each in trials
        for case in each.cases
        for job in list(plan.jobs_of(each, case))[:1]
        for path in plan.needs(job)
        if not path.startswith(f"{own}/")
    ]
    declared = [f"studies.{name}"]
    for each in trials:
        declared += _declared(likes, each, each.searched)
    return Stage(
        step.name,
        _unique([*needed, *_code(trials), *_environments(trials)]),
        _params(files, ["seed", "params", "runtime", "axes", *declared]),
        (own, travelling.file_of(plan, step)),
        (own,),
        (),
    )


def _declared(likes: Mapping[str, str], step: StepPlan, name: str) -> list[str]:
    """The keys of an experiment that say what a step is: its own, and of those that it is like."""
    found: list[str] = []
    own: str | None = name
    while own is not None and f"steps.{own}" not in found:
        found.append(f"steps.{own}")
        own = likes.get(own)
    return [*found, "axes"] if step.axes else found


def _params(files: Mapping[str, Any], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """File -> which of some keys are in it."""
    found: dict[str, tuple[str, ...]] = {}
    for file, data in files.items():
        there = tuple(name for name in dict.fromkeys(names) if _has(data, name.split(".")))
        if there:
            found[file] = there
    return found


def _has(data: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _code(steps: Iterable[StepPlan]) -> Iterator[str]:
    for step in steps:
        for case in step.cases:
            yield from sorted(case.code.files)


def _environments(steps: Iterable[StepPlan]) -> Iterator[str]:
    for step in steps:
        for case in step.cases:
            if case.work.environment is not None:
                yield f"envs/{case.work.environment}"


def _unique(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))
