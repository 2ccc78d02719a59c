"""Two runs side by side, by records that are written for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import records
from ml_experiment.cli.main import main
from ml_experiment.errors import UserError
from ml_experiment.services import runs


def ran(folder: Path, run: str, minute: int, *jobs: dict[str, Any], suffix: str = "") -> None:
    """A run of these jobs, of which only what is not as usual is given."""
    usual = {
        "boot": [{"blas": [{"library": "blas", "kernel": "Haswell"}], "platform": {"cpu": "A"}}],
        "inputs": {"data.csv": {"hash": "1"}},
        "metrics": {"loss": 0.5},
        "outputs": {"model.bin": {"hash": "2"}},
        "params": {"C": 1.0},
        "seed": 7,
        "state": "finished",
    }
    file = folder / f".ml_experiment/records{suffix}.jsonl"
    for job in jobs:
        times = {"started": moment(minute), "ended": moment(minute, 30)}
        versions = {"distributions": {"numpy": "2.1"}, "python": "3.11", **job.pop("versions", {})}
        key = {"params": job.get("params", usual["params"]), "environment": versions}
        made = {**usual, **times, "environment": versions, "key": key, "run": run, **job}
        records.add(file, made)
    line = {"run": run, "started": moment(minute), "results": f"results{suffix}", "seed": 7}
    records.append(records.runs_file(folder), {**line, "ended": moment(minute, 40)})


def moment(minute: int, second: int = 0) -> str:
    return f"2026-11-26T10:{minute:02}:{second:02}.000Z"


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything; one job again with another parameter and NumPy, and a new one; then nothing new."""
    monkeypatch.chdir(tmp_path)
    ran(tmp_path, "A1", 1, {"job": "prepare"}, {"job": "fit"})
    other = {
        "params": {"C": 3.0},
        "metrics": {"loss": 0.25},
        "outputs": {"model.bin": {"hash": "3"}},
    }
    newer = {"distributions": {"numpy": "2.2", "six": "1"}}
    ran(tmp_path, "B2", 2, {"job": "fit", "versions": newer, **other}, {"job": "late"})
    ran(tmp_path, "C3", 3)
    return tmp_path


def test_what_differs_is_told_by_job(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "diff", "A1", "last~1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"], found["run"], found["same"]) == ("A1", "B2", {}, 1)
    fit, late = found["jobs"]
    assert (late["job"], late["only"]) == ("late", "second")
    assert {name: value for name, value in fit.items() if value} == {
        "job": "fit",
        "key": ["environment", "parameter C"],
        "params": {"C": [1.0, 3.0]},
        "metrics": {"loss": [0.5, 0.25]},
        "outputs": {"model.bin": ["2", "3"]},
        "packages": {"numpy": ["2.1", "2.2"], "six": [None, "1"]},
    }
    assert main(["runs", "diff", "A"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "A1 → C3",
        "packages:",
        "  numpy 2.1 → 2.2  (1 job)",
        "  six none → 1  (1 job)",
        "fit   C 1.0 → 3.0; environment changed; loss 0.5 → 0.25; other outputs: model.bin",
        "late  only in the second",
        "2 of 3 jobs differ",
    ]


@pytest.mark.usefixtures("three")
def test_a_run_that_ran_nothing_has_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "diff"]) == 0
    assert capsys.readouterr().out == "B2 → C3\n3 jobs, no difference\n"


def test_what_is_not_declared_is_told(three: Path) -> None:
    boot = [{"blas": [{"library": "blas", "kernel": "Zen"}], "platform": {"cpu": "B"}}]
    ran(three, "D4", 4, {"job": "prepare", "boot": boot, "host": "node", "state": "failed"})
    (found,) = runs.diff(three, "C3", "D4").jobs
    assert found.surroundings == {
        "CPU": ("A", "B"),
        "host": (None, "node"),
        "the kernel of blas": ("Haswell", "Zen"),
    }
    assert (found.state, found.packages) == ({"state": ("finished", "failed")}, {})


def test_a_variant_is_compared_with_the_whole(three: Path) -> None:
    ran(three, "D4", 4, {"job": "fit"}, suffix="-smoke")
    found = runs.diff(three, "A1", "D4")
    assert [(job.job, job.only) for job in found.jobs] == [("prepare", "first")]
    assert found.same == 1


def test_a_run_that_is_not_there(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row.job for row in runs.jobs(three, "last~1")] == ["fit", "late"]
    with pytest.raises(UserError, match="no such run"):
        runs.diff(three, "last~3", "last")
    assert main(["runs", "diff", "A1", "B2", "C3"]) == 2
    assert main(["runs", "A1", "B2"]) == 2
    assert "runs diff A B" in capsys.readouterr().err
