"""What does the window of a study cost? `python benchmarks/window.py [search] [waiting]`, 7 minutes.

A wide window means a sampler that is told less, a narrow one workers that wait. The first is tried
on three functions and a model, with the sampler that studies use; the second is simulated: a trial
begins when all trials behind its window have ended and a worker is free, lower numbers first.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_experiment.adapters.kernels import pinned
from ml_experiment.adapters.optuna import Asker
from ml_experiment.search import Result, Search
from ml_experiment.space import Parameter

MARK = "ML_EXPERIMENT_PINNED"  # see services/suggester.py
WINDOWS = (1, 2, 4, 8, 16, 32)
SEEDS = 20
WORKERS = (1, 2, 4, 8, 16, 32, 64, 256, 1_024, 4_096)
TIMES = (1, 2, 4)  # windows, in workers
EACH = 100  # trials of each worker

Params = Mapping[str, float]


class Problem(NamedTuple):
    """A function to minimize; `least` is the smallest value that it has."""

    name: str
    of: Callable[[Params], float]
    parameters: tuple[Parameter, ...]
    trials: int
    least: float = 0.0


# ---- search ------------------------------------------------------------------------------------


def branin(x: Params) -> float:
    """Three equal minima."""
    a, b = x["x0"], x["x1"]
    bowl = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def rosenbrock(x: Params) -> float:
    """A bent valley."""
    v = list(x.values())
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(v))


def ackley(x: Params) -> float:
    """A funnel with many dents."""
    v = list(x.values())
    far = math.sqrt(sum(a * a for a in v) / len(v))
    dents = sum(math.cos(2 * math.pi * a) for a in v) / len(v)
    return -20 * math.exp(-0.2 * far) - math.exp(dents) + 20 + math.e


def svm(x: Params) -> float:
    """A support vector machine that tells tumours apart: 1000 × (1 - area under the curve)."""
    from sklearn.model_selection import cross_val_score  # noqa: PLC0415  # for this one only
    from sklearn.svm import SVC  # noqa: PLC0415

    cells, kinds = tumours()
    model = SVC(C=x["C"], gamma=x["gamma"])
    area = cross_val_score(model, cells, kinds, cv=5, scoring="roc_auc").mean()
    return 1000 * (1 - float(area))


@functools.cache
def tumours() -> tuple[Any, Any]:
    """Measurements of cells, each scaled, and the kinds of tumour."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.preprocessing import scale  # noqa: PLC0415

    cells, kinds = load_breast_cancer(return_X_y=True)
    return scale(cells), kinds


def ranges(count: int, low: float, high: float) -> tuple[Parameter, ...]:
    """As many parameters: x0, x1 and so on."""
    return tuple(Parameter(f"x{index}", "float", low=low, high=high) for index in range(count))


PROBLEMS = (
    Problem("Branin", branin, (*ranges(1, -5, 10), Parameter("x1", "float", low=0, high=15)), 100,
            0.397887),
    Problem("Rosenbrock, 5", rosenbrock, ranges(5, -5, 10), 100),
    Problem("Ackley, 6", ackley, ranges(6, -32.768, 32.768), 100),
    Problem("SVM, 1000 × (1 - AUC)", svm, (
        Parameter("C", "float", low=1e-2, high=1e4, log=True),
        Parameter("gamma", "float", low=1e-5, high=1e1, log=True),
    ), 60),
)  # fmt: skip


def best(problem: Problem, sampler: str, window: int, seed: int) -> float:
    """How far the best trial of a study is from the least value."""
    search = Search("window", seed, problem.parameters, ("minimize",), sampler, window=window)
    asker = Asker(search)
    results: list[Result] = []
    for number in range(problem.trials):
        value = problem.of(asker.ask(results).params)
        results.append(Result(number, "complete", (value,)))
    return min(result.values[0] for result in results) - problem.least


def searched(problem: Problem) -> list[str]:
    """A line of the table: the middle of all seeds, and the half of them around it."""
    kinds = [*(("tpe", window) for window in WINDOWS), ("random", 1)]
    cells = [f"{problem.name} ({problem.trials} trials)"]
    for sampler, window in kinds:
        found = [best(problem, sampler, window, seed) for seed in range(SEEDS)]
        low, middle, high = statistics.quantiles(found, n=4)
        cells.append(f"{short(middle)} ({short(low)}–{short(high)})")
    return cells


def short(value: float) -> str:
    """Two digits that count, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


# ---- waiting -----------------------------------------------------------------------------------


def exponential(draw: random.Random) -> float:
    """Most are short, some are long."""
    return draw.expovariate(1)


def lognormal(draw: random.Random) -> float:
    """Two of three are between 0.6 and 1.6 times the middle one."""
    return draw.lognormvariate(0, 0.5)


def idle(workers: int, window: int, duration: Callable[[random.Random], float]) -> float:
    """The share of the workers' time in which they wait, until the last trial begins."""
    draw = random.Random(1)
    count = max(10_000, EACH * workers)
    running: list[tuple[float, int]] = []  # (end, number)
    ended: set[int] = set()
    begun, behind, now, busy = 0, 0, 0.0, 0.0  # trials 0 … behind - 1 have ended
    while begun < count:
        while len(running) < workers and begun < min(count, behind + window):
            taken = duration(draw)
            heapq.heappush(running, (now + taken, begun))
            busy += taken
            begun += 1
        now, number = heapq.heappop(running)
        ended.add(number)
        while behind in ended:
            ended.remove(behind)
            behind += 1
    over = sum(end - now for end, _ in running)  # what is left to do then
    return 1 - (busy - over) / (workers * now)


def waited(workers: int) -> list[str]:
    """A line of the table."""
    shares = [
        idle(workers, times * workers, duration)
        for duration in (lognormal, exponential)
        for times in TIMES
    ]
    return [f"{workers:,}", *(f"{abs(100 * share):.0f} %" for share in shares)]


# ---- tables ------------------------------------------------------------------------------------


def printed(head: Sequence[str], lines: Iterator[list[str]]) -> None:
    """A table of Markdown, each line when it is known."""
    for cells in ([*head], ["---"] * len(head)):
        print(f"| {' | '.join(cells)} |", flush=True)
    for cells in lines:
        print(f"| {' | '.join(cells)} |", flush=True)
    print()


def main(asked: Sequence[str]) -> None:
    """Print the tables that were asked for, or both."""
    if (
        MARK not in os.environ
    ):  # the same numbers on other machines: kernels are chosen at the start
        environ = {**os.environ, **pinned(), MARK: "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environ)
    if not asked or "search" in asked:
        head = ["distance of the best trial", *(f"window {w}" for w in WINDOWS), "random"]
        printed(head, map(searched, PROBLEMS))
    if not asked or "waiting" in asked:
        names = (f"{name}, {t} ×" for name in ("log-normal", "exponential") for t in TIMES)
        printed(["workers", *names], map(waited, WORKERS))


if __name__ == "__main__":
    main(sys.argv[1:])
