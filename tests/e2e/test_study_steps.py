"""Trials of several steps, where a step reports; and trials that go on from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.project import Make, Project

STEPS = """\
import pathlib
import time

import ml_experiment


def features(table, n=2):
    for step in range(4):
        ml_experiment.report(step, abs(n - 2) * (step + 1))
        time.sleep(0.02)
    pathlib.Path(table).write_text(str(n))


def fit(table, model, C=1.0):
    n = int(pathlib.Path(table).read_text())
    pathlib.Path(model).write_text(f"{n} {C}")
    return {"loss": abs(n - 2) + (C - 0.3) ** 2}
"""
EXPERIMENT = """\
name: parts
seed: 3
steps:
  features: {call: "steps:features", params: {n: 1}, outputs: {table: t.txt}}
  fit:
    call: steps:fit
    inputs: {table: features.table}
    params: {C: 0.5}
    outputs: {model: m.txt}
    metrics: metrics.json
studies:
"""
STUDY = """\
    step: fit
    space: {features.n: {int: [1, 5]}, C: {float: [0, 1]}}
    objectives: {loss: minimize}
    sampler: random
    trials: 12
    window: 5
"""
PRUNED = "    pruner: {median: {n_startup_trials: 2}}\n"


def trials(project: Project, study: str = "tune") -> list[dict[str, object]]:
    files = sorted((project.folder / "results" / study / "trials").glob("*.json"))
    return [json.loads(file.read_text()) for file in files]


def test_what_an_equal_step_reported_is_reported_whoever_ran_it(law: Make, tmp_path: Path) -> None:
    """One job at a time a later trial takes over what an earlier one has made; at once none does."""
    studies = f"  tune:\n{STUDY}  pruned:\n{STUDY}{PRUNED}"
    project = law(EXPERIMENT + studies, steps_py=STEPS)
    other = project.copy(tmp_path / "other")
    for one, cores in ((project, "1"), (other, "7")):
        done = one.call("snakemake", "--cores", cores)
        assert done.returncode == 0, done.stderr
    for study in ("tune", "pruned"):
        found = trials(project, study)
        assert trials(other, study) == found
        assert all(trial["reports"] for trial in found)
        assert ("pruned" in {trial["state"] for trial in found}) == (study == "pruned")
        logs = (project.folder / "logs" / study).glob("trial-*/features.log")
        assert any("taken from there" in log.read_text() for log in logs) == (study == "tune")


RESUMED = """\
import os
import pathlib

import ml_experiment


def fit(state, model, trial, x=0.5):
    done = pathlib.Path(state, "step")
    begin = int(done.read_text()) if done.exists() else 0
    for step in range(begin, 6):
        ml_experiment.report(step, x * (step + 1))
        done.write_text(str(step + 1))
        if trial == 2 and step == 3 and not os.path.exists("mended"):
            os.kill(os.getpid(), 9)
    pathlib.Path(model).write_text(str(begin))
    return {"loss": x}
"""
CHECKPOINTED = """\
name: resumed
seed: 3
steps:
  fit:
    call: fit:fit
    outputs: {model: m.txt}
    metrics: metrics.json
    checkpoints: {state: ckpt/}
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}}
    objectives: {loss: minimize}
    sampler: random
    trials: 4
    keep: all
"""


def test_a_trial_goes_on_with_its_own_reports_only(law: Make) -> None:
    project = law(CHECKPOINTED, fit_py=RESUMED)
    assert project.snakemake().returncode == 1
    project.write("mended", "")
    assert project.snakemake().returncode == 0
    assert (project.folder / "results/tune/trial-00002/m.txt").read_text() == "4"
    first = trials(project)
    project.edit("experiment.yaml", "[0, 1]", "[1, 2]")
    assert project.snakemake().returncode == 0
    for before, trial in zip(first, trials(project), strict=True):
        x = trial["params"]["x"]  # type: ignore[index]
        assert trial["reports"] == [[step, x * (step + 1)] for step in range(6)]
        assert trial["reports"] != before["reports"]
