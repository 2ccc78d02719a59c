"""What does keeping results in DVC cost beside DVC alone? Commits, `pull`, `status`, `dvc repro`."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import (
    OURS,
    SNAKEMAKE,
    Row,
    Target,
    Timing,
    bare,
    in_turn,
    main,
    project,
    row,
    scratch,
    timed,
    walls,
)

DVC = [sys.executable, "-m", "dvc"]
COMMIT = [sys.executable, "-m", "ml_experiment.services.commit", "experiment.yaml"]
RUN = [*SNAKEMAKE, "--cores", "2", "--logger-mlflow-offline"]
LARGE = 1_000_000_000  # bytes
MANY = 10_000  # files of 1 kB
JOBS, EACH = 100, 50  # 5,000 outputs
STAGES = 9  # as many as the demonstration has

MADE = """\
name: bench
steps:
  large:
    run: "head -c {params.bytes} /dev/urandom > {outputs.file}"
    params: {bytes: %d}
    outputs: {file: file.bin}
    seeding: none
  many:
    run: "mkdir -p {outputs.folder} && head -c {params.bytes} /dev/urandom | split -b 1000 -a 5 -d - {outputs.folder}"
    params: {bytes: %d}
    outputs: {folder: parts/}
    seeding: none
"""


def repository(folder: Path) -> Path:
    """Make a folder a repository of git and DVC."""
    for words in (["git", "init", "-q"], [*DVC, "init", "-q"]):
        subprocess.run(words, cwd=folder, check=True)
    return folder


def committed(made: Path, outputs: Sequence[str]) -> Timing:
    """The process that a run ends with, on what it has just made."""
    shutil.rmtree(made / ".dvc", ignore_errors=True)
    shutil.rmtree(made / ".git", ignore_errors=True)
    (made / "dvc.lock").unlink(missing_ok=True)
    # Made anew, so that nothing is known of it. Without a repository nothing is committed yet.
    for name in ("results", ".ml_experiment", ".snakemake"):
        shutil.rmtree(made / name, ignore_errors=True)
    timed([*OURS, "dvc"], made)
    timed([*RUN, "--", *outputs], made)
    return timed(COMMIT, repository(made))


def added(folder: Path, made: Path, outputs: Sequence[str]) -> Timing:
    """`dvc add` of the same files, in a repository of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = [Path(output).name for output in outputs]
    for output, name in zip(outputs, names, strict=True):
        copied = shutil.copytree if (made / output).is_dir() else shutil.copyfile
        copied(made / output, folder / name)
    return timed([*DVC, "add", "-q", *names], repository(folder))


def commits(rounds: int) -> list[Row]:
    """After a run that has made 1 GB, and 10,000 files."""
    rows = []
    for what, output in (("1 GB", "large/file.bin"), ("10,000 files of 1 kB", "many/parts")):
        with scratch() as folder:
            made = project(folder / "made", MADE % (LARGE, 1000 * MANY))
            outputs = [f"results/{output}"]
            committed(made, outputs)
            taken = in_turn(
                rounds,
                ours=functools.partial(committed, made, outputs),
                peer=functools.partial(added, folder / "peer", made, outputs),
            )
        rows.append(
            row(
                f"commit of {what} after a run (peer: dvc add)",
                walls(taken["ours"]),
                walls(taken["peer"]),
                Target("ratio", 1.0),
            )
        )
    return rows


def outputs() -> str:
    """100 jobs with 50 outputs each."""
    names = [f"f{number}" for number in range(EACH)]
    touched = "; ".join(f"echo {{matrix.job}} {name} > {{outputs.{name}}}" for name in names)
    declared = ", ".join(f"{name}: {name}.txt" for name in names)
    return (
        f"name: bench\naxes: {{job: {list(range(JOBS))}}}\nsteps:\n  make:\n    matrix: [job]\n"
        f"    run: '{touched}'\n    outputs: {{{declared}}}\n    seeding: none\n"
    )


def up_to_date(rounds: int) -> list[Row]:
    """`pull` and `status` where nothing is to be done."""
    with scratch() as folder:
        made = repository(project(folder / "made", outputs()))
        timed([*DVC, "remote", "add", "-d", "store", str(folder / "store")], made)
        timed([*OURS, "dvc"], made)
        timed(RUN, made)
        timed([*OURS, "push"], made)
        for command in ("pull", "status"):
            timed([*OURS, command], made)
        taken = in_turn(
            rounds,
            pull=functools.partial(timed, [*OURS, "pull"], made),
            status=functools.partial(timed, [*OURS, "status"], made),
            peer=functools.partial(timed, [*DVC, "status"], made),
        )
    return [
        row(
            f"{command} of 5,000 outputs, nothing to do (peer: dvc status)",
            walls(taken[command]),
            walls(taken["peer"]),
            Target("ratio", 1.0),
        )
        for command in ("pull", "status")
    ]


def nothing_to_repeat(rounds: int) -> list[Row]:
    """`dvc repro` of a chain of steps, beside stages that somebody has written by hand."""
    steps, stages = "name: bench\nsteps:\n", "stages:\n"
    for number in range(STAGES):
        run = "cat {inputs.x} > {outputs.file}" if number else "echo 0 > {outputs.file}"
        steps += f"  s{number}:\n    run: {run}\n"
        steps += "    outputs: {file: file.txt}\n    seeding: none\n"
        stages += (
            f"  s{number}:\n    cmd: echo {number} > s{number}.txt\n    outs: [s{number}.txt]\n"
        )
        if number:
            steps += f"    inputs: {{x: s{number - 1}.file}}\n"
            stages += f"    deps: [s{number - 1}.txt]\n"
    with scratch() as folder:
        ours = repository(project(folder / "ours", steps))
        peer = repository(bare(folder / "peer", {"dvc.yaml": stages}))
        timed([*OURS, "dvc"], ours)
        timed(RUN, ours)
        for place in (ours, peer):
            timed([*DVC, "repro", "-q"], place)
        taken = in_turn(
            rounds,
            ours=functools.partial(timed, [*DVC, "repro"], ours),
            peer=functools.partial(timed, [*DVC, "repro"], peer),
        )
    what = f"dvc repro of {STAGES} stages, nothing to do (peer: stages by hand)"
    return [row(what, walls(taken["ours"]), walls(taken["peer"]))]


def measure(rounds: int) -> list[Row]:
    """All of them."""
    return [*commits(rounds), *up_to_date(rounds), *nothing_to_repeat(rounds)]


if __name__ == "__main__":
    sys.exit(main(("data", measure), rounds=3))
