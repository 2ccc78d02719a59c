"""The processes of a run, known by an assignment in their environment, and the end of them.

A job may have made process groups of its own, so neither a group nor a parent leads to all that it
has started; what it was started with does. As a program, `python marked.py ASSIGNMENT FOLDER`, it
ends a run whose Snakemake has ended without doing so: standard input is a pipe that Snakemake holds,
and if its end comes without a word, every process of the run is asked to end, and killed two
seconds later. The folder is removed in any case. Linux only; the standard library only, and with
little of it imported, since one lives beside each run.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ML_EXPERIMENT_RUN"  # of the assignment, which has the run's own value
GRACE = 2.0  # seconds
PAUSE = 0.05


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that is to outlive the jobs of a run."""
    return {name: value for name, value in environ.items() if name != VARIABLE}


def processes(assignment: str) -> list[int]:
    """The processes, other than this one, that were started with `NAME=value` in their environment.

    What has set it after its own start is not among them: that is Snakemake itself.
    """
    wanted = b"\0" + assignment.encode() + b"\0"
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as stream:
                if wanted in b"\0" + stream.read() and not _is_zombie(entry):
                    found.append(int(entry))
        except OSError:
            continue  # gone, or another user's
    return found


def end(assignment: str, grace: float = GRACE) -> None:
    """Ask the processes of a run to end, and kill after `grace` seconds what has not."""
    if grace:
        _send(assignment, signal.SIGTERM)
    until = time.monotonic() + grace
    while processes(assignment) and time.monotonic() < until:
        time.sleep(PAUSE)
    while processes(assignment):  # a process may start another while it is looked for
        _send(assignment, signal.SIGKILL)
        time.sleep(PAUSE)


def _is_zombie(entry: str) -> bool:
    with open(f"/proc/{entry}/stat", "rb") as stream:
        return stream.read().rpartition(b")")[2].split()[0] == b"Z"


def _send(assignment: str, number: signal.Signals) -> None:
    for pid in processes(assignment):
        try:
            os.kill(pid, number)
        except OSError:
            continue


def main(assignment: str, folder: str) -> None:
    """Wait for the end of the run, then see that nothing is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read():
        end(assignment)
    import shutil  # noqa: PLC0415  # it imports much, and this lives long with nothing to do

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
