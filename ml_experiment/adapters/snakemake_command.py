"""What the command line of this process says: whether it is Snakemake's own, and its profile.

Executors of clusters, and groups of jobs, start Snakemake again for each job. Such a process reads
the Snakefile as the one that a person has started does, but it has no logger, no hooks and no
profile, and what it decides has to be what that one has decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_experiment.errors import UserError, did_you_mean


def nested(words: Sequence[str]) -> bool:
    """Whether another Snakemake has started this one for a job; `words` are its arguments."""
    return value(words, "--mode") in ("remote", "subprocess")


def check_profile(words: Sequence[str], snakefile: Path) -> None:
    """Snakemake goes on without a workflow profile that it does not find, and says nothing.

    Args:
        words: the arguments.
        snakefile: a file of the folder that Snakemake looks in besides.

    Raises:
        UserError: there is no such profile.
    """
    name = value(words, "--workflow-profile")
    folders = [Path("profiles"), snakefile.parent / "profiles"]
    if name is None or name == "none" or any((f / name).exists() for f in (Path(), *folders)):
        return
    known = {f"profiles/{entry.name}" for folder in folders for entry in folder.glob("*")}
    raise UserError("no such workflow profile", value=name, hint=did_you_mean(name, known))


def value(words: Sequence[str], option: str) -> str | None:
    """What an option was given, the last time that it was."""
    found = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == option:
            found = following
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found
