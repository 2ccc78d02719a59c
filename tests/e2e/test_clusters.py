"""The same study, whoever runs it: the files of its trials are equal to the byte."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import slurm
from tests.conftest import lacking
from tests.e2e.project import REPOSITORY, Project, scaffold
from tests.e2e.test_studies import SNAKEFILE, canonical

EXPERIMENT = """\
name: everywhere
seed: 11
steps:
  fit:
    call: steps:fit
    params: {x: 0.5, kind: a}
    outputs: {model: model.txt}
    metrics: metrics.json
    retries: 1
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}, kind: [a, b]}
    objectives: {loss: minimize}
    sampler: {tpe: {n_startup_trials: 2}}
    trials: 5
    window: 3
"""
STEPS = '''\
"""One trial fails at first and one never converges; the others depend on their seed."""
import pathlib
import random


def fit(model, x, kind, trial):
    flag = pathlib.Path("tried-once")
    if trial == 1 and not flag.exists():
        flag.touch()
        raise SystemExit(3)
    if trial == 2:
        raise SystemExit("it does not converge")
    pathlib.Path(model).write_text(f"{x} {kind} {random.random()}")
    return {"loss": (x - 0.3) ** 2 + (kind == "a") / 10 + random.random() / 50}
'''


@contextlib.contextmanager
def nothing() -> Iterator[Mapping[str, str]]:
    """For what needs to be started by nobody: no variables more."""
    yield {}


@contextlib.contextmanager
def slurm_cluster() -> Iterator[Mapping[str, str]]:
    """One node with four CPUs."""
    if reason := slurm.missing():
        lacking(reason)
    with slurm.running():
        yield {}


@dataclass(frozen=True)
class Way:
    """A way to run a study.

    Attributes:
        name: of the test.
        words: behind `snakemake`.
        started: what has to be there meanwhile; gives variables of the environment.
    """

    name: str
    words: tuple[str, ...]
    started: Callable[[], AbstractContextManager[Mapping[str, str]]] = nothing


# A look every 12 s: by then a job has ended, and after a look in vain the next one is 22 s away.
SLURM = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "12")
WAYS = (
    Way("cores-2", ("--cores", "2")),
    Way("slurm", SLURM, slurm_cluster),
)


def project(folder: Path, experiment: str = EXPERIMENT, steps: str = STEPS) -> Project:
    """A project with every profile that there is."""
    made = scaffold(
        folder, {"experiment.yaml": experiment, "steps.py": steps, "Snakefile": SNAKEFILE}
    )
    for profile in sorted((REPOSITORY / "profiles").glob("*/config.yaml")):
        made.write(f"profiles/{profile.parent.name}/config.yaml", profile.read_text("utf-8"))
    return made


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The study, one job at a time."""
    made = project(tmp_path_factory.mktemp("everywhere") / "serial")
    done = made.call("snakemake", "--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_study_is_the_same_whoever_runs_it(way: Way, serial: Project, tmp_path: Path) -> None:
    made = project(tmp_path / "project")
    with way.started() as environ:
        done = made.call("snakemake", *way.words, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert canonical(made) == canonical(serial)
        again = made.call("snakemake", "--dry-run", *way.words, **environ)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert made.files("results") == serial.files("results")


# ---- ends ----------------------------------------------------------------------------------------

LONG = '''\
"""Takes a minute, unless it is told not to."""
import os
import pathlib
import time


def fit(model, x, kind, trial):
    pathlib.Path(f"begun-{trial}").touch()
    if not os.environ.get("QUICK"):
        time.sleep(60)
    pathlib.Path(model).write_text(f"{x} {kind}")
    return {"loss": x}
'''
MARK = "ML_EXPERIMENT_TEST_MARK"


def marked(mark: str) -> list[str]:
    """The processes with a mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text("utf-8").replace("\0", " "))
    return found


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < until:
        time.sleep(0.2)
    return done


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
@pytest.mark.parametrize("way", [way for way in WAYS if way.name == "slurm"], ids=lambda w: w.name)
def test_nothing_of_a_run_goes_on_when_it_has_ended(
    way: Way, how: signal.Signals, tmp_path: Path
) -> None:
    made = project(tmp_path / "project", EXPERIMENT.replace("trials: 5", "trials: 3"), LONG)
    mark = secrets.token_hex(8)
    with way.started() as environ:
        variables = {**os.environ, **environ, MARK: mark, "SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "1"}
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                ["snakemake", *way.words], cwd=made.folder, env=variables, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        assert wait_until(lambda: len(list(made.folder.glob("begun-*"))) == 3), log_of(tmp_path)
        os.killpg(process.pid, how)
        assert wait_until(lambda: process.poll() is not None, 20), "Snakemake goes on"
        assert wait_until(lambda: not marked(mark), 20), marked(mark)
        assert "Traceback" not in log_of(tmp_path)
        if how == signal.SIGKILL:
            made.call("snakemake", "--unlock")
        done = made.call("snakemake", *way.words, **environ, QUICK="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(canonical(made)) == 5


def log_of(folder: Path) -> str:
    return (folder / "log").read_text("utf-8")


# ---- what only a cluster does --------------------------------------------------------------------

ASKING = """\
name: asking
steps:
  device:
    run: |
      printf '{{"gpus": %s}}' "$SLURM_GPUS_ON_NODE" > {metrics}
    metrics: metrics.json
    gpus: 0.5
    timeout: 90s
  lost:
    run: "scancel $SLURM_JOB_ID; sleep 60; touch {outputs.file}"
    outputs: {file: file.txt}
"""


def test_a_job_asks_slurm_for_what_it_needs_and_tells_how_it_was_ended(tmp_path: Path) -> None:
    made = project(tmp_path / "project", ASKING)
    with slurm_cluster():
        done = made.call("snakemake", *SLURM, "--keep-going")
    assert done.returncode == 1
    assert made.json("results/device/metrics.json") == {"gpus": 1}
    _, _, card = done.stderr.partition("failed: lost")
    assert re.search(r"│ .*CANCELLED", card), done.stderr
    records = (made.folder / ".ml_experiment/records.jsonl").read_text("utf-8").splitlines()
    states = {record["job"]: record["state"] for record in map(json.loads, records)}
    assert states == {"device": "finished", "lost": "failed"}
    details = (made.folder / ".ml_experiment/details.jsonl").read_text("utf-8").splitlines()
    asked = next(
        d["resources"] for d in map(json.loads, details) if "gpu" in d.get("resources", {})
    )
    assert {name: asked[name] for name in ("gpu", "gpu_milli", "runtime")} == {
        "gpu": 1, "gpu_milli": 500, "runtime": 12
    }  # fmt: skip


def test_what_an_earlier_run_has_left_in_slurm_ends_before_the_next_begins(tmp_path: Path) -> None:
    """The process that cancels it was killed as well: a machine that was switched off."""
    made = project(tmp_path / "project")
    run = f"left-{secrets.token_hex(4)}"
    made.write(f".ml_experiment/slurm/{run}", "")
    with slurm_cluster():
        sent = made.call("sbatch", f"--job-name={run}", "--output=/dev/null", "--wrap=sleep 100")
        assert sent.returncode == 0, sent.stderr
        done = made.call("snakemake", "--cores", "2")
        left = made.call("squeue", "--noheader", f"--name={run}").stdout
    assert done.returncode == 0, done.stderr
    assert "1 job of an earlier run was in Slurm: cancelled" in done.stderr
    assert left == ""
    assert list((made.folder / ".ml_experiment/slurm").iterdir()) == []
