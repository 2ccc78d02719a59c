"""Servers that the processes of a test run share: started by the first that needs one, ended after the last.

A server is `python -m MODULE`, which writes `ready` (or `failed`) into its folder. It ends when nobody
uses it any more, however that came about: whoever does holds a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def running(module: str, state: Path, *, wait: float, mode: int) -> Iterator[None]:
    """The server, for as long as this lasts.

    Args:
        module: what starts it.
        state: its folder.
        wait: seconds until one that is not ready is an error.
        mode: of the folder, where it is made.
    """
    state.mkdir(mode=mode, exist_ok=True)
    with locked(state, "start", fcntl.LOCK_EX) as start, locked(state, "users", fcntl.LOCK_SH):
        log_file = state / "server.log"
        if not (state / "ready").exists():
            (state / "failed").unlink(missing_ok=True)
            with log_file.open("wb") as log:
                subprocess.run(
                    ["setsid", "--fork", sys.executable, "-m", module], check=True,
                    cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
        until = time.monotonic() + wait
        while not (state / "ready").exists():
            failed = (state / "failed").exists() or time.monotonic() > until
            assert not failed, log_file.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.1)
        fcntl.flock(start, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def locked(state: Path, name: str, how: int) -> Iterator[IO[bytes]]:
    """A lock of a server's folder, held."""
    with (state / f"{name}.lock").open("ab") as file:
        fcntl.flock(file, how)
        yield file


def unused(users: IO[bytes]) -> bool:
    """Whether nobody uses a server, of whose users this is the lock."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
