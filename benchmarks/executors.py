"""What does a trial in Python cost, by whoever it is run?

Two steps: one fits scikit-learn's gradient boosting for about 0.2 s, one returns at once. Beside the
first is the fastest that one can write by hand: Optuna's ask and tell over a pool of two warm
processes, without files, logs and records; what the step imports is known from a run before, but
in the row of its first. Beside the second is Ray Tune with Optuna's search.
Only wall time: warm programs are no descendants that Snakemake waits for, so their CPU time is not in
what `timed` can see.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import (
    SNAKEMAKE,
    UNTRACKED,
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
from studies import each, run

BOOSTED = 64
TRIVIAL = 256
COLD = 16  # trials whose programs all start from nothing: more would say the same
LARGE, SMALL = 5_000, 1_000  # trials, of which the memory is told
LOOK = 1.0  # seconds between two looks at it
ARGUMENTS = ["--cores", "2", "tune"]
STOCK = ["-e", "local", *ARGUMENTS]
RAY = ["-e", "ray", "--jobs", "8", "--ray-no-dashboard", *ARGUMENTS]

STEPS = """\
def boosted(learning_rate, max_features):
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier
    x, y = load_breast_cancer(return_X_y=True)
    model = GradientBoostingClassifier(
        n_estimators=230, learning_rate=learning_rate, max_features=max_features, random_state=0
    )
    return {"value": float(model.fit(x[::2], y[::2]).score(x[1::2], y[1::2]))}


def trivial(x):
    return {"value": x}
"""
# So narrow that all trials take the same time, whatever the two samplers find.
BOOSTED_SPACE = "{learning_rate: {float: [0.04, 0.06]}, max_features: {float: [0.49, 0.51]}}"
# A pool of two that has imported everything: what is left is the sampler and the fitting.
BARE = """\
import sys
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
import optuna
import sklearn.datasets, sklearn.ensemble
from steps import boosted
optuna.logging.set_verbosity(optuna.logging.ERROR)
if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1))
    running, left = {}, int(sys.argv[1])
    with ProcessPoolExecutor(2) as pool:
        while left or running:
            while left and len(running) < 2:
                trial, left = study.ask(), left - 1
                rate = trial.suggest_float("learning_rate", 0.04, 0.06)
                part = trial.suggest_float("max_features", 0.49, 0.51)
                running[pool.submit(boosted, rate, part)] = trial
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                study.tell(running.pop(done), done.result()["value"])
    print(len(study.trials), "trials")
"""
TUNE = """\
import logging, os, sys
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1")
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from steps import trivial
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
config = tune.TuneConfig(
    metric="value", mode="min", num_samples=int(sys.argv[1]), search_alg=OptunaSearch(seed=1)
)
space = {"x": tune.uniform(0, 1)}
run = tune.RunConfig(storage_path=os.getcwd(), verbose=0)
results = tune.Tuner(
    tune.with_resources(lambda params: trivial(**params), {"cpu": 1}),
    param_space=space, tune_config=config, run_config=run,
).fit()
print(len(results), "trials")
"""


def experiment(trials: int, step: str = "trivial", space: str = "{x: {float: [0, 1]}}") -> str:
    """A study of one of the two steps."""
    return f"""\
name: bench
seed: 1
steps:
  one:
    call: "steps:{step}"
    metrics: metrics.json
studies:
  tune:
    step: one
    space: {space}
    objectives: {{value: maximize}}
    trials: {trials}
    window: 8
"""


def peer(words: Sequence[str], folder: Path, trials: int) -> Timing:
    """Somebody else's study, which must have had all of its trials."""
    timing = timed([sys.executable, *words, str(trials)], folder)
    if f"{trials} trials" not in timing.printed:
        raise RuntimeError(f"not {trials} trials\n{timing.printed[-2000:]}")
    return timing


def study(
    folder: Path,
    made: Callable[[int], str],
    words: Sequence[str],
    *,
    sent: bool = False,
    learned: bool = False,
) -> Callable[[int], Timing]:
    """Runs of a study by their number of trials, each from nothing."""
    return functools.partial(run, words, folder, sent=sent, learned=learned, made=made)


def boosted(rounds: int) -> list[Row]:
    """Gradient boosting, whole processes."""
    made = functools.partial(experiment, step="boosted", space=BOOSTED_SPACE)
    with scratch() as folder:
        ours = project(folder / "ours", made(BOOSTED))
        beside = bare(folder / "peer", {"bare.py": BARE, "steps.py": STEPS})
        (ours / "steps.py").write_text(STEPS, "utf-8")
        one = functools.partial(study, ours, made)
        untracked = [*SNAKEMAKE, *ARGUMENTS, *UNTRACKED]
        one(untracked)(COLD)  # so that it is known what the step imports
        taken = in_turn(
            rounds,
            untracked=lambda: one(untracked, learned=True)(BOOSTED),
            sent=lambda: one([*SNAKEMAKE, *ARGUMENTS], sent=True, learned=True)(BOOSTED),
            first=lambda: one(untracked)(BOOSTED),
            peer=lambda: peer(["bare.py"], beside, BOOSTED),
            warm=lambda: each(one(untracked), BOOSTED, COLD),
            cold=lambda: each(one([*SNAKEMAKE, *STOCK, *UNTRACKED]), COLD, 2),
        )
    form = f"{BOOSTED} trials of gradient boosting (peer: Optuna, warm pool)"
    peers = taken["peer"]
    return [
        row(f"{form}, untracked, wall", walls(taken["untracked"]), walls(peers), Target("ratio", 1.25)),
        row(f"{form}, until in MLflow, wall", walls(taken["sent"]), walls(peers), Target("ratio", 1.5)),
        row(f"{form}, untracked, the step's first run, wall", walls(taken["first"]), walls(peers)),
        row(
            "one of them more, warm (peer: cold, -e local), wall",
            walls(taken["warm"]),
            walls(taken["cold"]),
            Target("ratio", 0.2),
        ),
    ]  # fmt: skip


def trivial(rounds: int) -> list[Row]:
    """A function that returns at once, over start-up."""
    with scratch() as folder:
        ours = project(folder / "ours", experiment(TRIVIAL))
        beside = bare(folder / "peer", {"tune.py": TUNE, "steps.py": STEPS})
        (ours / "steps.py").write_text(STEPS, "utf-8")
        one = functools.partial(study, ours, experiment)
        taken = in_turn(
            rounds,
            untracked=lambda: each(one([*SNAKEMAKE, *ARGUMENTS, *UNTRACKED]), TRIVIAL, 8),
            sent=lambda: each(one([*SNAKEMAKE, *ARGUMENTS], sent=True), TRIVIAL, 8),
            ray=lambda: each(one([*SNAKEMAKE, *RAY, *UNTRACKED]), TRIVIAL, 8),
            tune=lambda: each(functools.partial(peer, ["tune.py"], beside), TRIVIAL, 8),
        )
    form = f"one of {TRIVIAL} trials of a function"
    return [
        row(f"{form}, untracked, wall", walls(taken["untracked"]), target=Target("ours", 0.022)),
        row(f"{form}, until in MLflow, wall", walls(taken["sent"]), target=Target("ours", 0.034)),
        row(
            f"{form}, Ray (peer: Ray Tune with OptunaSearch), wall",
            walls(taken["ray"]),
            walls(taken["tune"]),
            Target("ours", 0.060),
        ),
    ]


def below(root: int) -> Iterator[int]:
    """The processes that descend from one."""
    try:
        for task in os.listdir(f"/proc/{root}/task"):
            for child in Path(f"/proc/{root}/task/{task}/children").read_text("ascii").split():
                yield int(child)
                yield from below(int(child))
    except OSError:  # it has ended
        return


def held(pid: int) -> int:
    """Bytes that a process holds, its part of those that it shares (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def peak(folder: Path, trials: int) -> int:
    """The most bytes that all processes of a study's run hold together."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK):
            most.append(sum(map(held, below(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run([*SNAKEMAKE, *ARGUMENTS], folder, trials, made=experiment)
    finally:
        ended.set()
        thread.join()
    return max(most)


def memory() -> str:
    """What many trials take, and each one more."""
    with scratch() as folder:
        ours = project(folder, experiment(SMALL))
        (ours / "steps.py").write_text(STEPS, "utf-8")
        found = {trials: peak(ours, trials) for trials in (SMALL, LARGE)}
    growth = (found[LARGE] - found[SMALL]) / (LARGE - SMALL)
    told = ", ".join(f"{trials:,} trials: {most / 1e6:,.0f} MB" for trials, most in found.items())
    return f"peak memory of the whole tree (PSS), {told}; {growth / 1e3:.0f} kB a trial"


def measure(rounds: int) -> list[Row]:
    """Programs that fit, and programs that do nothing."""
    return [*boosted(rounds), *trivial(rounds)]


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print(memory())
        sys.exit(0)
    sys.exit(main(("executors", measure), rounds=3))
