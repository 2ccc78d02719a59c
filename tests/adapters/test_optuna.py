"""The law of studies: trial t is the same whoever finished first, and after a stop at any trial."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ml_experiment import space
from ml_experiment.adapters.optuna import Asker
from ml_experiment.errors import UserError
from ml_experiment.search import Result, Search, Suggestion

MIXED, _ = space.parse(
    {
        "x": {"float": [-5, 5]},
        "y": {"float": [1e-3, 1e3], "log": True},
        "kind": ["a", "b", 1, True],
        "depth": {"int": [2, 5], "when": {"kind": "a"}},
        "fixed": 3,
    }
)
NUMBERS, _ = space.parse({"x": {"float": [-5, 5]}, "y": {"float": [1e-3, 1e3], "log": True}})
COUNTED, _ = space.parse(
    {"x": {"float": [-4, 4], "step": 2.0}, "kind": ["a", "b", 1, True], "n": {"int": [1, 3]}}
)
TRIALS = 24
SEARCHES = {
    "bruteforce": Search("tune", 7, COUNTED, ("minimize",), "bruteforce", window=4),
    "cmaes": Search("tune", 7, NUMBERS, ("minimize",), "cmaes", window=4),
    "gp": Search("tune", 7, NUMBERS, ("minimize",), "gp", window=4),
    "grid": Search("tune", 7, COUNTED, ("minimize",), "grid", window=4),
    "motpe": Search("tune", 7, MIXED, ("minimize", "maximize"), "tpe", window=4),
    "nsgaii": Search(
        "tune", 7, MIXED, ("minimize", "minimize"), "nsgaii", {"population_size": 6}, 4
    ),
    "nsgaiii": Search(
        "tune", 7, MIXED, ("minimize", "minimize"), "nsgaiii", {"population_size": 6}, 4
    ),
    "own": Search("tune", 7, MIXED, ("minimize",), "tests.adapters.own:Climber", {"width": 0.5}, 4),
    "qmc": Search("tune", 7, MIXED, ("minimize",), "qmc", window=4),
    "random": Search("tune", 7, MIXED, ("minimize",), "random", window=4),
    "tpe": Search("tune", 7, MIXED, ("minimize",), "tpe", window=4),
}
EVERY = [
    pytest.param(name, marks=[pytest.mark.engine("torch")] if name == "gp" else [])
    for name in SEARCHES
]


def result(search: Search, suggestion: Suggestion) -> Result:
    """Some function of the parameters; every seventh trial fails."""
    if suggestion.number % 7 == 3:
        return Result(suggestion.number, "failed")
    params: Mapping[str, Any] = suggestion.params
    value = (params["x"] - 1) ** 2 + math.log10(params.get("y", 1)) ** 2
    value += 0.5 if params.get("kind") == "a" else 0
    return Result(
        suggestion.number, "complete", (value, abs(params["x"]))[: len(search.objectives)]
    )


def straight(search: Search, trials: int = TRIALS) -> list[Suggestion]:
    """One trial after the other, each with all results."""
    asker = Asker(search)
    suggestions: list[Suggestion] = []
    results: list[Result] = []
    for _ in range(trials):
        suggestions.append(asker.ask(results))
        results.append(result(search, suggestions[-1]))
    return suggestions


def again(search: Search, suggestions: Sequence[Suggestion]) -> Asker:
    """From files: suggestions and results as they were written."""
    asker = Asker(search)
    kept = [json.loads(json.dumps([s.number, s.params, s.state])) for s in suggestions]
    results = [result(search, suggestion) for suggestion in suggestions]
    for number, params, state in kept:
        asker.restore(Suggestion(number, params, state), results)
    return asker


@pytest.mark.parametrize("name", EVERY)
def test_results_that_are_not_due_change_nothing(name: str) -> None:
    """Workers that finish in any order: what is known too early, or late, is not looked at."""
    search = SEARCHES[name]
    draw = random.Random(3)
    asker, suggestions = Asker(search), []
    finished: list[Result] = []
    running: list[Suggestion] = []
    for number in range(TRIALS):
        while any(r not in {f.number for f in finished} for r in search.told_before(number)):
            done = running.pop(draw.randrange(len(running)))
            finished.append(result(search, done))
        suggestions.append(asker.ask(finished))
        running.append(suggestions[-1])
    assert suggestions == straight(search)


@pytest.mark.parametrize("name", EVERY)
def test_a_study_goes_on_from_files_after_any_trial(name: str) -> None:
    search = SEARCHES[name]
    whole = straight(search)
    for stop in range(0, TRIALS, 1 if name in ("tpe", "nsgaii", "cmaes", "own") else 5):
        results = [result(search, suggestion) for suggestion in whole[:stop]]
        assert again(search, whole[:stop]).ask(results) == whole[stop]


@pytest.mark.parametrize("name", ["random", "grid", "qmc", "bruteforce"])
def test_samplers_that_do_not_learn_do_not_see_the_window(name: str) -> None:
    params = [s.params for s in straight(SEARCHES[name])]
    for window in (1, 9):
        other = straight(replace(SEARCHES[name], window=window))
        assert [suggestion.params for suggestion in other] == params


@pytest.mark.parametrize("name", EVERY)
def test_a_longer_study_begins_with_the_shorter_one(name: str) -> None:
    assert straight(SEARCHES[name], 12) == straight(SEARCHES[name])[:12]


def test_a_grid_is_covered_once_and_then_again() -> None:
    search = SEARCHES["grid"]
    points = [json.dumps(s.params) for s in straight(search, 60)]
    assert len(set(points)) == 5 * 4 * 3
    assert len(straight(search, 62)) == 62


def test_a_grid_has_its_points_besides_what_is_enqueued() -> None:
    points, _ = space.parse({"x": [10, 20, 30, 40]})
    for seed in range(3):
        search = Search("tune", seed, points, ("minimize",), "grid", enqueued=({"x": 20},))
        assert {each.params["x"] for each in straight(search, 5)} == {10, 20, 30, 40}


def test_choices_keep_their_type() -> None:
    found = {json.dumps(s.params["kind"]) for s in straight(SEARCHES["random"])}
    assert found == {'"a"', '"b"', "1", "true"}


def test_a_sampler_that_keeps_its_state_in_itself_learns() -> None:
    search = SEARCHES["own"]
    asker, found = Asker(search), straight(search)
    others = [Result(number, "complete", (float(-number),)) for number in range(TRIALS)]
    moved = [asker.ask(others).params for _ in range(TRIALS)]
    assert moved[:4] == [suggestion.params for suggestion in found[:4]]
    assert moved[4:] != [suggestion.params for suggestion in found[4:]]


def test_what_another_cpu_suggested_counts() -> None:
    """Files of a machine on which CMA-ES came out a little otherwise."""
    search = SEARCHES["cmaes"]
    whole = straight(search)
    moved = [replace(s, params={**s.params, "x": s.params["x"] * 0.999}) for s in whole[:20]]
    results = [result(search, suggestion) for suggestion in moved]
    first, second = (again(search, moved).ask(results) for _ in range(2))
    assert first == second
    assert first != whole[20]


@pytest.mark.parametrize(
    ("sampler", "options", "told"),
    [
        ("tpee", {}, "did you mean tpe?"),
        ("tpe", {"n_startup": 3}, "n_startup"),
        ("cmaes", {"restart_strategy": "ipop"}, "restart_strategy"),
        ("no.module:Sampler", {}, "no such sampler"),
        ("grid", {}, "a grid of a range without a step"),
    ],
)
def test_samplers_that_cannot_be_made(sampler: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Asker(Search("tune", 7, NUMBERS, ("minimize",), sampler, options))


def test_the_names_that_are_checked_are_those_that_there_are() -> None:
    from ml_experiment import sampling
    from ml_experiment.adapters import optuna_pruning, optuna_samplers

    assert set(sampling.SAMPLERS) == set(optuna_samplers.SAMPLERS)
    assert set(sampling.PRUNERS) == set(optuna_pruning.PRUNERS)
