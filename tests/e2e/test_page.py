"""MLflow's page, in a real browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.test_tracking import answers, job_runs

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.mark.engine("chromium")
def test_a_run_on_the_page(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "small")
    assert project.ours("track").returncode == 0
    (run,) = (r for r in job_runs(project) if r.info.run_name == "fit/method=mean/seed-1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "ml_experiment.cli.main", "ui", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        page = subprocess.Popen(
            words, cwd=project.folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        answers(address)
        path = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        shown = _dom(f"{address}/{path}", tmp_path)
    finally:
        os.killpg(page.pid, signal.SIGTERM)
        page.wait()
    for expected in (
        "724125127",
        "draw",
        "4.997",
        "results/prepare/table.csv",
        "ml_experiment.seed",
    ):
        assert expected in shown
    assert f"page will be at {address}" in (tmp_path / "log").read_text()


def _dom(address: str, folder: Path) -> str:
    """What a browser makes of a page. Asked again while its scripts are still at work."""
    shown = ""
    for attempt in range(3):
        profile = f"--user-data-dir={folder / f'browser{attempt}'}"
        words = ["chromium", *QUIET, profile, "--virtual-time-budget=30000", "--dump-dom", address]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)
        shown = done.stdout
        if "724125127" in shown and "draw" in shown:
            break
    return shown
