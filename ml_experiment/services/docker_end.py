"""The process that removes the containers which a run of Snakemake leaves, however it ended."""

from __future__ import annotations

import signal
import sys

from ml_experiment.adapters import docker_run


def main(run: str) -> None:
    """Wait for the end of standard input, which Snakemake's process holds; then remove them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    docker_run.end(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
