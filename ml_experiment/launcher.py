"""The program `apptainer` that runs Docker in Apptainer's place, and the images that it has pulled.

The program is a file of two lines in a folder of its own. It is put on PATH where there is no Apptainer and nowhere else, so it is in no folder that is on PATH
anyway. It names the Python that has ml-experiment, which another environment's `python` may not be.
What it has pulled is a file of JSON, which says by digest which image of the engine it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_experiment import atomic
from ml_experiment.errors import UserError

PROGRAMS = ("apptainer", "singularity")  # in the order in which Snakemake looks for them

FORMAT = "an image of Docker's engine: ml-experiment"
IMAGES = ".snakemake/singularity"  # where Snakemake has what it pulls
LARGE = 1 << 20  # bytes: what is larger is an image of Apptainer's own


def folder() -> Path:
    """The folder of the program, which is made.

    Raises:
        UserError: it cannot be.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    which = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    place = cache / "ml-experiment" / f"launcher-{which}"
    program = place / PROGRAMS[0]
    python = shlex.quote(sys.executable)
    line = f'exec {python} -P -E -m ml_experiment.services.apptainer "$@"'
    try:
        atomic.write_if_changed(program, f"#!/bin/sh\n{line}\n", durable=False)
        if not os.access(program, os.X_OK):
            program.chmod(0o755)
    except OSError as error:
        hint = "name a folder that can be written to: XDG_CACHE_HOME"
        raise UserError(
            f"the launcher cannot be written: {error.strerror}", value=program, hint=hint
        ) from None
    return place


def offer() -> str | None:
    """Put it at the end of this process's PATH where Docker is and Apptainer is not.

    Returns:
        The name of the program by which containers run now; None where there is none.
    """
    found = next((name for name in PROGRAMS if shutil.which(name)), None)
    if found is None and shutil.which("docker"):
        os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{folder()}"
        return PROGRAMS[0]
    return found


def in_place() -> bool:
    """Whether it is the program by which containers run now."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return found is not None and Path(found).parent == folder()


def pulled(path: Path) -> Mapping[str, Any] | None:
    """What the file of a pulled image says; None where it is none of ours.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if path.is_dir() or path.stat().st_size > LARGE:
        return None
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    ours = isinstance(data, dict) and data.get("format") == FORMAT
    return data if ours else None


def pulled_as(workspace: Path, address: str) -> Mapping[str, Any] | None:
    """What Snakemake has pulled for a `container:` in a workspace; None where that is none of ours."""
    name = hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()  # as Snakemake does
    try:
        return pulled(workspace / IMAGES / f"{name}.simg")
    except FileNotFoundError:
        return None
