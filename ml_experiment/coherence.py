"""Whether the steps of a plan fit together, and the folders that they write to."""

from __future__ import annotations

import graphlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_experiment import rawdata
from ml_experiment.plan import Plan, StepPlan
from ml_experiment.references import steps_of

Report = Callable[..., None]  # (path in the experiment, what, value=, expected=, hint=)


def check(made: Plan, problem: Report) -> None:
    """Report everything that no single step can know."""
    _cycles(made, problem)
    for step in made.steps.values():
        _matches(made, step, problem)
    _same_folder(made, problem)
    rawdata.check(made, problem)
    root = os.path.realpath(made.folder)
    for link, step in _links(made):
        goal = os.path.realpath(link)
        if goal != root and not goal.startswith(root + os.sep):
            problem(
                ("steps", step.name),
                "it would write through a link that leaves the project",
                value=f"{os.path.relpath(link, made.folder)} -> {goal}",
                hint="remove the link, or move the project there",
            )


def _cycles(made: Plan, problem: Report) -> None:
    needs = {
        name: sorted({source.step for _, source in steps_of(step.inputs) if source.step})
        for name, step in made.steps.items()
    }
    while True:
        try:
            graphlib.TopologicalSorter(needs).prepare()
        except graphlib.CycleError as error:
            names = error.args[1][::-1]  # from a step to what it needs
            start = names.index(min(names[:-1], key=list(made.steps).index))
            circle = [*names[start:-1], *names[: start + 1]]
            what = f"a circle: {' needs '.join(circle)}"
            problem(("steps", circle[0], "inputs"), what, hint="remove one of these inputs")
            needs[circle[0]].remove(circle[1])  # so that a further one is found too
        else:
            return


def _matches(made: Plan, step: StepPlan, problem: Report) -> None:
    """Each job finds the jobs that its inputs come from."""
    own = [replicate.label for replicate in step.replicates]
    told: set[tuple[str, str]] = set()
    for case in step.cases:
        for name, source in steps_of({"": step.inputs[case.label]}):
            producer = made.steps[source.step or ""]
            if source.shared or (name, producer.name) in told:
                continue
            path = ("steps", step.name, "inputs", name)
            if not made.matching(producer, case):
                told.add((name, producer.name))
                what = f"{producer.name} has no job for {case.label or 'it'}"
                problem(path, what, hint=f"see the matrix of {producer.name}")
            if producer.replicated and step.replicated:
                theirs = {replicate.label for replicate in producer.replicates}
                missing = [label for label in own if label not in theirs]
                if missing:
                    told.add((name, producer.name))
                    what = f"{producer.name} has no replicate {', '.join(missing[:5])}"
                    hint = f"both need the same `replicates`: {producer.name} has {len(theirs)}"
                    problem(path, what, hint=hint)


def _same_folder(made: Plan, problem: Report) -> None:
    """Steps whose folders are one where the file system does not know capitals."""
    first: dict[str, str] = {}
    for name, step in made.steps.items():
        if step.trials_of is not None:  # in the folder of its study
            continue
        other = first.setdefault(name.casefold(), name)
        if other != name:
            what = f"{other} and {name} would be one folder on macOS"
            problem(("steps", name), what, hint="choose another name")


def _links(made: Plan) -> Iterator[tuple[str, StepPlan]]:
    """The links among the folders that jobs write to, as far as these exist."""
    results = str(made.folder / made.results)
    for step in made.steps.values():
        if os.path.islink(results):
            yield results, step
            return
        for link in _of_step(Path(results, step.folder), step):
            yield link, step


def _of_step(folder: Path, step: StepPlan) -> Iterator[str]:
    """Few calls: most folders are not there, and one listing tells of all links in a folder."""
    if folder.is_symlink():
        yield str(folder)
        return
    names = {case.label for case in step.cases if case.label}
    seeds = {f"seed-{replicate.label}" for replicate in step.replicates if replicate.label}
    levels = [level for level in (names, seeds) if level]
    inner = {part for file in step.files.values() for part in file.split("/")[:-1]}
    levels.extend([inner] * max(file.rstrip("/").count("/") for file in ["", *step.files.values()]))
    waiting = [(str(folder), 0)]
    while waiting:
        path, level = waiting.pop()
        if level == len(levels):
            continue
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:  # not there yet
            continue
        for entry in entries:
            if entry.name not in levels[level]:
                continue
            if entry.is_symlink():
                if entry.is_dir() or not os.path.exists(entry.path):
                    yield entry.path
            elif entry.is_dir():
                waiting.append((entry.path, level + 1))
