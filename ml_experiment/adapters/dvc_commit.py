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
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

LINKS = ("hardlink", "symlink")  # as which outputs are put back from the cache, by DVC
MANY = 100  # files from which threads pay
PROTECTED = 0o444  # the mode of an object that DVC takes for what its name says


_File = tuple[str, str, int | None]  # where it is, its digest, its size in bytes


def commit(folder: Path, names: Iterable[str], known: Mapping[str, Member]) -> dict[str, str]:
    """Put the outputs of some stages into the cache, and write them into dvc.lock.

    Args:
        folder: where dvc.yaml is.
        names: the stages.
        known: file -> its digest when it was what it says, so that it is not read again while it is
            that; relative to `folder`.

    Returns:
        Output -> its digest in dvc.lock, a folder's with the ending `.dir`.

    Raises:
        UserError: what DVC says, such as that another DVC is at work, or that the disk is full;
            dvc.lock is what it was then.
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
            _keep(repo, stage)
            _verify(stage, heard, folder)
        for file, group in groupby(stages, key=lambda stage: stage.dvcfile):
            file.dump_stages([*group], update_pipeline=False)
        return {
            os.path.relpath(out.fs_path, folder): str(out.hash_info.value)
            for stage in stages
            for out in stage.outs
        }


def _info(member: Member) -> dict[str, Any]:
    """What DVC compares to know whether a file was touched; the time as `os.stat` makes it of ns."""
    seconds, rest = divmod(member.mtime, 10**9)
    return {"ino": member.inode, "size": member.size, "mtime": seconds + 1e-9 * rest}


def _keep(repo: Any, stage: Any) -> None:
    """Put the outputs of a stage into the cache. Copies stay where they are; links DVC makes anew."""
    linked = repo.cache.local.cache_types[0] in LINKS
    if linked or not all(out.is_in_repo for out in stage.outs):
        stage.commit(relink=linked)
        return
    cached = [out for out in stage.outs if out.use_cache]
    with _writing(repo, [out.fs_path for out in cached]):
        for out in cached:
            _put_all(_Cache(out.cache), list(_files(out)))
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
    """Where objects are put; `links`: whether the disk may share the blocks of copies."""

    def __init__(self, odb: Any) -> None:
        self.odb = odb
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
            self.odb.protect(other)
            os.rename(other, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(other)
            raise

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
