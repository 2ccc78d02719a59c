"""The bytes of models, by content: from the workspace, DVC's cache or its remote, hashed on their way."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml_experiment.adapters import dvc
from ml_experiment.errors import UserError
from ml_experiment.hashing import of_listing, of_path, of_readable, regular_files
from ml_experiment.plan import Plan
from ml_experiment.versions import Version


class Got(NamedTuple):
    """Where bytes were put, and where from: workspace, cache, remote, or "" where they were there."""

    path: str
    source: str


def held(plan: Plan, version: Version) -> tuple[str, dict[str, Path]] | None:
    """Where the bytes of a version are on this machine, and their files; they are not hashed yet."""
    own = plan.folder / str(version.facts.get("path"))
    if of_readable(own) == version.hash:
        return "workspace", _files(own)
    if dvc.is_repository(plan.folder):
        found = dvc.object_in_cache(plan.folder, version.hash)
        if found is not None:
            return "cache", found
    return None


def _files(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        return {"": path}
    names = regular_files(path)
    return {os.path.relpath(name, path): Path(name) for name in names}


def get(plan: Plan, version: Version, out: Path | None, remote: str | None, *, force: bool) -> Got:
    """Put the bytes of a version somewhere, when they were hashed and are what the version says.

    Args:
        plan: the experiment.
        version: which.
        out: the file or folder that they are to be; NAME-VERSION with its ending where it is None.
        remote: one of DVC's; the default one where it is None.
        force: whether other bytes that are there may go.

    Raises:
        UserError: they are nowhere, or not what they should be; or something else is there.
    """
    named = f"{version.name}-{version.number or version.hash[:8]}"
    target = out or Path(named + Path(str(version.facts.get("path"))).suffix)
    if of_path(target) == version.hash:
        return Got(str(target), "")
    if os.path.lexists(target) and (not force or target.is_dir()):
        hint = "--out names another place" + ("" if target.is_dir() else ", --force replaces it")
        raise UserError("something else is there", where=str(target), hint=hint)
    for _ in range(2):  # once more where the cache has other bytes under this name
        where, files = held(plan, version) or _fetched(plan, version, remote)
        if _place(files, target, version.hash):
            return Got(str(target), where)
        gone = dvc.forget(plan.folder, [version.hash])
        if where == "remote":
            raise UserError(
                f"the remote's bytes are not {version.shown}, so they were not taken",
                value=", ".join(gone),
                hint="remove it from the remote: then whoever has the right bytes can push them",
            )
    raise _nowhere(version, "not to be had")


def _fetched(plan: Plan, version: Version, remote: str | None) -> tuple[str, dict[str, Path]]:
    if not dvc.is_repository(plan.folder):
        what = "gone: the workspace has other ones by now, and there is no DVC repository"
        raise _nowhere(version, what)
    dvc.fetch_object(plan.folder, version.hash, remote)
    found = dvc.object_in_cache(plan.folder, version.hash)
    if found is None:
        raise _nowhere(version, "neither in the cache nor to be had from the remote")
    return "remote", found


def _nowhere(version: Version, why: str) -> UserError:
    path = version.facts.get("path")
    hint = "whoever has it can push it"
    commit = (version.facts.get("git") or {}).get("commit")
    if commit:
        command = shlex.join(["snakemake", "--cores", "1", "--forceall", str(path)])
        hint += f"; at the commit {commit[:12]} `{command}` makes it anew"
    return UserError(f"the bytes of {version.shown} are {why}", value=version.hash, hint=hint)


def _place(files: Mapping[str, Path], target: Path, digest: str) -> bool:
    """Copy files to where nothing is seen of them before they are whole and hashed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = target.parent / f".{secrets.token_hex(8)}.getting"
    try:
        digests = {name: _copy(file, stage / name) for name, file in files.items()}
        if (digests[""] if "" in digests else of_listing(digests)) != digest:
            return False
        os.replace(stage, target)
        return True
    finally:
        if stage.is_dir():
            for file in sorted(stage.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            stage.rmdir()
        else:
            stage.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> str:
    """Copy a file, and return the digest of the bytes that were written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    md5 = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as reading, target.open("xb") as writing:
        while data := reading.read(1 << 20):
            md5.update(data)
            writing.write(data)
        writing.flush()
        os.fsync(writing.fileno())
    return md5.hexdigest()
