"""A small study of each sampler and each pruner, whose files may not depend on who runs them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.project import Project

SAMPLERS = {
    "bruteforce": "{x: {float: [0, 1], step: 0.25}, kind: [a, b]}",
    "cmaes": "{x: {float: [0, 1]}, y: {float: [0.01, 10], log: true}, kind: [a, 1, 1.0, true, null]}",
    "gp": "{x: {float: [0, 1]}, n: {int: [1, 9]}}",
    "grid": "{x: {float: [0, 1], step: 0.25}, kind: [a, b]}",
    "nsgaii": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
    "nsgaiii": "{x: {float: [0, 1]}, y: {float: [0.01, 10], log: true}}",
    "qmc": "{x: {float: [0, 1]}, n: {int: [1, 9]}}",
    "random": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
    "tpe": "{x: {float: [0, 1]}, kind: [a, b], n: {int: [1, 9], when: {kind: b}}}",
}
if (
    importlib.util.find_spec("torch") is None
    and os.environ.get("ML_EXPERIMENT_TEST_ENGINES") != "all"
):
    del SAMPLERS["gp"]  # fmt: skip
OPTIONS = {
    "nsgaii": "{nsgaii: {population_size: 4}}",
    "nsgaiii": "{nsgaiii: {population_size: 4}}",
    "tpe": "{tpe: {n_startup_trials: 4, multivariate: true}}",
    "gp": "{gp: {n_startup_trials: 4}}",
    "cmaes": "{cmaes: {n_startup_trials: 2}}",
}
PRUNERS = {
    "hyperband": "{min_resource: 1, max_resource: 9}",
    "median": "{n_startup_trials: 2}",
    "patient": "{wrapped_pruner: {median: {n_startup_trials: 2}}, patience: 1}",
    "percentile": "{percentile: 25.0, n_startup_trials: 2}",
    "successive_halving": "{min_resource: 1, reduction_factor: 2}",
    "threshold": "{upper: 0.9}",
    "wilcoxon": "{p_threshold: 0.3}",
}
# Their trials go on from a checkpoint where an attempt was killed; those of the others begin anew.
RESUMED = frozenset({"hyperband", "median", "wilcoxon"})
SUBJECTS = (*SAMPLERS, *PRUNERS)
COUNTED = ("bruteforce", "grid")  # they have ten points
TRIALS = 12

FIT = '''\
"""Fails for some parameters, and now and then for reasons of the machine that a flag remembers."""
import hashlib
import os
import pathlib
import random
import signal
import time

import ml_experiment


def flaky(model, trial):
    shuffle = os.environ.get("SHUFFLE")
    if shuffle:
        digest = hashlib.md5(f"{shuffle} {model}".encode()).digest()
        time.sleep(digest[0] / 256 * 0.1)
    flags = os.environ.get("FLAGS")
    once = pathlib.Path(flags, model.replace("/", "_")) if flags else None
    if once and trial % 4 == 1 and not once.exists():
        once.touch()
        if trial == 5 and os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit(3)


def fit(model, seed, trial=0, x=0.5, y=1.0, n=0, kind="a"):
    flaky(model, trial)
    if trial % 7 == 3 or x > 0.97:
        raise SystemExit("it does not converge")
    pathlib.Path(model).write_text(f"{x} {y} {n} {kind} {seed}")
    score = (x - 0.3) ** 2 + abs(y - 1) / 10 + n / 100 + (kind == "a") / 10 + random.random() / 50
    return {"loss": score, "size": float(n)}


def curve(model, trial=0, x=0.5, state=None):
    done = pathlib.Path(state or "nowhere", "step")
    for step in range(int(done.read_text()) if done.exists() else 0, 10):
        if step == 1:
            flaky(model, trial)
        ml_experiment.report(step, abs(x - 0.4) * (2 + step % 3 - step / 9))
        if state:
            done.with_name("new").write_text(str(step + 1))
            done.with_name("new").replace(done)
    if trial % 7 == 3:
        raise SystemExit("it does not converge")
    pathlib.Path(model).write_text(str(x))
    return {"loss": abs(x - 0.4)}
'''
STEPS = """\
name: law
seed: 5
steps:
  fit:
    call: fit:fit
    outputs: {model: model.txt}
    metrics: metrics.json
    retries: 1
  curve: {like: fit, call: "fit:curve"}
  resumed: {like: curve, checkpoints: {state: ckpt/}}
studies:
"""
# What is drawn of a study is no part of the law, and would take most of the time.
SNAKEFILE = """\
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: [path for path in experiment.targets if not path.endswith("/view")]
"""


def study(name: str, trials: int) -> str:
    """One study, `s-NAME`, as YAML."""
    if name in SAMPLERS:
        number = min(trials, 10) if name in COUNTED else trials
        return (
            f"  s-{name}: {{step: fit, space: {SAMPLERS[name]}, objectives: {{loss: minimize}}, "
            f"sampler: {OPTIONS.get(name, name)}, trials: {number}, window: 4}}\n"
        )
    return (
        f"  s-{name}: {{step: {'resumed' if name in RESUMED else 'curve'}, "
        "space: {x: {float: [0, 1]}}, objectives: {loss: minimize}, "
        f"sampler: {{tpe: {{n_startup_trials: 4}}}}, pruner: {{{name}: {PRUNERS[name]}}}, "
        f"trials: {trials}, window: 3}}\n"
    )


def experiment(*names: str, trials: int = TRIALS) -> str:
    """An experiment of the studies of some samplers and pruners."""
    return STEPS + "".join(study(name, trials) for name in names)


def canonical(project: Project) -> dict[str, bytes]:
    """The files that have to be the same, whoever made them."""
    root = project.folder / "results"
    found = {}
    for pattern in ("*/trials/*.json", "*/trials.csv", "*/best.json", "*/pareto.json"):
        found.update({p.relative_to(root).as_posix(): p.read_bytes() for p in root.glob(pattern)})
    assert found
    return found


def of(found: dict[str, bytes], names: Iterable[str]) -> dict[str, bytes]:
    """The files of the studies of some samplers and pruners."""
    folders = tuple(f"s-{name}/" for name in names)
    return {name: data for name, data in found.items() if name.startswith(folders)}


def run(project: Project, *words: str, cores: int = 2, **environ: str) -> None:
    """Run all of it, which has to succeed."""
    done = project.call("snakemake", "--cores", str(cores), *words, **environ)
    assert done.returncode == 0, done.stdout + done.stderr


def ended(folder: Path, name: str) -> int:
    """How many trials of a study have ended."""
    return len(list(folder.glob(f"results/s-{name}/trial-*/status.json")))
