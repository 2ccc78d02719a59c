"""The line of the boot report: put together when the process ends, written in one piece."""

from __future__ import annotations

import json
import os
import sys

from . import imports, machine
from .seeds import derive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import Boot

FORMAT = 1


def collect(boot: Boot) -> dict[str, Any]:
    """Everything that this process tells of itself; what cannot be told is None."""
    settings, process = boot.settings, boot.process
    problems: list[str] = boot.problems

    def part(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Exception as error:  # noqa: BLE001  (one unknown library must not cost the rest)
            problems.append("%s: %r" % (name, error))
            return None

    def seed() -> Any:
        if settings.seeding == "none":
            return None
        given = os.environ.get("ML_EXPERIMENT_SEED", "")
        if given.isdigit():  # one that the user listed is not derived
            return int(given)
        return derive(settings.root, settings.stream, settings.replicate, "seed")

    found = part("imports", lambda: imports.imported(boot.directory)) or {}
    return {
        "argv": list(sys.argv),
        "blas": part("blas", machine.blas),
        "distributions": found.get("distributions"),
        "elsewhere": found.get("elsewhere"),
        "exit": part("exit", process.ending),
        "format": FORMAT,
        "generators": part("generators", boot.generators.report),
        "gpus": part("gpus", machine.gpus),
        "memory": part("memory", machine.memory),
        "numpy_features": part("numpy_features", machine.numpy_features),
        "platform": part("platform", machine.platform),
        "process": {
            "began": round(process.began, 3),
            "name": part("name", lambda: process.name),
            "pid": process.pid,
            "place": process.place,
            "ppid": os.getppid(),
            "role": process.role,
        },
        "project": found.get("project"),
        "python": {
            "executable": sys.executable,
            "implementation": sys.implementation.name,
            "version": ".".join(map(str, sys.version_info[:3])),
        },
        "replicate": settings.replicate,
        "resumed": settings.resumed,
        "seed": part("seed", seed),
        "seeding": settings.seeding,
        "stream": settings.stream,
        "threads": part("threads", lambda: machine.threads(settings.threads)),
        # Last, so that it has what the parts above met.
        "problems": problems,
    }


def learn(path: str, modules: list[str]) -> None:
    """Tell a warm server, in a file of its own, what a program like this one imports.

    Raises:
        OSError: the file cannot be written.
    """
    told = {"modules": modules, "python": [sys.executable, sys.version]}
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(told, stream)
    os.replace(temporary, path)


def append(path: str, line: dict[str, Any]) -> None:
    """Add one line to the report, so that processes writing at once do not mix.

    Raises:
        OSError: the file cannot be written, or not whole.
    """
    text = json.dumps(line, sort_keys=True, separators=(",", ":"), default=str) + "\n"
    data = text.encode("utf-8")
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("no room for all of it")
    finally:
        os.close(descriptor)
