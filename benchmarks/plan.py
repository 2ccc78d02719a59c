"""What does it cost to load and plan an experiment of 5,000 jobs?

CPU seconds beyond those of a tiny experiment or Snakefile, so that starting Python and importing
count on neither side.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import many
from bench import (
    BARE_SNAKEMAKE,
    SNAKEMAKE,
    Row,
    Target,
    Timing,
    bare,
    cpus,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
)

PLAN = "from ml_experiment import workspace; plan = workspace.open_plan(); "
OPEN = [sys.executable, "-c", PLAN + "print(sum(1 for job in plan.all_jobs()))"]
KEYS = [
    sys.executable,
    "-c",
    PLAN + "print(sum(1 for job in plan.all_jobs())); workspace.write_keys(plan)",
]
# --quiet stops behind the DAG and its job counts; `--quiet all` would print every job.
DRY = [*SNAKEMAKE, "--dry-run", "--quiet"]
BARE_DRY = [*BARE_SNAKEMAKE, "--dry-run", "--quiet"]


def beyond(words: list[str], folder: Path, small: Path) -> Timing:
    """What it takes in one folder beyond what it takes in another."""
    return timed(words, folder).less(timed(words, small))


def measure(rounds: int) -> list[Row]:
    """The plan alone, with its key files, and Snakemake's dry run of it."""
    with scratch() as folder:
        ours = project(folder / "ours", many.experiment())
        ours_small = project(folder / "ours-small", many.experiment(1, 1, 1))
        edgeless = bare(folder / "peer", {"Snakefile": many.independent()})
        same = bare(folder / "same", {"Snakefile": many.same_graph()})
        small = bare(folder / "peer-small", {"Snakefile": many.independent(1)})
        found = timed(OPEN, ours).printed.strip()
        if found != str(many.JOBS):
            raise RuntimeError(f"the plan has {found} jobs")
        timed(KEYS, ours)  # an experiment is planned many times, and its keys are written once
        timed(KEYS, ours_small)
        taken = in_turn(
            rounds,
            opened=functools.partial(beyond, OPEN, ours, ours_small),
            keys=functools.partial(beyond, KEYS, ours, ours_small),
            through=functools.partial(beyond, DRY, ours, ours_small),
            edgeless=functools.partial(beyond, BARE_DRY, edgeless, small),
            same=functools.partial(beyond, BARE_DRY, same, small),
        )
    cpu = {name: cpus(timings) for name, timings in taken.items()}
    tenth = Target("ratio", 0.1)
    return [
        row("load and plan 5,000 jobs, CPU", cpu["opened"], cpu["edgeless"], tenth),
        row("the same and compare all key files, CPU", cpu["keys"], cpu["edgeless"]),
        row("snakemake -n against 5,000 jobs without edges, CPU", cpu["through"], cpu["edgeless"]),
        row("snakemake -n against the same graph, CPU", cpu["through"], cpu["same"]),
    ]


if __name__ == "__main__":
    sys.exit(main(("plan", measure), rounds=3))
