"""Ray, as Snakemake's process sees it: one connection, and a task for each job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Read when Ray is imported, and inherited by what it starts. What a user has set stays.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray import exceptions

from ml_experiment.adapters.ray_node import LEARNED, Order, Run, run_job, software
from ml_experiment.errors import UserError, did_you_mean
from ml_experiment.parcels import Digests, Item, chunks

REACHING = 5.0  # seconds for a connection to the head
BEAT = 2.0  # seconds between two looks at whether the head is there
KNOWN = 5.0  # seconds for which it is known what nodes there are
MISSED = 3  # looks in which it was not

# What Ray raises where a job's node or worker has gone; the job itself has done nothing wrong.
LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.ObjectLostError,
    exceptions.ObjectFetchTimedOutError,
    exceptions.RaySystemError,
)


@dataclass(frozen=True)
class Options:
    """How to come to a cluster; see the executor's settings."""

    address: str | None = None
    token_file: str | None = None
    cores: int | None = None
    dashboard: bool = True


class Cluster:
    """A connection to Ray, and an event loop of its own.

    Args:
        options: which Ray.
        workspace: where Snakemake works.
        environ: the environment of jobs.
        passed: names of variables that also go to nodes that do not see the workspace.

    Raises:
        UserError: there is no Ray to be had.
    """

    def __init__(
        self, options: Options, workspace: str, environ: Mapping[str, str], passed: Iterable[str]
    ) -> None:
        self.identity = secrets.token_hex(6)
        self.local = options.address is None
        self._folder = _session_folder() if self.local else None
        try:
            context = _init(options, self._folder)
        except BaseException:
            self._remove()
            raise
        self.dashboard = context.dashboard_url
        self.head = str(context.address_info["gcs_address"])
        self.lost: Callable[[], None] = lambda: None  # what to do where the head has gone
        self._seen: list[dict[str, float]] = []
        self._looked = -KNOWN
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ray", daemon=True)
        self._thread.start()
        self.contents = Contents()
        token = f".snakemake/ray-{self.identity}"
        Path(workspace, token).parent.mkdir(exist_ok=True)
        Path(workspace, token).write_text(self.identity, "ascii")
        self._token = Path(workspace, token)
        self.run = Run(
            identity=self.identity,
            workspace=workspace,
            token=(token, self.identity),
            lifeline=self.submit(self._listen(context.address_info["node_ip_address"])).result(),
            environ=dict(environ),
            passed=tuple(passed),
            software=software(),
            warm=Path(workspace, LEARNED).parent.is_dir(),  # an experiment's
            removed=(self._folder,) if self._folder else (),
        )
        self._run = ray.put(self.run)
        self._task: Any = ray.remote(num_returns="streaming", max_retries=0)(run_job)
        if not self.local:
            self.submit(self._watch())

    def submit(self, work: Any) -> Any:
        """Have the loop do it; a future of another thread's."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _listen(self, address: str) -> str:
        """The lifeline of guards: they are connected as long as this process lives."""
        self._guards: list[asyncio.StreamWriter] = []

        async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._guards.append(writer)

        self._server = await asyncio.start_server(accepted, address, 0)
        return f"{address}:{self._server.sockets[0].getsockname()[1]}"

    async def _watch(self) -> None:
        """Ray itself waits a minute for a head that has gone, and then ends this process."""
        missed = 0
        while missed < MISSED:
            await asyncio.sleep(BEAT)
            missed = 0 if await asyncio.to_thread(_reachable, self.head) else missed + 1
            if missed and not await asyncio.to_thread(_reachable, self.head):
                missed += 1
        self.lost()

    def start(self, name: str, request: Mapping[str, Any], order: Order) -> Any:
        """Submit a job; its events come from `events`."""
        return self._task.options(name=name, **request).remote(self._run, order)

    async def events(self, task: Any) -> AsyncIterator[tuple[Any, ...]]:
        """What a task yields, as it comes.

        Raises:
            LostError: its node or worker has gone.
            UserError: it could not be run, whatever node it is given to.
        """
        try:
            async for reference in task:
                yield await reference
        except exceptions.OutOfMemoryError as error:
            text = "ended by Ray, since the node's memory was nearly full"
            raise UserError(text, hint="declare mem_mb, and Ray runs fewer at a time") from error
        except exceptions.TaskCancelledError as error:
            raise LostError("cancelled") from error
        except LOST as error:
            raise LostError(_first_line(error)) from error
        except exceptions.RayTaskError as error:
            cause = _first_line(error.cause)
            if isinstance(error.cause, OSError):
                raise LostError(cause) from error
            hint = "the nodes need ml-experiment, as this machine has it"
            raise UserError(f"a node could not take the job: {cause}", hint=hint) from error

    def cancel(self, task: Any) -> None:
        """End a job with its processes."""
        with contextlib.suppress(Exception):
            ray.cancel(task, force=True)

    def lacks(self, request: Mapping[str, Any]) -> str | None:
        """What is asked for and no node has, in words."""
        wanted = dict(_named(request))
        nodes: list[dict[str, float]] = []
        for fresh in (False, True):
            nodes = self._resources(fresh=fresh)
            if any(all(node.get(n, 0) >= v for n, v in wanted.items()) for node in nodes):
                return None
        names = {name for node in nodes for name in node if not name.startswith("node:")}
        for name, value in wanted.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if value > most:
                own = most == 0 and name in request.get("resources", {})  # not one of Ray's
                hint = did_you_mean(name, names) if own else None
                told = (
                    f"no node has {name} {_amount(name, value)}; the most is {_amount(name, most)}"
                )
                return f"{told}; {hint}" if hint else told
        told = ", ".join(f"{name} {_amount(name, value)}" for name, value in wanted.items())
        return f"no node has all of {told}"

    def most_cpus(self) -> float:
        """The processors of the largest node."""
        return float(max((node.get("CPU", 0) for node in self._resources()), default=0))

    def _resources(self, *, fresh: bool = False) -> list[dict[str, float]]:
        """What each node has, as it was some seconds ago at most."""
        now = time.monotonic()
        if fresh or now - self._looked > KNOWN:
            nodes: Any = ray.nodes  # its annotations are not complete
            self._seen = [node["Resources"] for node in nodes() if node["Alive"]]
            self._looked = now
        return self._seen

    def close(self) -> None:
        """Leave Ray; a local one ends."""
        self._token.unlink(missing_ok=True)
        with contextlib.suppress(Exception):
            self._loop.call_soon_threadsafe(self._server.close)
            self._loop.call_soon_threadsafe(self._close_lifelines)
        ray.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._remove()

    def _close_lifelines(self) -> None:
        for writer in self._guards:
            writer.close()

    def _remove(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class LostError(Exception):
    """A job's node or worker has gone; the text says how."""


@dataclass
class Contents:
    """Files in the object store, each content once."""

    digests: Digests = field(default_factory=Digests)
    _parts: dict[str, list[Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, folder: str, items: Iterable[Item]) -> dict[str, list[Any]]:
        """Digest -> its parts, of all files among some items."""
        found = {}
        with self._lock:
            for item in items:
                if item.kind != "file":
                    continue
                if item.digest not in self._parts:
                    whole = os.path.join(folder, item.path)
                    self._parts[item.digest] = [ray.put(data) for data in chunks(whole)]
                found[item.digest] = self._parts[item.digest]
        return found


def _named(request: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    for name, value in request.items():
        if name == "resources":
            yield from value.items()
        elif value:
            yield names[name], value


def _amount(name: str, value: float) -> str:
    return f"{value / 2**20:,.0f} MiB" if name == "memory" else f"{value:g}"


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].partition(". ")[0] if lines else type(error).__name__


def _reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACHING):
            return True
    except (OSError, ValueError):
        return False


def _session_folder() -> str:
    """As short as can be: a socket's path has at most 107 bytes, and Ray's own part takes 70."""
    return tempfile.mkdtemp(prefix="mlx-", dir="/tmp" if os.path.isdir("/tmp") else None)  # noqa: S108


def _init(options: Options, folder: str | None) -> Any:
    """Connect, or start a local Ray."""
    address = options.address
    before = signal.getsignal(signal.SIGTERM)  # Ray puts its own in the place of Snakemake's
    common: dict[str, Any] = {
        "log_to_driver": False,  # what jobs print comes with their events
        "configure_logging": False,
        "logging_level": "ERROR",
    }
    try:
        if address is None:
            assert folder is not None
            return _start_local(options, folder, common)
        _check(address)
        if options.token_file:
            os.environ["RAY_AUTH_TOKEN_PATH"] = os.path.abspath(options.token_file)
        return ray.init(address=address, **common)
    except UserError:
        raise
    except exceptions.AuthenticationError as error:
        raise UserError(
            f"the Ray cluster at {address} wants another token: {_first_line(error)}",
            hint="its token is in ~/.ray/auth_token of the head; name a copy with --ray-token-file. "
            "For a cluster that has none set RAY_AUTH_MODE=disabled",
        ) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise UserError(f"Ray does not start: {_first_line(error)}") from error
        raise UserError(
            f"no connection to the Ray cluster at {address}: {_first_line(error)}",
            hint="it wants another token (--ray-token-file names a copy of ~/.ray/auth_token of its "
            "head), or another version of Ray, or this machine is not one of its nodes",
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, before)


def _check(address: str) -> None:
    """Say at once what Ray would say after a minute."""
    if "://" in address:
        expected = "the address of the head, HOST:PORT, as `ray start` prints it"
        raise UserError("not an address of Ray's head", value=address, expected=expected)
    if address != "auto" and not _reachable(address):
        hint = "`ray status` on the head says what it is; without an address a local Ray is started"
        raise UserError("there is no Ray at this address", value=address, hint=hint)


def _start_local(options: Options, folder: str, common: Mapping[str, Any]) -> Any:
    token = Path(folder, "token")
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), "ascii")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ.setdefault("RAY_worker_niceness", "0")  # else 15
    return ray.init(
        address="local",
        num_cpus=options.cores or os.cpu_count(),
        include_dashboard=options.dashboard,
        _temp_dir=f"{folder}/ray",
        **common,
    )
