"""Every record is in MLflow once, whatever is left of the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml_experiment import records
from ml_experiment.digests import Digests
from ml_experiment.plan import STATE
from ml_experiment.services.track import Sender, track

MOMENT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two experiments in one workspace, with two records each."""
    for name in ("one", "two"):
        line = {"experiment": name, "run": f"run-{name}", "started": MOMENT}
        records.append(records.runs_file(tmp_path), line)
        for number in range(2):
            add(tmp_path, name, f"job-{number}")
    return tmp_path


def add(folder: Path, experiment: str, job: str, **more: Any) -> None:
    record: dict[str, Any] = {
        "attempt": 1,
        "command": f"make {job}",
        "ended": MOMENT,
        "inputs": {},
        "job": job,
        "metrics": {},
        "outputs": {},
        "rule": job,
        "run": f"run-{experiment}",
        "seed": None,
        "started": MOMENT,
        "state": "finished",
        "wildcards": {},
        **more,
    }
    records.add(folder / STATE / f"records-{experiment}.jsonl", record)


def address(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def send(folder: Path) -> int:
    """How many records were sent by a process that knows nothing yet."""
    return len(track(folder, address(folder), lambda _: None).sent)


def job_runs(folder: Path) -> list[str]:
    """Experiment and record of every job's run that is there."""
    client = MlflowClient(address(folder))
    return sorted(
        f"{place.name} {run.data.tags['ml_experiment.record']}"
        for place in client.search_experiments()
        for run in client.search_runs([place.experiment_id])
        if run.data.tags.get("ml_experiment.kind") == "job"
    )


def test_a_ledger_that_was_lost(project: Path) -> None:
    assert send(project) == 4
    before = job_runs(project)
    assert len(before) == 4
    shutil.rmtree(project / STATE / "tracking")
    assert send(project) == 0
    assert job_runs(project) == before
    add(project, "two", "job-2")
    assert send(project) == 1


def test_a_database_that_was_lost(project: Path) -> None:
    assert send(project) == 4
    (project / "mlflow.db").unlink()
    assert send(project) == 4
    assert len(job_runs(project)) == 4


def test_what_another_process_has_sent_meanwhile(project: Path) -> None:
    sender, other = (Sender(project, address(project)) for _ in range(2))
    sender.send()
    add(project, "one", "job-2")
    other.send()
    sender.send()
    assert (len(sender.sent), len(other.sent)) == (4, 1)
    assert len(job_runs(project)) == 5


def test_curves_are_of_the_file_that_the_record_names(project: Path) -> None:
    file = project / "results/fit/scores.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"loss": [3, 2, 1]}')
    made = {
        "metrics": {"loss": 1.0},
        "outputs": Digests(project).entries(["results/fit/scores.json"]),
    }
    add(project, "one", "old", **made)
    add(project, "one", "new", **made, metrics_file="results/fit/scores.json")
    add(project, "one", "gone", **made, metrics_file="results/fit/other.json")
    assert send(project) == 7
    client = MlflowClient(address(project))
    place = client.get_experiment_by_name("one")
    assert place is not None
    steps = {
        run.info.run_name: len(client.get_metric_history(run.info.run_id, "loss"))
        for run in client.search_runs([place.experiment_id])
        if run.data.metrics
    }
    assert steps == {"old": 1, "new": 3, "gone": 1}
