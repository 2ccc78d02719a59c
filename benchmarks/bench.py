"""What the benchmarks share: processes timed in turn, scratch projects, the table.

Machines are slow and busy in ways of their own, so nothing here is measured alone: what is
compared runs in turn (A B A B ...), a ratio is taken within each round, and medians count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
# The peer is a Snakemake beside which we are not installed: it imports every plugin that it finds.
WITHOUT_US = """\
import pathlib, sys
sys.path[:] = [entry for entry in sys.path if not any(pathlib.Path(entry).glob("*_plugin_mlflow"))]
from snakemake.cli import main
main()
"""
BARE_SNAKEMAKE = [sys.executable, "-c", WITHOUT_US]
OURS = [sys.executable, "-m", "ml_experiment.cli.main"]
MADE = (".ml_experiment", ".snakemake", "logs", "results")  # by a run

SNAKEFILE = """\
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: experiment.targets
"""
DEFAULT = "profiles/default/config.yaml"
UNTRACKED = ["--workflow-profile", "profiles/untracked"]  # the default one without our logger
PEER = """\
scheduler: greedy
quiet: [host]
show-failed-logs: true
"""


# ---- timing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Seconds that a process took, its children counted in."""

    wall: float
    cpu: float
    printed: str

    def less(self, other: Timing) -> Timing:
        """What it took beyond another."""
        return Timing(self.wall - other.wall, self.cpu - other.cpu, self.printed)


def timed(words: Sequence[str], folder: Path, *, codes: Sequence[int] = (0,)) -> Timing:
    """Run a command to its end.

    Raises:
        RuntimeError: it ended with another exit code, so what it took says nothing.
    """
    with tempfile.TemporaryFile("w+") as printed:
        start = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode not in codes:
        raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}\n{text[-4000:]}")
    return Timing(wall, usage.ru_utime + usage.ru_stime, text)


def in_turn(rounds: int, **contenders: Callable[[], Timing]) -> dict[str, list[Timing]]:
    """Each contender once a round; the order turns round, so that nobody is always behind."""
    taken: dict[str, list[Timing]] = {name: [] for name in contenders}
    for index in range(rounds):
        names = list(contenders)
        for name in names if index % 2 == 0 else reversed(names):
            taken[name].append(contenders[name]())
    return taken


def walls(timings: Sequence[Timing]) -> list[float]:
    """Their wall times."""
    return [timing.wall for timing in timings]


def cpus(timings: Sequence[Timing]) -> list[float]:
    """Their CPU times."""
    return [timing.cpu for timing in timings]


# ---- scratch projects --------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ml-experiment-bench-") as folder:
        yield Path(folder).resolve()


def project(folder: Path, experiment: str) -> Path:
    """A project around an experiment file, with this repository's rules and profile."""
    rules = "workflow/rules/experiment.smk"
    profile = (REPOSITORY / DEFAULT).read_text("utf-8")
    kept = [line for line in profile.splitlines() if not line.startswith("logger:")]
    texts = {
        "Snakefile": SNAKEFILE,
        "experiment.yaml": experiment,
        rules: (REPOSITORY / rules).read_text("utf-8"),
        "profiles/untracked/config.yaml": "\n".join(kept),
    }
    return bare(folder, texts, profile)


def bare(folder: Path, texts: Mapping[str, str], profile: str = PEER) -> Path:
    """A folder with these files and a default profile."""
    for name, text in {**texts, DEFAULT: profile}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def fresh(folder: Path, *, learned: bool = False) -> Path:
    """The folder as it was before any run; if `learned`, it is known what programs import."""
    kept, aside = folder / ".ml_experiment/warm", folder / "warm"
    if learned:
        kept.rename(aside)
    for name in MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    if learned:
        kept.parent.mkdir()
        aside.rename(kept)
    return folder


# ---- the table ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """The most that `ratio`, `ours` or `more` (ours without the peer's) of a row may be."""

    of: str
    most: float

    def __str__(self) -> str:
        if self.of == "ratio":
            return f"≤ {self.most:g}×"
        return ("< +" if self.of == "more" else "< ") + shown(self.most)


@dataclass(frozen=True)
class Row:
    """One line of the table; times are seconds. Without a target it is only reported."""

    what: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    more: float | None = None
    target: Target | None = None

    @property
    def verdict(self) -> str:
        """`ok`, `miss`, or nothing to reach."""
        if self.target is None:
            return ""
        return "ok" if getattr(self, self.target.of) <= self.target.most else "miss"


def row(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float] | None = None,
    target: Target | None = None,
) -> Row:
    """Medians of the rounds."""
    if peer is None:
        return Row(what, statistics.median(ours), target=target)
    pairs = list(zip(ours, peer, strict=True))
    return Row(
        what,
        statistics.median(ours),
        statistics.median(peer),
        statistics.median(a / b for a, b in pairs),
        statistics.median(a - b for a, b in pairs),
        target,
    )


def least(
    what: str, ours: Sequence[float], peer: Sequence[float], target: Target | None = None
) -> Row:
    """The fastest of each: for a small difference between times that only ever vary upwards."""
    one, other = min(ours), min(peer)
    return Row(what, one, other, one / other, one - other, target)


def shown(seconds: float | None) -> str:
    """Seconds, or milliseconds below a tenth of one."""
    if seconds is None:
        return "–"
    return f"{seconds:.2f} s" if abs(seconds) >= 0.1 else f"{seconds * 1000:.0f} ms"


def table(rows: Sequence[Row]) -> str:
    """The rows, aligned."""
    cells = [("what", "ours", "peer", "ratio", "more", "target", "")]
    cells += [
        (
            line.what,
            shown(line.ours),
            shown(line.peer),
            "–" if line.ratio is None else f"{line.ratio:.2f}×",
            shown(line.more),
            str(line.target or "–"),
            line.verdict,
        )
        for line in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for what, *rest in cells:
        numbers = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([what.ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(lines)


def main(*scripts: tuple[str, Callable[[int], list[Row]]], rounds: int = 5) -> int:
    """Run benchmarks and print their rows. Exit code 1: a target is missed."""
    parser = argparse.ArgumentParser(description="Medians of several rounds, run in turn.")
    parser.add_argument(
        "only", nargs="*", help="some of: " + ", ".join(name for name, _ in scripts)
    )
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"({rounds})")
    options = parser.parse_args()
    unknown = set(options.only) - {name for name, _ in scripts}
    if unknown:
        parser.error("no such benchmark: " + ", ".join(sorted(unknown)))
    rows = []
    for name, measure in scripts:
        if not options.only or name in options.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += measure(options.rounds)
    if options.json:
        print(json.dumps([{**asdict(line), "verdict": line.verdict} for line in rows], indent=1))
    else:
        print(table(rows))
    return int(any(line.verdict == "miss" for line in rows))
