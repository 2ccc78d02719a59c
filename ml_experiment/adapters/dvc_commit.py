"""What a run has made goes into DVC's cache and into dvc.lock; into the lock only what is in the cache.

DVC's own commit takes an object that it could not write for written. And with a cache of copies, which
is what it has unless it is told otherwise, it spends most of its time between its layers, so there the
files of outputs are copied here: as DVC does it, under another name, then renamed, then nobody's to
write. All else is DVC's: what an output is, the listing of a folder, dvc.lock.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from dvc.repo import lock_repo
from dvc.rwlock import rwlock
from dvc_data.hashfile.hash_info import HashInfo
from dvc_objects.errors import ObjectFormatError
from dvc_objects.fs.system import reflink
from dvc_objects.fs.utils import tmp_fname

from ml_experiment.adapters.dvc import repository
from ml_experiment.adapters.dvc_trouble import Heard, uncached
from ml_experiment.digests import Member
from ml_experiment.errors import UserError
from ml_experiment.hashing import listing, of_file, of_files, of_listing, regular_files

LINKS = ("hardlink", "symlink")  # as which outputs are put back from the cache, by DVC
MANY = 100  # files from which threads pay
PROTECTED = 0o444  # the mode of an object that DVC takes for what its name says


_File = tuple[str, str, int | None]  # where it is, its digest, its size in bytes


def commit(
    folder: Path,
    names: Iterable[str],
    known: Mapping[str, Member],
    check: Callable[[Mapping[str, str]], None],
) -> dict[str, str]:
    """Put the outputs of some stages into the cache, and write them into dvc.lock.

    Args:
        folder: where dvc.yaml is.
        names: the stages.
        known: file -> its digest when it was what it says, so that it is not read again while it is
            that; relative to `folder`.
        check: takes output -> digest, when DVC has read all that goes into dvc.lock and nothing is
            written yet. Raises UserError where that is not what it should be.

    Returns:
        Output -> its digest in dvc.lock, a folder's with the ending `.dir`.

    Raises:
        UserError: what DVC says, such as that another DVC is at work, or that the disk is full, or
            what `check` says; dvc.lock is what it was then.
    """
    with repository(folder) as (repo, heard), lock_repo(repo):
        told = (
            (os.path.join(folder, p), HashInfo("md5", m.digest), _info(m)) for p, m in known.items()
        )
        repo.state.save_many(told, repo.fs)
        collected = [info.stage for name in names for info in repo.stage.collect_granular(name)]
        stages = list(dict.fromkeys(collected))
        for stage in stages:
            stage.save()
        outs = {
            os.path.relpath(out.fs_path, folder): str(out.hash_info.value)
            for stage in stages
            for out in stage.outs
        }
        check(outs)
        seen = {os.path.join(folder, path): member for path, member in known.items()}
        for stage in stages:
            _keep(repo, stage, seen)
            _verify(stage, heard, folder)
        for file, group in groupby(stages, key=lambda stage: stage.dvcfile):
            file.dump_stages([*group], update_pipeline=False)
        return outs


def restore(folder: Path, lacking: Mapping[str, Collection[str]]) -> None:
    """Put objects that the cache lacks there from outputs that are what dvc.lock says.

    Args:
        folder: where dvc.yaml is.
        lacking: output -> the digests of its objects.

    Raises:
        UserError: what DVC says, such as that the disk is full.
    """
    with repository(folder) as (repo, _), lock_repo(repo):
        for out in repo.index.outs:
            wanted = lacking.get(os.path.relpath(out.fs_path, folder), ())
            if wanted:
                _put_back(out, wanted)


def _put_back(out: Any, wanted: Collection[str]) -> None:
    """Put some objects of an output into the cache, by what its files are now."""
    cache = _Cache(out.cache, {})
    if not os.path.isdir(out.fs_path):
        cache.put(out.fs_path, out.hash_info.value, None)
        return
    files = regular_files(out.fs_path)
    digests = dict(zip(files, of_files(files), strict=True))
    for file, digest in digests.items():
        if digest in wanted:
            cache.put(file, digest, None)
    named = {os.path.relpath(file, out.fs_path): digest for file, digest in digests.items()}
    if of_listing(named) in wanted:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as own:
            own.write(listing(named))
            own.flush()
            cache.put(own.name, of_listing(named), None)


def changed(path: str) -> UserError:
    """An output that somebody writes to meanwhile."""
    return UserError(f"{path} changed while it went to DVC", hint="`ml-experiment status`")


def _info(member: Member) -> dict[str, Any]:
    """What DVC compares to know whether a file was touched; the time as `os.stat` makes it of ns."""
    seconds, rest = divmod(member.mtime, 10**9)
    return {"ino": member.inode, "size": member.size, "mtime": seconds + 1e-9 * rest}


def _keep(repo: Any, stage: Any, seen: Mapping[str, Member]) -> None:
    """Put the outputs of a stage into the cache. Copies stay where they are; links DVC makes anew."""
    linked = repo.cache.local.cache_types[0] in LINKS
    if linked or not all(out.is_in_repo for out in stage.outs):
        stage.commit(relink=linked)
        return
    cached = [out for out in stage.outs if out.use_cache]
    with _writing(repo, [out.fs_path for out in cached]):
        for out in cached:
            _put_all(_Cache(out.cache, seen), list(_files(out)))
            if out.hash_info.isdir:  # its listing, when all that it names is there
                out.cache.add(out.obj.path, out.obj.fs, out.obj.oid)
            repo.state.save_link(out.fs_path, out.fs)  # as DVC's, for whom it may go when unused


@contextmanager
def _writing(repo: Any, paths: Sequence[str]) -> Iterator[None]:
    """As `Stage.commit`: a stage that another DVC is running is not committed meanwhile."""
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with rwlock(repo.tmp_dir, repo.fs, "ml-experiment", [], [*paths], hardlink):
        yield


def _files(out: Any) -> Iterator[_File]:
    """The files of an output that has just been hashed."""
    if not out.hash_info.isdir:
        yield out.fs_path, out.hash_info.value, out.meta.size
        return
    for key, meta, digest in out.obj:
        yield os.path.join(out.fs_path, *key), digest.value, meta.size


def _put_all(cache: _Cache, files: Sequence[_File]) -> None:
    """Put files into the cache, some side by side: making many small ones is waiting for the disk."""
    if len(files) < MANY:
        for each in files:
            cache.put(*each)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda each: cache.put(*each), files):
            pass


class _Cache:
    """Where objects are put; `links`: whether the disk may share the blocks of copies.

    `seen`: file -> what it was when it had the digest that it goes by; of others the copies are hashed.
    """

    def __init__(self, odb: Any, seen: Mapping[str, Member]) -> None:
        self.odb = odb
        self.seen = seen
        self.links = True
        self.folders: set[str] = set()

    def put(self, file: str, digest: str, size: int | None) -> None:
        """Copy a file into the cache, if it is not there. Raises OSError where it cannot be."""
        target = self.odb.oid_to_path(digest)
        if self._has(target, digest, size):
            return
        folder = os.path.dirname(target)
        if folder not in self.folders:
            self.odb.makedirs(folder)
            self.folders.add(folder)
        other = os.path.join(folder, tmp_fname())
        try:
            self._copy(file, other)
            self._check(file, other, digest)
            self.odb.protect(other)
            os.rename(other, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(other)
            raise

    def _check(self, file: str, copy: str, digest: str) -> None:
        """Refuse a copy of a file that has other bytes than when it was hashed."""
        found = os.stat(file)
        now = Member("", found.st_ino, found.st_size, found.st_mtime_ns)
        untouched = file in self.seen and _info(self.seen[file]) == _info(now)
        if not untouched and of_file(copy) != digest.removesuffix(".dir"):
            raise changed(os.path.relpath(file))

    def _has(self, target: str, digest: str, size: int | None) -> bool:
        try:
            status = os.stat(target)
            if status.st_size == size and stat.S_IMODE(status.st_mode) == PROTECTED:
                return True
            self.odb.check(digest)  # hashes it, and removes it where it is not that
        except (FileNotFoundError, ObjectFormatError):
            return False
        return status.st_size == size

    def _copy(self, file: str, other: str) -> None:
        if self.links:
            try:
                reflink(file, other)  # type: ignore[no-untyped-call]
            except OSError:
                self.links = False  # the disk has none
            else:
                return
        shutil.copyfile(file, other)


def _verify(stage: Any, heard: Heard, folder: Path) -> None:
    """Refuse a stage of which the cache does not have every object, with the size that it should have."""
    lacking = []
    for out in stage.outs:
        if not out.use_cache:
            continue
        listing = [("", out.hash_info.value, None)] if out.hash_info.isdir else []
        place = out.cache.oid_to_path
        for _, digest, size in (*_files(out), *listing):
            try:
                found = os.stat(place(digest)).st_size
            except OSError:
                found = None
            if found is None or size not in (None, found):
                lacking.append(digest)
    if lacking:
        raise uncached(lacking, heard, folder)
