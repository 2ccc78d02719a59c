"""Snakemake's jobs to Ray, and what became of them back to Snakemake.

Snakemake imports this at every start, whether it is used or not: Ray is imported when the first job
is to run.
"""

# No `from __future__ import annotations`: Snakemake makes options of the types of the settings.
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import (
    CommonSettings,
    ExecMode,
    ExecutorSettingsBase,
)

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,  # where a node does not see the workspace, files travel
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]  # it is not typed
    """Of `--ray-...`, and of `ray-...` in a profile."""

    address: str = field(
        default="",
        metadata={
            "help": "The Ray cluster: HOST:PORT of its head, or `auto` for the one on this machine. "
            "Without it RAY_ADDRESS counts, and without both a Ray of this run's own is started "
            "here.",
        },
    )
    token_file: str = field(
        default="",
        metadata={
            "help": "A file with the cluster's token. Without it RAY_AUTH_TOKEN, "
            "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token count, as for Ray itself.",
        },
    )
    autoscaling: bool = field(
        default=False,
        metadata={
            "help": "Nodes may be added to the cluster: wait for what no node has now, instead of "
            "failing at once.",
        },
    )
    no_dashboard: bool = field(
        default=False,
        metadata={"help": "Start a Ray of this run's own without its dashboard."},
    )
    lost: int = field(
        default=3,
        metadata={
            "help": "How many times a job is started again whose node or worker was lost. It is no "
            "attempt in Snakemake's sense: the job has done nothing wrong.",
        },
    )
    code_mb: int = field(
        default=64,
        metadata={
            "help": "The most code, in MiB, that is sent to a node that does not see the workspace.",
        },
    )


class Executor(RealExecutor):  # type: ignore[misc]  # it is not typed
    """Thin: what a job is comes from `shipping`, what becomes of it from `jobs`."""

    def __post_init__(self) -> None:
        self.jobs: Any = None
        self.trouble = False

    def run_job(self, job: Any) -> None:
        """Submit one job."""
        from ml_experiment.errors import MLExperimentError, UserError

        if self.trouble:
            return
        info = SubmittedJobInfo(job=job)
        try:
            if self.jobs is None:
                self.jobs = self._connected()
            self.report_job_submission(info)
            self.jobs.submit(info)
        except MLExperimentError as error:
            self._give_up(error)
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            hint = "pip install 'ml-experiment[ray]'"
            self._give_up(UserError("Ray is not installed", hint=hint))

    def _give_up(self, error: Exception) -> None:
        """Told so, Snakemake shows no place in this file."""
        self.trouble = True
        self.workflow.scheduler.executor_error_callback(WorkflowError(str(error)))

    def _connected(self) -> Any:
        address = self.executor_settings.address or os.environ.get("RAY_ADDRESS", "")
        if address in ("", "local"):
            address = None  # on loopback only; Ray looks at this when it is imported
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        else:
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "4")  # else 20, a second each
        from snakemake_executor_plugin_ray.jobs import Jobs

        return Jobs(self, address)

    def shutdown(self) -> None:
        """The run has ended."""
        from ml_experiment.adapters import snakemake_timers

        jobs, self.jobs = self.jobs, None
        if jobs is not None:
            jobs.close()
        snakemake_timers.cancel()

    def cancel(self) -> None:
        """The run is given up: nothing of it may go on."""
        self.shutdown()

    def get_exec_mode(self) -> ExecMode:
        """Of a job's own Snakemake."""
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        """Of a job's own Snakemake; a node puts its own in the place of it."""
        return sys.executable

    def get_job_exec_prefix(self, job: Any) -> str:
        """A task begins in the workspace."""
        return ""

    def additional_general_args(self) -> str:
        """A job's own Snakemake runs it there, whatever the profile says."""
        return "--quiet progress rules host --workflow-profile none --executor local"

    @property
    def cores(self) -> Any:
        """Of a job's own Snakemake; a job's threads are what Ray has given it."""
        return "all"
