"""What runs on a node of Ray: one job after the other, as Snakemake's local shell would run it.

A task is a generator. What it yields reaches Snakemake while the job runs: what it prints, what its
log grows by, and at the end its files, where the node does not see the workspace.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import json
import os
import pickle
import platform
import re
import select
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

import ml_experiment
from ml_experiment import guard, launch
from ml_experiment.parcels import Held, Item, pieces, remove

GLANCE = 0.25  # seconds between two looks at logs that grow
BATCH = 4 << 20  # bytes of small files that travel together
MAX_ARGUMENT = 100_000  # bytes; the kernel takes 128 KiB for one argument
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR")  # as snakemake/shell.py sets
LEARNED = ".ml_experiment/warm"  # in a workspace: what programs import
RUN, NODE = "ML_EXPERIMENT_RUN", "ML_EXPERIMENT_NODE"  # the marker of all processes of a run

_nodes: dict[str, Node] = {}  # a worker serves one run after the other


@dataclass(frozen=True)
class Run:
    """One run of Snakemake, for all of its jobs.

    Attributes:
        identity: its id.
        workspace: where Snakemake works.
        token: a file in it, relative, and its content: who reads it sees the workspace.
        lifeline: where a connection breaks when Snakemake ends.
        environ: Snakemake's.
        passed: the names of what also goes to nodes that do not see the workspace.
        software: versions that have to be the same everywhere.
        python, boot: of Snakemake's own installation, as they are in commands.
        warm: whether programs are offered warm servers.
        removed: folders of this run alone, to be removed at its end.
    """

    identity: str
    workspace: str
    token: tuple[str, str]
    lifeline: str
    environ: Mapping[str, str]
    passed: tuple[str, ...]
    software: Mapping[str, str]
    python: str = sys.executable
    boot: str = str(launch.BOOT)
    warm: bool = False
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """One job.

    Attributes:
        command: what its shell runs; or
        call: a pickled function without arguments, which runs it.
        shell: the program that reads the command.
        threads: as declared.
        folders: to be made before; what is to be gone before is `outputs` and `logs`.
        outputs: come back when it has succeeded.
        logs: come back in any case, and while it runs.
        products, makes: patterns of what else comes back in any case.
        prepared: whether the workspace is to be made ready for it.
        keep: whether outputs come back when it has failed.
        needs: inputs and code; None where nothing travels so far.
        contents: digest -> the parts of a file in the object store.
        elsewhere: inputs outside the workspace, which do not travel.
        passed: names of variables that it needs.
    """

    command: str | None = None
    call: bytes | None = None
    shell: str = "bash"
    threads: int = 1
    folders: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    prepared: bool = True
    keep: bool = False
    needs: tuple[Item, ...] | None = None
    contents: Mapping[str, list[Any]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def software() -> dict[str, str]:
    """What has to be the same on all nodes: the digits after the second point are not."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"ml-experiment": ml_experiment.__version__, "Python": python, "Ray": ray.__version__}


def run_job(run: Run, order: Order) -> Iterator[tuple[Any, ...]]:
    """The task: events, of which the last one is `ended`, `refused` or `needed`."""
    here = software()
    if here != dict(run.software):
        differs = [f"{n} {here[n]}, not {v}" for n, v in run.software.items() if here[n] != v]
        yield "refused", f"has {' and '.join(differs)}", os.uname().nodename
        return
    node = _nodes.get(run.identity)
    if node is None:
        node = _nodes[run.identity] = Node(run)
    absent = [] if node.shared else [p for p in order.elsewhere if not os.path.exists(p)]
    if absent:
        where = "outside the workspace, which does not travel, and is not there"
        yield "refused", f"cannot run it: {absent[0]} is {where}", node.host
    elif not node.shared and order.needs is None:
        yield "needed", "", node.host
    else:
        yield from node.run(order)


class Node:
    """This node, as one of its workers sees it."""

    def __init__(self, run: Run) -> None:
        self.run_of = run
        self.host = os.uname().nodename
        identity = ray.get_runtime_context().get_node_id()
        self.folder = f"{tempfile.gettempdir()}/ml-experiment-{run.identity}-{identity[:8]}"
        self.marker = {RUN: run.identity, NODE: identity[:8]}
        path, content = run.token
        self.shared = False
        with contextlib.suppress(OSError):
            self.shared = Path(run.workspace, path).read_text("ascii") == content
        self.workspace = run.workspace if self.shared else f"{self.folder}/workspace"
        self.learned = self._learned()
        self.guard = self._start_guard()
        os.makedirs(self.workspace, exist_ok=True)
        self.held = Held(self.workspace, f"{self.folder}/notes")

    def _learned(self) -> str:
        """Where warm servers learn; nowhere without an experiment, or where there are none."""
        if not self.run_of.warm or not sys.platform.startswith("linux"):
            return ""
        return f"{self.workspace}/{LEARNED}" if self.shared else f"{self.folder}/learned"

    def _start_guard(self) -> socket.socket:
        ours, its = socket.socketpair()
        run, marker = self.run_of, f"{NODE}={self.marker[NODE]}"
        words = [str(its.fileno()), self.folder, self.learned, run.lifeline, marker, *run.removed]
        subprocess.run(
            [sys.executable, "-P", "-m", "ml_experiment.guard", *words],
            pass_fds=[its.fileno()],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        its.close()
        _answer(ours)
        return ours

    def run(self, order: Order) -> Iterator[tuple[Any, ...]]:
        """One job, its events."""
        if not self.shared:
            self._fill(order)
        if not self.shared and order.prepared:
            self._prepare(order)
        logs = {} if self.shared else dict.fromkeys(order.logs, 0)
        out, err = self._start(order)
        status = None
        streams = {out: 1, err: 2}
        watched = self.guard.fileno()
        while status is None:
            ready = select.select([watched, *streams], [], [], GLANCE if logs else None)[0]
            for stream in [s for s in ready if s != watched]:
                data = os.read(stream, 1 << 16)
                if data:
                    yield "printed", streams[stream], data
                else:
                    del streams[stream]
            if watched in ready:
                answer = _answer(self.guard)
                if "trouble" in answer:
                    yield "printed", 2, f"{answer['trouble']}\n".encode()
                status = int(answer.get("status", 1))
            yield from self._grown(logs)
        for stream, number in streams.items():  # what is left; nobody waits for its children
            os.set_blocking(stream, False)
            with contextlib.suppress(BlockingIOError):
                while data := os.read(stream, 1 << 16):
                    yield "printed", number, data
        os.close(out)
        os.close(err)
        if not self.shared:
            kept = order.outputs if status == 0 or order.keep else ()
            others = (*map(glob.escape, order.logs), *order.products, *order.makes)
            yield from _batches(pieces(self.workspace, [*map(glob.escape, kept), *others]))
        yield "ended", status, self.host, self.shared

    def _start(self, order: Order) -> tuple[int, int]:
        """Have the guard start it; the ends of its standard output and error."""
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        request: dict[str, Any] = {"cwd": self.workspace, "env": self._environ(order)}
        if order.call is not None:
            request["call"] = order.call
        else:
            request["argv"] = self._words(order)
        body = pickle.dumps(request)
        socket.send_fds(self.guard, [guard.LENGTH.pack(len(body))], [its_out, its_err])
        self.guard.sendall(body)
        os.close(its_out)
        os.close(its_err)
        return out, err

    def _words(self, order: Order) -> list[str]:
        text = self._text(order.command or "")
        if len(text.encode()) < MAX_ARGUMENT:
            return [order.shell, "-c", text]
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".sh", delete=False) as file:
            file.write(text)
        return [order.shell, file.name]

    def _text(self, command: str) -> str:
        """The command with the places of this node in the place of Snakemake's."""
        run = self.run_of
        bins = [shlex.quote(os.path.dirname(python)) for python in (run.python, sys.executable)]
        pairs = [
            (f" {bins[0]} && ", f" {bins[1]} && "),  # of boot/env.sh
            (f"{run.python} -m ", f"{sys.executable} -m "),
            (f"{run.boot}/", f"{launch.BOOT}/"),
        ]
        for theirs, ours in pairs:
            if theirs != ours:
                command = command.replace(theirs, ours)
        if run.workspace == self.workspace:
            return command
        whole = rf"(?<![\w./-]){re.escape(run.workspace)}(?![\w.-])"  # and no part of another path
        return re.sub(whole, lambda _: self.workspace, command)

    def _environ(self, order: Order) -> dict[str, str]:
        run = self.run_of
        if self.shared:
            found = dict(run.environ)
        else:
            found = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
            names = {*run.passed, *order.passed}
            found.update({k: v for k, v in run.environ.items() if k in names})
        for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
            if name in os.environ:
                found[name] = os.environ[name]
        found.update({f"{name}_NUM_THREADS": str(order.threads) for name in THREADS})
        found.update(dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), tempfile.gettempdir()))
        if self.learned:
            found["ML_EXPERIMENT_WARM"] = f"{self.folder}/{guard.WARM}"
        return {**found, **self.marker}

    def _fill(self, order: Order) -> None:
        """Fetch what the job needs and is not here."""
        if not any(map(self.held.lacks, order.needs or ())):
            return
        with open(f"{self.folder}/filling", "ab") as lock:  # each content once to a node
            fcntl.flock(lock, fcntl.LOCK_EX)
            for item in order.needs or ():
                if self.held.lacks(item):
                    self.held.write(item, functools.partial(_fetch, order.contents))

    def _prepare(self, order: Order) -> None:
        """As Snakemake has prepared its own workspace."""
        for path in (*order.outputs, *order.logs):
            remove(os.path.join(self.workspace, path))
        for path in order.folders:
            os.makedirs(os.path.join(self.workspace, path), exist_ok=True)

    def _grown(self, logs: dict[str, int]) -> Iterator[tuple[Any, ...]]:
        for path, seen in logs.items():
            with contextlib.suppress(OSError), open(os.path.join(self.workspace, path), "rb") as f:
                f.seek(seen)
                if data := f.read(1 << 20):
                    logs[path] = seen + len(data)
                    yield "log", path, data


def _fetch(contents: Mapping[str, list[Any]], item: Item) -> Iterable[bytes]:
    for part in contents[item.digest]:
        yield ray.get(part)


def _batches(found: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    batch, size = [], 0
    for piece in found:
        batch.append(piece)
        size += len(piece.data)
        if size >= BATCH:
            yield "files", batch
            batch, size = [], 0
    if batch:
        yield "files", batch


def _answer(connection: socket.socket) -> dict[str, Any]:
    (length,) = guard.LENGTH.unpack(guard.exactly(connection, guard.LENGTH.size))
    answer: dict[str, Any] = json.loads(guard.exactly(connection, length))
    return answer
