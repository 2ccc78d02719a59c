"""`ml-experiment ui`: MLflow's own page for this workspace, on this machine only."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from ml_experiment import tracking
from ml_experiment.errors import UserError

HOST = "127.0.0.1"
PORTS = range(5000, 5100)


def address(folder: Path) -> str | None:
    """Where the page is already: that of the server in MLFLOW_TRACKING_URI, if it is one."""
    uri = tracking.uri(folder)
    return tracking.shown(uri, folder) if uri.startswith(("http://", "https://")) else None


def command(folder: Path, port: int | None) -> tuple[str, list[str]]:
    """The page's address, and the command that serves it.

    Raises:
        UserError: nothing was tracked yet, or the port is taken.
    """
    uri = tracking.uri(folder)
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists():
        hint = "`ml-experiment run` tracks what it runs, `ml-experiment track` sends what waits"
        raise UserError("nothing is in MLflow yet", where=str(file), hint=hint)
    chosen = next((p for p in ([port] if port else PORTS) if _free(p)), None)
    if chosen is None:
        what = f"port {port} is taken" if port else "no port is free"
        raise UserError(what, hint="choose another one with --port")
    words = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri]
    words += ["--host", HOST, "--port", str(chosen), "--workers", "1"]
    return f"http://{HOST}:{chosen}", words


def serve(folder: Path, words: list[str]) -> None:
    """Become the server, until Ctrl-C."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # would start four more processes
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.chdir(folder)
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606  # no shell is wanted here


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
