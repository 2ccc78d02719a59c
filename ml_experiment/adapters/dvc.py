"""The only importer of DVC: what a run has made goes into its cache and into dvc.lock."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo

from ml_experiment.errors import UserError
from ml_experiment.hashing import of_file
from ml_experiment.model import Import

FOLDER = ".dvc"


def is_repository(folder: Path) -> bool:
    """Whether a folder is in one of DVC's repositories."""
    return any((each / FOLDER).is_dir() for each in (folder, *folder.parents))


def commit(folder: Path, names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Put the outputs of some stages into the cache, and write them into dvc.lock.

    Args:
        folder: where dvc.yaml is.
        names: the stages.
        known: file -> MD5 of its bytes, so that it is not read again; relative to `folder`.

    Returns:
        Output -> its digest in dvc.lock, a folder's with the ending `.dir`.

    Raises:
        UserError: what DVC says, such as that another DVC is at work, or that the disk is full.
    """
    with _repository(folder) as repo:
        for path, digest in known.items():
            absolute = os.path.join(folder, path)
            repo.state.save(absolute, repo.fs, HashInfo("md5", digest))
        done = [stage for name in names for stage in repo.commit(name, force=True)]
        return {
            os.path.relpath(out.fs_path, folder): str(out.hash_info.value)
            for stage in done
            for out in stage.outs
        }


class Fetched(NamedTuple):
    """What a pull has brought.

    Attributes:
        objects: how many came from the remote into the cache.
        entered: output -> its digest in dvc.lock, of those that are new in the workspace.
    """

    objects: int
    entered: dict[str, str]


def push(folder: Path, targets: Sequence[str], remote: str | None) -> int:
    """Send objects of the cache to a remote; how many it lacked.

    Raises:
        UserError: what DVC says.
    """
    with _repository(folder) as repo:
        return int(repo.push(targets=[*targets] or None, remote=remote))


def pull(folder: Path, targets: Sequence[str], remote: str | None) -> Fetched:
    """Fetch objects, and put them where dvc.lock and .dvc files have them.

    Raises:
        UserError: what DVC says, such as that the remote lacks an object.
    """
    with _repository(folder) as repo:
        done = repo.pull(targets=[*targets] or None, remote=remote)
        changed = {
            os.path.abspath(path).rstrip(os.sep)
            for kind in ("added", "modified")
            for path in done[kind]
        }
        digests = {
            os.path.relpath(out.fs_path, folder): str(out.hash_info.value)
            for out in repo.index.outs
            if out.use_cache and out.hash_info and out.fs_path in changed
        }
        return Fetched(int(done["stats"]["fetched"]), digests)


def forget(folder: Path, digests: Iterable[str]) -> None:
    """Remove objects whose bytes are not what their names say, and such ones in a folder's."""
    with _repository(folder) as repo:
        cache = repo.cache.local
        for digest in digests:
            own = Path(cache.oid_to_path(digest))
            members = _members(own) if digest.endswith(".dir") else []
            for each in (digest, *members):
                file = Path(cache.oid_to_path(each))
                if file.is_file() and of_file(file) != each.removesuffix(".dir"):
                    file.unlink()


class Kept(NamedTuple):
    """An output that DVC has.

    Attributes:
        path: relative to the workspace.
        stage: its stage, or the .dvc file that it is of.
        digest: of dvc.lock.
        objects: digest -> file in the cache: its own, and of a folder those of its files.
    """

    path: str
    stage: str
    digest: str
    objects: dict[str, Path]


def kept(folder: Path) -> list[Kept]:
    """What dvc.lock and .dvc files say that there is, by path.

    Raises:
        UserError: what DVC says.
    """
    with _repository(folder) as repo:
        found = []
        for out in repo.index.outs:
            if not out.use_cache or not out.hash_info:
                continue
            digest = str(out.hash_info.value)
            own = Path(out.cache.oid_to_path(digest))
            objects = {digest: own}
            for member in _members(own) if digest.endswith(".dir") else ():
                objects[member] = Path(out.cache.oid_to_path(member))
            path = os.path.relpath(out.fs_path, folder)
            found.append(Kept(path, out.stage.addressing, digest, objects))
        return sorted(found)


def changed(folder: Path) -> set[str]:
    """The stages that are not as dvc.lock has them, with what they depend on, as DVC sees it.

    Raises:
        UserError: what DVC says.
    """
    with _repository(folder) as repo:
        return {*repo.status()}


def add(folder: Path, path: str) -> str:
    """Put raw data into the cache, and write its .dvc file; its digest.

    Raises:
        UserError: what DVC says.
    """
    with _repository(folder) as repo:
        (stage,) = repo.add(os.path.join(folder, path))
        return str(stage.outs[0].hash_info.value)


def bring(folder: Path, path: str, source: str | Import) -> str:
    """Fetch raw data from outside to where nothing is, and write the .dvc file; the data's digest.

    Args:
        folder: the workspace.
        path: where they are to be, relative to `folder`.
        source: a URL, a path relative to `folder`, or a file of another repository.

    Raises:
        UserError: what DVC says, such as that there is nothing.
    """
    target = os.path.join(folder, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        with _repository(folder) as repo:
            if isinstance(source, Import):
                stage = repo.imp(source.repo, source.path, out=target, rev=source.rev)
            else:
                local = "://" not in source and not os.path.isabs(source)
                inside = os.path.join(folder, source)  # DVC goes by the folder of the .dvc file
                url = os.path.relpath(inside, os.path.dirname(target)) if local else source
                stage = repo.imp_url(url, out=target)
            return str(stage.outs[0].hash_info.value)
    except ImportError as error:  # such as: s3 is supported, but requires 'dvc-s3'
        raise UserError(f"DVC: {error}", value=str(source)) from None


def obtainable(folder: Path, digest: str) -> bool:
    """Whether an object is in the cache, or a remote is configured that may have it.

    Raises:
        UserError: what DVC says.
    """
    with _repository(folder) as repo:
        return bool(repo.cache.local.exists(digest) or repo.config["core"].get("remote"))


def differing(folder: Path, remote: str | None) -> dict[str, str]:
    """What cache and remote do not both have: path (of a folder's files too) -> which of them lacks it.

    "new": the remote; "deleted": the cache; "missing": both.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    with _repository(folder) as repo:
        found = repo.status(cloud=True, remote=remote)
        # DVC names files as seen from where this process is
        named = {os.path.relpath(os.path.abspath(path), folder): path for path in found}
        return {path: str(found[named[path]]) for path in sorted(named)}


def _members(listing: Path) -> list[str]:
    """The digests in the object of a folder; none where it cannot be read."""
    try:
        return [entry["md5"] for entry in json.loads(listing.read_text("utf-8"))]
    except (OSError, ValueError, LookupError, TypeError):
        return []


@contextmanager
def _repository(folder: Path) -> Iterator[Any]:
    """DVC's, quiet: it says in the UserError what is wrong, and nothing else."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(folder)) as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"DVC: {error}", where=str(folder)) from None
    except OSError as error:
        raise UserError(
            f"DVC: {error.strerror or error}", where=str(error.filename or folder)
        ) from None
