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


def lives(group: int) -> bool:
    """Whether a process group has a member that is more than a zombie.

    One whose parent has gone waits for the first process of the machine to hear of its end, and in
    many containers and virtual machines that takes a second or more.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    if not os.path.isdir("/proc/self"):
        return True
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            state, _, its = _state(entry)[:3]
        except OSError:
            continue
        if int(its) == group and state != b"Z":
            return True
    return False


def _is_zombie(entry: str) -> bool:
    return _state(entry)[0] == b"Z"


def _state(entry: str) -> list[bytes]:
    """What /proc says of a process after its name: state, parent, group, and so on."""
    with open(f"/proc/{entry}/stat", "rb") as stream:
        return stream.read().rpartition(b")")[2].split()


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
