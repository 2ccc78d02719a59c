"""Tables for trials say what Optuna's pruners say, whatever the window."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState

from ml_experiment import space
from ml_experiment.adapters import optuna_pruning
from ml_experiment.adapters.optuna import NAME, Asker
from ml_experiment.errors import UserError
from ml_experiment.search import Direction, Result, Search, Suggestion

PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"n_startup_trials": 3},
    "median ": {"n_startup_trials": 2, "n_warmup_steps": 2, "interval_steps": 3, "n_min_trials": 2},
    "percentile": {"percentile": 30.0, "n_startup_trials": 2},
    "successive_halving": {"min_resource": 1, "reduction_factor": 2},
    "successive_halving ": {"min_resource": 2, "reduction_factor": 3, "bootstrap_count": 2},
    "hyperband": {"min_resource": 1, "max_resource": 12, "reduction_factor": 3},
    "threshold": {"lower": 0.1, "upper": 0.9, "n_warmup_steps": 1, "interval_steps": 2},
    "patient": {"wrapped_pruner": {"median": {"n_startup_trials": 2}}, "patience": 1},
    "patient ": {"wrapped_pruner": None, "patience": 2, "min_delta": 0.05},
    "wilcoxon": {"p_threshold": 0.3},
}
SPACE, _ = space.parse({"x": {"float": [0, 1]}})


def job_side() -> Callable[[dict[str, Any], list[tuple[int, float]]], bool]:
    """The decision as a trial makes it."""
    file = Path(optuna_pruning.__file__).parents[1] / "boot" / "_ml_experiment_boot" / "trial.py"
    spec = importlib.util.spec_from_file_location("trial_of_tests", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    decide: Callable[[dict[str, Any], list[tuple[int, float]]], bool] = module.given_up
    return decide


given_up = job_side()
pytestmark = pytest.mark.filterwarnings("ignore")  # of Optuna, about values that are NaN


def declared(name: str, direction: str, window: int) -> Search:
    return Search(
        "tune", 3, SPACE, (direction,), "random", {}, window,  # type: ignore[arg-type]
        pruner=name.strip(), pruner_options=PRUNERS[name],
    )  # fmt: skip


Curves = list[list[tuple[int, float]]]
VALUES = st.one_of(st.floats(0, 1).map(lambda v: round(v, 2)), st.just(math.nan))
CURVES = st.lists(
    st.lists(st.tuples(st.integers(0, 14), VALUES), max_size=8, unique_by=lambda r: r[0]),
    min_size=1, max_size=14,
)  # fmt: skip


def end_of(table: Any, curve: list[tuple[int, float]]) -> int | None:
    """After how many reports a trial is given up."""
    for count in range(1, len(curve) + 1):
        if table and given_up(table, curve[:count]):
            return count
    return None


def of_optuna(search: Search, curves: Curves) -> list[int | None]:
    """The same, by Optuna itself, one trial after the other."""
    study = optuna.create_study(
        study_name=NAME, direction=search.objectives[0],
        sampler=optuna.samplers.RandomSampler(0),
        pruner=optuna_pruning.made(search.pruner or "", search.pruner_options),
    )  # fmt: skip
    found: list[int | None] = []
    for curve in curves:
        trial, end = study.ask(), None
        for count, (step, value) in enumerate(curve, 1):
            trial.report(value, step)
            if trial.should_prune():
                end = count
                break
        found.append(end)
        pruned = end is not None
        final = None if pruned else final_of(curve)
        study.tell(trial, final, TrialState.PRUNED if pruned else TrialState.COMPLETE)
    return found


def final_of(curve: list[tuple[int, float]]) -> float:
    values = [value for _, value in curve if not math.isnan(value)]
    return values[-1] if values else 0.5


def of_us(search: Search, curves: Curves) -> list[int | None]:
    asker = Asker(search)
    results: list[Result] = []
    found: list[int | None] = []
    for number, curve in enumerate(curves):
        end = end_of(asker.ask(results).pruning, curve)
        found.append(end)
        reports = tuple(curve[:end] if end else curve)
        values = () if end else (final_of(curve),)
        results.append(Result(number, "pruned" if end else "complete", values, reports))
    asker.ask(results)  # the last ones are told as well
    return found


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@settings(deadline=None, max_examples=25)
@given(curves=CURVES)
def test_one_after_the_other_as_optuna(name: str, direction: str, curves: Curves) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = declared(name, direction, 1)
    assert of_us(search, curves) == of_optuna(search, curves)


@pytest.mark.parametrize("name", PRUNERS)
@settings(deadline=None, max_examples=15)
@given(curves=CURVES, window=st.integers(2, 6))
def test_behind_a_window_optuna_agrees(name: str, curves: Curves, window: int) -> None:
    """`Asker` shows each trial that was given up to Optuna's pruner, and raises if it would not."""
    of_us(declared(name, "minimize", window), curves)


@pytest.mark.parametrize("name", PRUNERS)
@settings(max_examples=4)
@given(curves=CURVES.filter(lambda curves: len(curves) > 6), window=st.integers(1, 4))
def test_a_study_goes_on_from_files_after_any_trial(name: str, curves: Curves, window: int) -> None:
    """Suggestions and tables are the same as if the process had never ended; reports are JSON."""
    search = replace(declared(name, "minimize", window), sampler="tpe")
    asker = Asker(search)
    results: list[Result] = []
    made: list[Suggestion] = []
    for number, curve in enumerate(curves):
        made.append(asker.ask(results))
        end = end_of(made[-1].pruning, curve)
        values = () if end else (final_of(curve),)
        results.append(Result(number, "pruned" if end else "complete", values, tuple(curve[:end])))
    for stop in range(len(curves)):
        again = Asker(search)
        for suggestion in made[:stop]:
            number, params, state = json.loads(json.dumps([*vars(suggestion).values()][:3]))
            again.restore(Suggestion(number, params, state), results[:stop])
        found = json.dumps(vars(again.ask(results[:stop])))
        assert found == json.dumps(vars(made[stop]))


TENTHS = st.one_of(st.integers(0, 6).map(lambda v: v / 10), st.floats(0, 1))
PAIRS = st.lists(st.tuples(TENTHS, TENTHS), min_size=1, max_size=70)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@settings(max_examples=60)
@given(
    pairs=PAIRS,
    missing=st.sets(st.integers(0, 70), max_size=3),
    shift=st.sampled_from([0.0, 0.1, 0.25]),
    threshold=st.sampled_from([0.01, 0.0625, 0.1, 0.25, 0.5, 0.75, 1.0]),
)
def test_wilcoxon_of_us_and_of_scipy(
    direction: Direction,
    pairs: list[tuple[float, float]],
    missing: set[int],
    shift: float,
    threshold: float,
) -> None:
    """Short and long, with equal and with vanishing differences, and steps that one lacks."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sign = 1 if direction == "minimize" else -1
    best = [(step, one) for step, (one, _) in enumerate(pairs) if step not in missing]
    own = [(step, other + sign * shift) for step, (_, other) in enumerate(pairs)]
    pruner = optuna.pruners.WilcoxonPruner(p_threshold=threshold, n_startup_steps=3)
    study = optuna.create_study(direction=direction, pruner=pruner)
    study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(best)))
    trial = study.ask()
    for step, value in own:
        trial.report(value, step)
    table = {"best": best, "direction": direction, "kind": "wilcoxon", "startup": 3}
    assert given_up({**table, "threshold": threshold}, own) == trial.should_prune()


@pytest.mark.parametrize("excess", [0.0, 1.0])
def test_wilcoxon_looks_at_the_best_trial_that_a_trial_saw(excess: float) -> None:
    """A better one that ended meanwhile, or one that is not allowed, is not what decided."""
    search = replace(
        declared("wilcoxon", "minimize", 2), sampler="tpe", constrained=True, options={}
    )
    steps = range(6)
    results = [
        Result(0, "complete", (0.5,), tuple((step, 0.5) for step in steps), (0.0,)),
        Result(1, "complete", (0.1,), (), (excess,)),
    ]
    asker = Asker(search)
    tables = [asker.ask(results).pruning for _ in range(3)]
    worse = [(step, 0.6 + step / 100) for step in steps]
    assert [end_of(table, worse) for table in tables] == [None, None, 2]
    results.append(Result(2, "pruned", (), tuple(worse[:2]), (0.0,)))
    assert asker.ask(results).number == 3
    table = asker.ask(results).pruning  # it has seen trial 1
    assert end_of(table, worse) == (2 if excess else None)


def test_a_trial_that_was_given_up_without_reason() -> None:
    search = declared("median", "minimize", 1)
    asker = Asker(search)
    asker.ask([])
    with pytest.raises(UserError, match="trial 0 was given up, and median would go on"):
        asker.ask([Result(0, "pruned", (), ((0, 0.5),))])


def test_brackets_are_those_of_hyperband() -> None:
    """Names the private method of `HyperbandPruner` that `bracket` calls."""
    assert hasattr(HyperbandPruner, "_get_bracket_id")
    search = declared("hyperband", "minimize", 1)
    asker = Asker(search)
    found = {
        optuna_pruning.bracket(asker._pruning.pruner, asker._study, number)  # type: ignore[arg-type]
        for number in range(40)
    }
    assert found == {0, 1, 2}


@pytest.mark.parametrize(
    ("pruner", "options", "told"),
    [
        ("media", {}, "did you mean median"),
        ("median", {"n_startup": 3}, "unexpected keyword argument 'n_startup'"),
        ("threshold", {}, "lower or upper"),
        ("nowhere:Pruner", {}, "No module named 'nowhere'"),
    ],
)
def test_pruners_that_cannot_be_made(pruner: str, options: dict[str, Any], told: str) -> None:
    search = replace(declared("median", "minimize", 1), pruner=pruner, pruner_options=options)
    with pytest.raises(UserError, match=told):
        Asker(search)
