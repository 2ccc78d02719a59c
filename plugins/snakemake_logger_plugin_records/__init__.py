"""A record of every job that Snakemake runs, and a run's last lines. On by profiles/default."""

from snakemake_logger_plugin_records.handler import LogHandler

__all__ = ["LogHandler"]
