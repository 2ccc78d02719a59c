"""`ml-experiment push` and `pull`: outputs with their records, to DVC's remote and from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_experiment import stages, staleness, times, travelling
from ml_experiment.adapters import dvc
from ml_experiment.errors import UserError
from ml_experiment.hashing import of_path
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files
from ml_experiment.services import run


class Pushed(NamedTuple):
    """How many objects went, and which outputs neither the cache nor the remote has."""

    objects: int
    nowhere: list[str]


class Pulled(NamedTuple):
    """What a pull has brought, and what of the experiment is not current after it.

    Attributes:
        files: objects that came.
        records: records that came with them.
        left: the jobs that are not current.
        lacking: outputs of dvc.lock that are not here and were not to be had.
        trouble: what is the matter with the remote, or with what came from it.
    """

    files: int
    records: int
    left: list[staleness.State]
    lacking: list[str] = []  # noqa: RUF012  # nobody changes it
    trouble: UserError | None = None


def push(plan: Plan, targets: Sequence[str], remote: str | None) -> Pushed:
    """Send what DVC's cache has of these outputs, or all.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    count = dvc.push(plan.folder, targets, remote)
    return Pushed(count, dvc.nowhere(plan.folder, targets, remote))


def pull(plan: Plan, targets: Sequence[str], remote: str | None) -> Pulled:
    """Fetch outputs, all that they are made from, and the records; let Snakemake know what is current.

    Bytes that are not what dvc.lock says are left neither here nor in the cache.

    Raises:
        UserError: what DVC says, or a run that is not at its end.
    """
    run.refuse_beside(plan.folder)
    if targets:
        targets = stages.needed(files.proposed(plan.folder / plan.file).stages, targets)
    done = dvc.pull(plan.folder, targets, remote)
    fetched, trouble = done.objects, done.trouble
    wrong = _refuse(plan.folder, done.entered)
    if wrong:
        done = dvc.pull(plan.folder, targets, remote)
        fetched, trouble = fetched + done.objects, done.trouble
        wrong = _refuse(plan.folder, done.entered)
    if wrong:
        trouble = UserError(
            "the remote's bytes are not what dvc.lock says, so they were removed",
            value=", ".join(wrong),
            hint="whoever has the right ones can push them; `snakemake` makes them anew",
        )
    taken = travelling.take(plan)
    judged = staleness.judged(plan)
    times.align(plan, judged, time.time_ns())
    left = [state for _, state in judged if state.word != "current"]
    lacking = sorted(_wrong(plan.folder, done.lacking))
    return Pulled(fetched, taken, left, lacking, trouble)


def _refuse(folder: Path, entered: Mapping[str, str]) -> list[str]:
    """Remove what has come in with other bytes, from the cache too, and say what that was."""
    wrong = _wrong(folder, entered)
    if wrong:
        _remove(folder, wrong)
        dvc.forget(folder, wrong.values())
    return sorted(wrong)


def _wrong(folder: Path, entered: Mapping[str, str]) -> dict[str, str]:
    """What has other bytes than it should have: output -> the digest that it should have.

    DVC believes that an object which nobody may write is what its name says.
    """
    return {path: digest for path, digest in entered.items() if of_path(folder / path) != digest}


def _remove(folder: Path, paths: Iterable[str]) -> None:
    for path in paths:
        if (folder / path).is_dir() and not (folder / path).is_symlink():
            shutil.rmtree(folder / path)
        else:
            (folder / path).unlink(missing_ok=True)
