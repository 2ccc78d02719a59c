"""The models that an experiment names, and every mistake in that."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import registered
from tests import experiments

STEPS = """\
axes: {kind: [a, b]}
steps:
  fit: {run: "echo {seed} {params.C} > {outputs.model}", params: {C: 1}, outputs: {model: m.pkl, log: log.txt}, metrics: m.json}
  many: {like: fit, replicates: {seeds: [5, 6]}}
  each: {like: fit, matrix: [kind], replicates: 2}
  other: {like: fit}
studies:
  tune: {step: fit, space: {C: {int: [1, 3]}}, objectives: {loss: minimize}, trials: 2}
"""


def found(folder: Path, models: str) -> dict[str, tuple[str, str]]:
    """Name -> job and path."""
    plan = experiments.plan(folder, f"{STEPS}models: {models}\n")
    return {name: (e.job.id, e.path) for name, e in registered.declared(plan).items()}


def test_what_a_model_may_be(tmp_path: Path) -> None:
    models = """
  short: other.model
  first: many.model
  second: {from: many.model, replicate: 1}
  case: {from: each.model, case: {kind: b}, replicate: 1}
  best: tune.best.model
"""
    assert found(tmp_path, models) == {
        "short": ("other", "results/other/m.pkl"),
        "first": ("many/seed-5", "results/many/seed-5/m.pkl"),
        "second": ("many/seed-6", "results/many/seed-6/m.pkl"),
        "case": ("each/kind=b/seed-1", "results/each/kind=b/seed-1/m.pkl"),
        "best": ("tune", "results/tune/best/m.pkl"),
    }


@pytest.mark.parametrize(
    ("model", "what", "hint"),
    [
        ("othr.model", "no such step or study", "did you mean other.model?"),
        ("data/model.pkl", "no such step or study", None),
        ("other.modle", "modle is no output of other", "did you mean other.model?"),
        ("other.metrics", "metrics is no output of other that could be a model", None),
        ("tune.table", "table is no output of tune that could be a model", None),
        ("fit.model", "fit is there for its study only", "the best of its trials is tune.best"),
        ("each.model", "each makes a model for each kind: which one is not said", None),
        ("{from: each.model, case: {kind: c}}", "each has no such case", None),
        ("{from: each.model, case: {size: 1}}", "each has no such case", None),
        ("{from: other.model, case: {kind: a}}", "other has no matrix", None),
        ("{from: many.model, replicate: 2}", "many has 2 replicates", "counted from 0"),
        ("{from: other.model, replicate: 1}", "other has no replicates", "remove it"),
        ("{form: other.model}", "the key `from` is missing", None),
        ("[other.model]", "wrong type", None),
    ],
)
def test_mistakes(model: str, what: str, hint: str | None, tmp_path: Path) -> None:
    found = experiments.problems(tmp_path, f"{STEPS}models:\n  digits: {model}\n")
    problem = next(each for each in found if what in each.what)
    assert problem.where is not None
    assert problem.where.line == 11
    assert (problem.key or "").startswith("models.digits")
    assert hint is None or hint in (problem.hint or "")


def test_a_step_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    text = STEPS.replace("other: {like: fit}", "other: {like: fit, threads: none}")
    problem = experiments.problem(tmp_path, f"{text}models: {{digits: other.model}}\n")
    assert problem.key == "steps.other.threads"


def test_what_a_record_says(tmp_path: Path) -> None:
    text = f"{STEPS}models: {{digits: {{from: many.model, licence: mit}}, best: tune.best.model}}\n"
    plan = experiments.plan(tmp_path, text)
    jobs = {job.id: job for job in plan.all_jobs()}
    said = {"digits": {"path": "results/many/seed-5/m.pkl", "licence": "mit"}}
    assert registered.of_job(plan, jobs["many/seed-5"]) == said
    assert registered.of_job(plan, jobs["many/seed-6"]) == {}
    overridden = experiments.plan(tmp_path, text, {"seed": 3})
    assert registered.of_job(overridden, jobs["many/seed-5"]) == {}
