"""What does a run cost beside a bare Snakefile? 200 trivial jobs, and nothing to do."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import (
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
LENGTH = 5
RUN = [*SNAKEMAKE, "--cores", "2", "--scheduler", "greedy"]
MOST = Target("ratio", 1.2)

# A chain: each step reads what the one before it wrote. The same commands on both sides.
FIRST = ("echo {chain} > ", "")
NEXT = ("cat ", " > ")


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


def run(folder: Path, extra: Sequence[str] = (), *, done: int) -> Timing:
    """A run, which must have done so many jobs."""
    timing = timed([*RUN, *extra], folder)
    expected = f"{done} of {done} steps" if done else "Nothing to be done"
    if expected not in timing.printed:
        raise RuntimeError(f"not {expected!r} in {folder}\n{timing.printed[-2000:]}")
    return timing


def measure(rounds: int) -> list[Row]:
    """Both forms, from nothing and with nothing to do."""
    rows = []
    jobs = CHAINS * LENGTH + 1  # and `all`
    for form, texts in (("200 steps", named_steps()), ("5 steps × 40 jobs", matrix_steps())):
        with scratch() as folder:
            ours = project(folder / "ours", texts[0])
            peer = bare(folder / "peer", {"Snakefile": texts[1]})
            taken = in_turn(
                rounds,
                ours=lambda ours=ours: run(fresh(ours), done=jobs),
                untracked=lambda ours=ours: run(fresh(ours), UNTRACKED, done=jobs),
                peer=lambda peer=peer: run(fresh(peer), done=jobs),
            )
            rows += [
                row(f"{form}, wall", walls(taken["ours"]), walls(taken["peer"]), MOST),
                row(f"{form}, CPU", cpus(taken["ours"]), cpus(taken["peer"])),
                row(f"{form}, untracked, wall", walls(taken["untracked"]), walls(taken["peer"])),
            ]
            timed(RUN, fresh(ours))
            taken = in_turn(
                rounds,
                ours=functools.partial(run, ours, done=0),
                peer=functools.partial(run, peer, done=0),
            )
            rows += [
                row(
                    f"{form}, nothing to do, wall", walls(taken["ours"]), walls(taken["peer"]), MOST
                ),
                row(f"{form}, nothing to do, CPU", cpus(taken["ours"]), cpus(taken["peer"])),
            ]
    return rows


if __name__ == "__main__":
    sys.exit(main(("steps", measure), rounds=3))
