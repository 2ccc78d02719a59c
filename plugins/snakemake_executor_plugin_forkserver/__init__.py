"""Snakemake's local executor, with warm servers for Python: `snakemake -e forkserver --cores N`."""

from snakemake_executor_plugin_forkserver.executor import (
    Executor,
    ExecutorSettings,
    common_settings,
)

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
