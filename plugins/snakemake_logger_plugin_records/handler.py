"""Snakemake's events in, records out.

An exception here would end Snakemake's listener thread in silence, so every one is caught; what
it was is said once, at the end.
"""

from __future__ import annotations

import logging
import os
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ml_experiment.adapters import snakemake
from ml_experiment.adapters.snakemake_events import Session


class LogHandler(LogHandlerBase):
    """Thin: everything is in Session."""

    def __post_init__(self) -> None:
        live = os.environ.get("ML_EXPERIMENT_DISPLAY") == "live"
        self.session = None if self.common_settings.dryrun else Session(sys.stderr, live=live)
        if self.common_settings.dryrun:
            snakemake.dry_run()
        self.trouble: Exception | None = None

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
        except Exception as error:  # noqa: BLE001  # see the module's docstring
            self.trouble = self.trouble or error

    def close(self) -> None:
        """Say what the run was. Called once by Snakemake, after the last event."""
        session, self.session = self.session, None
        try:
            snakemake.close()
            if session is not None:
                session.end()
        except Exception as error:  # noqa: BLE001  # see the module's docstring
            self.trouble = self.trouble or error
        if self.trouble is not None:
            sys.stderr.write(f"ml-experiment: not everything was recorded: {self.trouble!r}\n")
            self.trouble = None
        super().close()

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
