"""Outputs whose bytes we have hashed and found to be those of dvc.lock, while nobody touches them.

A file's time of change cannot be set by anybody, so a stamp that holds says that the bytes are the same.
What is in its place, and has its objects in DVC's cache, needs no DVC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import atomic, dvclock
from ml_experiment.digests import Digests
from ml_experiment.dvclock import Out
from ml_experiment.hashing import canonical, of_text, regular_files
from ml_experiment.plan import Plan

Stamp = list[str | int]


class Memory(NamedTuple):
    """What was known when outputs were last in place.

    Attributes:
        of: a digest of DVC's files that `outs` was read from.
        outs: path -> what DVC keeps there.
        configured: a digest of DVC's configuration, while which holds `cache` is where objects are.
        cache: a folder.
        stamps: output -> its stamp when its bytes had just been hashed.
    """

    of: str = ""
    outs: Mapping[str, Out] = {}
    configured: str = ""
    cache: str = ""
    stamps: Mapping[str, Stamp] = {}


class Look(NamedTuple):
    """What of some targets is in place, and what DVC has to be asked for.

    Attributes:
        memory: with `outs` as DVC's files are now; none where they are not understood.
        there: output -> its digest, of those in place.
        asked: what is not, as targets for DVC; None: all that was wanted.
    """

    memory: Memory
    there: Mapping[str, str]
    asked: Sequence[str] | None


FEW = 100  # targets: with more DVC is faster when it is told of none


def read(plan: Plan) -> Memory:
    """What was known; nothing where the file is lacking or of another form."""
    try:
        said = json.loads(_file(plan).read_text("utf-8"))
        outs = {path: Out(*out) for path, out in said["outs"].items()}
        return Memory(said["of"], outs, said["configured"], said["cache"], said["stamps"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Memory()


def write(plan: Plan, memory: Memory, there: Mapping[str, str]) -> None:
    """Remember that these outputs have these digests now."""
    stamps = {path: stamp(plan.folder / path, digest) for path, digest in there.items()}
    kept = {**memory.stamps, **stamps}
    left = {path: each for path, each in kept.items() if _within(path, memory.outs)}
    known = memory._replace(stamps=left if memory.of else kept)
    atomic.write_if_changed(_file(plan), canonical(known._asdict()) + "\n", durable=False)


def stamp(path: Path, digest: str) -> Stamp:
    """What is another when somebody has touched a file or folder; its time of change cannot be set."""
    files = [*(regular_files(path) if path.is_dir() else ()), str(path)]
    stats = [os.stat(file) for file in files if os.path.exists(file)]
    size = sum(each.st_size for each in stats)
    changed = max((each.st_ctime_ns for each in stats), default=0)
    return [digest, len(stats), size, sum(each.st_ino for each in stats), changed]


def look(plan: Plan, memory: Memory, targets: Sequence[str]) -> Look | None:
    """Compare outputs with DVC's files, by what is remembered and else by their bytes.

    Returns:
        None where only DVC knows: it has other files than we understand, is at work, or its cache may
        be elsewhere.
    """
    folder = plan.folder
    files = dvclock.texts(folder)
    configured = dvclock.configured(folder)
    if files is None or dvclock.busy(folder):
        return None
    of = of_text(canonical(files))
    outs = memory.outs if of == memory.of else dvclock.outs(files)
    if outs is None:
        return None
    now = memory._replace(of=of, outs=outs, configured=configured)
    if not memory.cache or configured != memory.configured:
        return Look(now, {}, None)
    wanted = _wanted(folder, outs, targets)
    if wanted is None:
        return None
    there = _in_place(folder, now, dict.fromkeys(p for paths in wanted.values() for p in paths))
    asked = [target for target, paths in wanted.items() if not there.keys() >= {*paths}]
    # Without targets DVC also removes the outputs that it had put there and no file of its names now.
    gone = not targets and any(not _within(path, outs) for path in memory.stamps)
    unsure = any(not outs[path].declared for target in asked for path in wanted[target])
    return Look(now, there, None if gone or unsure or len(asked) > FEW else asked)


def _wanted(
    folder: Path, outs: Mapping[str, Out], targets: Sequence[str]
) -> dict[str, list[str]] | None:
    """Target -> the outputs that it is, is in or makes; without targets each output. None: no such."""
    if not targets:
        return {path: [path] for path in outs}
    found = {}
    for target in targets:
        path = os.path.normpath(target)
        of_stage = [each for each, out in outs.items() if out.stage == target]
        if path in outs:
            found[target] = [path]
        elif of_stage:
            found[target] = of_stage
        elif (out := _holder(path, outs)) and os.path.exists(folder / path):
            found[target] = [out]
        else:
            return None
    return found


def _in_place(folder: Path, memory: Memory, paths: Iterable[str]) -> dict[str, str]:
    """Those of some outputs that have the bytes of DVC's files, and their objects in the cache."""
    kept = [path for path in paths if _has(memory.cache, memory.outs[path].digest)]
    right = {}
    doubted = []
    for path in kept:
        digest = memory.outs[path].digest
        known = memory.stamps.get(path)
        if known is not None and known == _stamp_of(folder / path, digest):
            right[path] = digest
        else:
            doubted.append(path)
    for path, entry in Digests(folder).entries(doubted).items():
        if entry["hash"] == memory.outs[path].digest:
            right[path] = entry["hash"]
    return right


def _stamp_of(path: Path, digest: str) -> Stamp | None:
    try:
        return stamp(path, digest) if path.exists() else None
    except OSError:
        return None


def _has(cache: str, digest: str) -> bool:
    """Whether the cache has an object, and of a folder those of its files."""
    own = _object(cache, digest)
    if not digest.endswith(".dir"):
        return os.path.isfile(own)
    try:
        with open(own, "rb") as file:
            members = {entry["md5"] for entry in json.load(file)}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return all(os.path.isfile(_object(cache, member)) for member in members)


def _object(cache: str, digest: str) -> str:
    return f"{cache}{os.sep}{digest[:2]}{os.sep}{digest[2:]}"


def _within(path: str, outs: Mapping[str, Any]) -> bool:
    return path in outs or _holder(path, outs) is not None


def _holder(path: str, outs: Mapping[str, Any]) -> str | None:
    """The output that a path lies in."""
    while path := os.path.dirname(path):
        if path in outs:
            return path
    return None


def _file(plan: Plan) -> Path:
    return plan.folder / plan.state("travelled", "checked.json")
