"""A front is what no other trial beats, whatever the number of objectives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_experiment.search import Direction, Result, Search
from ml_experiment.services import gather
from ml_experiment.services.gather import Trial
from ml_experiment.trials import Ended

FEW = st.sampled_from((-1.0, -0.0, 0.0, 0.5, 2.0))  # equal ones are common
DIRECTION: st.SearchStrategy[Direction] = st.sampled_from(("minimize", "maximize"))


def trial(number: int, values: tuple[float, ...]) -> Trial:
    return Trial({}, Ended(Result(number, "complete", values), None), removed=False)


def beats(one: Trial, other: Trial, directions: tuple[Direction, ...]) -> bool:
    pairs = list(zip(directions, one.result.values, other.result.values, strict=True))
    no_worse = all(a <= b if way == "minimize" else a >= b for way, a, b in pairs)
    return no_worse and one.result.values != other.result.values


@given(data=st.data(), objectives=st.integers(2, 4))
def test_the_front_is_what_no_other_beats(data: st.DataObject, objectives: int) -> None:
    directions = data.draw(st.tuples(*[DIRECTION] * objectives))
    values = data.draw(st.lists(st.tuples(*[FEW] * objectives), max_size=12))
    trials = [trial(number, found) for number, found in enumerate(values)]
    front = [t for t in trials if not any(beats(other, t, directions) for other in trials)]
    assert gather.pareto(trials, Search("s", 1, (), directions)) == front
