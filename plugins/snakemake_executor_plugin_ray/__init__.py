"""Jobs as tasks of Ray: `snakemake --executor ray`."""

from snakemake_executor_plugin_ray.executor import Executor, ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
