"""The private contact with Snakemake: its local executor, which this one extends.

A job is run by Snakemake as ever, in a shell. What is different is what that shell finds in its
environment: ML_EXPERIMENT_WARM, the folder of this run's warm servers (boot/warm.sh), and
ML_EXPERIMENT_RUN, by which every process of the run is known when it has to end (ml_experiment/marked.py).
"""

from __future__ import annotations

import inspect
import os
import sys

from snakemake.executors import local

from snakemake_executor_plugin_forkserver.run import Run

common_settings = local.common_settings


def is_known() -> bool:
    """Whether Snakemake's local executor is as it was when this was written."""
    methods = (
        getattr(local.Executor, name, None) for name in ("__post_init__", "cancel", "shutdown")
    )
    return all(m is not None and list(inspect.signature(m).parameters) == ["self"] for m in methods)


class Executor(local.Executor):  # type: ignore[misc]  # Snakemake has no types
    """Jobs on this machine, those of Python in processes that have their imports already."""

    run: Run | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not sys.platform.startswith("linux"):
            self.logger.debug("forkserver: warm servers need Linux; jobs start cold")
        elif is_known():
            self.run = Run(os.getcwd())
        else:
            self.logger.warning(
                "forkserver: this version of Snakemake is not known; jobs run as with -e local"
            )

    def shutdown(self) -> None:
        """After the last job."""
        super().shutdown()
        self._end(kill=False)

    def cancel(self) -> None:
        """Ctrl-C: what runs is ended first, for Snakemake waits for it."""
        self._end(kill=True)
        super().cancel()

    def _end(self, *, kill: bool) -> None:
        run, self.run = self.run, None
        if run is not None:
            for reason in run.end(kill=kill):
                self.logger.debug("forkserver: started cold, because %s", reason)
