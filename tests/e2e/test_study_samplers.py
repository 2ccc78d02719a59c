"""Samplers and pruners of the project's own, and samplers of OptunaHub."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.e2e.law import canonical, run
from tests.e2e.project import REPOSITORY, Make, Project

EXPERIMENT = """\
name: own
seed: 3
steps:
  fit: {call: "fit:fit", outputs: {model: m.txt}, metrics: metrics.json}
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}, n: {int: [1, 9]}}
    objectives: {loss: minimize}
    sampler: SAMPLER
    trials: 12
    window: 4
"""
FIT = """\
import ml_experiment


def fit(model, x, n):
    for step in range(6):
        ml_experiment.report(step, abs(x - 0.4) + step / 10)
    open(model, "w").write(f"{x} {n}")
    return {"loss": (x - 0.4) ** 2 + n / 100}
"""
PRUNER = """\
import optuna


class Above(optuna.pruners.BasePruner):
    def __init__(self, limit):
        self.limit = limit

    def prune(self, study, trial):
        return trial.intermediate_values[trial.last_step] > self.limit
"""
# Laid out as OptunaHub's registry: package/samplers/NAME/__init__.py.
HUB = """\
import optuna
import optunahub


class StepSampler(optunahub.samplers.SimpleBaseSampler):
    def __init__(self, search_space=None, seed=None, width=0.3):
        super().__init__(search_space, seed)
        self._width = width

    def sample_relative(self, study, trial, search_space):
        done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        if not search_space or not done:
            return {}
        best = min(done, key=lambda t: t.value).params
        x = best["x"] + self._width * (0.5 - trial.number % 3 / 2)
        return {"x": min(1.0, max(0.0, x)), "n": best["n"]}
"""
HIDING = """\
name: hiding
steps:
  fit: {call: "fit:fit", metrics: metrics.json}
studies:
  tune: {step: fit, space: {x: {float: [0, 1]}}, objectives: {loss: minimize}, trials: 2}
"""
LOADED = """\
import optunahub


def make(seed, **options):
    hub = optunahub.load_local_module("samplers/step", registry_root="package")
    return hub.StepSampler(seed=seed, **options)
"""


def rows(project: Project) -> list[dict[str, str]]:
    text = (project.folder / "results/tune/trials.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def the_same(project: Project, other: Project) -> None:
    """One job at a time; and seven, in two parts."""
    run(project, cores=1)
    other.edit("experiment.yaml", "trials: 12", "trials: 7")
    run(other, cores=7)
    other.edit("experiment.yaml", "trials: 7", "trials: 12")
    run(other, cores=7)
    assert canonical(project) == canonical(other)
    assert project.would_run() == {}


@pytest.mark.parametrize("where", ["own.py", "src/own.py"])
def test_a_sampler_of_the_project(law: Make, tmp_path: Path, where: str) -> None:
    """It keeps its state in itself, and draws from generators that all code shares."""
    sampler = '{"own:Climber": {width: 0.5}}'
    project = law(EXPERIMENT.replace("SAMPLER", sampler), fit_py=FIT)
    project.write(where, (REPOSITORY / "tests/adapters/own.py").read_text())
    the_same(project, project.copy(tmp_path / "other"))
    project.edit(where, "/ 10", "/ 11")
    assert project.would_run()["tune.trial"] == 12
    project.edit("experiment.yaml", "width", "wide")
    done = project.ours("run")
    assert done.returncode == 1
    assert "unexpected keyword argument 'wide'" in done.stderr
    project.edit("experiment.yaml", "own:Climber", "own:Climbr")
    done = project.ours("check")
    assert done.returncode == 2
    assert "experiment.yaml:10: studies.tune.sampler: " in done.stderr
    assert "did you mean Climber?" in done.stderr


def test_a_pruner_of_the_project(law: Make, tmp_path: Path) -> None:
    pruner = '\n    pruner: {"own:Above": {limit: 0.7}}'
    project = law(EXPERIMENT.replace("SAMPLER", f"random{pruner}"), fit_py=FIT, own_py=PRUNER)
    the_same(project, project.copy(tmp_path / "other"))
    for row in rows(project):
        assert (row["state"] == "pruned") == (abs(float(row["x"]) - 0.4) + 0.5 > 0.7)
    project.edit("own.py", "> self.limit", ">= self.limit")
    assert project.would_run()["tune.trial"] == 12


@pytest.mark.engine("optunahub")
def test_a_sampler_of_optunahub(law: Make, tmp_path: Path) -> None:
    project = law(
        EXPERIMENT.replace("SAMPLER", '{"hub:make": {width: 0.4}}'), fit_py=FIT, hub_py=LOADED
    )
    project.write("package/samplers/step/__init__.py", HUB)
    the_same(project, project.copy(tmp_path / "other"))
    trials = rows(project)
    best = min(trials[:9], key=lambda row: float(row["loss"]))  # that the last one was told
    assert trials[11]["n"] == best["n"]
    assert trials[11]["x"] == str(max(0.0, float(best["x"]) - 0.2))


def test_no_module_of_the_project_takes_the_place_of_one_that_is_needed(make: Make) -> None:
    """Python has the folder that it is started in first, unless it is told not to."""
    project = make(HIDING, fit_py="def fit(x):\n    return {'loss': x}\n")
    for name in ("calendar", "optuna", "yaml", "select"):
        project.write(f"{name}.py", "raise SystemExit('this one is not meant')\n")
    for words in (("check",), ("run", "-n"), ("run",)):
        done = project.ours(*words)
        assert done.returncode == 0, done.stdout + done.stderr
