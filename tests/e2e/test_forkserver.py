"""The forkserver executor: same results, faster, and nothing left behind."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import marked
from tests.e2e.project import Make, Project

EXPERIMENT = """\
name: warm
seed: 3
steps:
  fit:
    call: "fit:fit"
    outputs: {model: model.txt}
    metrics: metrics.json
  script:
    run: python script.py {outputs.text} {replicate} | cat > {outputs.piped}
    outputs: {text: text.txt, piped: piped.txt}
    replicates: 3
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}}
    objectives: {score: minimize}
    trials: 8
    window: 2
"""
FIT = """\
import os
import random
import sys
import numpy as np


def fit(model, x=0.5, trial=0):
    names = ("BASH_ENV", "ML_EXPERIMENT_WARM", "ML_EXPERIMENT_LEARN", "ML_EXPERIMENT_BASH_ENV")
    assert not [name for name in names if name in os.environ]
    left = open(model, "w")  # never closed
    left.write(f"{x} {random.random()} {np.random.rand()} {np.random.default_rng().random()} {sys.argv}")
    left.write(str([path.replace(os.getcwd(), ".") for path in sys.path]))
    fit.left = left
    print("warm" if os.getpgrp() == os.getpid() else "cold")
    if trial == 3:
        raise ValueError("no")
    return {"score": (x - 0.3) ** 2}
"""
SCRIPT = """\
import os, sys
import numpy
if __name__ == "__main__":
    path = [each.replace(os.getcwd(), ".") for each in sys.path]
    open(sys.argv[1], "w").write(f"{numpy.random.rand()} {path}")
    print(__file__[-9:], sys.argv[2:])
"""
SLEEP = """\
import os, sys, time, numpy
if len(sys.argv) > 3:
    open(sys.argv[3], "w").write(str(os.getpid()))
    time.sleep(600)
open(sys.argv[1], "w").close()
"""


@pytest.fixture
def warm(make: Make) -> Project:
    return make(EXPERIMENT, fit_py=FIT, script_py=SCRIPT)


def run(project: Project, executor: str, *words: str) -> None:
    done = project.call("snakemake", "--cores", "2", "-e", executor, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def reports(project: Project) -> dict[str, Any]:
    """What the boot reports tell, but for where and when, by job."""
    found = {}
    for file in sorted((project.folder / ".ml_experiment/boot").rglob("*.jsonl")):
        line = json.loads(file.read_text().splitlines()[0])
        for own in ("memory", "process"):
            del line[own]
        found[file.stem] = line
    return found


def test_same_bytes_same_reports(warm: Project, tmp_path: Path) -> None:
    cold = warm.copy(tmp_path / "cold")
    run(cold, "local")
    run(warm, "forkserver")
    logs = [file.read_text() for file in sorted((warm.folder / "logs/tune").glob("trial-*.log"))]
    assert sum("warm" in log for log in logs) >= 5  # those that began before the first had ended
    assert "Traceback" in logs[3]
    assert "warm.py" not in logs[3]
    assert {p: d for p, d in warm.files().items() if "view" not in p} == {
        p: d for p, d in cold.files().items() if "view" not in p
    }
    assert reports(warm) == reports(cold)


def test_a_foreign_snakefile_is_left_as_it_is(tmp_path: Path) -> None:
    text = """\
rule all:
    input: "a.txt", "b.txt", "c.txt"
rule shell:
    output: "a.txt"
    benchmark: "a.tsv"
    shadow: "minimal"
    shell: "python -c 'print(1)' > {output}"
rule run:
    output: "b.txt"
    run: open(output[0], "w").close()
rule retried:
    output: "c.txt"
    retries: 1
    resources: attempt=lambda wildcards, attempt: attempt
    shell: "test {resources.attempt} = 2 && touch {output}"
"""
    (tmp_path / "Snakefile").write_text(text)
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "-e", "forkserver"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.tsv").exists()
    assert not (tmp_path / ".ml_experiment").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("learned", [False, True])
def test_nothing_is_left(make: Make, tmp_path: Path, number: int, learned: bool) -> None:
    experiment = """\
name: ends
seed: 3
steps:
  fit:
    run: python sleep.py {outputs.done} {replicate}
    outputs: {done: done.txt}
    replicates: 2
"""
    project = make(experiment, sleep_py=SLEEP)
    if learned:
        run(project, "forkserver")
    pids, folders = tmp_path / "pids", tmp_path / "folders"
    pids.mkdir()
    folders.mkdir()
    # the same code, so that what was learned holds, and other arguments
    project.edit("experiment.yaml", "{replicate}", f"{{replicate}} {pids}/{{replicate}}")
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "-e", "forkserver"],
        cwd=project.folder,
        env={**os.environ, "TMPDIR": str(folders)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while len([f for f in pids.iterdir() if f.read_text()]) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    jobs = [int(file.read_text()) for file in pids.iterdir()]
    assert len(jobs) == 2
    assert [os.getpgid(pid) == pid for pid in jobs] == [learned, learned]
    os.kill(running.pid, number)
    until = time.monotonic() + 30
    while alive(jobs) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(jobs)
    running.wait(timeout=30)
    until = time.monotonic() + 30
    while (
        list(folders.glob("ml-experiment-*")) or marked.processes(f"TMPDIR={folders}")
    ) and time.monotonic() < until:
        time.sleep(0.1)
    assert not list(folders.glob("ml-experiment-*"))
    assert not marked.processes(f"TMPDIR={folders}")


def alive(pids: list[int]) -> list[int]:
    """Those that run still; one that nobody has waited for does not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def test_the_contact_with_snakemake() -> None:
    """The private names that the executor goes by."""
    from snakemake.executors import local
    from snakemake.shell import shell
    from snakemake_executor_plugin_forkserver.executor import RESOURCES, is_known

    assert is_known()
    assert list(inspect.signature(local.Executor.cancel).parameters) == ["self"]
    given = inspect.signature(local.Executor.cached_or_run).parameters
    assert list(given) == ["self", "job", "run_func", "args"]
    assert list(inspect.signature(local.run_wrapper).parameters)[RESOURCES] == "resources"
    # a job's resources say which shell, and its name says whether it is strict
    assert 'resources.get("shell_exec")' in inspect.getsource(shell.__new__)
    assert shell._get_process_prefix("/elsewhere/bash") == "set -euo pipefail; "
