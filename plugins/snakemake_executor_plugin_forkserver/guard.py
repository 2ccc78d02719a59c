"""Ends a run's processes when Snakemake has ended without doing so: `python guard.py MARK FOLDER`.

Standard input is a pipe that Snakemake holds. If its end comes without a word, every process whose
environment has ML_EXPERIMENT_RUN=MARK is asked to end, and killed two seconds later. The folder is
removed in any case. Standard library only, and started with little of it: it lives beside each run.
"""

import os
import signal
import sys
import time

GRACE = 2.0  # seconds


def main(mark: str, folder: str) -> None:
    """Wait for the end of the run, then see that nothing is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read():
        _send(mark, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while _found(mark) and time.monotonic() < until:
            time.sleep(0.05)
        while _found(mark):  # a process may start another while it is looked for
            _send(mark, signal.SIGKILL)
            time.sleep(0.05)
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _found(mark: str) -> list[int]:
    """The processes with the mark, but for Snakemake itself, which sets it after its start."""
    marked = b"\0ML_EXPERIMENT_RUN=" + mark.encode() + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as stream:
                if marked in b"\0" + stream.read() and not _is_zombie(entry):
                    found.append(int(entry))
        except OSError:
            continue  # gone, or another user's
    return found


def _is_zombie(entry: str) -> bool:
    with open(f"/proc/{entry}/stat", "rb") as stream:
        return stream.read().rpartition(b")")[2].split()[0] == b"Z"


def _send(mark: str, number: signal.Signals) -> None:
    for pid in _found(mark):
        try:
            os.kill(pid, number)
        except OSError:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
