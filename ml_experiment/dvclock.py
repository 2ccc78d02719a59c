"""What DVC's files say that there is: dvc.yaml, dvc.lock and .dvc files, read without DVC.

DVC reads them several times, and that is most of what it does where nothing is to be done. Whatever is
not plainly understood here is None: then DVC is asked.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_experiment import hashing, yamlio
from ml_experiment.errors import ExperimentError

FOLDER = ".dvc"
PIPELINE, LOCK, ENDING = "dvc.yaml", "dvc.lock", ".dvc"
CONFIGS = (f"{FOLDER}/config", f"{FOLDER}/config.local")
SCHEMA = "2.0"
TEMPLATE = "${"


class Out(NamedTuple):
    """An output that DVC keeps.

    Attributes:
        digest: of dvc.lock.
        stage: its stage, or the .dvc file that it is of.
        declared: whether dvc.yaml names it; else it may come from a template of DVC's.
    """

    digest: str
    stage: str
    declared: bool = True


def texts(folder: Path) -> dict[str, str] | None:
    """DVC's files of a repository of git and DVC, by path; those that git ignores DVC does not see."""
    if not (folder / FOLDER).is_dir():
        return None
    wanted = [f":(glob)**/{name}" for name in (PIPELINE, LOCK, f"*{ENDING}")]
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
        if done.returncode:
            return None
        names = {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
        return {name: (folder / name).read_text("utf-8") for name in sorted(_there(folder, names))}
    except (OSError, UnicodeDecodeError):
        return None


def _there(folder: Path, names: Collection[str]) -> Iterator[str]:
    """Also the lock of a dvc.yaml where git ignores it; no file that is deleted."""
    locks = {os.path.join(os.path.dirname(n), LOCK) for n in names if _is(n, PIPELINE)}
    return (name for name in {*names, *locks} if (folder / name).is_file())


def outs(files: Mapping[str, str]) -> dict[str, Out] | None:
    """Path -> what DVC keeps there; None where one of the files says something that DVC has to read."""
    found: dict[str, Out] = {}
    try:
        for name, text in files.items():
            if _is(name, PIPELINE):
                lock = os.path.join(os.path.dirname(name), LOCK)
                _of_pipeline(name, text, files.get(lock), found)
            elif name.endswith(ENDING):
                _of_data(name, text, found)
    except (
        ExperimentError,
        _NotUnderstoodError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):
        return None
    return found


def configured(folder: Path) -> str:
    """A digest of how DVC is configured here."""
    found = {}
    for name in CONFIGS:
        try:
            found[name] = (folder / name).read_text("utf-8", "surrogateescape")
        except OSError:
            found[name] = ""
    return hashing.of_text(hashing.canonical(found))


def has_remote(folder: Path, name: str) -> bool:
    """Whether the repository's own configuration has a remote of this name."""
    line = f"""['remote "{name}"']"""
    paths = (folder / each for each in CONFIGS)
    return any(line in path.read_text("utf-8", "replace") for path in paths if path.is_file())


def busy(folder: Path) -> bool:
    """Whether a DVC is at work."""
    try:
        with open(folder / FOLDER / "tmp" / "lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class _NotUnderstoodError(Exception):
    pass


def _is(path: str, name: str) -> bool:
    return os.path.basename(path) == name


def _of_pipeline(name: str, text: str, lock: str | None, found: dict[str, Out]) -> None:
    stages = _mapping((yamlio.read(text, name).plain() or {}).get("stages"))
    if any("wdir" in part for stage in stages.values() for part in (stage, stage.get("do", {}))):
        raise _NotUnderstoodError
    if lock is None:
        return
    said = yamlio.read(lock, LOCK).plain()
    if said["schema"] != SCHEMA:
        raise _NotUnderstoodError
    folder = os.path.dirname(name)
    for stage, entry in _mapping(said.get("stages")).items():
        declared = stages.get(stage) or stages.get(stage.partition("@")[0])
        if declared is None:  # no stage of dvc.yaml's any more
            continue
        cached = _declared(declared)
        template = TEMPLATE in str([*cached])
        address = f"{name}:{stage}" if folder else stage
        for out in entry.get("outs") or ():
            path = _path(out)
            if cached.get(path, template):
                is_named = path in cached
                found[os.path.join(folder, path)] = Out(_digest(out), address, is_named)


def _of_data(name: str, text: str, found: dict[str, Out]) -> None:
    said = yamlio.read(text, name).plain()
    if "wdir" in said:
        raise _NotUnderstoodError
    for out in said["outs"]:
        if out.get("cache", True):
            path = os.path.join(os.path.dirname(name), _path(out))
            found[path] = Out(_digest(out), name)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value or {})


def _declared(stage: Mapping[str, Any]) -> dict[str, bool]:
    """The outputs of a stage -> whether DVC keeps them, and not git."""
    stage = stage.get("do") or stage
    found = {}
    for kind in ("outs", "metrics", "plots"):
        for out in stage.get(kind) or ():
            for path, said in (out if isinstance(out, dict) else {out: None}).items():
                kept = not isinstance(said, dict) or said.get("cache", True)
                found[os.path.normpath(path)] = kept
    return found


def _path(out: Mapping[str, Any]) -> str:
    path: str = os.path.normpath(out["path"])
    if "://" in out["path"] or os.path.isabs(path) or f"{path}/".startswith("../"):
        raise _NotUnderstoodError
    return path


def _digest(out: Mapping[str, Any]) -> str:
    """Of DVC 3's kind; files that a cloud keeps versions of have none."""
    digest = out["md5"]
    if out.get("hash") != "md5" or "files" in out or not hashing.DIGEST.fullmatch(digest):
        raise _NotUnderstoodError
    return str(digest)
