"""How long until the command line answers, and until the first job runs?"""

from __future__ import annotations

import functools
import shutil
import sys
import time
from pathlib import Path

from bench import (
    BARE_SNAKEMAKE,
    OURS,
    REPOSITORY,
    SNAKEMAKE,
    Row,
    Target,
    Timing,
    bare,
    cpus,
    fresh,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
    walls,
)

NOW = "date +%s.%N"
EXPERIMENT = f"""\
name: bench
seed: 1
steps:
  first:
    run: {NOW} > {{outputs.at}}
    outputs: {{at: at.txt}}
"""
BARE = f'rule first:\n    output: "results/first/at.txt"\n    shell: "{NOW} > {{output}}"\n'


def to_first_job(words: list[str], folder: Path) -> Timing:
    """Wall time until the program of the first job runs."""
    start = time.time()
    timing = timed(words, fresh(folder))
    began = float((folder / "results/first/at.txt").read_text("utf-8"))
    return Timing(began - start, timing.cpu, timing.printed)


def measure(rounds: int) -> list[Row]:
    """Each command beside the nearest thing without us."""
    with scratch() as folder:
        ours = project(folder / "ours", EXPERIMENT)
        peer = bare(folder / "peer", {"Snakefile": BARE})
        demonstration = folder / "demonstration"
        demonstration.mkdir()
        for name in ("Snakefile", "experiment.yaml", "workflow", "envs", "profiles"):
            source = REPOSITORY / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, demonstration / name)
        taken = in_turn(
            rounds,
            help=functools.partial(timed, [*OURS, "--help"], folder),
            nothing=functools.partial(timed, [sys.executable, "-c", "import argparse"], folder),
            check=functools.partial(timed, [*OURS, "check"], demonstration),
            dry=functools.partial(timed, [*SNAKEMAKE, "--dry-run", "--quiet"], demonstration),
            ours=functools.partial(to_first_job, [*SNAKEMAKE, "--cores", "2"], ours),
            version=functools.partial(timed, [*SNAKEMAKE, "--version"], folder),
            bare_version=functools.partial(timed, [*BARE_SNAKEMAKE, "--version"], folder),
            run=functools.partial(to_first_job, [*OURS, "run", "--cores", "2"], ours),
            peer=functools.partial(to_first_job, [*BARE_SNAKEMAKE, "--cores", "2"], peer),
        )
    return [
        row(
            "--help (peer: import argparse), CPU",
            cpus(taken["help"]),
            cpus(taken["nothing"]),
            Target("ours", 0.3),
        ),
        row(
            "check of this repository (peer: snakemake -n), CPU",
            cpus(taken["check"]),
            cpus(taken["dry"]),
        ),
        row(
            "any snakemake's start (peer: without us), CPU",
            cpus(taken["version"]),
            cpus(taken["bare_version"]),
        ),
        row("snakemake to the first job, wall", walls(taken["ours"]), walls(taken["peer"])),
        row("ml-experiment run to the first job, wall", walls(taken["run"]), walls(taken["peer"])),
    ]


if __name__ == "__main__":
    sys.exit(main(("cli", measure), rounds=3))
