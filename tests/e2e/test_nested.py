"""The Snakemake that an executor starts on a node, for one job: it does what the first one decided.

What it is given here is what Snakemake's executors give it; tests/e2e/test_clusters.py has real ones.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.law import SNAKEFILE
from tests.e2e.project import Project, scaffold

EXPERIMENT = """\
name: nested
seed: 11
steps:
  features:
    call: steps:features
    params: {components: 1}
    outputs: {table: table.txt}
  fit:
    call: steps:fit
    inputs: {table: features.table}
    params: {x: 0.5}
    outputs: {model: model.txt}
    metrics: metrics.json
    retries: 2
studies:
  tune:
    step: fit
    space: {features.components: {int: [1, 2]}, x: {float: [0, 1]}}
    objectives: {loss: minimize}
    trials: 6
    window: 3
    keep: all
"""
STEPS = """\
import os
import pathlib
import random


def features(components, table):
    pathlib.Path(table).write_text(f"{components} {random.random()}")


def fit(table, model, x):
    if os.environ.get("FAIL"):
        with open("tried", "a") as file:
            file.write("once\\n")
        raise SystemExit(3)
    pathlib.Path(model).write_text(f"{pathlib.Path(table).read_text()} {x}")
    return {"loss": x}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    files = {"experiment.yaml": EXPERIMENT, "steps.py": STEPS, "Snakefile": SNAKEFILE}
    project = scaffold(tmp_path_factory.mktemp("nested") / "done", files)
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return project


@pytest.fixture
def project(done: Project, tmp_path: Path) -> Project:
    return done.copy(tmp_path / "project")


def nested(
    project: Project, rule: str, trial: str, attempt: int = 1, **environ: str
) -> subprocess.CompletedProcess[str]:
    """A job, as executors have it run on a node."""
    return project.call(
        "python", "-m", "snakemake", "--snakefile", str(project.folder / "Snakefile"),
        "--target-jobs", f"{rule}:trial={trial}", "--allowed-rules", rule, "--cores", "all",
        "--attempt", str(attempt), "--force-use-threads", "--force",
        "--target-files-omit-workdir-adjustment", "--max-inventory-time", "0", "--retries", "0",
        "--nocolor", "--no-hooks", "--nolock", "--ignore-incomplete", "--mode", "remote", **environ,
    )  # fmt: skip


def state(project: Project) -> dict[str, object]:
    """What no job may touch: records, and key files with their times."""
    root = project.folder / ".ml_experiment"
    keys = {str(file): file.stat().st_mtime_ns for file in root.glob("keys/**/*.json")}
    return {"keys": keys, "records": (root / "records.jsonl").read_bytes()}


def test_it_makes_the_same_and_records_nothing(project: Project) -> None:
    before, files = state(project), project.files()
    for part in ("/features", ""):
        (project.folder / f"results/tune/trial-00004{part}/status.json").unlink()
    for rule in ("tune.trial.features", "tune.trial"):
        ran = nested(project, rule, "00004")
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert project.files() == files
    assert state(project) == before


def test_what_an_earlier_trial_has_made_is_taken_over(project: Project) -> None:
    folders = [f"results/tune/trial-{number:05}/features" for number in range(6)]
    tables = [(project.folder / folder / "table.txt").read_text() for folder in folders]
    number = next(n for n in range(3, 6) if tables[n] in tables[:n])
    ran = nested(project, "tune.trial.features", f"{number:05}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    log = (project.folder / f"logs/tune/trial-{number:05}/features.log").read_text()
    assert f"made of the same as {folders[tables.index(tables[number])]}" in log


def test_whoever_started_it_counts_the_attempts(project: Project) -> None:
    tried = project.folder / "tried"
    status = project.folder / "results/tune/trial-00003/status.json"
    for attempt in (1, 2):
        ran = nested(project, "tune.trial", "00003", attempt, FAIL="1")
        assert ran.returncode != 0
        assert tried.read_text() == attempt * "once\n"
        assert not status.exists()
    ran = nested(project, "tune.trial", "00003", 3, FAIL="1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"state":"failed"' in status.read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("experiment.yaml", "{x: 0.5}", "{x: 0.5, y: 1}", "parameter y"),
        ("experiment.yaml", "seed: 11", "seed: 12", "seed"),
        ("steps.py", "SystemExit(3)", "SystemExit(4)", "code steps.py"),
    ],
)
def test_a_job_that_was_edited_while_it_waited_is_not_run(
    project: Project, file: str, old: str, new: str, what: str
) -> None:
    before = state(project)
    project.edit(file, old, new)
    project.edit("steps.py", "table, model, x)", "table, model, x, y=0)")
    ran = nested(project, "tune.trial", "00003")
    assert ran.returncode != 0
    log = (project.folder / "logs/tune/trial-00003.log").read_text()
    assert what in log
    assert log.endswith("changed since this run began: the next one runs it\n")
    assert state(project) == before
