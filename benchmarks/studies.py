"""What does a study cost beside Optuna, and its trials beside jobs that wait for nothing?

A trial here is an `echo`, so all that is measured is what is around it: asking the sampler, a job of
Snakemake, what is kept. Start-up is the same study with one trial.
"""

from __future__ import annotations

import csv
import functools
import json
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
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

from ml_experiment.asking import Asking
from ml_experiment.search import Result, Search, Suggestion
from ml_experiment.space import Parameter

TRIALS = 256
PLANNED = 5_000
FINISHED = 1_000
KNOWN = (100, 1_000, 5_000)  # trials, when one more is suggested
ASKED = 9  # suggestions of which the median counts
ARGUMENTS = ["--cores", "2", "--scheduler", "greedy"]
# `tune` and not `all`: its plots are a job of their own.
RUN = [*SNAKEMAKE, *ARGUMENTS, "tune"]
OFFLINE = [*RUN, "--logger-mlflow-offline"]
BARE_RUN = [*BARE_SNAKEMAKE, *ARGUMENTS]
DRY = [*SNAKEMAKE, "--dry-run", "--quiet", "--", "tune"]  # see plan.py
BARE_DRY = [*BARE_SNAKEMAKE, "--dry-run", "--quiet"]
DATABASE = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm")

# Two workers, as Optuna's documentation starts them. The study is there before they begin.
OPTUNA = """\
import subprocess, sys
import optuna
def load(make):
    return make(study_name="bench", storage="sqlite:///optuna.db", sampler=optuna.samplers.TPESampler())
if len(sys.argv) > 2:
    load(optuna.load_study).optimize(lambda trial: trial.suggest_float("x", 0, 1), int(sys.argv[1]))
else:
    load(optuna.create_study)
    words = [sys.executable, __file__, sys.argv[1], "worker"]
    workers = [subprocess.Popen(words) for _ in range(2)]
    sys.exit(max(worker.wait() for worker in workers))
"""
# The sampler alone, in the process that uses it.
SUGGEST = """\
import random, statistics, sys, time
import optuna
from optuna.distributions import FloatDistribution
optuna.logging.set_verbosity(optuna.logging.ERROR)
draw, known, asked = random.Random(1), int(sys.argv[1]), int(sys.argv[2])
names = [f"x{index}" for index in range(5)]
space = {name: FloatDistribution(0, 1) for name in names}
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
for _ in range(known):
    params = {name: draw.random() for name in names}
    study.add_trial(optuna.create_trial(params=params, distributions=space, value=sum(params.values())))
taken = []
for _ in range(asked):
    begun = time.perf_counter()
    trial = study.ask(space)
    taken.append(time.perf_counter() - begun)
    study.tell(trial, draw.random())
print(statistics.median(taken))
"""


def experiment(trials: int, window: int = 8) -> str:
    """A study whose trials write their parameter as their metric."""
    return f"""\
name: bench
seed: 1
steps:
  one:
    run: >-
      echo '{{{{"value": '{{params.x}}'}}}}' > {{metrics}}
    params: {{x: 0.5}}
    metrics: metrics.json
studies:
  tune:
    step: one
    space: {{x: {{float: [0, 1]}}}}
    objectives: {{value: minimize}}
    trials: {trials}
    window: {window}
"""


def snakefile(jobs: int) -> str:
    """As many jobs that write as many files and wait for nothing."""
    return f"""\
rule all:
    input: expand("results/{{i}}/metrics.json", i=range({jobs}))


rule one:
    output: "results/{{i}}/status.json", "results/{{i}}/metrics.json"
    shell: "touch {{output}}"
"""


def each(words: Callable[[int], Timing], trials: int, fewest: int = 1) -> Timing:
    """What one more trial takes: start-up does not count."""
    more = words(trials).less(words(fewest))
    count = trials - fewest
    return Timing(more.wall / count, more.cpu / count, "")


def run(
    words: Sequence[str],
    folder: Path,
    trials: int,
    *,
    sent: bool = False,
    learned: bool = False,
    made: Callable[[int], str] = experiment,
) -> Timing:
    """A study from nothing; all of its trials must be in its table, and in MLflow."""
    for name in DATABASE:
        (folder / name).unlink(missing_ok=True)
    (folder / "experiment.yaml").write_text(made(trials), "utf-8")
    timing = timed(words, fresh(folder, learned=learned))
    with (folder / "results/tune/trials.csv").open(encoding="utf-8") as file:
        complete = sum(line["state"] == "complete" for line in csv.DictReader(file))
    if complete != trials:
        raise RuntimeError(f"{complete} trials of {trials}\n{timing.printed[-2000:]}")
    if sent:
        query = "SELECT count(*) FROM tags WHERE key = 'ml_experiment.record'"
        found = counted(folder / "mlflow.db", query)
        if found <= trials:  # the job that gathers them, and markers
            raise RuntimeError(f"{found} runs in MLflow\n{timing.printed[-2000:]}")
    return timing


def run_optuna(folder: Path, trials: int) -> Timing:
    """The same study by two workers, from nothing."""
    (folder / "optuna.db").unlink(missing_ok=True)
    timing = timed([sys.executable, "optuna_study.py", str(trials // 2)], folder)
    query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
    found = counted(folder / "optuna.db", query)
    if found != trials:
        raise RuntimeError(f"{found} trials of {trials}\n{timing.printed[-2000:]}")
    return timing


def counted(file: Path, query: str) -> int:
    """A number out of a database."""
    with closing(sqlite3.connect(file)) as database:
        (found,) = database.execute(query).fetchone()
    return int(found)


def trials_each(rounds: int) -> list[Row]:
    """One trial more, beside Optuna's."""
    with scratch() as folder:
        ours = project(folder / "ours", experiment(TRIALS))
        peer = bare(folder / "peer", {"optuna_study.py": OPTUNA})
        taken = in_turn(
            rounds,
            untracked=lambda: each(functools.partial(run, [*RUN, *UNTRACKED], ours), TRIALS),
            sent=lambda: each(functools.partial(run, RUN, ours, sent=True), TRIALS),
            peer=lambda: each(functools.partial(run_optuna, peer), TRIALS, 2),
        )
    form = f"one of {TRIALS} trials (peer: Optuna, SQLite)"
    untracked, sent, peers = taken["untracked"], taken["sent"], taken["peer"]
    return [
        row(f"{form}, untracked, wall", walls(untracked), walls(peers), Target("ratio", 0.7)),
        row(f"{form}, until in MLflow, wall", walls(sent), walls(peers), Target("ratio", 1.0)),
        row(f"{form}, untracked, CPU", cpus(untracked), cpus(peers)),
    ]


def planned(rounds: int) -> list[Row]:
    """A dry run of many trials, for two windows."""
    with scratch() as folder:
        peer = bare(folder / "peer", {"Snakefile": snakefile(PLANNED)})
        windows = {
            window: project(folder / f"ours-{window}", experiment(PLANNED, window))
            for window in (8, 256)
        }
        for ours in windows.values():
            stats([*DRY[:-2], "rules", *DRY[-2:]], ours, "tune.trial", PLANNED)
        stats([*BARE_DRY, "rules"], peer, "one", PLANNED)
        sides = {
            f"window {w}": functools.partial(timed, DRY, there) for w, there in windows.items()
        }
        taken = in_turn(rounds, peer=functools.partial(timed, BARE_DRY, peer), **sides)
    rows = []
    for name in sides:
        form = f"snakemake -n of {PLANNED:,} trials, {name} (peer: jobs without edges)"
        most = Target("ratio", 1.7)
        rows += [
            row(f"{form}, wall", walls(taken[name]), walls(taken["peer"]), most),
            row(f"{form}, CPU", cpus(taken[name]), cpus(taken["peer"])),
        ]
    return rows


def stats(words: Sequence[str], folder: Path, rule: str, jobs: int) -> None:
    """A dry run that prints how many jobs of each rule there are: so many of one."""
    printed = timed(words, folder).printed
    if not any(line.split() == [rule, str(jobs)] for line in printed.splitlines()):
        raise RuntimeError(f"not {jobs} jobs of {rule} in {folder}\n{printed[:2000]}")


def nothing(words: Sequence[str], folder: Path) -> Timing:
    """A run of what is finished."""
    timing = timed(words, folder)
    if "Nothing to be done" not in timing.printed:
        raise RuntimeError(f"something to do in {folder}\n{timing.printed[-2000:]}")
    return timing


def finished(rounds: int) -> list[Row]:
    """A study that is finished, run again."""
    with scratch() as folder:
        ours = project(folder / "ours", experiment(FINISHED))
        peer = bare(folder / "peer", {"Snakefile": snakefile(FINISHED)})
        run(OFFLINE, ours, FINISHED)
        timed(BARE_RUN, peer)
        taken = in_turn(
            rounds,
            ours=functools.partial(nothing, OFFLINE, ours),
            peer=functools.partial(nothing, BARE_RUN, peer),
        )
    form = f"{FINISHED:,} finished trials, nothing to do"
    most = Target("ratio", 1.5)
    return [
        row(f"{form}, wall", walls(taken["ours"]), walls(taken["peer"]), most),
        row(f"{form}, CPU", cpus(taken["ours"]), cpus(taken["peer"])),
    ]


def suggested(known: int) -> tuple[float, float]:
    """Seconds of the first suggestion of a process, and of one after that."""
    draw = random.Random(1)
    parameters = tuple(Parameter(f"x{index}", "float", low=0, high=1) for index in range(5))
    search = Search("tune", 1, parameters, ("minimize",))
    params = [{p.name: draw.random() for p in parameters} for _ in range(known)]
    before = [Suggestion(number, values) for number, values in enumerate(params)]
    results = [Result(n, "complete", (sum(values.values()),)) for n, values in enumerate(params)]
    asking = Asking()
    taken = []
    for _ in range(ASKED + 1):
        begun = time.perf_counter()
        answer = asking.suggest("tune", search, before, results)
        taken.append(time.perf_counter() - begun)
        results.append(Result(len(before), "complete", (draw.random(),)))
        before.append(answer.suggestion)
    asking.close()
    return taken[0], statistics.median(taken[1:])


def suggestions(rounds: int) -> list[Row]:
    """One suggestion, through the process that makes them, beside the sampler alone."""
    rows = []
    for known in KNOWN:
        firsts, ours, peer = [], [], []
        for _ in range(rounds):
            first, one = suggested(known)
            with scratch() as folder:
                words = [sys.executable, "-c", SUGGEST, str(known), str(ASKED)]
                peer.append(json.loads(timed(words, folder).printed))
            firsts.append(first)
            ours.append(one)
        rows.append(row(f"a suggestion after {known:,} trials (peer: Optuna alone)", ours, peer))
        rows.append(row(f"the first one of a run, after {known:,} trials", firsts))
    return rows


def measure(rounds: int) -> list[Row]:
    """Trials, plans, a finished study, suggestions."""
    return [
        *trials_each(rounds),
        *planned(rounds),
        *finished(rounds),
        *suggestions(rounds),
    ]


if __name__ == "__main__":
    sys.exit(main(("studies", measure), rounds=3))
