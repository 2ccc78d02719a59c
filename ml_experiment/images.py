"""The environments that an experiment names: their digests, and the images that jobs run in."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ml_experiment import environments as folders
from ml_experiment import hashing, sources, venvs
from ml_experiment.errors import MISSING, MLExperimentError, UserError, did_you_mean
from ml_experiment.model import Experiment
from ml_experiment.plan import Plan

_DEPLOYED: Mapping[str, Callable[[Path, str], object]] = {
    "conda": folders.conda,
    "env-modules": folders.modules,
}
Named = Iterable[tuple[tuple[str, ...], str | None]]


class Tell(Protocol):
    """Takes a mistake, and the path of the key where it was written."""

    def __call__(
        self,
        path: tuple[str, ...],
        what: str,
        *,
        value: object = MISSING,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None: ...


def environments(workspace: Path, named: Named, problem: Tell) -> dict[str, str]:
    """Environment -> the digest of its folder; empty where there is something wrong with it."""
    found: dict[str, str] = {}
    for path, name in named:
        if name is None or name in found:
            continue
        folder = workspace / folders.FOLDER / name
        try:
            found[name] = hashing.of_folder(folder) if folder.is_dir() else ""
        except OSError as error:
            what = f"the environment cannot be read: {error.strerror}"
            problem(path, what, value=error.filename)
            found[name] = ""
            continue
        if not found[name]:
            make = f"make the folder envs/{name} with a requirements.txt"
            hint = did_you_mean(name, folders.folders(workspace)) or make
            problem(path, "no such environment", value=name, hint=hint)
    return found


def pinned(
    experiment: Experiment, workspace: Path, known: Mapping[str, str], named: Named, problem: Tell
) -> dict[str, str]:
    """Environment -> the id of its image, where jobs run in one; none where they run without.

    That an environment has what `runtime` needs is seen as well.
    """
    found: dict[str, str] = {}
    if experiment.runtime == "host":
        return found
    seen, looked = _DEPLOYED.get(experiment.runtime), set[str]()
    for path, name in named:
        if name is None:
            hint = f"name an environment; `ml-experiment env list` shows {folders.FOLDER}/"
            what = (
                "no environment, in whose image it would run" if seen is None else "no environment"
            )
            problem(path, what, hint=hint)
        elif seen is not None:
            if known[name] and name not in looked:
                looked.add(name)
                _look(seen, workspace, name, path, problem)
        elif known[name] and name not in found:
            found[name] = ""
            try:
                wrong = folders.why_not(workspace, name)
                lock = folders.read(workspace, name)
            except MLExperimentError as error:
                problem(path, str(error))
                continue
            if wrong or lock is None or lock.image is None:
                what, hint = wrong or ("there is no image of it", "")
                problem(path, what, value=name, hint=hint)
            else:
                found[name] = lock.image
    return found


def registries(workspace: Path, images: Mapping[str, str]) -> dict[str, str]:
    """Environment -> its image as a registry knows it, where one does: nodes fetch it by that."""
    locks = {name: folders.read(workspace, name) for name, image in images.items() if image}
    return {name: lock.registry for name, lock in locks.items() if lock and lock.registry}


def pythons(experiment: Experiment, workspace: Path, named: Named, problem: Tell) -> dict[str, str]:
    """Environment -> the folder of its Python, where jobs run on the host and in one of its own."""
    found: dict[str, str] = {}
    if experiment.runtime != "host":
        return found
    for path, name in named:
        if name is None or name in found:
            continue
        try:
            if folders.host(workspace, name) == "venv":
                found[name] = str(venvs.programs(workspace / venvs.folder(workspace, name)))
        except MLExperimentError as error:
            found[name] = ""
            told = error.problem if isinstance(error, UserError) else None
            problem(path, told.what if told else str(error), hint=told.hint if told else None)
    return found


def _look(
    seen: Callable[[Path, str], object],
    workspace: Path,
    name: str,
    path: tuple[str, ...],
    problem: Tell,
) -> None:
    try:
        seen(workspace, name)
    except UserError as error:
        found = error.problem
        problem(path, f"{found.where}: {found.what}", value=found.value, hint=found.hint)


def check_scripts(plan: Plan, problem: Tell) -> None:
    """A script that is not in the workspace cannot be seen in a container."""
    real = os.path.realpath(plan.folder)
    for step in plan.steps.values():
        for case in step.cases:
            if case.work.environment not in plan.images:
                continue
            words = case.template.words if case.template is not None else ()
            scripts = [
                after
                for before, after in itertools.pairwise(words)
                if sources.INTERPRETERS.match(before.rpartition("/")[2])
                and (plan.folder / after).is_file()
            ]
            for file in dict.fromkeys([*scripts, *case.code.files]):
                found = os.path.realpath(plan.folder / file)
                if not found.startswith(f"{real}/"):
                    what = "a script outside of the workspace, which no container sees"
                    hint = "copy it into the workspace"
                    problem(("steps", step.name), what, value=file, hint=hint)
