"""How long does `lineage` of a file behind 1,000 jobs take, with details of 5 kB a job?"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import OURS, Row, Target, cpus, in_turn, main, row, scratch, timed, walls

from ml_experiment import hashing

JOBS = 1000
GROUPS, CHAIN, FAN = 37, 13, 13  # 37 × (13 + 13 + 1) + 1 = 1,000
LAST = "results/summary/summary.txt"
BOOT = {
    "distributions": {f"distribution-{index:03}": f"{index}.{index}.0" for index in range(150)},
    "python": {"implementation": "CPython", "version": "3.11.7"},
}


def ran(folder: Path) -> int:
    """Leave the records of jobs in chains and fans, and the file at their end. How many jobs."""
    jobs = list(_jobs())
    (folder / LAST).parent.mkdir(parents=True)
    (folder / LAST).write_text(LAST, "utf-8")
    state = folder / ".ml_experiment"
    state.mkdir()
    records = (_record(rule, name, inputs) for rule, name, inputs in jobs)
    details = (_details(rule, name) for rule, name, _ in jobs)
    _write(state / "records.jsonl", records)
    _write(state / "details.jsonl", details)
    return len(jobs)


def _jobs() -> Iterable[tuple[str, str, list[str]]]:
    """Rule, output, inputs: chains whose ends fan out and are gathered, then all of them."""
    gathered = []
    for group in range(GROUPS):
        before = "data/raw.csv"
        for place in range(CHAIN):
            yield "chain", f"results/chain/{group}-{place}/x.csv", [before]
            before = f"results/chain/{group}-{place}/x.csv"
        fan = [f"results/fan/{group}/seed-{seed}/model.bin" for seed in range(FAN)]
        yield from (("fan", path, [before, "data/raw.csv"]) for path in fan)
        gathered.append(f"results/gather/{group}/scores.json")
        yield "gather", gathered[-1], fan
    yield "summary", LAST, gathered


def _record(rule: str, output: str, inputs: list[str]) -> dict[str, Any]:
    entries = {
        path: {"hash": hashing.of_text(path), "inode": 5, "mtime": 1, "size": 10}
        for path in [output, *inputs]
    }
    return {
        "attempt": 1,
        "ended": "2026-01-01T00:00:01.000Z",
        "id": hashing.of_text(f"record of {output}"),
        "inputs": {path: entries[path] for path in inputs},
        "job": output.split("/", 1)[1].rsplit("/", 1)[0],
        "key_digest": hashing.of_text(rule),
        "key_file": f".ml_experiment/keys/{rule}.json",
        "log": f"logs/{output}.log",
        "metrics": {"accuracy": 0.98},
        "outputs": {output: entries[output]},
        "rule": rule,
        "run": "20260101T000000Z-1a2b3c",
        "seed": 123,
        "started": "2026-01-01T00:00:00.000Z",
        "state": "finished",
        "wildcards": {"replicate": "0"},
    }


def _details(rule: str, output: str) -> dict[str, Any]:
    return {
        "boot": [BOOT],
        "code": {f"workflow/scripts/{rule}.py": hashing.of_text(rule)},
        "command": f"python workflow/scripts/{rule}.py {output}",
        "environment": {"name": "sklearn", "python": "3.11.7"},
        "exit_code": 0,
        "id": hashing.of_text(f"record of {output}"),
        "key": {"seed": {"root": 1, "stream": rule}},
        "params": {"C": 1.0, "gamma": "scale"},
        "resources": {},
        "threads": 1,
    }


def _write(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(f"{hashing.canonical(line)}\n" for line in lines), "utf-8")


def measure(rounds: int) -> list[Row]:
    """The tree with every job in it, and the same as JSON; no peer has such a command."""
    with scratch() as folder:
        jobs = ran(folder)
        tree, data = [*OURS, "lineage", LAST, "--all"], [*OURS, "lineage", LAST, "--json"]
        found = len(json.loads(timed(data, folder).printed)["jobs"])
        drawn = timed(tree, folder).printed.count("2026-01-01 00:00")
        if not jobs == found == drawn == JOBS:
            raise RuntimeError(f"of {jobs} jobs {found} are in the JSON, and {drawn} in the tree")
        taken = in_turn(
            rounds,
            tree=functools.partial(timed, tree, folder),
            json=functools.partial(timed, data, folder),
        )
    half = Target("ours", 0.5)
    return [
        row("lineage of a file behind 1,000 jobs, wall", walls(taken["tree"])),
        row("lineage of a file behind 1,000 jobs, CPU", cpus(taken["tree"]), target=half),
        row("the same as JSON, CPU", cpus(taken["json"]), target=half),
    ]


if __name__ == "__main__":
    sys.exit(main(("lineage", measure), rounds=3))
