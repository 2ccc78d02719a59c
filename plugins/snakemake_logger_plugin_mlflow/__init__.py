"""A record of every job, in files and in MLflow, for any Snakefile: `snakemake --logger mlflow`."""

from snakemake_logger_plugin_mlflow.handler import LogHandler, LogHandlerSettings

__all__ = ["LogHandler", "LogHandlerSettings"]
