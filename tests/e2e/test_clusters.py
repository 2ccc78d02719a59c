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

from ml_experiment import marked
from tests import slurm
from tests.conftest import available, lacking
from tests.e2e.law import SNAKEFILE, canonical
from tests.e2e.project import REPOSITORY, Project, scaffold
from tests.e2e.ray_cluster import RayCluster

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
def nothing(hidden: Path) -> Iterator[Mapping[str, str]]:
    """For what needs to be started by nobody: no variables more."""
    yield {}


@contextlib.contextmanager
def local_ray(hidden: Path) -> Iterator[Mapping[str, str]]:
    """A Ray that the run itself starts, whatever the machine's environment says."""
    needs_ray()
    yield {"RAY_ADDRESS": "local"}


@contextlib.contextmanager
def two_nodes(hidden: Path) -> Iterator[Mapping[str, str]]:
    """A head with one processor, and a node with another that does not see the project."""
    needs_ray()
    cluster = RayCluster(hidden)
    try:
        cluster.add()
        yield {"RAY_ADDRESS": cluster.address, **cluster.environ}
    finally:
        cluster.stop()


def needs_ray() -> None:
    """Skip, or fail, where it is not to be had."""
    if not available("ray") or not available("unshare"):
        lacking("not on this machine: ray or unshare")


@contextlib.contextmanager
def slurm_cluster(hidden: Path | None = None) -> Iterator[Mapping[str, str]]:
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
        started: what has to be there meanwhile, given a folder that other machines do not see;
            gives variables of the environment.
    """

    name: str
    words: tuple[str, ...]
    started: Callable[[Path], AbstractContextManager[Mapping[str, str]]] = nothing


# A look every 12 s: by then a job has ended, and after a look in vain the next one is 22 s away.
SLURM = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "12")
RAY = ("--workflow-profile", "profiles/ray")
WAYS = (
    Way("forkserver", ("-e", "forkserver", "--cores", "2")),
    Way("ray", (*RAY, "--cores", "2"), local_ray),
    Way("ray-two-nodes", RAY, two_nodes),
    Way("slurm", SLURM, slurm_cluster),
)
STUDY = "results/tune/best.json"  # of the demonstration


def project(folder: Path, experiment: str = EXPERIMENT, steps: str = STEPS) -> Project:
    """A project with every profile that there is."""
    made = scaffold(
        folder, {"experiment.yaml": experiment, "steps.py": steps, "Snakefile": SNAKEFILE}
    )
    for profile in sorted((REPOSITORY / "profiles").glob("*/config.yaml")):
        made.write(f"profiles/{profile.parent.name}/config.yaml", profile.read_text("utf-8"))
    return made


def digits(folder: Path) -> Project:
    """The demonstration as `init` makes it, with fewer trials, which depend on each other sooner."""
    folder.mkdir(parents=True)
    made = Project(folder)
    assert made.ours("init").returncode == 0
    assert made.ours("init", "--profiles").returncode == 0
    early = (
        "trials: 12\n    sampler: {tpe: {n_startup_trials: 2}}"  # so that TPE makes the last ones
    )
    made.edit("experiment.yaml", "trials: 40", early)
    return made


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The digits study by Snakemake's own executor, one job at a time."""
    made = digits(tmp_path_factory.mktemp("everywhere") / "serial")
    done = made.call("snakemake", "-e", "local", "--cores", "1", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_digits_study_is_the_same_whoever_runs_it(
    way: Way, serial: Project, tmp_path: Path
) -> None:
    made = digits(tmp_path / "project")
    with way.started(tmp_path) as environ:
        done = made.call("snakemake", *way.words, STUDY, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert canonical(made) == canonical(serial)
        again = made.call("snakemake", "--dry-run", *way.words, STUDY, **environ)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert made.files("results") == serial.files("results")


def test_failures_and_retries_are_the_same_on_slurm(tmp_path: Path) -> None:
    one, other = project(tmp_path / "one"), project(tmp_path / "other")
    done = one.call("snakemake", "--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    with slurm_cluster():
        done = other.call("snakemake", *SLURM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert other.files("results") == one.files("results")


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


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < until:
        time.sleep(0.2)
    return done


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_nothing_of_a_run_goes_on_in_slurm_when_it_has_ended(
    how: signal.Signals, tmp_path: Path
) -> None:
    made = project(tmp_path / "project", EXPERIMENT.replace("trials: 5", "trials: 3"), LONG)
    mark = secrets.token_hex(8)

    def left() -> list[int]:
        return marked.processes(f"ML_EXPERIMENT_TEST_MARK={mark}")

    with slurm_cluster() as environ:
        variables = {
            **os.environ,
            **environ,
            "ML_EXPERIMENT_TEST_MARK": mark,
            "SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "1",
        }
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                ["snakemake", *SLURM], cwd=made.folder, env=variables, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        assert wait_until(lambda: len(list(made.folder.glob("begun-*"))) == 3), log_of(tmp_path)
        os.killpg(process.pid, how)
        assert wait_until(lambda: process.poll() is not None, 20), "Snakemake goes on"
        assert wait_until(lambda: not left()), [command_of(pid) for pid in left()]
        assert "Traceback" not in log_of(tmp_path)
        if how == signal.SIGKILL:
            made.call("snakemake", "--unlock")
        done = made.call("snakemake", *SLURM, **environ, QUICK="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(canonical(made)) == 5


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8").replace("\0", " ")
    return "one that has just ended"


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


REFUSED = """\
name: refused
steps:
  big: {run: "touch {outputs.file}", outputs: {file: file.txt}, mem_mb: 9000000}
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


def test_a_job_that_slurm_refuses_says_so_and_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    made = project(tmp_path / "project", REFUSED)
    made.write("logs/big.log", "of another time")
    os.utime(made.folder / "logs/big.log", (0, 0))
    with slurm_cluster():
        done = made.call("snakemake", *SLURM)
    assert done.returncode == 1
    _, _, card = done.stderr.partition("failed: big")
    assert "│ sbatch: error: Batch job submission failed: Requested node" in card, done.stderr
    assert "of another time" not in card
    assert "sbatch call" not in card


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
