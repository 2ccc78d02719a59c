"""Messages."""

from __future__ import annotations

from ml_experiment.errors import (
    ExperimentError,
    Place,
    Problem,
    UserError,
    did_you_mean,
    nearest,
    shown,
)


def test_a_problem_has_every_part() -> None:
    problem = Problem("wrong type", Place("e.yaml", 3), "seed", "x", "a number", "mend it")
    assert str(problem) == (
        "e.yaml:3: seed: wrong type\n    value:    x\n    expected: a number\n    to do:    mend it"
    )
    assert str(Problem("no", value=None)) == "no\n    value:    None"


def test_all_problems_in_order_and_once() -> None:
    late, early = Problem("b", Place("e", 10), value=[]), Problem("a", Place("e", 9))
    error = ExperimentError([late, early, Problem("b", Place("e", 10), value=[]), Problem("c")])
    assert [problem.what for problem in error.problems] == ["c", "a", "b"]
    assert str(error).startswith("3 problems in the experiment:\nc\n")
    assert str(ExperimentError([late])).startswith("1 problem in")


def test_values_are_shown_on_one_short_line() -> None:
    assert shown("a\nb\x00é") == "a\\nb\\x00\\xe9"
    assert len(shown("x" * 10_000)) == 120
    assert shown({"a": [1]}) == "{'a': [1]}"


def test_the_nearest_name() -> None:
    assert nearest("replicats", ["replicates", "retries"]) == "replicates"
    assert did_you_mean("zzz", ["b", "a"]) == "there is: a, b"
    assert did_you_mean("zzz", []) is None
    assert (did_you_mean("zzz", map(str, range(20))) or "").endswith(", …")


def test_one_mistake() -> None:
    assert (
        str(UserError("no such file", where="x.yaml", hint="make it"))
        == "x.yaml: no such file\n    to do:    make it"
    )
