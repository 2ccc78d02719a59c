"""`ml-experiment dvc`: the experiment as stages in dvc.yaml, and what git and DVC are to ignore.

Three files, all of them for git: dvc.yaml; .dvcignore, to which lines are added; results/.gitignore,
which leaves outputs to DVC and metrics to git.
"""

from __future__ import annotations

import difflib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment import atomic, config, dvcfile, hashing, records, stages, staleness, yamlio
from ml_experiment.errors import MLExperimentError, UserError, did_you_mean
from ml_experiment.plan import Plan
from ml_experiment.resolve import resolve

FILE = "dvc.yaml"
IGNORED_BY_DVC = ("/.ml_experiment/", "/.snakemake/", hashing.MARK)
IN_GIT = "git has it, so DVC cannot keep it: `git rm -r --cached` it, and commit"
IGNORE_HEAD = "# Written by `ml-experiment dvc`: DVC keeps the results, git their metrics.\n"


@dataclass(frozen=True)
class Proposal:
    """What the files of a workspace should be.

    Attributes:
        texts: name -> text.
        stages: those of dvc.yaml that are the experiment's, and of rules that were written by hand.
    """

    folder: Path
    texts: Mapping[str, str]
    stages: Sequence[stages.Stage]


def proposed(file: Path | None = None, rules: Sequence[str] = ()) -> Proposal:
    """The files as the experiment says.

    Args:
        file: the experiment file; the one in the current folder where it is None.
        rules: those, written by hand, whose stages are to be as their records are.

    Raises:
        UserError, ExperimentError: what is wrong with the experiment or with dvc.yaml, or a rule that
            has no record.
    """
    plan, made, data = _of_experiment(file or config.find(Path.cwd()))
    before = _read(plan.folder / FILE)
    text = dvcfile.merged(before, [*made, *_of_rules(plan, rules, data)], stages.shown(plan))
    made += dvcfile.of_rules(text)
    found = {
        FILE: text,
        ".dvcignore": _with_lines(_read(plan.folder / ".dvcignore"), IGNORED_BY_DVC),
        f"{plan.results}/.gitignore": _of_git(plan, made),
    }
    return Proposal(plan.folder, found, made)


def made_of(file: Path) -> list[stages.Stage]:
    """The experiment's stages, whatever dvc.yaml has of them, and those of rules.

    Raises:
        UserError, ExperimentError: what is wrong with the experiment.
    """
    plan, made, _ = _of_experiment(file)
    return [*made, *dvcfile.of_rules(_read(plan.folder / FILE))]


def _of_experiment(file: Path) -> tuple[Plan, list[stages.Stage], dict[str, Any]]:
    """Its plan, its stages, and what is in its files, by name."""
    loaded = config.load(file)
    plan = resolve(loaded)
    if plan.suffix:
        raise UserError(
            "only the results of experiment.yaml go to DVC",
            value=plan.file,
            hint="a variant or a second experiment is made again, not kept",
        )
    files = {place.file for place in loaded.places.values()}
    texts = {os.path.relpath(name, plan.folder): Path(name).read_text("utf-8") for name in files}
    data = {name: yamlio.read(texts[name], name).plain() for name in sorted(texts)}
    return plan, stages.stages(plan, loaded.likes, data), data


def _of_rules(plan: Plan, rules: Sequence[str], data: Mapping[str, Any]) -> list[stages.Stage]:
    """The stages of rules that were written by hand, as their last records are."""
    if not rules:
        return []
    _, digests, recorded = staleness.told(plan)
    jobs: dict[str, list[tuple[staleness.Unit, records.Line]]] = {}
    for unit in staleness.by_hand(plan, recorded):
        if all(digests.stat(path) for path in unit.outputs):  # else of a job that is gone
            jobs.setdefault(unit.step, []).append((unit, recorded[unit.job]))
    for rule in rules:
        if rule not in jobs:
            hint = did_you_mean(rule, jobs) or "its files have to be there: run it first"
            what = "no job of such a rule, written by hand, has a record"
            raise UserError(what, value=rule, hint=hint)
    return [stages.of_rule(plan, rule, jobs[rule], data) for rule in dict.fromkeys(rules)]


def changed(made: Proposal) -> list[str]:
    """The files that are not as they should be."""
    return [name for name, text in made.texts.items() if _read(made.folder / name) != text]


def difference(made: Proposal) -> str:
    """What would change in dvc.yaml, as `diff -u` shows it."""
    old = _read(made.folder / FILE).splitlines(keepends=True)
    new = made.texts[FILE].splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, FILE, f"{FILE} (of the experiment)"))


def first(made: Proposal) -> int:
    """The first line of dvc.yaml that would change."""
    old, new = _read(made.folder / FILE).splitlines(), made.texts[FILE].splitlines()
    return next((n for n, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b), len(old))


def write(made: Proposal) -> list[str]:
    """Write what is not as it should be, and say which files."""
    found = changed(made)
    for name in found:
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write(made.folder / name, made.texts[name])
    return found


def follow(file: Path) -> list[str]:
    """After a change of an experiment file by a command of ours: what has it changed for DVC?

    Where the stages of dvc.yaml are the experiment's they follow it. Where an experiment has
    mistakes nothing is written: `ml-experiment check` says these, and then that dvc.yaml is old.

    Returns:
        The files that were written.
    """
    if stages.COMMAND not in _read(file.resolve().parent / FILE):
        return []
    try:
        return write(proposed(file))
    except MLExperimentError:
        return []


def notes(made: Proposal) -> list[str]:
    """What the user has to do, or should know."""
    found = []
    if not (made.folder / ".dvc").is_dir():
        found.append("no DVC repository here: `dvc init` makes one (in a git repository)")
    metrics = [path for stage in made.stages for path in stage.metrics]
    ignored = _ignored_by_git(made.folder, metrics[:1])
    if ignored:
        found.append(
            f"git ignores {ignored[0]}, and DVC leaves metrics to git: in .gitignore, write "
            "/results*/* for /results*/"
        )
    found += [f"{path}: {IN_GIT}" for path in in_git(made)]
    return found


def in_git(made: Proposal) -> list[str]:
    """The outputs that DVC would keep and git has: it then keeps nothing of their stages."""
    outs = [path for stage in made.stages for path in stage.outs]
    words = ["git", "ls-files", "-z", "--", *outs]
    return [path for path in _asked(made.folder, words).split("\0") if path] if outs else []


def _of_git(plan: Plan, made: Sequence[stages.Stage]) -> str:
    below = len(plan.results)
    lines = [f"{path[below:]}/" for stage in made for path in stage.folders]
    lines += [f"!{path[below:]}" for stage in made for path in stage.metrics]
    return IGNORE_HEAD + "\n".join(["*", "!*/", "!/.gitignore", *lines]) + "\n"


def _with_lines(text: str, lines: Sequence[str]) -> str:
    there = text.splitlines()
    lacking = [line for line in lines if line not in there]
    return "\n".join([*there, *lacking]) + "\n" if lacking else text


def _ignored_by_git(folder: Path, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    return _asked(folder, ["git", "check-ignore", "--no-index", "--", *paths]).splitlines()


def _asked(folder: Path, words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file)) from None
