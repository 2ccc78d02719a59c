"""How long does `status` of 5,000 jobs take, with every output and record there?"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import many
from bench import (
    OURS,
    SNAKEMAKE,
    Row,
    Target,
    cpus,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
    walls,
)

from ml_experiment import hashing, staleness, workspace
from ml_experiment.digests import Digests
from ml_experiment.plan import Plan


def ran(folder: Path) -> int:
    """Leave a project as a whole run would: keys, outputs, a record of each job. How many."""
    plan = workspace.open_plan(folder / "experiment.yaml")
    workspace.write_keys(plan)
    units = staleness.units(plan)
    for unit in units:
        for path in unit.outputs:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(f'{{"{path}": 0}}\n', "utf-8")
    file = staleness.record_file(plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    # At once: each by itself, as a run adds them, would take a second here.
    lines = [hashing.canonical(record) for record in _records(plan, units)]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return len(units)


def _records(plan: Plan, units: list[staleness.Unit]) -> Iterator[dict[str, Any]]:
    digests = Digests(plan.folder)
    for unit in units:
        yield {
            "attempt": 1,
            "ended": "2026-01-01T00:00:01.000Z",
            "inputs": digests.entries(unit.inputs),
            "job": unit.job,
            "id": hashing.of_text(unit.job),
            "key_digest": unit.key_digest,
            "key_file": unit.key_file,
            "outputs": digests.entries(unit.outputs),
            "log": f"logs/{unit.job}.log",
            "metrics": {"value": 0.5},
            "rule": unit.job.split("/", maxsplit=1)[0],
            "run": "20260101T000000Z-000000",
            "seed": 1,
            "started": "2026-01-01T00:00:00.000Z",
            "state": "finished",
            "wildcards": {},
        }


def measure(rounds: int) -> list[Row]:
    """Wall and CPU, beside `snakemake --summary`."""
    with scratch() as folder:
        there = project(folder, many.experiment())
        jobs = ran(there)
        words = [*OURS, "status", "--json"]
        current = sum(
            item["state"] == "current" for item in json.loads(timed(words, there).printed)
        )
        if current != jobs:
            raise RuntimeError(f"{current} of {jobs} jobs are current")
        taken = in_turn(
            rounds,
            ours=functools.partial(timed, [*OURS, "status"], there),
            peer=functools.partial(timed, [*SNAKEMAKE, "--summary"], there),
        )
    half = Target("ours", 0.5)
    return [
        row(
            "status of 5,000 jobs (peer: snakemake --summary), wall",
            walls(taken["ours"]),
            walls(taken["peer"]),
            half,
        ),
        row(
            "status of 5,000 jobs (peer: snakemake --summary), CPU",
            cpus(taken["ours"]),
            cpus(taken["peer"]),
            half,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(("status", measure), rounds=3))
