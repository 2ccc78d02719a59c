"""Trials suggested by a process of its own, whatever this one runs under."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ml_experiment import search
from ml_experiment.asking import Asking
from ml_experiment.errors import UserError
from ml_experiment.search import Result, Search, Suggestion
from tests.adapters.test_optuna import SEARCHES, result


@pytest.fixture
def asking() -> Iterator[Asking]:
    process = Asking()
    yield process
    process.close()


def suggest(
    asking: Asking, declared: Search, suggestions: list[Suggestion], results: list[Result]
) -> Suggestion:
    return asking.suggest(declared.name, declared, suggestions, results).suggestion


def study(asking: Asking, declared: Search, trials: int) -> list[Suggestion]:
    suggestions: list[Suggestion] = []
    results: list[Result] = []
    for _ in range(trials):
        suggestions.append(suggest(asking, declared, suggestions, results))
        results.append(result(declared, suggestions[-1]))
    return suggestions


@pytest.mark.parametrize("name", SEARCHES)
def test_a_declaration_is_json_and_back(name: str) -> None:
    assert search.search(SEARCHES[name].data()) == SEARCHES[name]


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsgaii"])
def test_kernels_of_this_process_change_nothing(
    name: str, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study(asking, SEARCHES[name], 16)
    other = Asking()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert study(other, SEARCHES[name], 16) == whole
    other.close()


def test_several_studies_and_any_place_to_go_on_from(asking: Asking) -> None:
    first, second = SEARCHES["tpe"], replace(SEARCHES["tpe"], name="other")
    whole, others = study(asking, first, 14), study(asking, second, 6)
    assert whole[0] != others[0]
    results = [result(first, suggestion) for suggestion in whole]
    for number in (13, 5, 13):  # forward, back, and in a process that knows nothing
        assert suggest(asking, first, whole[:number], results) == whole[number]
    asking.close()
    assert suggest(asking, first, whole[:9], results) == whole[9]


def test_what_was_asked_early_changes_nothing(asking: Asking) -> None:
    declared, other = SEARCHES["tpe"], replace(SEARCHES["tpe"], name="other")
    whole, others = study(asking, declared, 14), study(asking, other, 6)
    results = [result(declared, suggestion) for suggestion in whole]
    wrong = [*results[:4], replace(results[4], values=(99.0,)), *results[5:]]
    asking.close()
    for told in (results, wrong):  # as it will be, and as it turns out not to be
        asking.begin(declared.name, declared, whole[:13], told)
        asking.begin(other.name, other, others[:2], [result(other, s) for s in others])
        assert suggest(asking, declared, whole[:13], results) == whole[13]
        assert study(asking, other, 6) == others


def test_a_mistake_is_told_and_the_process_goes_on(asking: Asking) -> None:
    with pytest.raises(UserError, match="did you mean tpe"):
        suggest(asking, replace(SEARCHES["tpe"], sampler="tpee"), [], [])
    assert suggest(asking, SEARCHES["tpe"], [], []).number == 0


def test_a_process_that_was_killed_is_started_again(asking: Asking) -> None:
    first = suggest(asking, SEARCHES["tpe"], [], [])
    assert asking._process is not None
    asking._process.kill()
    asking._process.wait()
    with pytest.raises(UserError, match="has ended"):
        suggest(asking, SEARCHES["tpe"], [first], [])
    assert suggest(asking, SEARCHES["tpe"], [], []) == first
