"""A search space: what is declared is what is drawn, and mistakes are all told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import space
from ml_experiment.space import Parameter

DECLARED = {
    "degree": {"int": [2, 5], "when": {"kernel": "poly"}},
    "C": {"float": [1e-3, 1e3], "log": True},
    "kernel": ["rbf", "poly"],
    "tol": 1e-4,
}


def parsed(declared: dict[str, Any]) -> tuple[Parameter, ...]:
    parameters, mistakes = space.parse(declared)
    assert mistakes == []
    return parameters


def test_it_is_asked_by_name_and_a_condition_behind_its_parent() -> None:
    assert [p.name for p in parsed(DECLARED)] == ["C", "kernel", "degree", "tol"]


@given(st.permutations(list(DECLARED)))
def test_the_order_in_which_it_is_written_changes_nothing(names: list[str]) -> None:
    assert parsed({name: DECLARED[name] for name in names}) == parsed(DECLARED)


def test_a_point_has_what_exists_there() -> None:
    asked: list[str] = []

    def value_of(kernel: str) -> Any:
        def value(parameter: Parameter) -> Any:
            asked.append(parameter.name)
            return kernel if parameter.name == "kernel" else 3

        return value

    assert space.draw(parsed(DECLARED), value_of("rbf")) == {"C": 3, "kernel": "rbf", "tol": 1e-4}
    assert asked == ["C", "kernel"]  # a fixed value is not asked for
    assert space.draw(parsed(DECLARED), value_of("poly"))["degree"] == 3


def test_conditions_of_conditions_and_several_values() -> None:
    parameters = parsed(
        {
            "a": {"int": [0, 3]},
            "b": {"choice": ["x", "y", "z"], "when": {"a": [1, 2]}},
            "c": {"float": [0, 1], "when": {"b": ["x", "y"], "a": 1}},
        }
    )

    def at(**values: Any) -> set[str]:
        return set(space.draw(parameters, lambda p: values[p.name]))

    assert at(a=0) == {"a"}
    assert at(a=2, b="x") == {"a", "b"}
    assert at(a=1, b="x", c=0.5) == {"a", "b", "c"}
    assert at(a=1, b="z") == {"a", "b"}


def test_one_true_and_a_float_are_three_values() -> None:
    (choice, child) = parsed({"a": [1, 1.0, True], "b": {"int": [0, 1], "when": {"a": True}}})
    assert choice.choices == (1, 1.0, True)
    assert not space.exists(child, {"a": 1})
    assert space.exists(child, {"a": True})


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("loguniform(0.01, 1000)", {"float": [0.01, 1000], "log": True}),
        ("uniform(0, 1)", {"float": [0, 1]}),
        ("randint(1, 9)", {"int": [1, 9]}),
        ("range(2, 10, 2)", {"int": [2, 10], "step": 2}),
        ("range(0.5, 1.5, 0.25)", {"float": [0.5, 1.5], "step": 0.25}),
        ("choice(['a', None, [1, 2]])", ["a", None, [1, 2]]),
    ],
)
def test_short_forms(short: str, long: Any) -> None:
    assert parsed({"a": short}) == parsed({"a": long})


def test_the_grid() -> None:
    parameters = parsed({**DECLARED, "s": {"float": [0, 1], "step": 0.25}})
    grids = {p.name: tuple(p.values()) if p.size is not None else None for p in parameters}
    for parameter in parameters:
        values = grids[parameter.name] or ()
        assert parameter.size in (None, len(values))
        assert all(map(parameter.has, values))
        assert not any(map(parameter.has, (7e4, -1, "x", None, True)))
    assert grids == {
        "C": None,
        "degree": (2, 3, 4, 5),
        "kernel": ("rbf", "poly"),
        "s": (0.0, 0.25, 0.5, 0.75, 1.0),
        "tol": (1e-4,),
    }


@pytest.mark.parametrize(
    ("declared", "path", "what"),
    [
        ({"float": [2, 1]}, ("a", "float"), "the wrong way round"),
        ({"float": [0, 1], "log": True}, ("a", "float"), "log of a number"),
        ({"float": [0, float("inf")]}, ("a", "float"), "a bound is no number"),
        ({"int": [0, 1.5]}, ("a", "int"), "a bound is no number"),
        ({"int": [0, 3], "step": 0}, ("a", "step"), "no step"),
        ({"int": [0, 10**400]}, ("a", "int"), "a bound is no number"),
        ({"float": [-1e308, 1e308]}, ("a", "float"), "wider than a float can be"),
        ({"float": [0, 1], "step": 5}, ("a", "step"), "longer than the range"),
        ({"float": [1, 2], "step": 0.1, "log": True}, ("a", "step"), "exclude one another"),
        ({"int": [0]}, ("a", "int"), "not two bounds"),
        ({"flaot": [0, 1]}, ("a", "flaot"), "unknown key"),
        ({"float": [0, 1], "int": [0, 1]}, ("a",), "one kind"),
        ({"choice": []}, ("a",), "no choices"),
        ([1, 1], ("a",), "a choice is there twice"),
        ({"choice": [1], "log": True}, ("a", "log"), "log is for float and int"),
        ({"int": [0, 1], "when": 3}, ("a", "when"), "no condition"),
        ({"int": [0, 1], "when": {"b": 1}}, ("a", "when", "b"), "no such parameter"),
        ("choice(open('x'))", ("a",), "cannot be read"),
        ("uniform(1)", ("a",), "not as many arguments"),
        ("unifrom(0, 1)", ("a",), "looks like a function"),
        ("uniform(0, 1", ("a",), "looks like a function"),
        ({"int": [0, 1], "when": {"b": []}}, ("a", "when", "b"), "no values"),
    ],
)
def test_what_is_wrong(declared: Any, path: tuple[str, ...], what: str) -> None:
    (mistake,) = space.parse({"a": declared})[1]
    assert mistake.path == path
    assert what in mistake.what


def test_points_are_counted_and_not_made() -> None:
    wide = {"int": [0, 2**40]}
    below = {"choice": ["a", "b"], "when": {"wide": [3, 4]}}
    assert space.count(parsed({"wide": wide, "below": below})) == 2**40 + 1 + 2
    assert space.count(parsed({"f": {"float": [0, 1], "step": 1e-6}, "c": [1, 2]})) == 2 * (
        10**6 + 1
    )


def test_conditions_that_never_hold() -> None:
    declared = {"x": {"int": [1, 3]}, "k": {"choice": ["a"], "when": {"x": [3, 7]}}}
    (mistake,) = space.parse(declared)[1]
    assert (mistake.path, mistake.value) == (("k", "when", "x"), 7)


def test_all_that_is_wrong_is_told() -> None:
    _, mistakes = space.parse(
        {"a": {"float": [2, 1]}, "b": {"int": [0]}, "c": {"value": 1, "when": {"d": 1}}}
    )
    assert len(mistakes) == 3
    (circle,) = space.parse(
        {"a": {"int": [0, 1], "when": {"b": 1}}, "b": {"int": [0, 1], "when": {"a": 1}}}
    )[1]
    assert circle.what == "a circle of conditions"
    (never,) = space.parse({"a": ["x"], "b": {"int": [0, 1], "when": {"a": "y"}}})[1]
    assert never.what == "a is never that"
    assert space.parse({})[1][0].what == "the space is empty"
