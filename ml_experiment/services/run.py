"""`ml-experiment run`: Snakemake with this project's Snakefile and profile, and a live display."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_experiment import overrides, workspace
from ml_experiment.errors import UserError
from ml_experiment.plan import TABLES, Plan
from ml_experiment.services import init

LOCKS = ".snakemake/locks"  # Snakemake's; a file for each kind of lock


def command(
    folder: Path,
    config: Mapping[str, Any],
    cores: int,
    targets: Sequence[str],
    extra: Sequence[str],
    first: Sequence[str] = (),
) -> list[str]:
    """The `snakemake` command line of a run.

    Args:
        folder: where the Snakefile is.
        config: `experiment`, `variant` and keys that override the experiment's.
        cores: how many.
        targets: files or rules; everything where it is empty.
        extra: further words for Snakemake, as they are.
        first: options, before which the user's own count.

    Raises:
        UserError: there is no Snakefile.
    """
    words = [sys.executable, "-P", "-m", "snakemake", *first, "--cores", str(cores)]
    if (folder / init.BESIDE).is_file():
        words += ["--snakefile", init.BESIDE, "--workflow-profile", init.PROFILE_BESIDE]
    elif not any((folder / name).is_file() for name in init.SNAKEFILES):
        raise UserError(
            "no Snakefile here", where=str(folder), hint="`ml-experiment init` makes one"
        )
    words += [*extra, *targets]
    if config:
        words += ["--config", *overrides.to_words(config)]
    return words


def quietly(words: Sequence[str], *what: str) -> list[str]:
    """Snakemake's words, of which it is to say less."""
    at = words.index("snakemake") + 1
    return [*words[:at], "--quiet", *what, *words[at:]]


def execute(words: Sequence[str], *, live: bool) -> None:
    """Become Snakemake, so that signals and the exit code are its own."""
    if live:
        os.environ["ML_EXPERIMENT_DISPLAY"] = "live"
        words = quietly(words, "all")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(words[0], list(words))  # noqa: S606  # no shell is wanted here


def refuse_beside(folder: Path) -> None:
    """For what changes outputs: not while Snakemake makes them.

    Raises:
        UserError: a Snakemake is at work in the folder, or was killed there.
    """
    if any((folder / LOCKS).glob("*.lock")):
        raise UserError(
            "Snakemake is at work here",
            where=str(folder),
            hint="again when it has ended; if it was killed, `snakemake --unlock`",
        )


def check_first(file: Path | None, config: Mapping[str, Any]) -> Plan:
    """Every mistake of the experiment, told before Snakemake starts."""
    return workspace.open_plan(file, config)


def expand(plan: Plan, targets: Sequence[str]) -> list[str]:
    """The targets with the files of a step in the place of its name."""
    found: list[str] = []
    for target in targets:
        step = plan.steps.get(target)
        if step is None:
            found.append(target)
            continue
        found += [path for job in plan.jobs(step) for path in plan.files(job)]
        if step.tabled:
            found += [plan.table(step, kind) for kind in TABLES]
        if step.study is not None:
            found += [plan.path(job, "view") for job in plan.jobs(step)]
    return found
