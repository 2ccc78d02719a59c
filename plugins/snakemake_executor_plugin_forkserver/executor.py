"""The private contact with Snakemake: its local executor, which this one extends.

A job is run by Snakemake as ever, in a shell. What is different is what that shell finds in its
environment: ML_EXPERIMENT_WARM, the folder of this run's warm servers (boot/warm.sh), and
ML_EXPERIMENT_RUN, by which every process of the run is known when it has to end (ml_experiment/marked.py).
And a job that asks for a GPU finds in CUDA_VISIBLE_DEVICES which one it has.
"""

# No `from __future__ import annotations`: Snakemake makes options of the types of the settings.
import inspect
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.executors import local
from snakemake.shell import shell
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from ml_experiment.adapters import outcomes, snakemake_timers
from snakemake_executor_plugin_forkserver import gpus
from snakemake_executor_plugin_forkserver.leases import ClosedError, Leases
from snakemake_executor_plugin_forkserver.run import Run

common_settings = local.common_settings
RESOURCES = 6  # where a job's resources are among the arguments of `run_wrapper`


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]  # it is not typed
    """Of `--forkserver-...`, and of `forkserver-...` in a profile."""

    gpus: str = field(
        default="",
        metadata={
            "help": "The GPUs that jobs get theirs from, as in CUDA_VISIBLE_DEVICES: `0,1`. Without "
            "it that variable counts, and without both the GPUs that nvidia-smi lists.",
        },
    )


def is_known() -> bool:
    """Whether Snakemake's local executor is as it was when this was written."""
    known = {
        "__post_init__": ["self"],
        "cancel": ["self"],
        "shutdown": ["self"],
        "run_job": ["self", "job"],
        "cached_or_run": ["self", "job", "run_func", "args"],
        "spawn_job": ["self", "job"],
        "get_job_exec_prefix": ["self", "job"],
    }
    wrapper = getattr(local, "run_wrapper", None)
    return (
        wrapper is not None
        and list(inspect.signature(wrapper).parameters)[RESOURCES] == "resources"
        and all(
            (method := getattr(local.Executor, name, None)) is not None
            and list(inspect.signature(method).parameters) == parameters
            for name, parameters in known.items()
        )
    )


class Executor(local.Executor):  # type: ignore[misc]  # Snakemake has no types
    """Jobs on this machine, those of Python in processes that have their imports already."""

    run: Run | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._folder = Path.cwd()
        self._devices: dict[int, str] = {}  # of jobs that run, as CUDA_VISIBLE_DEVICES has them
        if not sys.platform.startswith("linux"):
            self.logger.debug("forkserver: warm servers need Linux; jobs start cold")
        elif is_known():
            self.run = Run(os.getcwd())
        else:
            self.logger.warning(
                "forkserver: this version of Snakemake is not known; jobs run as with -e local"
            )

    @cached_property
    def leases(self) -> Leases:
        """Who has which GPU; the driver is asked when the first job wants one."""
        given = getattr(self.executor_settings, "gpus", "")
        return Leases(gpus.devices(given, os.environ))

    def run_job(self, job: Any) -> None:
        """Start one job, or the jobs of one pipe; where it wants GPUs it may have to wait for them."""
        shares = {}
        for each in (job if job.is_group() else [job]) if self.run else ():
            share = gpus.asked(dict(each.resources.items()))
            if share:
                shares[each.jobid] = share
        lacking = self.leases.ask(shares) if shares else None
        if lacking is None:
            super().run_job(job)
        else:
            info = SubmittedJobInfo(job=job)
            self.report_job_submission(info)
            self.report_job_error(info, msg=f"{lacking}\n")

    def cached_or_run(self, job: Any, run_func: Callable[..., None], *args: Any) -> None:
        """In a thread of the pool: run the job, and hash its outputs before Snakemake hears of it."""
        self._run_leased(job, run_func, *args)
        outcomes.hash_outputs(self._folder, job.jobid, map(str, job.output))

    def _run_leased(self, job: Any, run_func: Callable[..., None], *args: Any) -> None:
        """Wait for the job's GPUs, if it wants some, and run it with them."""
        if "leases" not in vars(self) or not self.leases.has(job.jobid):
            super().cached_or_run(job, run_func, *args)
            return
        try:
            with self.leases.held(job.jobid) as devices:
                self._devices[job.jobid] = ",".join(devices)
                super().cached_or_run(job, *self._leased(job, run_func, *args))
        except ClosedError:
            raise KeyboardInterrupt from None  # of which Snakemake says nothing more
        finally:
            self._devices.pop(job.jobid, None)

    def _leased(self, job: Any, run_func: Callable[..., None], *args: Any) -> tuple[Any, ...]:
        """How a job is run with its devices: what `shell:` starts gets them from its shell.

        Everything else runs in this process, or begins there, and gets a Snakemake of its own.
        """
        if run_func == self.spawn_job:
            return (run_func, *args)
        resources = args[RESOURCES] if job.is_shell else {}
        called = resources.get("shell_exec") or shell.get_executable() or "sh"
        found = (
            self.run.shell(self._devices[job.jobid], called) if job.is_shell and self.run else None
        )
        if found is None:
            return self.spawn_job, job
        given = type(resources)(fromdict={**dict(resources.items()), "shell_exec": found})
        return (run_func, *args[:RESOURCES], given, *args[RESOURCES + 1 :])

    def get_job_exec_prefix(self, job: Any) -> str:
        """Of a job's own Snakemake."""
        prefix: str = super().get_job_exec_prefix(job)
        devices = self._devices.get(job.jobid)
        if devices is None:
            return prefix
        return f"{prefix} && export CUDA_VISIBLE_DEVICES={shlex.quote(devices)}"

    def shutdown(self) -> None:
        """After the last job."""
        super().shutdown()
        snakemake_timers.cancel()
        self._end(kill=False)

    def cancel(self) -> None:
        """Ctrl-C: what runs is ended first, for Snakemake waits for it."""
        if "leases" in vars(self):
            self.leases.close()
        self._end(kill=True)
        super().cancel()

    def _end(self, *, kill: bool) -> None:
        run, self.run = self.run, None
        if run is not None:
            for reason in run.end(kill=kill):
                told = f"forkserver: started cold, because {reason}"
                self.logger.debug(told)  # Snakemake shows a message as it is: no `%s`
