"""Processes known by their environment, and the program that ends them with Snakemake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_experiment import marked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def start(mark: str, command: str = "echo; exec sleep 100") -> subprocess.Popen[bytes]:
    """A program of a run, in a session of its own; when this returns it has printed a line."""
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        ["bash", "-c", command],
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def mark(tmp_path: Path) -> str:
    return f"ML_EXPERIMENT_RUN={tmp_path.name}-{os.getpid()}"


def test_only_what_was_started_with_the_whole_assignment_is_found(mark: str) -> None:
    with start(mark) as ours, start(f"{mark}x") as other:
        assert marked.processes(mark) == [ours.pid]
        for process in (ours, other):
            process.kill()
    assert marked.processes(mark) == []


def test_a_zombie_is_no_process(mark: str) -> None:
    with start(mark) as process:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert marked.processes(mark) == []
        os.killpg(process.pid, 0)  # what the kernel says of its group
        assert not marked.lives(process.pid)


def test_a_group_lives_as_long_as_one_of_it_does(mark: str) -> None:
    with start(mark, "sleep 100 & echo; exec sleep 100") as process:
        process.kill()
        process.wait()
        assert marked.lives(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while marked.lives(process.pid) and time.monotonic() < until:
            time.sleep(0.01)
        assert not marked.lives(process.pid)


def test_what_does_not_end_when_it_is_asked_is_killed(mark: str) -> None:
    with (
        start(mark, "trap 'exit 5' TERM; echo; sleep 100 & wait") as polite,
        start(mark, "trap '' TERM; echo; while true; do sleep 0.1; done") as deaf,
    ):
        began = time.monotonic()
        marked.end(mark, grace=0.5)
        assert time.monotonic() - began > 0.4  # as long as one does not end the others have to
    assert polite.returncode == 5
    assert deaf.returncode == -signal.SIGKILL
    assert marked.processes(mark) == []


@pytest.mark.parametrize("word", [b"done", b""], ids=["ended", "killed"])
def test_the_program_ends_a_run_that_its_snakemake_has_not(
    word: bytes, mark: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    program = subprocess.Popen(
        [sys.executable, "-I", "-S", marked.__file__, mark, str(folder)], stdin=subprocess.PIPE
    )
    with start(mark) as job:
        program.communicate(word, timeout=30)
        assert (job.poll() is None) == bool(word)
        job.kill()
    assert not folder.exists()
