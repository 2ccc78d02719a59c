"""`ml-experiment push` and `pull`: outputs with their records, to DVC's remote and from there."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ml_experiment import (
    checked,
    dvclock,
    promoted,
    rawdata,
    stages,
    staleness,
    times,
    travelling,
)
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.hashing import of_listing, of_readable
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files
from ml_experiment.services import run

if TYPE_CHECKING:  # it is imported where something is to be fetched or sent
    from ml_experiment.adapters import dvc


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


class _Brought(NamedTuple):
    """How many objects came; output -> digest of those in place, and of those not to be had."""

    objects: int
    there: Mapping[str, str]
    lacking: Mapping[str, str]
    trouble: UserError | None = None


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


def compare(plan: Plan, remote: str | None, name: str | None) -> Compared:
    """Compare the cache with a remote; nothing is fetched or sent.

    Args:
        plan: of the experiment.
        remote: its name; DVC's default where it is None.
        name: the stage that is asked for; all where it is None.

    Raises:
        UserError: there is no remote, or it cannot be reached; there is no such stage.
    """
    from ml_experiment.adapters import dvc  # noqa: PLC0415  # half a second, and rarely needed

    made = files.made_of(plan.folder / plan.file)
    names = [stage.name for stage in made]
    if name is not None and name not in names:
        raise UserError("no such stage", value=name, hint=did_you_mean(name, names))
    found = dvc.differing(plan.folder, remote)
    changed = dvc.changed(plan.folder)

    def of(path: str) -> str:
        stage = stages.maker(made, path)
        return stage.name if stage else rawdata.holder(plan.folder, path) or path

    differences = [Difference(path, of(path), LACKS[word]) for path, word in found.items()]
    return Compared(
        [each for each in differences if name in (None, each.of)],
        [each for each in names if each in changed and name in (None, each)],
    )


def push(plan: Plan, targets: Sequence[str], remote: str | None) -> Pushed:
    """Send what DVC's cache has of these outputs, or all; then promoted models too.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    from ml_experiment.adapters import dvc  # noqa: PLC0415  # half a second, and rarely needed

    targets = [os.path.normpath(target) for target in targets]
    count, nowhere = dvc.push(plan.folder, targets, remote)
    if not targets and (models := {version.hash for version in promoted.read(plan.folder)}):
        count += dvc.push_objects(plan.folder, sorted(models), remote)
    return Pushed(count, nowhere)


def pull(plan: Plan, targets: Sequence[str], remote: str | None) -> Pulled:
    """Fetch outputs, all that they are made from, and the records; let Snakemake know what is current.

    Bytes that are not what dvc.lock says are left neither here nor in the cache.

    Raises:
        UserError: what DVC says, or a run that is not at its end.
    """
    run.refuse_beside(plan.folder)
    if targets:
        made = files.made_of(plan.folder / plan.file)
        asked = [os.path.normpath(target) for target in targets]  # a shell completes with a slash
        targets = stages.needed(made, asked, lambda path: rawdata.holder(plan.folder, path))
    done, memory = _brought(plan, targets, remote)
    plan, taken = rawdata.looked_at(plan), travelling.take(plan)
    judged = staleness.judged(plan)
    times.align(plan, judged, time.time_ns())
    checked.write(plan, memory, done.there)
    left = [state for _, state in judged if state.word != "current"]
    lacking = [
        path for path, each in done.lacking.items() if of_readable(plan.folder / path) != each
    ]
    return Pulled(done.objects, taken, left, sorted(lacking), done.trouble)


def _brought(
    plan: Plan, targets: Sequence[str], remote: str | None
) -> tuple[_Brought, checked.Memory]:
    """Ask DVC for what is not in place, if anything; and what is known then."""
    memory = checked.read(plan)
    known_remote = remote is None or dvclock.has_remote(plan.folder, remote)
    look = checked.look(plan, memory, targets) if known_remote else None
    if look is not None and look.asked is not None and not look.asked:
        return _Brought(0, look.there, {}), look.memory
    asked = look.asked if look is not None else None
    done = fetch(plan, targets if asked is None else asked, remote)
    there = {**(look.there if look is not None else {}), **done.there}
    now = look.memory if look is not None else checked.Memory(stamps=memory.stamps)
    now = now._replace(cache=done.cache, configured=dvclock.configured(plan.folder))
    return _Brought(done.objects, there, done.lacking, done.trouble), now


def fetch(plan: Plan, targets: Sequence[str], remote: str | None) -> dvc.Fetched:
    """Fetch outputs, or the data of .dvc files; whatever comes in is hashed.

    Bytes that are not what they should be are left neither here nor in the cache. What is wrong then
    is the trouble of what is returned.

    Raises:
        UserError: what DVC says.
    """
    from ml_experiment.adapters import dvc  # noqa: PLC0415  # half a second, and rarely needed

    known = checked.read(plan).stamps
    done = dvc.pull(plan.folder, targets, remote)
    fetched, trouble = done.objects, done.trouble
    wrong, objects = _refuse(plan.folder, done, known)
    if objects or wrong:
        done = dvc.pull(plan.folder, targets, remote)
        fetched, trouble = fetched + done.objects, done.trouble
        wrong, objects = _refuse(plan.folder, done, known)
        trouble = _not_right(wrong, objects) if objects or wrong else trouble
    right = {path: each for path, each in done.there.items() if path not in wrong}
    return done._replace(objects=fetched, there=right, trouble=trouble)


def _not_right(wrong: Iterable[str], objects: Iterable[str]) -> UserError:
    return UserError(
        "the remote's bytes are not what dvc.lock says, so they were removed here",
        value=", ".join(wrong),
        hint=f"remove {', '.join(objects)} from the remote: then whoever has the right bytes can "
        "push them; `snakemake` makes them anew",
    )


def _refuse(
    folder: Path, done: dvc.Fetched, known: Mapping[str, checked.Stamp]
) -> tuple[list[str], list[str]]:
    """Remove what has other bytes than dvc.lock says; which outputs that was, and which objects.

    DVC believes that an object which nobody may write is what its name says. So do links to it. A
    folder's listing with other bytes names files that there are not.
    """
    wrong = {
        path: digest
        for path, digest in done.there.items()
        if known.get(path) != checked.stamp(folder / path, digest)
        and of_readable(folder / path) != digest
    }
    if not wrong and not done.lacking:
        return [], []

    from ml_experiment.adapters import dvc  # noqa: PLC0415  # half a second, and rarely needed

    wrong = {path: each for path, each in wrong.items() if _removed(folder, path, each)}
    if not wrong and not done.lacking:
        return [], []
    objects = dvc.forget(folder, [*wrong.values(), *done.lacking.values()])
    listed = [
        path
        for path, digest in done.lacking.items()
        if any(each.endswith(f"{digest[:2]}/{digest[2:]}") for each in objects)
    ]
    return sorted([*wrong, *listed]), objects


def _removed(folder: Path, path: str, digest: str) -> bool:
    """Remove an output if it has other bytes than DVC's; whether it has.

    A folder may have files beside DVC's, which stay: those that .dvcignore has.
    """
    from ml_experiment.adapters import dvc  # noqa: PLC0415  # half a second, and rarely needed

    if not digest.endswith(".dir"):
        remove(folder / path)
        return True
    members = dvc.listed(folder, digest)
    if of_listing(members) == digest and all(
        of_readable(folder / path / name) == each for name, each in members.items()
    ):
        return False
    for name in members:
        remove(folder / path / name)
    for parent, _, _ in os.walk(folder / path, topdown=False):
        with contextlib.suppress(OSError):  # there is something else in it
            os.rmdir(parent)
    return True


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link; what is not there is no mistake."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
