"""What does a run cost beside a bare Snakefile? 200 trivial jobs, and nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import (
    BARE_SNAKEMAKE,
    SNAKEMAKE,
    UNTRACKED,
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

CHAINS = 40
LENGTH = 5  # each job of a chain reads what the one before it wrote
WIDE = 400
ARGUMENTS = ["--cores", "2", "--scheduler", "greedy"]
# What MLflow costs is for tracking.py to say: here records are kept, and not sent.
RUN = [*SNAKEMAKE, *ARGUMENTS, "--logger-mlflow-offline"]
BARE_RUN = [*BARE_SNAKEMAKE, *ARGUMENTS]
MOST = Target("ratio", 1.2)


def named_steps() -> tuple[str, str]:
    """200 steps with names of their own: 200 rules on both sides."""
    ours, peer = ["name: bench\nseed: 1\nsteps:\n"], []
    lasts = [f'"results/c{chain}s{LENGTH - 1}/out.txt"' for chain in range(CHAINS)]
    peer.append("rule all:\n    input: " + ", ".join(lasts) + "\n")
    for chain in range(CHAINS):
        for link in range(LENGTH):
            name, before = f"c{chain}s{link}", f"c{chain}s{link - 1}"
            run = "cat {inputs.x} > {outputs.out}" if link else f"echo {chain} > {{outputs.out}}"
            ours.append(f"  {name}:\n    run: {run}\n")
            if link:
                ours.append(f"    inputs: {{x: {before}.out}}\n")
            ours.append("    outputs: {out: out.txt}\n")
            peer.append(f"rule {name}:\n")
            if link:
                peer.append(f'    input: "results/{before}/out.txt"\n')
            shell = "cat {input} > {output}" if link else f"echo {chain} > {{output}}"
            peer.append(f'    output: "results/{name}/out.txt"\n    shell: "{shell}"\n')
    return "".join(ours), "".join(peer)


def matrix_steps() -> tuple[str, str]:
    """5 steps of 40 jobs each: 5 rules on both sides."""
    ours = [f"name: bench\nseed: 1\naxes: {{chain: {list(range(CHAINS))}}}\nsteps:\n"]
    last = f'"results/s{LENGTH - 1}/chain={{chain}}/out.txt"'
    peer = [f"rule all:\n    input: expand({last}, chain=range({CHAINS}))\n"]
    for link in range(LENGTH):
        run = "cat {inputs.x} > {outputs.out}" if link else "echo {matrix.chain} > {outputs.out}"
        ours.append(f"  s{link}:\n    matrix: [chain]\n    run: {run}\n")
        if link:
            ours.append(f"    inputs: {{x: s{link - 1}.out}}\n")
        ours.append("    outputs: {out: out.txt}\n")
        peer.append(f"rule s{link}:\n")
        if link:
            peer.append(f'    input: "results/s{link - 1}/chain={{chain}}/out.txt"\n')
        shell = "cat {input} > {output}" if link else "echo {wildcards.chain} > {output}"
        peer.append(
            f'    output: "results/s{link}/chain={{chain}}/out.txt"\n    shell: "{shell}"\n'
        )
    return "".join(ours), "".join(peer)


def wide_step() -> tuple[str, str]:
    """One step of 400 jobs that are all ready at once: what the scheduler looks at grows."""
    ours = f"""\
name: bench
seed: 1
axes: {{job: {list(range(WIDE))}}}
steps:
  one:
    matrix: [job]
    run: echo {{matrix.job}} > {{outputs.out}}
    outputs: {{out: out.txt}}
"""
    peer = f"""\
rule all:
    input: expand("results/one/job={{job}}/out.txt", job=range({WIDE}))


rule one:
    output: "results/one/job={{job}}/out.txt"
    shell: "echo {{wildcards.job}} > {{output}}"
"""
    return ours, peer


def run(words: Sequence[str], folder: Path, *, done: int) -> Timing:
    """A run, which must have done so many jobs."""
    timing = timed(words, folder)
    expected = f"{done} of {done} steps" if done else "Nothing to be done"
    if expected not in timing.printed:
        raise RuntimeError(f"not {expected!r} in {folder}\n{timing.printed[-2000:]}")
    return timing


def from_nothing(form: str, ours: Path, peer: Path, jobs: int, rounds: int) -> list[Row]:
    """A first run, with and without our logger."""
    taken = in_turn(
        rounds,
        ours=lambda: run(RUN, fresh(ours), done=jobs),
        untracked=lambda: run([*RUN, *UNTRACKED], fresh(ours), done=jobs),
        peer=lambda: run(BARE_RUN, fresh(peer), done=jobs),
    )
    return [
        row(f"{form}, wall", walls(taken["ours"]), walls(taken["peer"]), MOST),
        row(f"{form}, CPU", cpus(taken["ours"]), cpus(taken["peer"])),
        row(f"{form}, untracked, wall", walls(taken["untracked"]), walls(taken["peer"])),
        row(f"{form}, untracked, CPU", cpus(taken["untracked"]), cpus(taken["peer"])),
    ]


def nothing_to_do(form: str, ours: Path, peer: Path, jobs: int, rounds: int) -> list[Row]:
    """The run after that."""
    run(BARE_RUN, fresh(peer), done=jobs)
    run(RUN, fresh(ours), done=jobs)  # with the logger, as its users have it
    taken = in_turn(
        rounds, ours=lambda: run(RUN, ours, done=0), peer=lambda: run(BARE_RUN, peer, done=0)
    )
    return [
        row(f"{form}, nothing to do, wall", walls(taken["ours"]), walls(taken["peer"]), MOST),
        row(f"{form}, nothing to do, CPU", cpus(taken["ours"]), cpus(taken["peer"])),
    ]


def measure(rounds: int) -> list[Row]:
    """200 jobs in two forms, from nothing and with nothing to do; then 400 side by side."""
    rows = []
    jobs = CHAINS * LENGTH + 1  # and `all`
    for form, texts in (("200 steps", named_steps()), ("5 steps × 40 jobs", matrix_steps())):
        with scratch() as folder:
            ours = project(folder / "ours", texts[0])
            peer = bare(folder / "peer", {"Snakefile": texts[1]})
            rows += from_nothing(form, ours, peer, jobs, rounds)
            rows += nothing_to_do(form, ours, peer, jobs, rounds)
    with scratch() as folder:
        texts = wide_step()
        ours = project(folder / "ours", texts[0])
        peer = bare(folder / "peer", {"Snakefile": texts[1]})
        rows += from_nothing(f"{WIDE} jobs ready at once", ours, peer, WIDE + 1, rounds)
    return rows


if __name__ == "__main__":
    sys.exit(main(("steps", measure), rounds=3))
