"""Studies that are killed at random moments and gone on with: their files stay the same.

Which study a moment is of, and what is killed, follow from its number: in 48 moments every sampler
and pruner meets each kind. When it is killed is random: after so many of its trials, and a while.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.law import FIT, SUBJECTS, canonical, ended, experiment, of, run
from tests.e2e.project import Make, Project

MOMENTS = int(os.environ.get("ML_EXPERIMENT_FAULTS", "21"))
KILLS = 3  # of one run
KINDS = ("program", "snakemake", "group")
WHILE = 0.4  # seconds; a job of Snakemake takes about that long


class Runs:
    """Snakemake in a project, started again whenever it has ended or was killed."""

    def __init__(self, project: Project, **environ: str) -> None:
        self.project = project
        programs = Path(sys.executable).parent
        self._words = [str(programs / "snakemake"), "--cores", "2"]
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        offline = {"SNAKEMAKE_LOGGER_MLFLOW_OFFLINE": "true"}
        self._environ = {**os.environ, **offline, "PATH": path, **environ}
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._words, cwd=self.project.folder, env=self._environ, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def goes_on(self) -> bool:
        """Whether there is something to kill still; a run that has failed is begun again."""
        code = self._process.poll()
        if code:
            self._process = self._started()
        return code != 0

    def kill(self, kind: str, name: str) -> bool:
        """Kill one of three; false if no program of this study runs just now."""
        if kind == "program":
            return self._kill_program(f"results/s-{name}/")
        if kind == "snakemake":
            self._process.kill()  # what it has started goes on
        else:
            self.end()
        self._process.wait()
        self.project.snakemake("--unlock")
        return True

    def _kill_program(self, path: str) -> bool:
        shown = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="],
            capture_output=True,
            text=True,
            check=True,
        )
        for line in shown.stdout.splitlines():
            pid, group, words = line.split(maxsplit=2)
            if group == str(self._process.pid) and "python" in words.split()[0] and path in words:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    return True
        return False

    def end(self) -> None:
        """Kill all that runs; the number of one that has ended may be another's by now."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.mark.parametrize("first", range(0, MOMENTS - KILLS + 1, KILLS))
def test_a_run_that_was_killed_at_any_moment_is_gone_on_with(
    serial: Project, law: Make, tmp_path: Path, first: int
) -> None:
    draw = random.Random(first)
    names = [SUBJECTS[number % len(SUBJECTS)] for number in range(first, first + KILLS)]
    project = law(experiment(*names), fit_py=FIT)
    environ = {"SHUFFLE": str(first)}
    if first % 2:  # without attempts more, a program that is killed ends the run
        project.edit("experiment.yaml", "retries: 1", "retries: 0")
    else:
        environ["FLAGS"] = str(tmp_path / "flags")
        (tmp_path / "flags").mkdir()
    runs = Runs(project, **environ)
    try:
        for index, name in enumerate(names):
            number = first + index
            kind = KINDS[(number + number // len(SUBJECTS)) % len(KINDS)]
            trials = 3 * index + draw.randrange(3)
            while runs.goes_on() and ended(project.folder, name) < trials:
                time.sleep(0.02)
            time.sleep(draw.uniform(0, WHILE if trials else 2))
            while runs.goes_on() and not runs.kill(kind, name):
                time.sleep(0.01)
    finally:
        runs.end()
    project.snakemake("--unlock")
    run(project)
    assert canonical(project) == of(canonical(serial), names)
