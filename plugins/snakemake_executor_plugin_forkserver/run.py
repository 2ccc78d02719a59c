"""The folder of a run's warm servers, and the guard that ends the run's processes with it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ml_experiment import guard, marked

LEARNED = Path(".ml_experiment/warm")
KEPT = 50  # lists of imports, of as many versions of steps
PATIENCE = 10.0  # seconds that kept containers have for ending
PAUSE = 0.02

# A shell that has devices: FOLDER/SHELL is this file, FOLDER/of/SHELL the shell itself.
SHELL = """\
#!/bin/sh
lease=${0%/*}
read -r CUDA_VISIBLE_DEVICES < "$lease/devices"
export CUDA_VISIBLE_DEVICES
exec "$lease/of/${0##*/}" "$@"
"""


class Run:
    """What one run of Snakemake holds open.

    Servers watch the FIFO `alive`, the guard its standard input; both see the end of this process,
    however it comes.

    Args:
        workspace: the folder that Snakemake runs in.
    """

    def __init__(self, workspace: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ml-experiment-"))
        self._alive = -1
        # Written before any job runs: a file that is open for writing, which a fork at that moment
        # may keep it for a while, cannot be run.
        self._shell = self.folder / "shell"
        self._shell.write_text(SHELL, "utf-8")
        self._shell.chmod(0o700)
        self._shells: dict[tuple[str, str], str | None] = {}
        self._lock = threading.Lock()
        if (Path(workspace) / LEARNED.parent).is_dir():  # an experiment's
            self._offer(Path(workspace) / LEARNED)
        os.environ[marked.VARIABLE] = run = secrets.token_hex(8)
        self._guard = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                marked.__file__,
                f"{marked.VARIABLE}={run}",
                str(self.folder),
            ],
            stdin=subprocess.PIPE,
            env=marked.without(os.environ),
            start_new_session=True,  # Ctrl-C is for Snakemake
        )

    def _offer(self, learned: Path) -> None:
        lists = sorted(learned.glob("*.json"), key=lambda file: (file.stat().st_mtime, file.name))
        for old in lists[:-KEPT]:
            old.unlink(missing_ok=True)
        self._alive = guard.offer(str(self.folder), str(learned))
        os.environ["ML_EXPERIMENT_WARM"] = str(self.folder)

    def shell(self, devices: str, called: str) -> str | None:
        """A program that is the shell `called`, with `devices` as CUDA_VISIBLE_DEVICES.

        Its file has the shell's name, by which Snakemake knows what bash takes. None where there
        is no such shell, or no file in the run's folder can be run.
        """
        with self._lock:
            if (devices, called) not in self._shells:
                self._shells[devices, called] = self._made(devices, shutil.which(called))
            return self._shells[devices, called]

    def _made(self, devices: str, path: str | None) -> str | None:
        if path is None or not os.access(self._shell, os.X_OK):
            return None
        lease = self.folder / "gpus" / str(len(self._shells))
        (lease / "of").mkdir(parents=True)
        (lease / "devices").write_text(f"{devices}\n", "utf-8")
        name = os.path.basename(path)
        (lease / "of" / name).symlink_to(path)
        (lease / name).symlink_to(self._shell)
        return str(lease / name)

    def end(self, *, kill: bool) -> list[str]:
        """End the servers, and with `kill` every process of the run.

        Returns:
            Why programs were started cold, each reason once.
        """
        os.environ.pop("ML_EXPERIMENT_WARM", None)
        try:
            told = (self.folder / "reasons").read_text("utf-8").splitlines()
        except FileNotFoundError:
            told = []
        if self._alive >= 0:
            os.close(self._alive)
        self._wait_for_containers()
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(b"" if kill else b"done")
            self._guard.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._guard.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._guard.kill()
        return sorted(set(told))

    def _wait_for_containers(self) -> None:
        """Each has a folder (boot/kept.sh), and a file in it once it has ended."""
        until = time.monotonic() + PATIENCE
        for container in self.folder.glob("kept/*/*"):
            while not (container / "ended").exists() and time.monotonic() < until:
                time.sleep(PAUSE)
