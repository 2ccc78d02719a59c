"""Snakemake's events in, records out.

Snakemake imports this at every start, whether it is used or not: what is heavy is imported when a
handler is made. An exception here would end Snakemake's listener thread in silence, so every one is
caught; what it was is said once, at the end.
"""

# No `from __future__ import annotations`: Snakemake makes options of the types of the settings.
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Where records go besides their files is what MLFLOW_TRACKING_URI says, or ./mlflow.db."""

    offline: bool = field(
        default=False,
        metadata={
            "help": "Only keep the records; `ml-experiment track` sends them to MLflow later.",
            "env_var": True,
        },
    )
    experiment: str = field(
        default="",
        metadata={
            "help": "The MLflow experiment of a workflow without an experiment file "
            "(the name of the folder).",
            "env_var": True,
        },
    )


class LogHandler(LogHandlerBase):
    """Thin: everything is in Session."""

    def __post_init__(self) -> None:
        from ml_experiment.adapters import snakemake, snakemake_events

        self.close_experiment = snakemake.close
        self.session: Any = None
        self.trouble: Exception | None = None
        if self.common_settings.dryrun:
            snakemake.dry_run()
            return
        settings = self.settings
        self.session = snakemake_events.Session(
            sys.stderr,
            live=os.environ.get("ML_EXPERIMENT_DISPLAY") == "live",
            offline=bool(getattr(settings, "offline", False)),
            name=getattr(settings, "experiment", "") or None,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Take one event."""
        event = getattr(record, "event", None)
        if self.session is None:
            return
        try:
            if record.levelno >= logging.ERROR and event in (None, LogEvent.ERROR):
                self.session.trouble(record.getMessage())
            elif event is not None:
                self.session.take(LogEvent(event), vars(record))
            else:
                self.session.said(record.getMessage())
        except Exception as error:  # noqa: BLE001  # see the module's docstring
            self.trouble = self.trouble or error

    def close(self) -> None:
        """Say what the run was. Called once by Snakemake, after the last event."""
        session, self.session = self.session, None
        try:
            self.close_experiment()
            if session is not None:
                session.end()
        except Exception as error:  # noqa: BLE001  # see the module's docstring
            self.trouble = self.trouble or error
        if self.trouble is not None:
            sys.stderr.write(f"ml-experiment: not everything was recorded: {self._told()}\n")
            self.trouble = None
        super().close()

    def _told(self) -> str:
        from ml_experiment.errors import MLExperimentError

        known = isinstance(self.trouble, MLExperimentError)
        return str(self.trouble) if known else repr(self.trouble)

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake's own output stays."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """Not in the sense of a log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Every event is wanted, however quiet the terminal is."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Nothing is formatted."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The plan is known."""
        return False
