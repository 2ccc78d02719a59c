"""What is different between two keys, in the words of `status`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ml_experiment.keys import changes, of_case
from tests.experiments import plan

BASE: dict[str, Any] = {
    "code": {"a.py": "1", "b.py": "2"},
    "params": {"C": 1, "D": None, "E": math.nan},
    "seed": {"root": 1},
    "threads": 1,
    "run": "x",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"params": {"C": 1, "D": None, "E": math.nan}}, []),
        ({"params": {"C": 1.0, "D": None, "E": math.nan}}, ["parameter C"]),
        ({"params": {"C": True, "D": None, "E": math.nan}}, ["parameter C"]),
        ({"params": {"C": 1, "E": math.nan}}, ["parameter D"]),
        ({"params": {"C": 1, "D": None, "E": math.nan, "F": None}}, ["parameter F"]),
        ({"params": {}}, ["parameter C", "parameter D", "parameter E"]),
        ({"params": {"C": [1], "D": {"a": 1}, "E": math.nan}}, ["parameter C", "parameter D"]),
        ({"code": {"a.py": "1", "b.py": "3", "c.py": "4"}}, ["code b.py", "code c.py"]),
        ({"seed": None, "threads": 2, "run": "y"}, ["code", "seed", "threads"]),
        ({"gpus": 1}, ["threads"]),
        ({"environment": {"name": "e"}}, ["environment"]),
    ],
)
def test_changes(change: dict[str, Any], words: list[str]) -> None:
    assert changes(BASE, {**BASE, **change}) == words
    assert changes({}, {}) == []


def test_what_is_enqueued_runs_later_trials_again_and_no_earlier_one(tmp_path: Path) -> None:
    text = """\
steps:
  fit: {run: "python fit.py {params.C} {metrics}", params: {C: 1}, metrics: metrics.json}
studies:
  tune: {step: fit, space: {C: {int: [1, 9]}}, objectives: {a: minimize}, trials: 9, enqueue: [%s]}
"""
    keys = []
    for points in ("", "{}, {}, {C: 2}"):
        made = plan(tmp_path, text % points, fit_py="")
        keys.append([of_case(made, job) for job in made.jobs(made.steps["tune.trial"])])
    assert all(changes(old, new) == ["enqueue"] for old, new in zip(*keys, strict=True))
    made = plan(tmp_path, text % "{}, {}, {C: 3}", fit_py="")
    other = [of_case(made, job) for job in made.jobs(made.steps["tune.trial"])]
    changed = [bool(changes(old, new)) for old, new in zip(keys[1], other, strict=True)]
    assert changed == [False] * 2 + [True] * 7


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (("objectives: {a: minimize}", "objectives: {b: minimize}"), "objectives"),
        (("{a: {max: 1}}", "{a: {max: 2}}"), "constraints"),
        (("no_improvement: 3", "no_improvement: 4"), "stop"),
    ],
)
def test_what_is_made_of_results_runs_those_again_that_see_some(
    tmp_path: Path, changed: tuple[str, str], word: str
) -> None:
    text = """\
steps:
  fit: {run: "python fit.py {params.C} {metrics}", params: {C: 1}, metrics: metrics.json}
studies:
  tune:
    {step: fit, space: {C: {int: [1, 9]}}, objectives: {a: minimize}, trials: 9, window: 4,
     constraints: {a: {max: 1}}, stop: {no_improvement: 3}}
"""
    assert changed[0] in text
    one, other = (
        [of_case(made, job) for job in made.jobs(made.steps["tune.trial"])]
        for made in (plan(tmp_path, each, fit_py="") for each in (text, text.replace(*changed)))
    )
    found = [changes(old, new) for old, new in zip(one, other, strict=True)]
    assert found == [[]] * 4 + [[word]] * 5
