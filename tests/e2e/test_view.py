"""The view of a study, made by Snakemake: current, of its trials alone, and in nobody's way."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.e2e.project import Make, Project

STUDY = """\
name: small
seed: 7
axes: {method: [mean, median]}
steps:
  fit:
    call: fit:fit
    params: {x: 1.0, y: 1}
    metrics: metrics.json
    matrix: [method]
  final:
    call: fit:fit
    params: {x: 0.0, y: 0}
    params_from: tune.best.params
    metrics: metrics.json
    matrix: [method]
studies:
  tune:
    step: fit
    space: {x: {float: [-5, 5]}, y: {int: [1, 5]}}
    objectives: {loss: minimize}
    trials: 3
"""
FIT = "def fit(method, x, y):\n    return {'loss': x * x + y}\n"


@pytest.fixture
def tuned(make: Make) -> Project:
    project = make(STUDY, fit_py=FIT)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.mark.engine("plotly", "matplotlib")
def test_each_case_has_a_view(tuned: Project) -> None:
    for method in ("mean", "median"):
        path = f"results/tune/method={method}/view"
        there = {file.name for file in (tuned.folder / path).iterdir()}
        assert {"journal.log", "plotly.min.js", "history.html", "contour.png"} <= there
        log = (tuned.folder / f"logs/tune/method={method}.view.log").read_text("utf-8")
        assert log == f"to look at it: optuna-dashboard {path}/journal.log\n"
    assert tuned.would_run() == {}
    assert states(tuned) == {
        "tune.view/method=mean": "current",
        "tune.view/method=median": "current",
    }
    # whoever only wants the best does not wait for it
    shutil.rmtree(tuned.folder / "results")
    assert "tune.view" not in tuned.would_run("results/final/method=mean/metrics.json")


def test_a_view_that_is_gone_is_made_again_alone(tuned: Project) -> None:
    shutil.rmtree(tuned.folder / "results/tune/method=mean/view")
    assert states(tuned)["tune.view/method=mean"] == "missing"
    assert tuned.would_run() == {"tune.view": 1}
    tuned.edit("experiment.yaml", "trials: 3", "trials: 4")
    assert tuned.would_run()["tune.view"] == 2


def states(project: Project) -> dict[str, str]:
    """View -> what `status` says of it."""
    found = json.loads(project.ours("status", "--json").stdout)
    return {s["job"]: s["word"] for s in found if s["job"].startswith("tune.view")}
