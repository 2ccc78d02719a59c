"""The view of a study: what Optuna and its dashboard read of it, and which plots there are."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ml_experiment import space
from ml_experiment.adapters import optuna_view
from ml_experiment.search import Search
from ml_experiment.services.view import view

SPACE = {
    "C": {"float": [1e-3, 1e3], "log": True},
    "kernel": ["rbf", "poly"],
    "degree": {"int": [2, 5], "when": {"kernel": "poly"}},
    "fixed": 3,
}
ONE = {"loss": "minimize"}
TWO = {"loss": "minimize", "time/fit": "maximize"}
ALWAYS = {"history", "importances", "slice", "contour", "parallel"}
drawn = pytest.mark.engine("plotly", "matplotlib")


def row(number: int, params: Mapping[str, Any], *values: float, **changed: Any) -> dict[str, Any]:
    """A trial as `gather` writes it; without values it has failed."""
    named = dict(zip(TWO, values, strict=False))
    plain = {"number": number, "params": dict(params), "reports": [], "values": named}
    if not values:
        return {**plain, "reason": "exit status 3", "state": "failed", **changed}
    return {**plain, "reason": None, "state": "complete", **changed}


def points(count: int, objectives: int = 1) -> list[dict[str, Any]]:
    """Trials whose parameter `degree` exists in every other one; the third has failed."""
    found = []
    for number in range(count):
        poly: dict[str, Any] = {"kernel": "poly", "degree": 2 + number % 4}
        params = poly if number % 2 else {"kernel": "rbf"}
        params |= {"C": 10.0 ** (number % 5 - 2), "fixed": 3}
        values = [(number - 4.5) ** 2, float(number)][:objectives]
        found.append(row(number, params, *(values if number != 2 else ())))
    return found


def key(
    folder: Path, rows: list[dict[str, Any]], objectives: Mapping[str, str], **declared: Any
) -> dict[str, Any]:
    """The key of a view, and the trials that it is of, on disk."""
    parameters, mistakes = space.parse(declared or SPACE)
    assert not mistakes
    trials = folder / "results/tune/trials"
    trials.mkdir(parents=True)
    for entry in rows:
        (trials / f"{entry['number']:05d}.json").write_text(json.dumps(entry))
    return {
        "folder": "results/tune",
        "name": "tune",
        "objectives": [*objectives.items()],
        "parameters": json.loads(json.dumps(Search("tune", 0, parameters, ()).data()))[
            "parameters"
        ],
    }


def stored(folder: Path) -> optuna.Study:
    file = folder / "results/tune/view/journal.log"
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(file))))


def plots(folder: Path, ending: str) -> set[str]:
    return {file.stem for file in (folder / "results/tune/view").glob(f"*.{ending}")}


def test_a_storage_has_the_trials(tmp_path: Path) -> None:
    rows = points(8)
    rows[3]["reports"] = [[0, 9.5], [10, 2.25]]
    rows[4]["state"] = "removed"
    for entry in rows:
        entry["excess"] = [] if entry["state"] == "failed" else [entry["number"] - 5.5, -1.0]
    rows[6]["excess"] = [float("inf"), -1.0]
    view(tmp_path, key(tmp_path, rows, ONE))
    study = stored(tmp_path)
    assert (study.study_name, study.metric_names) == ("tune", ["loss"])
    assert [trial.number for trial in study.trials] == list(range(8))
    complete, failed, removed = TrialState.COMPLETE, TrialState.FAIL, study.trials[4]
    states = [failed if number in (2, 4) else complete for number in range(8)]
    assert [trial.state for trial in study.trials] == states
    assert study.trials[2].user_attrs == {"reason": "exit status 3"}
    assert removed.user_attrs == {"removed": True, "values": {"loss": 0.25}}
    one = study.trials[3]
    assert one.params == {"C": 10.0, "kernel": "poly", "degree": 5}
    assert one.distributions == {
        "C": FloatDistribution(1e-3, 1e3, log=True),
        "degree": IntDistribution(2, 5),
        "kernel": CategoricalDistribution(["rbf", "poly"]),
    }
    assert one.values == [2.25]
    assert one.intermediate_values == {0: 9.5, 10: 2.25}
    assert one.constraints == {"0": -2.5, "1": -1.0}
    assert study.trials[6].constraints["0"] == sys.float_info.max  # JSON has no infinity
    assert study.best_trial.number == 5
    assert one.duration == timedelta(seconds=1)
    assert one.datetime_start is not None
    assert one.datetime_start.timestamp() == 315532800 + 3


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (["a", None, True, 3, 0.5], ["a", None, True, 3, 0.5]),
        ([[1, 2], {"b": 1}, "a"], ["[1,2]", '{"b":1}', "a"]),
        ([1, True, 1.0], ["1", "true", "1.0"]),
        ([[1], "[1]"], ["[1]", '"[1]"']),
    ],
)
def test_choices_are_what_optuna_allows(
    tmp_path: Path, choices: list[Any], told: list[Any]
) -> None:
    rows = [row(number, {"x": choice}, number) for number, choice in enumerate(choices)]
    view(tmp_path, key(tmp_path, rows, ONE, x=choices))
    trials = stored(tmp_path).trials
    assert [repr(trial.params["x"]) for trial in trials] == [repr(value) for value in told]
    assert trials[0].distributions["x"] == CategoricalDistribution(told)


@drawn
def test_plots_of_one_objective(tmp_path: Path) -> None:
    rows = points(12)
    rows[0]["reports"] = [[0, 3.0], [1, 2.0]]
    lines = view(tmp_path, key(tmp_path, rows, ONE))
    assert lines == ["to look at it: optuna-dashboard results/tune/view/journal.log"]
    assert plots(tmp_path, "html") == plots(tmp_path, "png") == {*ALWAYS, "intermediate"}
    page = (tmp_path / "results/tune/view/history.html").read_text("utf-8")
    assert 'src="plotly.min.js"' in page
    assert "https://cdn" not in page
    assert plots(tmp_path, "js") == {"plotly.min"}


@drawn
def test_plots_of_several_objectives(tmp_path: Path) -> None:
    lines = view(tmp_path, key(tmp_path, points(12, 2), TWO))
    assert len(lines) == 1
    expected = {f"{plot}-{name}" for plot in ALWAYS for name in ("loss", "time_2Ffit")}
    assert plots(tmp_path, "html") == plots(tmp_path, "png") == {*expected, "pareto"}
    study = stored(tmp_path)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == [*TWO]
    assert [trial.number for trial in study.best_trials] == [5, 6, 7, 8, 9, 10, 11]


@drawn
def test_the_same_trials_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        view(tmp_path / name, key(tmp_path / name, points(8), ONE))
    for file in (tmp_path / "one/results/tune/view").iterdir():
        assert file.read_bytes() == (tmp_path / "two/results/tune/view" / file.name).read_bytes()


def test_without_a_complete_trial_there_is_a_storage(tmp_path: Path) -> None:
    lines = view(
        tmp_path, key(tmp_path, [row(number, {"fixed": 3, "C": 1.0}) for number in range(3)], ONE)
    )
    assert lines[:-1] == ["no plots: no trial is complete"]
    assert [trial.state for trial in stored(tmp_path).trials] == [TrialState.FAIL] * 3
    assert [file.name for file in (tmp_path / "results/tune/view").iterdir()] == ["journal.log"]


@drawn
def test_one_parameter_has_no_contour(tmp_path: Path) -> None:
    rows = [row(number, {"x": number / 4}, number) for number in range(4)]
    lines = view(tmp_path, key(tmp_path, rows, ONE, x={"float": [0, 1]}))
    missing = "importances, contour: left out, they need two parameters that vary"
    assert lines[:-1] == [missing]
    assert plots(tmp_path, "html") == plots(tmp_path, "png") == {"history", "slice", "parallel"}


@drawn
def test_a_contour_has_the_most_important_parameters(tmp_path: Path) -> None:
    declared: dict[str, Any] = {name: {"int": [0, 9]} for name in "abcdefg"}
    rows = [
        row(n, {name: (n * (3 + place)) % 10 for place, name in enumerate(declared)}, n % 10)
        for n in range(30)
    ]
    lines = view(tmp_path, key(tmp_path, rows, ONE, **declared))
    assert len(lines) == 2
    assert lines[0].startswith("contour: of the 5 most important parameters, ")
    assert "contour" in plots(tmp_path, "png") & plots(tmp_path, "html")


@drawn
def test_a_contour_that_would_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_view, "CELLS", 12)
    lines = view(tmp_path, key(tmp_path, points(12), ONE))
    assert lines[0].startswith("contour.html: of ")
    monkeypatch.setattr(optuna_view, "CELLS", 1)
    view(tmp_path / "b", key(tmp_path / "b", points(12), ONE))
    assert "contour" in plots(tmp_path / "b", "png") - plots(tmp_path / "b", "html")


@drawn
def test_a_plot_that_cannot_be_drawn_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna import visualization
    from optuna.visualization import matplotlib

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(visualization, "plot_slice", broken)
    monkeypatch.setattr(matplotlib, "plot_contour", broken)
    lines = view(tmp_path, key(tmp_path, points(8), ONE))
    told = [f"{file}: not drawn, RuntimeError: no idea" for file in ("slice.html", "contour.png")]
    assert lines[:-1] == told
    assert plots(tmp_path, "html") == {*ALWAYS} - {"slice"}
    assert plots(tmp_path, "png") == {*ALWAYS} - {"contour"}


def test_without_what_draws_there_is_a_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    lines = view(tmp_path, key(tmp_path, points(8), ONE))
    assert [line.partition(",")[0] for line in lines[:-1]] == [
        "no plots as html: pip install plotly",
        "no plots as png: pip install matplotlib",
    ]
    assert len(stored(tmp_path).trials) == 8


@pytest.mark.engine("optuna_dashboard")
def test_the_dashboard_opens_the_storage(tmp_path: Path) -> None:
    rows = points(8)
    rows[1]["excess"] = [float("inf")]
    view(tmp_path, key(tmp_path, rows, ONE))
    file = tmp_path / "results/tune/view/journal.log"
    before = file.read_bytes()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "optuna-dashboard"
    words = [str(program), str(file), "--server", "wsgiref", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        page = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}/api/studies"
        (summary,) = answer(address)["study_summaries"]
        study = answer(f"{address}/{summary['study_id']}")
    finally:
        os.killpg(page.pid, signal.SIGKILL)
        page.wait()
    assert (summary["study_name"], summary["directions"]) == ("tune", ["minimize"])
    assert [trial["state"] for trial in study["trials"]].count("Complete") == 7
    assert study["objective_names"] == ["loss"]
    assert file.read_bytes() == before


def answer(address: str) -> Any:
    """What a server says that may still be starting; JSON as browsers read it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        try:
            with opener.open(address, timeout=10) as response:
                return json.loads(response.read(), parse_constant=refuse)
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"nothing answers at {address}")
