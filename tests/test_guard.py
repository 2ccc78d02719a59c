"""Guards: jobs end as they say they did, and with those who wanted them."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import guard

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


class Worker:
    """The worker's side of a guard."""

    def __init__(self, folder: Path, lifeline: str = "", learned: str = "") -> None:
        self.marker = f"TEST_GUARD={folder.name}"
        self.folder = folder
        self.socket, its = socket.socketpair()
        words = [str(its.fileno()), str(folder), learned, lifeline, self.marker, f"{folder}-too"]
        command = [sys.executable, "-m", "ml_experiment.guard", *words]
        subprocess.run(command, pass_fds=[its.fileno()], check=True)
        its.close()
        assert self.answer() == {"ready": True}

    def answer(self) -> Any:
        (length,) = guard.LENGTH.unpack(guard.exactly(self.socket, guard.LENGTH.size))
        return json.loads(guard.exactly(self.socket, length))

    def ask(self, **request: Any) -> str:
        """Start a job; what it prints, until its standard output is closed."""
        out, its = os.pipe()
        environ = {**os.environ, **dict([self.marker.split("=")])}
        body = pickle.dumps({"cwd": str(self.folder), "env": environ, **request})
        socket.send_fds(self.socket, [guard.LENGTH.pack(len(body))], [its, its])
        self.socket.sendall(body)
        os.close(its)
        with os.fdopen(out) as stream:
            return stream.read()

    def shell(self, command: str) -> str:
        return self.ask(argv=["bash", "-c", command])


@contextmanager
def worker(folder: Path, **given: str) -> Iterator[Worker]:
    made = Worker(folder, **given)
    try:
        yield made
    finally:
        made.socket.close()


def gone(path: Path) -> bool:
    until = time.monotonic() + 20
    while path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return not path.exists()


def test_a_job_ends_as_its_program_did(tmp_path: Path) -> None:
    with worker(tmp_path / "run") as made:
        assert made.shell("pwd; echo err >&2") == f"{tmp_path / 'run'}\nerr\n"
        assert made.answer() == {"status": 0}
        for _ in range(20):  # one that has ended before anybody looks
            made.shell("exit 3")
            assert made.answer() == {"status": 3}
        made.shell("kill -9 $$")
        assert made.answer() == {"status": -9}
        made.ask(argv=["no-such-program"])
        assert "no-such-program" in made.answer()["trouble"]
        text = made.ask(call=pickle.dumps(os.getcwd))
        assert (text, made.answer()) == ("", {"status": 0})
        text = made.ask(call=pickle.dumps(_Fails()))
        assert "ZeroDivisionError" in text
        assert made.answer() == {"status": 1}
    assert gone(tmp_path / "run")


class _Fails:
    def __reduce__(self) -> Any:
        import functools
        import operator

        return functools.partial, (operator.truediv, 1, 0)


def test_a_job_ends_with_its_worker(tmp_path: Path) -> None:
    (tmp_path / "run-too").mkdir()
    with worker(tmp_path / "run") as made, worker(tmp_path / "run") as other:
        made.shell(
            "(sleep 300; :) > /dev/null 2>&1 & echo $! > pid; exec > /dev/null 2>&1; sleep 300"
        )
        inner = int((tmp_path / "run/pid").read_text())
        made.socket.close()
        assert gone(Path(f"/proc/{inner}"))
        other.shell("setsid sleep 300 > /dev/null 2>&1 & echo $! > pid")  # leaves its group
        stray = int((tmp_path / "run/pid").read_text())
        assert Path(f"/proc/{stray}").exists()
    assert gone(Path(f"/proc/{stray}"))
    assert gone(tmp_path / "run")
    assert gone(tmp_path / "run-too")


def test_a_job_ends_with_snakemake(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        lifeline = f"127.0.0.1:{server.getsockname()[1]}"
        with worker(tmp_path / "run", lifeline=lifeline) as made:
            snakemake, _ = server.accept()
            made.shell("echo $$ > pid; exec > /dev/null 2>&1; sleep 300")
            pid = int((tmp_path / "run/pid").read_text())
            snakemake.close()
            assert gone(Path(f"/proc/{pid}"))
            assert gone(tmp_path / "run")


def test_warm_servers_are_offered_a_folder(tmp_path: Path) -> None:
    learned = tmp_path / "learned"
    with worker(tmp_path / "run", learned=str(learned)):
        assert (tmp_path / "run/warm/alive").is_fifo()
        assert (tmp_path / "run/warm/learned").resolve() == learned
    assert gone(tmp_path / "run")
    assert learned.is_dir()
