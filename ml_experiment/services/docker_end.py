"""The process that removes the containers which a run of Snakemake leaves, however it ended."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

from ml_experiment.adapters import docker_run
from ml_experiment.living import alive


def main(run: str, file: str | None = None) -> None:
    """Wait for Snakemake's end; then remove them.

    Args:
        run: whose containers they are: a process, as `living` names it.
        file: where it stands that this process waits. Without it standard input ends with Snakemake's
            process, which has started this one; with it that process is another's child, and looked at.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if file is None:
        sys.stdin.buffer.read()
    else:
        _wait(run)
    docker_run.end(run)
    if file is not None:
        Path(file).unlink(missing_ok=True)


def _wait(run: str) -> None:
    """Until a process has ended that is no child of this one."""
    try:
        process = os.pidfd_open(int(run.partition(".")[0]))
    except (OSError, ValueError):
        return
    if alive(run):  # and not another one of this number
        select.select([process], [], [])
    os.close(process)


if __name__ == "__main__":
    main(*sys.argv[1:])
