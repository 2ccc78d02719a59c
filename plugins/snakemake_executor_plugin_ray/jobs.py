"""The jobs of one run: orders to Ray, and the events that come back.

Imported when the first job is to run, since it imports Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import sys
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment import guard, parcels
from ml_experiment.adapters import luggage, outcomes
from ml_experiment.adapters.ray import Cluster, LostError, Options
from ml_experiment.adapters.ray_node import Order
from ml_experiment.ending import last_lines
from ml_experiment.errors import MLExperimentError, UserError
from ml_experiment.launch import TAIL
from snakemake_executor_plugin_ray import shipping

if TYPE_CHECKING:
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

# What Snakemake, or this executor, deals with itself; any other resource is one of Ray's.
OWN = frozenset({
    "_cores", "_nodes", "attempt", "disk", "disk_mb", "disk_mib", "gpu", "gpu_milli", "mem", "mem_mb",
    "mem_mib", "runtime", "shell_exec", "tmpdir",
})  # fmt: skip


class Jobs:
    """All jobs of one run.

    Args:
        executor: Snakemake's.
        address: of the cluster; None starts a Ray here.

    Raises:
        UserError: there is no Ray.
    """

    def __init__(self, executor: Any, address: str | None) -> None:
        self.executor = executor
        self.workflow = executor.workflow
        self.logger = executor.logger
        self.settings = executor.executor_settings
        self.folder = os.getcwd()
        self.shipping = False  # until a node says that it does not see the workspace
        self.closed = threading.Event()
        self.tasks: dict[int, Any] = {}
        self._code: tuple[parcels.Item, ...] | None = None
        self._lock = threading.Lock()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        options = Options(
            address=address,
            token_file=self.settings.token_file or None,
            cores=self.workflow.resource_settings.cores,
            dashboard=not self.settings.no_dashboard,
        )
        if options.address is None:
            self.logger.info("Starting a local Ray, which takes some seconds.")
        self.cluster = Cluster(options, self.folder, environ, self.workflow.envvars)
        self.cluster.lost = self._head_lost
        if self.cluster.dashboard:
            # Snakemake shows a message as it is: no `%s`.
            link = f"Ray dashboard: http://{self.cluster.dashboard}"
            self.logger.info(link)

    def submit(self, info: SubmittedJobInfo) -> None:
        """Start one job. What it is is asked here, in Snakemake's thread."""
        job: Any = info.job
        request = self.request(job)
        lacking = None if self.settings.autoscaling else self.cluster.lacks(request)
        if lacking:
            self.executor.report_job_error(info, msg=f"{lacking}\n")
            return
        order = self.order(job)
        self.cluster.submit(self._follow(info, request, order))

    def request(self, job: Any) -> dict[str, Any]:
        """What a job asks of Ray."""
        named = dict(job.resources.items())
        limited = self.workflow.resource_settings.resources
        gpus = _whole(named.get("gpu_milli")) / 1000 or _whole(named.get("gpu"))
        if gpus > 1:
            gpus = -(-gpus // 1)  # several devices are whole ones
        # With fewer processors a job is slower, not different, as under `--cores`.
        request: dict[str, Any] = {"num_cpus": min(job.threads, self.cluster.most_cpus())}
        if gpus:
            request["num_gpus"] = gpus
        memory = _whole(named.get("mem_mb"))
        if memory:
            request["memory"] = memory * 1_000_000
        own = {
            name: value
            for name, value in named.items()
            if name not in OWN and name not in limited and _whole(value)
        }
        if own:
            request["resources"] = own
        return request

    def order(self, job: Any) -> Order:
        """What a node has to do for a job."""
        reason = shipping.nested(job, self.workflow)
        if reason is None:
            self.workflow.async_run(job.prepare())
            work = shipping.work(job, self.workflow)
        else:
            work = shipping.Work(reason=reason)
        carried = luggage.of(job)
        nested = work.command is None and work.call is None
        if nested:
            told = f"{job.name} has a Snakemake of its own, because {work.reason}"
            self.logger.debug(told)
        order = Order(
            command=self.executor.format_job_exec(job) if nested else work.command,
            call=work.call,
            shell=work.shell,
            threads=job.threads,
            logs=self._inside(job.log),
            outputs=self._inside([*job.output, *_benchmarks(job)]),
            products=carried.products,
            makes=carried.makes,
            passed=carried.passed,
            prepared=not nested,
            keep=self.workflow.execution_settings.keep_incomplete,
        )
        made = [os.path.dirname(path) for path in (*order.outputs, *order.logs)]
        return replace(order, folders=tuple(dict.fromkeys(path for path in made if path)))

    def _inside(self, paths: Any) -> tuple[str, ...]:
        """Paths relative to the workspace; those outside of it do not travel."""
        whole = (os.path.relpath(os.path.join(self.folder, str(p)), self.folder) for p in paths)
        return tuple(path for path in whole if not path.startswith(".."))

    def _packed(self, job: Any, order: Order) -> Order:
        """The order with all that a node needs which does not see the workspace."""
        digests = self.cluster.contents.digests
        with self._lock:
            if self._code is None:
                made = [
                    str(path)
                    for other in self.workflow.dag.jobs
                    for path in (*other.output, *other.log)
                ]
                most = self.settings.code_mb << 20
                self._code = tuple(parcels.code(self.folder, self._inside(made), most, digests))
        paths = self._inside(job.input)
        outside = [str(path) for path in job.input if not self._inside([path])]
        found = {item.path: item for item in self._code}
        for path in (*paths, *luggage.of(job).needs):
            found.update((item.path, item) for item in parcels.items(self.folder, path, digests))
        needs = tuple(found.values())
        contents = self.cluster.contents.of(self.folder, needs)
        return replace(order, needs=needs, contents=contents, elsewhere=tuple(outside))

    async def _follow(self, info: SubmittedJobInfo, request: dict[str, Any], order: Order) -> None:
        """One job from its start to its end, on the nodes that it takes."""
        job: Any = info.job
        lost = 0
        while not self.closed.is_set():
            receipt = Receipt(self.folder, order.products)
            try:
                if self.shipping and order.needs is None:
                    order = self._packed(job, order)
                task = self.cluster.start(job.name, request, order)
                self.tasks[job.jobid] = task
                async for event in self.cluster.events(task):
                    receipt.take(event)
                if receipt.end[0] == "needed":
                    self.shipping = True
                    continue
                self._ended(info, receipt)
            except LostError as error:
                lost += 1
                if self.closed.is_set():
                    return
                if lost <= self.settings.lost:
                    told = f"{job.name}: its node was lost, it starts again ({error})"
                    self.logger.warning(told)
                    await self._again(order)
                    continue
                self._error(info, f"its node was lost {lost} times: {error}")
            except (MLExperimentError, OSError) as error:
                self._error(info, str(error))
            except Exception as error:  # noqa: BLE001  # of which nobody would hear in this thread
                self._error(info, f"{type(error).__name__}: {error}")
            finally:
                receipt.undo()
                self.tasks.pop(job.jobid, None)
            return

    async def _again(self, order: Order) -> None:
        """Wait until the lost one has been ended by its guard, and remove what it has left here."""
        await asyncio.sleep(3 * guard.PATIENCE)
        for path in (*order.outputs, *order.logs) if order.prepared else ():
            parcels.remove(os.path.join(self.folder, path))

    def _ended(self, info: SubmittedJobInfo, receipt: Receipt) -> None:
        word, what, host = receipt.end[:3]
        if word == "refused":
            self._error(info, f"node {host} {what}")
            return
        receipt.done()
        outcomes.ran_on(info.job, host)
        if what == 0:
            self.executor.report_job_success(info)
        else:
            how = f"signal {-what}" if what < 0 else f"exit status {what}"
            self._error(info, f"node {host}, {how}", receipt)

    def _error(self, info: SubmittedJobInfo, told: str, receipt: Receipt | None = None) -> None:
        if self.closed.is_set():
            return
        lines = [told]
        if receipt is not None and not self.workflow.output_settings.show_failed_logs:
            logs = [Path(self.folder, str(path)) for path in info.job.log]
            tail = next((text for log in logs if (text := last_lines(log))), None)
            lines += [f"  │ {line}" for line in (tail or receipt.tail()).splitlines()[-TAIL:]]
        self.executor.report_job_error(info, msg="\n".join(lines) + "\n")

    def _head_lost(self) -> None:
        error = UserError(
            f"the head of the Ray cluster ({self.cluster.head}) has gone: the run ends here",
            hint="start it again, then the same command: what is done stays done",
        )
        from snakemake_interface_common.exceptions import WorkflowError

        self.executor.workflow.scheduler.executor_error_callback(WorkflowError(str(error)))

    def close(self) -> None:
        """End what runs, and leave."""
        self.closed.set()
        for task in list(self.tasks.values()):
            self.cluster.cancel(task)
        self.cluster.close()


class Receipt:
    """What comes back of one job.

    Args:
        folder: the workspace.
        products: patterns; of what matches only what comes back is there in the end.
    """

    def __init__(self, folder: str, products: tuple[str, ...]) -> None:
        self.folder = folder
        self._products = products
        self.end: tuple[Any, ...] = ("refused", "has sent nothing", "?")
        self._files = parcels.Unpacking(folder)
        self._tail: deque[bytes] = deque(maxlen=64)
        self._begun: set[str] = set()

    def take(self, event: tuple[Any, ...]) -> None:
        """One event."""
        if event[0] == "printed":
            self._print(*event[1:])
        elif event[0] == "log":
            self._log(*event[1:])
        elif event[0] == "files":  # the job has ended
            self._clear()
            for piece in event[1]:
                self._files.take(piece)
        else:
            self.end = event

    def _print(self, stream: int, data: bytes) -> None:
        self._tail.append(data)
        target = sys.stdout if stream == 1 else sys.stderr
        with contextlib.suppress(OSError, ValueError):
            target.write(data.decode("utf-8", "replace"))
            target.flush()

    def _log(self, path: str, data: bytes) -> None:
        """As it grows; at the end the whole file takes its place."""
        mode = "ab" if path in self._begun else "wb"
        self._begun.add(path)
        Path(self.folder, path).parent.mkdir(parents=True, exist_ok=True)
        with open(Path(self.folder, path), mode) as log:
            log.write(data)

    def tail(self) -> str:
        """The end of what it has printed."""
        return b"".join(self._tail).decode("utf-8", "replace")

    def _clear(self) -> None:
        """Remove its former products, before new ones are written into their folders."""
        for pattern in self._products:
            for old in glob.glob(pattern, root_dir=self.folder):
                parcels.remove(os.path.join(self.folder, old))
        self._products = ()

    def done(self) -> None:
        """Put its files in their places."""
        shared = self.end[3]
        if not shared:
            self._clear()
        self._files.done()

    def undo(self) -> None:
        """Remove what has come and was not put in its place."""
        self._files.undo()


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _benchmarks(job: Any) -> list[str]:
    inner = job.jobs if job.is_group() else [job]
    return [str(each.benchmark) for each in inner if each.benchmark]
