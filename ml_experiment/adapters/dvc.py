"""DVC's own repository object: what is in its cache and remotes, fetched, sent and forgotten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dvc.config import NoRemoteError
from dvc.exceptions import DownloadError, UploadError
from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.hash_info import HashInfo

from ml_experiment.adapters.dvc_trouble import Heard, of_dvc, told, transfer, unreadable
from ml_experiment.adapters.dvc_trouble import remote as at_remote
from ml_experiment.errors import UserError
from ml_experiment.hashing import DIGEST, of_file, regular_files
from ml_experiment.model import Import

FOLDER = ".dvc"


def is_repository(folder: Path) -> bool:
    """Whether a folder is in one of DVC's repositories."""
    return any((each / FOLDER).is_dir() for each in (folder, *folder.parents))


class Fetched(NamedTuple):
    """What a pull has brought.

    Attributes:
        objects: how many came from the remote into the cache.
        there: output (or file of one) -> its digest in dvc.lock, of those that are now in place.
        lacking: the same, of those that the cache does not have, or not whole.
        trouble: why the remote did not give what it may have.
        cache: the folder in which the cache has its objects.
    """

    objects: int
    there: dict[str, str]
    lacking: dict[str, str]
    trouble: UserError | None = None
    cache: str = ""


def push(folder: Path, targets: Sequence[str], remote: str | None) -> tuple[int, list[str]]:
    """Send objects of the cache to a remote.

    Returns:
        How many it lacked, and the outputs that neither the cache nor the remote has, or not whole.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _), lock_repo(repo), at_remote(folder):
        count = int(repo.push(targets=[*targets] or None, remote=remote))
        lacking = {
            digest: piece.path
            for piece in _pieces(repo, folder, targets)
            for file, digest in piece.files.items()
            if not os.path.isfile(file)
        }
        if not lacking:
            return count, []
        there = {*repo.cloud.get_remote_odb(name=remote).list_oids_exists([*lacking])}
        return count, sorted({path for digest, path in lacking.items() if digest not in there})


def push_objects(folder: Path, digests: Iterable[str], remote: str | None) -> int:
    """Send what the cache has of some objects, whatever dvc.lock says; how many the remote lacked.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    with repository(folder) as (repo, _), at_remote(folder), told(folder) as heard:
        cache = repo.cache.local
        wanted = [HashInfo("md5", each) for each in digests if cache.exists(each)]
        if not wanted:
            return 0
        done = repo.cloud.push(wanted, remote=remote)
        if done.failed:
            raise transfer(UploadError(len(done.failed)), heard, folder)
        return len(done.transferred)


def pull(folder: Path, targets: Sequence[str], remote: str | None) -> Fetched:
    """Fetch objects, and put them where dvc.lock and .dvc files have them.

    An output that the cache does not have whole stays as it is: DVC would remove a folder of which
    it has one file less.

    Raises:
        UserError: what DVC says, such as that somebody else is at work.
    """
    with repository(folder) as (repo, _), lock_repo(repo):  # so that DVC reads its files once
        before, trouble = _held(_pieces(repo, folder, targets)), None
        with told(folder) as heard, at_remote(folder):
            try:
                repo.fetch(targets=[*targets] or None, remote=remote)
            except DownloadError as error:
                trouble = None if heard.only_lacking() else transfer(error, heard, folder)
        pieces = _pieces(repo, folder, targets)
        held = _held(pieces)
        lacking = {piece.path: piece.digest for piece in pieces if not held.issuperset(piece.files)}
        count = len(held - before)
        wanted = [*targets]
        if lacking:
            repo.drop_data_index()  # it may have been made of a listing with other bytes
            trouble = trouble or _without_remote(repo, folder, remote)
            wanted = [piece.path for piece in pieces if piece.path not in lacking]
            if not wanted:
                return Fetched(count, {}, lacking, trouble, repo.cache.local.path)
        repo.checkout(targets=wanted or None, allow_missing=True)
        there = {piece.path: piece.digest for piece in pieces if piece.path not in lacking}
        return Fetched(count, there, lacking, trouble, repo.cache.local.path)


def forget(folder: Path, digests: Iterable[str]) -> list[str]:
    """Remove objects whose bytes are not what their names say, and such ones in a folder's.

    Returns:
        Where they were, in the cache; in a remote they have the same place. With a folder's file its
        listing, for where a remote has that DVC believes that it has the files.
    """
    gone: dict[str, None] = {}
    with repository(folder) as (repo, _):
        cache = repo.cache.local
        for digest in filter(DIGEST.fullmatch, digests):
            own = Path(cache.oid_to_path(digest))
            members = _members(own) if digest.endswith(".dir") else {}
            for each in (digest, *members.values()):
                file = Path(cache.oid_to_path(each))
                if file.is_file() and of_file(file) != each.removesuffix(".dir"):
                    file.unlink()
                    top = os.path.join(cache.path, "..", "..")
                    gone |= dict.fromkeys(os.path.relpath(one, top) for one in (file, own))
    return [*gone]


def listed(folder: Path, digest: str) -> dict[str, str]:
    """Path -> digest, of a folder by its object in the cache, whether that has the right bytes or not.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _):
        return _members(Path(repo.cache.local.oid_to_path(digest)))


def left_out(folder: Path, path: str) -> list[str]:
    """The files of a folder that DVC does not keep, for .dvcignore has them.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _):
        ignored = repo.dvcignore.is_ignored_file
        files = regular_files(folder / path) if (folder / path).is_dir() else []
        return sorted(os.path.relpath(file, folder) for file in files if ignored(file))


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
    with repository(folder) as (repo, _):
        found = []
        for out in repo.index.outs:
            if not out.use_cache or not out.hash_info:
                continue
            digest = str(out.hash_info.value)
            objects = {member: Path(file) for file, member in _objects(out).items()}
            path = os.path.relpath(out.fs_path, folder)
            found.append(Kept(path, out.stage.addressing, digest, objects))
        return sorted(found)


def changed(folder: Path) -> set[str]:
    """The stages that are not as dvc.lock has them, with what they depend on, as DVC sees it.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _), lock_repo(repo):
        return {stage.addressing for stage in repo.index.stages if _differs(stage)}


def _differs(stage: Any) -> bool:
    """Whether DVC sees a stage as changed; so is one of which a file cannot be read, such as a link
    to nothing, at which DVC's own command would stop.
    """
    try:
        return bool(stage.status())
    except OSError:
        return True


def add(folder: Path, path: str) -> str:
    """Put raw data into the cache, and write its .dvc file; its digest.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _):
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
        with repository(folder) as (repo, _):
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


def object_in_cache(folder: Path, digest: str) -> dict[str, Path] | None:
    """The files of the cache that an object is, as far as their names say; None where one is lacking.

    Path in the folder that it is -> file; a file's own path is empty.

    Raises:
        UserError: what DVC says.
    """
    if not DIGEST.fullmatch(digest):  # of a registry or a record that somebody else has written
        return None
    with repository(folder) as (repo, _):
        cache = repo.cache.local
        own = Path(cache.oid_to_path(digest))
        if not digest.endswith(".dir"):
            return {"": own} if own.is_file() else None
        found = {name: Path(cache.oid_to_path(md5)) for name, md5 in _members(own).items()}
        return found if found and all(file.is_file() for file in found.values()) else None


def fetch_object(folder: Path, digest: str, remote: str | None) -> None:
    """Have an object come from a remote into the cache, whatever dvc.lock says; it may not have it.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    if not DIGEST.fullmatch(digest):
        return
    with repository(folder) as (repo, _), at_remote(folder), told(folder) as heard:
        done = repo.cloud.pull([HashInfo("md5", digest)], remote=remote)
        if done.failed and not heard.only_lacking():
            raise transfer(DownloadError(len(done.failed)), heard, folder)


def obtainable(folder: Path, digest: str) -> bool:
    """Whether an object is in the cache, or a remote is configured that may have it.

    Raises:
        UserError: what DVC says.
    """
    with repository(folder) as (repo, _):
        return bool(repo.cache.local.exists(digest) or repo.config["core"].get("remote"))


def differing(folder: Path, remote: str | None) -> dict[str, str]:
    """What cache and remote do not both have: path (of a folder's files too) -> which of them lacks it.

    "new": the remote; "deleted": the cache; "missing": both.

    Raises:
        UserError: there is no remote, or it cannot be reached.
    """
    with repository(folder) as (repo, _):
        found = repo.status(cloud=True, remote=remote)
        # DVC names files as seen from where this process is
        named = {os.path.relpath(os.path.abspath(path), folder): path for path in found}
        return {path: str(found[named[path]]) for path in sorted(named)}


def _held(pieces: Iterable[_Piece]) -> set[str]:
    """The files of the cache that are there."""
    return {file for piece in pieces for file in piece.files if os.path.isfile(file)}


def _without_remote(repo: Any, folder: Path, remote: str | None) -> UserError | None:
    try:
        repo.cloud.get_remote(name=remote)
    except NoRemoteError as error:
        return of_dvc(error, folder)
    return None


class _Piece(NamedTuple):
    """An output, or a file of one that is a folder.

    Attributes:
        path: relative to the workspace.
        digest: of dvc.lock.
        files: file of the cache -> digest.
    """

    path: str
    digest: str
    files: dict[str, str]


def _pieces(repo: Any, folder: Path, targets: Sequence[str]) -> list[_Piece]:
    """What some targets are, or everything, by path."""
    found = []
    for out in repo.index.targets_view([*targets] or None).outs:
        if not out.use_cache or not out.hash_info:
            continue
        path = os.path.relpath(out.fs_path, folder)
        inner = [os.path.normpath(each) for each in targets if each.startswith(f"{path}/")]
        if not inner:
            found.append(_Piece(path, str(out.hash_info.value), _objects(out)))
        for each in inner:
            found += _within(out, path, os.path.relpath(each, path))
    return sorted(found)


def _within(out: Any, path: str, inner: str) -> Iterator[_Piece]:
    """The files of an output at some place in it."""
    listing, digest = next(iter(_objects(out).items()))
    if not os.path.isfile(listing):
        yield _Piece(f"{path}/{inner}", digest, {listing: digest})
    for name, md5 in _members(Path(listing)).items():
        if f"{name}/".startswith(f"{inner}/"):
            yield _Piece(f"{path}/{name}", md5, {out.cache.oid_to_path(md5): md5})


def _objects(out: Any) -> dict[str, str]:
    """File of the cache -> digest: an output's own object, and of a folder those of its files."""
    digest = str(out.hash_info.value)
    if not DIGEST.fullmatch(digest):
        file = out.stage.dvcfile.relpath.replace("dvc.yaml", "dvc.lock")
        raise unreadable(file, Path(out.repo.root_dir))
    own = out.cache.oid_to_path(digest)
    members = _members(Path(own)) if digest.endswith(".dir") else {}
    return {own: digest, **{out.cache.oid_to_path(md5): md5 for md5 in members.values()}}


def _members(listing: Path) -> dict[str, str]:
    """Path -> digest, in the object of a folder; none where it cannot be read, or is none of DVC's:
    it may come from anybody, and its paths and digests become paths here.
    """
    try:
        found = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text("utf-8"))}
        right = all(DIGEST.fullmatch(digest) and _is_inside(name) for name, digest in found.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return found if right else {}


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    return not {"", ".", ".."} & {*parts}


@contextmanager
def repository(folder: Path) -> Iterator[tuple[Any, Heard]]:
    """DVC's, quiet, and the errors that it logs: it says in the UserError what is wrong."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    with told(folder) as heard, Repo(str(folder)) as repo:
        yield repo, heard
