"""The process that starts the jobs of one worker on a node, and ends them when nobody wants them.

A worker can be killed at any moment: by its cluster, with its node, because the run was given up. It
has no say then in what becomes of its job, and the job's programs would run on. So they are children
of this process, which ends them when the worker has gone, or when Snakemake has: a connection to
it, the lifeline, breaks at once when Snakemake ends in whatever way.

    python -m ml_experiment.guard SOCKET FOLDER LEARNED LIFELINE MARKER [REMOVED]

SOCKET is the number of an open socket to the worker, FOLDER what this node has for the run, LEARNED
where it is kept what programs import (boot/warm.sh), or nothing for no warm servers, LIFELINE
`ADDRESS:PORT` of Snakemake, or nothing, MARKER the assignment that all processes of the run on this
node have in their environment. Guards of one node share the folder: the last one removes it, and
REMOVED too, and ends what is left of the run. Standard library only, and one thread: it forks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from ml_experiment import marked

LENGTH = struct.Struct("!I")
WARM = "warm"  # the folder of warm servers, in that of a run
PATIENCE = 1.0  # seconds between asking a job to end and ending it
REACHING = 5.0  # seconds for reaching Snakemake
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)  # which do not end a guard
SILENT = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))  # a machine without power


class Guard:
    """One worker's guard.

    Args:
        worker: the socket to it.
        folder: of the run on this node.
        learned: what warm servers have learned.
        lifeline: the socket to Snakemake, if there is one.
    """

    def __init__(
        self, worker: socket.socket, folder: str, learned: str, lifeline: socket.socket | None
    ) -> None:
        self.worker = worker
        self.lifeline = lifeline
        self.lock = hold(folder)
        self.alive = offer(os.path.join(folder, WARM), learned) if learned else -1
        self.folder = folder
        self.job: int | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._woken, wakes = socket.socketpair()
        for end in (self._woken, wakes):
            end.settimeout(0)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Run what the worker asks for, until it or Snakemake has gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.worker, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            if self.lifeline is not None:
                selector.register(self.lifeline, selectors.EVENT_READ)
            self._answer({"ready": True})
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                    self._reap()
                if self.lifeline in ready:  # nothing is ever sent on it
                    return
                if self.worker in ready and not self._take():
                    return

    def _take(self) -> bool:
        """One request; false where the worker has gone."""
        try:
            head, files, _, _ = socket.recv_fds(self.worker, LENGTH.size, 2)
            if not head:
                return False
            (length,) = LENGTH.unpack(head)
            request = pickle.loads(exactly(self.worker, length))  # noqa: S301  # of our own worker
        except OSError:
            return False
        try:
            self.job = self._start(request, *files)
        except Exception as error:  # noqa: BLE001  # whatever it is, the worker reports it
            self._answer({"trouble": f"{type(error).__name__}: {error}"})
        finally:
            for file in files:
                os.close(file)
        return True

    def _start(self, request: dict[str, Any], out: int, err: int) -> int:
        if "argv" in request:
            # Kept: an object that goes away waits for its process, whose status nobody hears then.
            self._program = subprocess.Popen(
                request["argv"],
                cwd=request["cwd"],
                env=request["env"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            return self._program.pid
        call = pickle.loads(request["call"])  # noqa: S301  # imports here, once for all jobs
        child = os.fork()
        if child == 0:
            _call(call, request, out, err)
        return child

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.job:
                self.job, code = None, os.waitstatus_to_exitcode(status)
                if self._program is not None and self._program.pid == pid:
                    self._program.returncode = code
                self._answer({"status": code})

    def _answer(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        with contextlib.suppress(OSError):
            self.worker.sendall(LENGTH.pack(len(body)) + body)

    def leave(self, marker: str, removed: list[str]) -> None:
        """End the job; the last guard of a node leaves nothing behind."""
        if self.job is not None:
            end_group(self.job)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        marked.end(marker, grace=0)
        end_containers(marker.partition("=")[2])
        for folder in [self.folder, *removed]:
            shutil.rmtree(folder, ignore_errors=True)


def hold(folder: str) -> IO[bytes]:
    """A shared lock in a folder, which is made where it is not there."""
    path = os.path.join(folder, "lock")
    while True:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file = open(path, "ab")  # noqa: SIM115  # as long as this process lives
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file.fileno()).st_ino == os.stat(path).st_ino:
                return file
            file.close()  # somebody has removed it in between


def offer(folder: str, learned: str) -> int:
    """A folder for warm servers, which live as long as somebody holds its FIFO open."""
    alive = os.path.join(folder, "alive")
    os.makedirs(folder, exist_ok=True)
    os.makedirs(learned, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(learned, os.path.join(folder, "learned"))
    with contextlib.suppress(FileExistsError):
        os.mkfifo(alive, 0o600)
    return os.open(alive, os.O_RDWR | os.O_CLOEXEC)


def exactly(connection: socket.socket, length: int) -> bytes:
    """So many bytes. Raises ConnectionError where the other side ends before."""
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 20))
        if not part:
            raise ConnectionError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def end_containers(node: str) -> None:
    """Remove the containers of a run on this node: a program that is killed leaves its own."""
    listing = ["docker", "ps", "--all", "--quiet", "--filter", f"label=ml-experiment.node={node}"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(listing, capture_output=True, text=True, check=True, timeout=30)
        if left := done.stdout.split():
            remove = ["docker", "rm", "--force", *left]
            subprocess.run(remove, capture_output=True, check=False, timeout=30)


def end_group(group: int) -> None:
    """Ask a process group to end, and end it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(group, os.WNOHANG)
            if not marked.lives(group):
                return
            time.sleep(0.02)


def _call(call: Callable[[], object], request: dict[str, Any], out: int, err: int) -> None:
    """The forked child: calls, and ends."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        call()
        status = 0
    except subprocess.CalledProcessError as error:  # which has said itself what was wrong
        status = error.returncode if error.returncode > 0 else 128 - error.returncode
    except BaseException:  # noqa: BLE001  # a forked child must not go on as its parent
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def connect(lifeline: str) -> socket.socket | None:
    """The connection to Snakemake. Without one the worker's end has to do."""
    address, _, port = lifeline.rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        connection = socket.create_connection((address, int(port)), timeout=REACHING)
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in SILENT:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connection
    return None


def main(arguments: list[str]) -> None:
    """Serve the worker at the other end of a socket."""
    number, folder, learned, lifeline, marker, *removed = arguments
    # A cluster ends the children of a worker with it, and this process has something to do then.
    if os.fork():
        os._exit(0)
    os.setsid()
    for unwanted in SIGNALS:  # a handler is not inherited by programs, ignoring would be
        signal.signal(unwanted, lambda *_: None)
    worker, reached = socket.socket(fileno=int(number)), connect(lifeline) if lifeline else None
    guard = Guard(worker, folder, learned, reached)
    try:
        guard.serve()
    finally:
        guard.leave(marker, removed)


if __name__ == "__main__":
    main(sys.argv[1:])
