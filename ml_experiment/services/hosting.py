"""`ml-experiment env … --host`: environments on this machine, without an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_experiment import atomic, environments, locks, venvs
from ml_experiment.adapters import pip
from ml_experiment.dockerfiles import PINNED
from ml_experiment.errors import MLExperimentError, UserError
from ml_experiment.services.environments import Fault

Say = Callable[[str], None]
MADE, NOT_MADE = "made", "not made"


def lock(workspace: Path, name: str, say: Say) -> bool:
    """Pin what requirements.txt comes to for the Python that runs this. Returns whether that is new.

    Raises:
        UserError, ExperimentError: there is no list, or what it asks for cannot be had.
    """
    _declared(workspace, name)
    folder = workspace / environments.FOLDER / name
    listed = folder / venvs.LIST
    if not listed.exists():
        raise UserError(f"no {venvs.LIST}", where=f"{environments.FOLDER}/{name}")
    say(f"resolving {environments.FOLDER}/{name}/{venvs.LIST} for Python {sys.version.split()[0]}")
    return atomic.write_if_changed(folder / PINNED, pip.resolved(listed, []))


def own(workspace: Path, names: Sequence[str]) -> list[str]:
    """The environments that have a virtual environment: those of these names, or all.

    Raises:
        UserError: one that is named has none, or none has.
    """
    asked = names or environments.folders(workspace)
    found = [name for name in asked if environments.host(workspace, name) == "venv"]
    lacking = [name for name in names if name not in found]
    if lacking or not found:
        for name in lacking:
            _declared(workspace, name)
        where = f"{environments.FOLDER}/{lacking[0] if lacking else ''}"
        hint = f"write `host: venv` into {environments.SETTINGS} there"
        raise UserError("jobs on the host run in the current Python", where=where, hint=hint)
    return found


def state(workspace: Path, name: str) -> tuple[str, str]:
    """What jobs on the host run in: `current`, or `venv` and whether it is made, or what is wrong."""
    try:
        if environments.host(workspace, name) != "venv":
            return "current", ""
        made = venvs.is_made(workspace / venvs.folder(workspace, name))
    except MLExperimentError as error:
        return "venv", str(error)
    return "venv", MADE if made else NOT_MADE


def check(workspace: Path, names: Sequence[str]) -> list[Fault]:
    """What is wrong with virtual environments: that are not made, or are not what is locked."""
    found = []
    for name in names:
        try:
            _declared(workspace, name)
            found += _faults(workspace, name)
        except MLExperimentError as error:
            found.append(Fault(name, str(error), ""))
    return found


def _faults(workspace: Path, name: str) -> list[Fault]:
    if environments.host(workspace, name) != "venv":
        return []
    folder = workspace / venvs.folder(workspace, name)
    if not venvs.is_made(folder):
        hint = f"`ml-experiment env build {name} --host`, or the next run makes it"
        return [Fault(name, "its virtual environment is not made yet", hint)]
    differs = pip.changed(workspace, name)
    if not differs:
        return []
    hint = f"remove {folder.relative_to(workspace)}: the next run makes it anew"
    return [Fault(name, f"its virtual environment was changed: {locks.told(differs)}", hint)]


def shell(workspace: Path, name: str, words: Sequence[str], say: Say) -> int:
    """A shell, or a program, with the Python of an environment. Returns its exit status."""
    _declared(workspace, name)
    environ = dict(os.environ)
    if environments.host(workspace, name) == "venv":
        pip.make(workspace, name, say)
        folder = workspace / venvs.folder(workspace, name)
        environ["VIRTUAL_ENV"] = str(folder)
        first = str(venvs.programs(folder))
    else:
        first = os.path.dirname(sys.executable)
    environ["PATH"] = f"{first}{os.pathsep}{environ['PATH']}"
    program = list(words) or [environ.get("SHELL", "bash")]
    try:
        return subprocess.run(program, check=False, env=environ, cwd=workspace).returncode
    except OSError as error:
        raise UserError(f"it cannot be started: {error.strerror}", value=program[0]) from None


def _declared(workspace: Path, name: str) -> None:
    """That there is such an environment; what an image would need is not asked."""
    if not (workspace / environments.FOLDER / name).is_dir():
        environments.declared(workspace, name)
