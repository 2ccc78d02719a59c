"""A matrix against a plain reading of GitHub's documentation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import matrix
from ml_experiment.model import Step
from tests.experiments import plan, problem

ENTRY = st.dictionaries(
    st.sampled_from(["a", "b", "extra", "more"]), st.sampled_from([1, 2, 3]), min_size=1, max_size=3
)
AXIS = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True).map(tuple)


def github(
    axes: dict[str, Any], include: list[dict[str, Any]], exclude: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rules of jobs.<job_id>.strategy.matrix in "Workflow syntax", word by word."""
    original = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    # "an excluded configuration only has to be a partial match for it to be excluded"
    original = [
        job for job in original if not any(entry.items() <= job.items() for entry in exclude)
    ]
    jobs = [dict(job) for job in original]
    added: list[dict[str, Any]] = []
    for entry in include:
        # "added to each of the matrix combinations if none of the key:value pairs overwrite any of
        # the original matrix values"; "added matrix values can be overwritten"
        fits = [
            i for i, job in enumerate(original) if all(job.get(k, v) == v for k, v in entry.items())
        ]
        for index in fits:
            jobs[index].update(entry)
        # "if the object cannot be added to any of the combinations, a new one will be created"
        if not fits:
            added.append(dict(entry))
    return jobs + added


@given(AXIS, AXIS, st.lists(ENTRY, max_size=3), st.lists(ENTRY, max_size=2))
def test_as_github_says(
    a: Any, b: Any, include: list[dict[str, Any]], exclude: list[dict[str, Any]]
) -> None:
    axes = {"a": a, "b": b}
    keys = {**axes, "include": tuple(include), "exclude": tuple(exclude)}
    step = Step.model_validate({"matrix": keys})
    wrong: list[matrix.Wrong] = []
    found = matrix.combinations(step, axes, wrong)
    expected = github(axes, include, exclude)
    whole = [job for job in expected if {"a", "b"} <= set(job)]
    assert found == whole
    unfinished = [entry for entry in wrong if "every axis" in entry[1]]
    assert len(unfinished) == len(expected) - len(whole)


def test_axes_stay_in_declared_order(tmp_path: Path) -> None:
    text = "axes: {z: [2, 1], a: [y, x]}\nsteps: {s: {run: 'x {metrics}', metrics: m, matrix: [z, a]}}\n"
    labels = [case.label for case in plan(tmp_path, text).steps["s"].cases]
    assert labels == ["z=2,a=y", "z=2,a=x", "z=1,a=y", "z=1,a=x"]


def test_include_keeps_the_axis_as_it_was_declared(tmp_path: Path) -> None:
    text = "steps: {s: {run: 'x {metrics} {matrix.e}', metrics: m, matrix: {z: [1, 2], include: [{e: 0}, {z: 1.0, e: 5}]}}}\n"
    cases = plan(tmp_path, text).steps["s"].cases
    assert [(case.label, case.values) for case in cases] == [
        ("z=1", {"z": 1, "e": 5}),
        ("z=2", {"z": 2, "e": 0}),
    ]


def test_cases_lie_on_the_step(tmp_path: Path) -> None:
    text = (
        "steps:\n  s:\n    run: x {metrics} {params.p} {params.q}\n    metrics: m\n    params: {p: 1, q: 2}\n"
        "    matrix: {z: [1, true, t]}\n    cases: {z: {true: {params: {p: 5}, threads: 3}, t: {call: 'json:dumps'}}}\n"
    )
    text = text.replace("call: 'json:dumps'", "run: 'y {metrics}'")
    works = [case.work for case in plan(tmp_path, text).steps["s"].cases]
    assert [(w.params, w.threads) for w in works] == [
        ({"p": 1, "q": 2}, 1),
        ({"p": 5, "q": 2}, 3),
        ({"p": 1, "q": 2}, 1),
    ]
    assert works[2].run == "y {metrics}"


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("matrix: {a: [1], axes: [a]}", "here twice"),
        ("matrix: {" + ", ".join(f"a{i}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" for i in range(9)) + "}", "1,000,000,000 combinations"),
        ("matrix: {a: [" + ", ".join(map(str, range(200))) + "]}, replicates: 1000", "200,000 jobs"),
    ],
)  # fmt: skip
def test_too_much(tmp_path: Path, keys: str, what: str) -> None:
    text = f"axes: {{a: [2]}}\nsteps: {{s: {{run: 'x {{metrics}}', metrics: m, {keys}}}}}\n"
    assert what in problem(tmp_path, text).what
