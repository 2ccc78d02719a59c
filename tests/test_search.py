"""What a suggestion depends on is in its digest, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import search, space
from ml_experiment.search import Result, Search, Suggestion

PARAMETERS, _ = space.parse({"x": {"float": [0, 1]}})
SEARCH = Search("tune", 7, PARAMETERS, ("minimize",), window=4)
BEFORE = [Suggestion(t, {"x": t / 20}) for t in range(12)]
RESULTS = [Result(t, "complete", (t / 2,)) for t in range(12)]


def test_a_seed_for_each_trial_but_for_counted_points() -> None:
    assert SEARCH.seed(0) != SEARCH.seed(1)
    grid = replace(SEARCH, sampler="grid")
    assert grid.seed(0) == grid.seed(1)
    assert SEARCH.seed(3) == 1488532006  # golden: another one would change every study


def test_the_window() -> None:
    assert [list(SEARCH.told_before(t)) for t in (0, 3, 4, 6)] == [[], [], [0], [0, 1, 2]]
    assert list(replace(SEARCH, window=1).told_before(3)) == [0, 1, 2]


@given(st.integers(0, 11), st.randoms())
def test_results_that_the_window_hides_do_not_count(trial: int, draw: object) -> None:
    told = SEARCH.told_before(trial)
    hidden = [r if r.number in told else replace(r, values=(99.0,)) for r in RESULTS]
    assert search.digest(SEARCH, trial, BEFORE, RESULTS) == search.digest(
        SEARCH, trial, list(reversed(BEFORE)), list(reversed(hidden))
    )
    for number in told:
        other = [replace(r, values=(99.0,)) if r.number == number else r for r in RESULTS]
        assert search.digest(SEARCH, trial, BEFORE, RESULTS) != search.digest(
            SEARCH, trial, BEFORE, other
        )


def test_the_declaration_counts() -> None:
    known = search.digest(SEARCH, 5, BEFORE, RESULTS)
    wider, _ = space.parse({"x": {"float": [0, 2]}})
    for other in (
        replace(SEARCH, parameters=wider),
        replace(SEARCH, root=8),
        replace(SEARCH, sampler="random"),
        replace(SEARCH, options={"n_startup_trials": 3}),
        replace(SEARCH, objectives=("maximize",)),
        replace(SEARCH, window=3),
    ):
        assert search.digest(other, 5, BEFORE, RESULTS) != known
    assert search.digest(SEARCH, 5, BEFORE[:5], RESULTS) == known
