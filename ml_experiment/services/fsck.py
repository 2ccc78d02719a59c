"""`ml-experiment fsck`: cache, workspace, dvc.lock and records against each other, by content.

Nothing is believed: every object and every output is hashed. A fault has one repair, and `repair`
does those that lose nothing: an object with other bytes goes, one that is lacking comes from the
workspace or from the remote, an output that is lacking from the cache.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ml_experiment import hashing, rawdata, staleness, travelling
from ml_experiment.adapters import dvc, dvc_commit
from ml_experiment.adapters.dvc import Kept
from ml_experiment.errors import UserError
from ml_experiment.plan import Plan
from ml_experiment.services import dvc as files
from ml_experiment.services import run

Repair = Literal["add", "fetch", "checkout", "look", "run"]

SAID = {
    "add": "the workspace has it: --repair puts it into the cache",
    "fetch": "--repair fetches it from the remote; where that lacks it, `snakemake` makes it anew",
    "checkout": "--repair takes it from the cache",
    "look": "`ml-experiment status` says what it is; `dvc checkout --force` puts back the other",
    "run": "`dvc repro --force --single-item {stage}` makes it anew",
}
MENDED = ("add", "fetch", "checkout")
PASSES = 2  # a folder's listing first: only then is it known what is in it
FORCED = {
    "stale": "was made with other values ({})",
    "edited": "has bytes that no record knows ({})",
    "unrecorded": "has no record ({})",
}


class Fault(NamedTuple):
    """Something that is not as it should be.

    Attributes:
        where: cache, workspace or dvc.lock.
        path: the output that it is about.
        what: what is wrong.
        repair: what mends it.
        object: the digest of the object in the cache, where it is about one.
        stage: the stage whose output it is, where that can only be made anew.
    """

    where: str
    path: str
    what: str
    repair: Repair
    object: str = ""
    stage: str = ""

    def said(self) -> str:
        """On one line: what is wrong, and what mends it."""
        repair = SAID[self.repair].format(stage=self.stage)
        return f"{self.where}: {self.path} {self.what}; {repair}"


def fsck(plan: Plan) -> list[Fault]:
    """Everything that is wrong, by output.

    Raises:
        UserError: what DVC says, such as that dvc.lock cannot be read, or a run that is not at its
            end.
    """
    run.refuse_beside(plan.folder)
    plan = rawdata.looked_at(plan)
    travelling.take(plan)
    faults = [fault for each in dvc.kept(plan.folder) for fault in _of(plan.folder, each)]
    made = {stage.name for stage in files.made_of(plan.folder / plan.file)}
    return [*faults, *_believed(plan, made - {*dvc.changed(plan.folder)})]


def repair(plan: Plan, faults: Sequence[Fault]) -> tuple[list[Fault], UserError | None]:
    """Mend what can be mended without losing anything.

    Returns:
        What is left then, and what is the matter with the remote.

    Raises:
        UserError: what DVC says.
    """
    trouble = None
    for _ in range(PASSES):
        trouble = _mend(plan, faults)
        faults = fsck(plan)
        if trouble or not any(fault.repair in MENDED for fault in faults):
            break
    return [*faults], trouble


def _mend(plan: Plan, faults: Sequence[Fault]) -> UserError | None:
    broken = [fault.object for fault in faults if fault.where == "cache" and fault.object]
    dvc.forget(plan.folder, broken)
    added: dict[str, set[str]] = {}
    for fault in faults:
        if fault.repair == "add":
            added.setdefault(fault.path, set()).add(fault.object)
    if added:
        dvc_commit.restore(plan.folder, added)
    wanted = [fault.path for fault in faults if fault.repair in ("fetch", "checkout")]
    if not wanted:
        return None
    try:
        return dvc.pull(plan.folder, wanted, None).trouble
    except UserError as error:
        return error


def _of(folder: Path, kept: Kept) -> Iterator[Fault]:
    now = hashing.of_readable(folder / kept.path)
    source: Repair = "add" if now == kept.digest else "fetch"
    for digest, file in kept.objects.items():
        found = hashing.of_file(file) if file.is_file() else None
        if found is None:
            yield Fault("cache", kept.path, f"lacks {digest}", source, digest)
        elif found != digest.removesuffix(".dir"):
            yield Fault("cache", kept.path, f"{digest} has other bytes", source, digest)
    if now is None:
        whole = all(file.is_file() for file in kept.objects.values())
        yield Fault("workspace", kept.path, "is not there", "checkout" if whole else "fetch")
    elif now != kept.digest:
        yield Fault("workspace", kept.path, "is not what dvc.lock says", "look")


def _believed(plan: Plan, unchanged: Collection[str]) -> Iterator[Fault]:
    """What DVC takes for made from the experiment as it is, and its record does not."""
    for unit, state in staleness.judged(plan):
        stage = staleness.stage_of(plan, unit)
        if stage in unchanged and state.word in FORCED:
            why = FORCED[state.word].format(", ".join(state.reasons))
            yield Fault("dvc.lock", unit.outputs[0], why, "run", stage=stage)
