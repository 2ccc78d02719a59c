"""Runs as MLflow has them; one that was begun by a process that was killed is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.entities import Run as MLflowRun

from ml_experiment.adapters.mlflow import Tracker
from ml_experiment.tracked import Dataset, Model, Point, Run

MODELS = tuple(Model(f"fit-{n}", f"results/fit/{n}.pt", n * 32, ("torch==2.13.0",)) for n in "ab")
RUN = Run(
    key="record:1",
    name="fit",
    experiment="digits",
    start=1_000,
    end=2_000,
    status="FINISHED",
    found={"ml_experiment.record": "1"},
    params={"C": "1"},
    metrics=(Point("loss", 1.0, 0, 2_000), Point("loss", 0.5, 1, 2_000)),
    datasets=(Dataset("data.csv", "d" * 32, "{}", "{}"),),
    models=MODELS,
)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Model, Path | None]]:
    """The models, the first with its file."""
    (tmp_path / "a.pt").write_text("weights")
    return [(MODELS[0], tmp_path / "a.pt"), (MODELS[1], None)]


def logged(tracker: Tracker) -> dict[str, LoggedModel]:
    """Name -> model, each there once."""
    found = tracker.client.search_logged_models([tracker.experiment(RUN.experiment)])
    by_name = {model.name: model for model in found}
    assert len(by_name) == len(found)
    return by_name


def assert_whole(tracker: Tracker, run_id: str) -> None:
    """The run is there with all that belongs to it, once."""
    (run,) = runs(tracker)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    models = logged(tracker)
    assert {*models} == {"fit-a", "fit-b"}
    assert {model.status for model in models.values()} == {LoggedModelStatus.READY}
    assert {model.source_run_id for model in models.values()} == {run_id}
    assert run.outputs is not None
    assert sorted(out.model_id for out in run.outputs.model_outputs) == sorted(
        model.model_id for model in models.values()
    )
    assert run.inputs is not None
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["data.csv"]
    history = tracker.client.get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (1, 0.5)]
    place = Path(models["fit-a"].artifact_location.removeprefix("file://"))
    assert (place / "a.pt").read_text() == "weights"
    assert {file.name for file in place.iterdir()} == {"MLmodel", "a.pt", "requirements.txt"}


def runs(tracker: Tracker) -> Iterator[MLflowRun]:
    yield from tracker.client.search_runs([tracker.experiment(RUN.experiment)])


def test_a_run_that_was_not_begun(tracker: Tracker, files: list[tuple[Model, Path | None]]) -> None:
    assert_whole(tracker, tracker.send(RUN, None, {}, files))


def test_a_run_of_which_everything_is_there(
    tracker: Tracker, files: list[tuple[Model, Path | None]]
) -> None:
    run_id = tracker.send(RUN, None, {}, files)
    assert tracker.send(RUN, None, {}, files, run_id) == run_id
    assert_whole(tracker, run_id)


def test_a_run_with_one_of_its_models(
    tracker: Tracker, files: list[tuple[Model, Path | None]]
) -> None:
    """What a process leaves that was killed before it laid the model's files out."""
    place = tracker.experiment(RUN.experiment)
    run_id = tracker.client.create_run(place, tags=dict(RUN.found)).info.run_id
    begun = tracker.client.create_logged_model(
        place, name="fit-a", source_run_id=run_id, tags={"ml_experiment.path": MODELS[0].path}
    )
    other = tracker.client.create_run(place).info.run_id
    tracker.client.create_logged_model(
        place, name="other", source_run_id=other, tags={"ml_experiment.path": MODELS[1].path}
    )
    tracker.send(RUN, None, {}, files, run_id)
    models = logged(tracker)
    assert {*models} == {"fit-a", "fit-b", "other"}
    assert models["fit-a"].model_id == begun.model_id
    tracker.client.delete_run(other)
    tracker.client.delete_logged_model(models["other"].model_id)
    assert_whole(tracker, run_id)
