"""What machine this is, for the record of a run: no user, no folder of theirs."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

GPUS = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


@functools.cache
def describe() -> dict[str, Any]:
    """This machine, its GPUs, and the versions of what runs the workflow."""
    uname = platform.uname()
    return {
        "cpu": _cpu() or uname.machine,
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
        "hostname": uname.node,
        "machine": uname.machine,
        "memory": _memory(),
        "python": platform.python_version(),
        "release": uname.release,
        "system": uname.system,
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "versions": {name: _version(name) for name in ("ml-experiment", "snakemake")},
    }


def _cpu() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return None


def _memory() -> int | None:
    """Bytes of memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> list[str]:
    """A line for each: name, driver, memory."""
    if shutil.which(GPUS[0]) is None:
        return []
    try:
        done = subprocess.run(GPUS, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
