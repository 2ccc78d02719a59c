"""`ml-experiment push` and `pull`: outputs with their records, to DVC's remote and from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ml_experiment import rawdata, stages, staleness, times, travelling
from ml_experiment.adapters import dvc
from ml_experiment.errors import UserError
from ml_experiment.hashing import of_path
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files


class Pulled(NamedTuple):
    """What a pull has brought, and what of the experiment is not current after it."""

    files: int
    records: int
    left: list[staleness.State]


class Difference(NamedTuple):
    """A file that cache and remote do not both have.

    Attributes:
        path: of an output, or of a file in it.
        of: the step or study that makes it; else the raw data that it is or is in.
        lacks: who lacks it.
    """

    path: str
    of: str
    lacks: Literal["remote", "cache", "both"]


class Compared(NamedTuple):
    """What dvc.lock and .dvc files name, in the cache and in a remote.

    Attributes:
        differences: by path.
        ahead: the steps and studies that are not as dvc.lock has them, so that no remote can.
    """

    differences: list[Difference]
    ahead: list[str]


LACKS: Mapping[str, Literal["remote", "cache", "both"]] = {
    "new": "remote",
    "deleted": "cache",
    "missing": "both",
}


def compare(plan: Plan, remote: str | None) -> Compared:
    """Compare the cache with a remote; nothing is fetched or sent.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    made = files.proposed(plan.folder / plan.file).stages
    found = dvc.differing(plan.folder, remote)
    changed = dvc.changed(plan.folder)

    def of(path: str) -> str:
        stage = stages.maker(made, path)
        return stage.name if stage else rawdata.holder(plan.folder, path) or path

    return Compared(
        [Difference(path, of(path), LACKS[word]) for path, word in found.items()],
        [stage.name for stage in made if stage.name in changed],
    )


def push(plan: Plan, targets: Sequence[str], remote: str | None) -> int:
    """Send what DVC's cache has of these outputs, or all; how many objects went.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    return dvc.push(plan.folder, targets, remote)


def pull(plan: Plan, targets: Sequence[str], remote: str | None) -> Pulled:
    """Fetch outputs, all that they are made from, and the records; let Snakemake know what is current.

    Raises:
        UserError: a remote that cannot be reached or lacks an object, or bytes that are not what
            dvc.lock says; such an object is not left in the cache.
    """
    if targets:
        made = files.proposed(plan.folder / plan.file).stages
        targets = stages.needed(made, targets, lambda path: rawdata.holder(plan.folder, path))
    fetched = fetch(plan.folder, targets, remote)
    taken = travelling.take(plan)
    judged = staleness.judged(plan)
    times.align(plan, judged, time.time_ns())
    return Pulled(fetched, taken, [state for _, state in judged if state.word != "current"])


def fetch(folder: Path, targets: Sequence[str], remote: str | None) -> int:
    """Fetch outputs, or the data of .dvc files, and hash what comes in; how many objects came.

    Raises:
        UserError: as of `pull`.
    """
    fetched = 0
    for attempt in (1, 2):
        done = dvc.pull(folder, targets, remote)
        fetched += done.objects
        wrong = _wrong(folder, done.entered)
        if not wrong:
            break
        _remove(folder, wrong)
        dvc.forget(folder, wrong.values())
        if attempt == 2:
            raise UserError(
                "the remote's bytes are not what dvc.lock says, so they were removed",
                value=", ".join(wrong),
                hint="whoever has the right ones can push them; `snakemake` makes them anew",
            )
    return fetched


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
