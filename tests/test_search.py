"""What a suggestion depends on is in its digest, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import search, space
from ml_experiment.search import Result, Search

PARAMETERS, _ = space.parse({"x": {"float": [0, 1]}})
SEARCH = Search("tune", 7, PARAMETERS, ("minimize",), window=4)


def test_a_seed_for_each_trial_but_for_counted_points() -> None:
    assert SEARCH.seed(0) != SEARCH.seed(1)
    grid = replace(SEARCH, sampler="grid")
    assert grid.seed(0) == grid.seed(1)
    assert SEARCH.seed(3) == 1488532006  # golden: another one would change every study


def test_the_window() -> None:
    assert [list(SEARCH.told_before(t)) for t in (0, 3, 4, 6)] == [[], [], [0], [0, 1, 2]]
    assert list(replace(SEARCH, window=1).told_before(3)) == [0, 1, 2]


def test_samplers_without_memory_are_told_nothing() -> None:
    assert list(replace(SEARCH, sampler="grid").told_before(9)) == []


def test_the_declaration_counts() -> None:
    known = search.made_from(SEARCH, 5, "before", "told")
    wider, _ = space.parse({"x": {"float": [0, 2]}})
    for other in (
        replace(SEARCH, parameters=wider),
        replace(SEARCH, root=8),
        replace(SEARCH, name="other"),
        replace(SEARCH, sampler="random"),
        replace(SEARCH, options={"n_startup_trials": 3}),
        replace(SEARCH, objectives=("maximize",)),
        replace(SEARCH, constrained=True),
    ):
        assert search.made_from(other, 5, "before", "told") != known
    # a window counts by what it tells, what is enqueued for the trials that it is of
    for other in (replace(SEARCH, window=9), replace(SEARCH, enqueued=({"x": 0.5},))):
        assert search.made_from(other, 5, "before", "told") == known
    enqueued = replace(SEARCH, enqueued=({},) * 5 + ({"x": 0.5},))
    assert search.made_from(enqueued, 5, "before", "told") != known
    assert (
        known == "fc2cb89d181656089175fb3914de087d"
    )  # golden: another one would ask for every trial again


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5), st.integers(0, 4))
def test_every_result_counts_in_its_place(values: list[float], place: int) -> None:
    def told(results: list[Result]) -> str:
        digest = search.NOTHING
        for one in results:
            digest = search.chained(digest, one)
        return digest

    results = [Result(number, "complete", (value,)) for number, value in enumerate(values)]
    known = told(results)
    assert told(results) == known
    assert told([*results, Result(9, "failed")]) != known
    if place < len(results):
        results[place] = replace(results[place], ended="failed", values=())
        assert told(results) != known


def test_a_result_is_json_and_back() -> None:
    known = Result(3, "pruned", (0.5,), ((1, 0.25), (2, 0.5)), (-1.0,))
    assert search.result(json.loads(json.dumps(vars(known)))) == known


def test_a_trial_that_breaks_a_constraint_does_not_count() -> None:
    assert Result(0, "complete", (1.0,), (), (-1.0, 0.0)).allowed
    assert not Result(0, "complete", (1.0,), (), (-1.0, 0.1)).allowed
    assert not Result(0, "failed").allowed
