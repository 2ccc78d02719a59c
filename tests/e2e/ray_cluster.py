"""A Ray cluster of this machine alone: a head, and nodes that cannot see the projects of tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from ml_experiment import marked

BIN = Path(sys.executable).parent
HEAD = "127.0.0.2"  # loopback too; Ray puts the machine's address in the place of 127.0.0.1
SLOW = "node timed out during startup"  # after 30 s, which Ray has no setting for
PATIENCE = 60.0  # seconds until a node has to be there
ENVIRON = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


class RayCluster:
    """A head with one processor. `hidden` is what its other nodes do not see."""

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden
        self.folder = Path(tempfile.mkdtemp(prefix="mlx-"))  # short: Ray's sockets are in it
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32))
        with socket.socket() as free:
            free.bind((HEAD, 0))
            self.address = f"{HEAD}:{free.getsockname()[1]}"
        self.environ = {**ENVIRON, "RAY_AUTH_TOKEN_PATH": str(token)}
        port = self.address.partition(":")[2]
        words = ["--head", f"--port={port}", "--include-dashboard=false"]
        self.head = self._start(*words, f"--temp-dir={self.folder}/ray")
        self.nodes: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        """A node more, with one processor, two GPUs, as it says, and the resource `away`."""
        script = f'mount -t tmpfs none {self.hidden} && exec "$@"'
        user = ["--map-root-user"] if os.geteuid() else []
        before = ["unshare", "--mount", *user, "bash", "-c", script, "bash"]
        words = [f"--address={self.address}", "--num-gpus=2", '--resources={"away": 100}']
        self.nodes.append(self._start(*words, before=before))

    def _start(self, *words: str, before: list[str] | None = None) -> subprocess.Popen[bytes]:
        log = self.folder / f"{secrets.token_hex(4)}.log"
        common = [f"--node-ip-address={HEAD}", "--num-cpus=1", "--disable-usage-stats", "--block"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*(before or []), str(BIN / "ray"), "start", *words, *common],
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while b"Ray runtime started" not in log.read_bytes():
            if process.poll() is not None and SLOW in log.read_text():
                return self._start(*words, before=before)
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        return process

    def stop(self) -> None:
        """End all of it, and leave nothing."""
        for process in [*self.nodes, self.head]:
            kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """A node, at once and with all its processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def groups(run: str) -> dict[int, int]:
    """The processes with the marker of a run, and their groups."""
    found = {}
    for pid in marked.processes(f"ML_EXPERIMENT_RUN={run}"):
        with contextlib.suppress(ProcessLookupError):
            found[pid] = os.getpgid(pid)
    return found


def guards(run: str) -> dict[int, list[str]]:
    """The guards of a run, and the folders that they are to remove."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_text().split("\0")
            if "ml_experiment.guard" in words and run in " ".join(words):
                found[int(entry.name)] = [
                    w for w in words if w.startswith("/tmp/") and "warm" not in w
                ]
    return found


def alive(groups: Iterable[int]) -> list[int]:
    """Those process groups that have a member."""
    return [group for group in groups if marked.lives(group)]
