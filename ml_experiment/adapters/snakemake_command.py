"""What the command line of this process says: whether it is Snakemake's own, and its profile.

Executors of clusters, and groups of jobs, start Snakemake again for each job. Such a process reads
the Snakefile as the one that a person has started does, but it has no logger, no hooks and no
profile, and what it decides has to be what that one has decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_experiment.errors import UserError, did_you_mean

STORAGE = "--default-storage-provider"


def nested(words: Sequence[str]) -> bool:
    """Whether another Snakemake has started this one for a job; `words` are its arguments."""
    return value(words, "--mode") in ("remote", "subprocess")


def check_profile(words: Sequence[str], folder: Path) -> None:
    """What Snakemake says nothing of, or nothing that helps.

    It goes on without a workflow profile that it does not find. And what goes through a storage is
    elsewhere than in the project's folder, where steps and studies have their files.

    Args:
        words: the arguments.
        folder: the project's.

    Raises:
        UserError: there is no such profile, or it has a default storage.
    """
    storage, where = value(words, STORAGE), "the command line"
    name = value(words, "--workflow-profile")
    if name is not None and name != "none":
        places = (Path(), Path("profiles"), folder / "profiles")
        found = next((place / name for place in places if (place / name).exists()), None)
        if found is None:
            known = {f"profiles/{p.name}" for place in places[1:] for p in place.glob("*")}
            raise UserError("no such workflow profile", value=name, hint=did_you_mean(name, known))
        if not storage:
            storage, where = _storage(found)
    name = value(words, "--profile")
    if not storage and name is not None and Path(name).exists():
        storage, where = _storage(Path(name))
    if storage:
        raise UserError(
            "steps and studies do not go through a storage",
            where=where,
            value=f"{STORAGE[2:]}: {storage}",
            hint="profiles/ray needs no folder that all nodes see; docs/clusters.md says more",
        )


def asks_for_containers(words: Sequence[str], folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether the arguments, or a profile, name Apptainer or Singularity anywhere.

    Args:
        words: the arguments.
        folder: the project's.
        environ: where a profile may be named too.
    """
    named = (value(words, "--workflow-profile"), value(words, "--profile"))
    profiles = [folder / "profiles/default", environ.get("SNAKEMAKE_PROFILE"), *named]
    texts = list(words)
    for profile in (Path(name) for name in profiles if name):
        file = profile / "config.yaml" if profile.is_dir() else profile
        texts += [file.read_text("utf-8", "replace")] if file.is_file() else []
    return any("apptainer" in text or "singularity" in text for text in texts)


def _storage(profile: Path) -> tuple[str | None, str]:
    """The default storage that a profile names, and the profile's file."""
    file = profile / "config.yaml" if profile.is_dir() else profile
    if not file.is_file():
        return None, ""
    lines = (line.partition(":") for line in file.read_text("utf-8").splitlines())
    found = (text.strip() for key, _, text in lines if f"--{key}" == STORAGE)
    return next(found, None), str(file)


def value(words: Sequence[str], option: str) -> str | None:
    """What an option was given, the last time that it was."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found
