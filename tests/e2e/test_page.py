"""MLflow's page and Optuna's dashboard, in a real browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_experiment.placeholders import as_text
from tests.e2e.project import Make, Project
from tests.e2e.test_tracking import answers, client, job_runs

if TYPE_CHECKING:
    from mlflow.entities import Run

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


STUDY = """\
name: searched
seed: 3
steps:
  fit: {call: "fit:fit", outputs: {model: m.txt}, metrics: metrics.json}
studies:
  tune: {step: fit, space: {rate: {float: [0, 1]}}, objectives: {loss: minimize}, trials: 6, window: 2}
"""
FIT = """\
import ml_experiment


def fit(model, rate=0.5):
    for step in range(3):
        ml_experiment.report(step, rate / (step + 1))
    open(model, "w").write("m")
    return {"loss": abs(rate - 0.25)}
"""


@contextmanager
def served(words: Sequence[str], folder: Path, log: Path) -> Iterator[None]:
    """A server while the block runs."""
    with log.open("wb") as stream:
        page = subprocess.Popen(
            words, cwd=folder, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(page.pid, signal.SIGTERM)
        page.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def page_of(project: Project, run: Run, folder: Path, *expected: str) -> tuple[str, str]:
    """A run on MLflow's page, as `ml-experiment ui` serves it, and what that says."""
    port = free_port()
    words = [sys.executable, "-m", "ml_experiment.cli.main", "ui", "--port", str(port)]
    with served(words, project.folder, folder / "log"):
        address = f"http://127.0.0.1:{port}"
        answers(address)
        path = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        shown = _dom(f"{address}/{path}", folder, *expected)
    return shown, (folder / "log").read_text()


@pytest.mark.engine("chromium")
def test_a_run_on_the_page(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "small")
    assert project.ours("track").returncode == 0
    (run,) = (r for r in job_runs(project) if r.info.run_name == "fit/method=mean/seed-1")
    shown, told = page_of(project, run, tmp_path, "724125127", "draw")
    for expected in ("4.997", "results/prepare/table.csv", "ml_experiment.seed"):
        assert expected in shown
    assert "page will be at http://127.0.0.1:" in told


@pytest.mark.engine("chromium", "optuna_dashboard")
def test_a_study_on_both_pages(make: Make, tmp_path: Path) -> None:
    project = make(STUDY, fit_py=FIT)
    project.tracked = True
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    best = json.loads((project.folder / "results/tune/best.json").read_text())
    (run,) = (r for r in job_runs(project) if r.info.run_name == f"tune/trial-{best['number']:05d}")
    shown, _ = page_of(project, run, tmp_path, "ml_experiment.trial", "loss")
    assert str(best["params"]["rate"])[:8] in shown
    study = client(project).get_run(run.data.tags["mlflow.parentRunId"])
    assert study.data.metrics == best["values"]
    params = {"best_trial": best["number"], **best["params"]}
    assert study.data.params == {name: as_text(value) for name, value in params.items()}

    port = free_port()
    dashboard = [str(Path(sys.executable).parent / "optuna-dashboard"), "--server", "wsgiref"]
    words = [*dashboard, "--port", str(port), "results/tune/view/journal.log"]
    with served(words, project.folder, tmp_path / "log2"):
        address = f"http://127.0.0.1:{port}/dashboard/"
        answers(address)
        shown = _dom(f"{address}studies/0", tmp_path, "Best Trial (number=")
    assert "tune" in shown
    assert f"Best Trial (number={best['number']})" in shown


def _dom(address: str, folder: Path, *expected: str) -> str:
    """What a browser makes of a page. Asked again while its scripts are still at work."""
    shown = ""
    for attempt in range(3):
        profile = f"--user-data-dir={folder / f'browser{attempt}'}"
        words = ["chromium", *QUIET, profile, "--virtual-time-budget=30000", "--dump-dom", address]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)
        shown = done.stdout
        if all(text in shown for text in expected):
            break
    for text in expected:
        assert text in shown
    return shown
