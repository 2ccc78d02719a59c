"""Slurm's jobs of a run of Snakemake: none goes on when that has ended, however it did.

Snakemake's executor for Slurm gives the jobs of a run one name and says which. Interrupted, it
cancels them; killed, it cannot. So a process beside it waits for its end and cancels what is left
(`services/slurm_end`), and a run that finds an earlier one's jobs, because that process was killed as
well, cancels them before its own begin.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from ml_experiment.plan import STATE

NAMED = re.compile(r"SLURM run ID: ([\w.-]+)$")  # what the executor says before the first job
ENDING = b"ending\n"
GRACE = 2.0  # seconds that a job has to end by itself
PATIENCE = 60.0  # seconds that jobs have to be gone
PAUSE = 0.3
PR_SET_PDEATHSIG = 1  # prctl(2)


class Watch:
    """The process that waits for this one's end; it knows that by its standard input."""

    def __init__(self, folder: Path, run: str) -> None:
        words = [sys.executable, "-P", "-m", "ml_experiment.services.slurm_end", str(folder), run]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._timer: threading.Timer | None = None

    def interrupt(self) -> None:
        """Somebody has interrupted Snakemake: see that it ends.

        The executor cancels its jobs and then waits until it would look at them again, which may be
        three minutes away. A second Ctrl-C ends that wait, and everything else in its order.
        """
        main = threading.main_thread().ident
        self._timer = threading.Timer(GRACE, signal.pthread_kill, [main, signal.SIGINT])
        self._timer.daemon = True
        sys.excepthook = _without_interrupts
        self._timer.start()

    def end(self) -> None:
        """The run is over: what is left of it is cancelled, if there is anything."""
        if self._timer is not None:
            self._timer.cancel()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)


def _without_interrupts(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """What went wrong, as always; that somebody has interrupted it they know."""
    if kind is not KeyboardInterrupt:
        sys.__excepthook__(kind, error, traceback)


def end_with_job(environ: Mapping[str, str]) -> None:
    """In the Snakemake that a job of Slurm starts: it is not to outlive what has started it.

    Slurm asks a job to end by SIGTERM, and Snakemake's answer to that takes a lock which the thread
    it interrupts may hold: then it waits for itself. Its parent, the job's script, has ended by then,
    and where Slurm knows processes by their parents (proctrack/linuxproc) nobody ever ends it.
    """
    if "SLURM_JOB_ID" in environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(folder: Path, run: str, parent: IO[bytes]) -> None:
    """Until a run of Snakemake has ended, then until none of its jobs is left.

    Args:
        folder: the workspace.
        run: the name of its jobs.
        parent: what is open as long as Snakemake lives.
    """
    file = folder / STATE / "slurm" / run
    file.parent.mkdir(parents=True, exist_ok=True)
    with _held(file) as (held, known):
        if not held:
            return
        parent.read()
        known.write(ENDING)
        known.flush()
        if end(run):
            file.unlink(missing_ok=True)


def end_leftovers(folder: Path) -> list[str]:
    """Cancel what earlier runs of a workspace have left in Slurm, and wait until it is gone.

    A run that is alive is left alone; that there is only one is Snakemake's own affair.

    Returns:
        What to say of it.
    """
    told = []
    for file in sorted((folder / STATE / "slurm").glob("*")):
        until = time.monotonic() + PATIENCE
        while file.exists():
            with _held(file) as (held, known):
                if held:
                    left = len(jobs(file.name) or ())
                    if end(file.name):
                        file.unlink(missing_ok=True)
                        if left:
                            what = "1 job" if left == 1 else f"{left} jobs"
                            verb = "was" if left == 1 else "were"
                            told.append(f"{what} of an earlier run {verb} in Slurm: cancelled")
                        break
                elif known.read() != ENDING:
                    break
            if time.monotonic() > until:
                told.append(f"jobs of an earlier run may still be in Slurm: scancel -n {file.name}")
                break
            time.sleep(PAUSE)
    return told


def end(run: str) -> bool:
    """Cancel the jobs of a run until there are none; false where that is not known in time."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        left = jobs(run)
        if left == []:
            return True
        if time.monotonic() - began > GRACE:
            _slurm("scancel", "--signal=KILL", "--full", f"--name={run}")
        _slurm("scancel", f"--name={run}")  # again: one may have been on its way into the queue
        time.sleep(PAUSE)
    return False


def jobs(run: str) -> list[str] | None:
    """The jobs of a run that wait, run or are about to end; None where Slurm does not say."""
    told = _slurm("squeue", "--noheader", "--format=%i", f"--name={run}")
    return None if told is None else told.split()


def _slurm(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@contextlib.contextmanager
def _held(file: Path) -> Iterator[tuple[bool, IO[bytes]]]:
    """A run's file, and whether nobody else holds it."""
    with file.open("a+b") as known:
        try:
            fcntl.flock(known, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            known.seek(0)
            yield False, known
        else:
            yield True, known
