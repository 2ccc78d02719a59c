"""Processes by number and beginning, so that a later one of the same number is another."""

from __future__ import annotations

import os
from pathlib import Path


def living(pid: int) -> str | None:
    """A process as `PID.BEGAN@MACHINE`, so that a later one of this number is another, and one elsewhere
    is; None: there is none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    return f"{pid}.{stat.rpartition(')')[2].split()[19]}@{os.uname().nodename}"


def alive(run: str) -> bool:
    """Whether the process that `living` has named so is there, or may be: on another machine."""
    name, _, machine = run.partition("@")
    if machine not in ("", os.uname().nodename):
        return True
    pid = name.partition(".")[0]
    there = living(int(pid)) if pid.isdecimal() else None
    return there is not None and there.partition("@")[0] == name


def outermost(program: str) -> int:
    """The number of the first among the processes above this one that is a program; else its parent's.

    A job of Snakemake may be started by a Snakemake of its own, and what is left is then of the first.
    """
    found, pid = None, os.getppid()
    while pid > 1:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:4]
            stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        except OSError:
            break
        if any(os.path.basename(word) == program.encode() for word in words):
            found = pid
        pid = int(stat.rpartition(")")[2].split()[1])
    return found or os.getppid()
