"""What each command does: call a service, show what it found, give the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def init(options: argparse.Namespace) -> int:
    """`ml-experiment init`."""
    from ml_experiment.services import init as service

    made = service.init(
        Path(options.folder),
        empty=options.empty,
        profiles=options.profiles,
        dry_run=options.dry_run,
    )
    print("would write:" if options.dry_run else "written:")
    print("\n".join(f"  {name}" for name in made.files))
    if made.ignore and (made.folder / service.IGNORE).exists() and options.dry_run is False:
        missing = [line for line in made.ignore if line not in _lines(made.folder / service.IGNORE)]
        if missing:
            print("add to .gitignore:\n" + "\n".join(f"  {line}" for line in missing))
    if options.profiles:
        print("next: snakemake --workflow-profile profiles/NAME (docs/clusters.md)")
        return 0
    there = f"cd {options.folder} && " if options.folder != "." else ""
    action = "add SCRIPT" if options.empty else f"run --cores {cores()}"
    print(f"next: {there}ml-experiment {action}")
    if made.beside:
        print(
            f"or:   snakemake --snakefile {service.BESIDE} "
            f"--workflow-profile {service.PROFILE_BESIDE} --cores {cores()}"
        )
    return 0


def add(options: argparse.Namespace) -> int:
    """`ml-experiment add`."""
    from ml_experiment import config
    from ml_experiment.services import add as service
    from ml_experiment.services import dvc

    file = Path(options.experiment) if options.experiment else config.find(Path.cwd())
    addition = service.propose(Path(options.script), file, options.name)
    print(addition.block.rstrip("\n"))
    for note in addition.proposal.notes:
        print(f"note: {note}", file=sys.stderr)
    if not options.dry_run:
        service.write(addition)
        written = ", ".join([os.path.relpath(file), *dvc.follow(file)])
        print(f"written to {written}; next: ml-experiment check", file=sys.stderr)
    return 0


def check(options: argparse.Namespace) -> int:
    """`ml-experiment check`."""
    from ml_experiment.errors import ExperimentError
    from ml_experiment.services import check as service

    try:
        checked = service.check(Path.cwd(), experiment_file(options), overrides(options))
    except ExperimentError as error:
        if not options.json:
            raise
        print(json.dumps([_problem(problem) for problem in error.problems], indent=1))
        return 2
    if options.json:
        print("[]")
        return 0
    declared = checked.plan.experiment
    steps = _count(len(declared.steps), "step")
    if declared.studies:
        count = len(declared.studies)
        steps += f", {count} studies" if count > 1 else ", 1 study"
    jobs = _count(checked.jobs, "job")
    asked = "Snakemake can plan it" if checked.workflow else "no Snakefile, so Snakemake not asked"
    print(f"{checked.plan.file}: {steps}, {jobs}, no mistake found; {asked}")
    return 0


def run(options: argparse.Namespace) -> int:
    """`ml-experiment run`."""
    from ml_experiment import containers
    from ml_experiment.services import run as service

    config = overrides(options)
    plan = service.check_first(experiment_file(options), config)
    targets = service.expand(plan, options.targets)
    if options.experiment:
        config["experiment"] = options.experiment
    count = options.cores or cores()
    extra = [*(["--dry-run"] if options.dry_run else []), *options.snakemake]
    asked = containers.asked_of_snakemake(plan)
    words = service.command(Path.cwd(), config, count, targets, extra, asked)
    service.execute(words, live=not options.dry_run)
    return 0


def status(options: argparse.Namespace) -> int:
    """`ml-experiment status`."""
    from ml_experiment import workspace
    from ml_experiment.services import status as service

    plan = workspace.open_plan(experiment_file(options), overrides(options))
    states = service.status(plan, options.step)
    current = sum(1 for state in states if state.word == "current")
    if options.json:
        fields = ("job", "step", "word", "reasons", "made")
        rows = [{name: getattr(state, name) for name in fields} for state in states]
        print(json.dumps([{**row, "state": row.pop("word")} for row in rows], indent=1))
    elif options.step:
        for state in states:
            print(f"{state.job}: {state.word}" + "".join(f"\n    {r}" for r in state.reasons))
    else:
        seed = plan.experiment.seed
        print(f"{plan.experiment.name} · seed {seed} · {current} of {len(states)} jobs current")
        print(_table(service.rows(states)))
    return 0 if current == len(states) else 1


def lineage(options: argparse.Namespace) -> int:
    """`ml-experiment lineage`."""
    from pydantic_core import to_json

    from ml_experiment.cli import tree
    from ml_experiment.services import lineage as service

    depth = options.depth or (None if options.json else tree.DEEPEST)
    answer = service.lineage(Path.cwd(), options.path, downstream=options.downstream, depth=depth)
    if options.json:
        print(to_json(service.plain(answer), indent=1).decode())
    else:
        print(tree.text(answer, every=options.all))
    return 0


def _table(rows: Sequence[Any]) -> str:
    width = max((len(row.step) for row in rows), default=4)
    lines = []
    for row in rows:
        words = ", ".join(
            word if count == row.jobs else f"{count} {word}" for word, count in row.counts.items()
        )
        why = ", ".join(row.reasons[:3]) + (", …" if len(row.reasons) > 3 else "")
        lines.append(f"  {row.step:<{width}}  {row.jobs:>5}  {words}" + (f": {why}" if why else ""))
    return "\n".join(lines)


def experiment_file(options: argparse.Namespace) -> Path | None:
    return Path(options.experiment) if options.experiment else None


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """--set and --variant as Snakemake's config."""
    from ml_experiment.config import set_config

    found = set_config(options.set) if options.set else {}
    return {**found, "variant": options.variant} if options.variant else found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _problem(problem: Any) -> dict[str, Any]:
    """A problem for a script to read."""
    from ml_experiment.errors import MISSING, shown

    return {
        "what": problem.what,
        "file": problem.where.file if problem.where else None,
        "line": problem.where.line if problem.where else None,
        "key": problem.key,
        "value": None if problem.value is MISSING else shown(problem.value),
        "expected": problem.expected,
        "hint": problem.hint,
    }


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines()


def cores() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
