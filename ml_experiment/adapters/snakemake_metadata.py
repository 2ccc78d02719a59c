"""Snakemake's own file about an output, and what of it is true of the job that made the output.

The place is private to Snakemake (`snakemake.persistence.file`); where there is nothing, or another
backend is in use, nothing is known.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_experiment.adapters import snakemake_command

IMAGE = "container_img_url"


def reader(folder: Path) -> Callable[[str], Mapping[str, Any]]:
    """How the file about an output is read: one of JSON, named by the output.

    An image in which the job did not run is left away.
    """
    root = folder / ".snakemake" / "metadata"

    def read(path: str) -> Mapping[str, Any]:
        try:
            most = os.pathconf(root, "PC_NAME_MAX") - 1
            name = base64.urlsafe_b64encode(path.encode()).decode()
            parts = [name[start : start + most] for start in range(0, len(name), most)]
            file = root.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
            data = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(data, dict):
            return {}
        if data.get(IMAGE) and not _ran_in_it(data, folder):
            del data[IMAGE]
        return data

    return read


def _ran_in_it(data: Mapping[str, Any], folder: Path) -> bool:
    """Whether a job ran in the image that its rule names, which Snakemake notes in any case.

    Its hash of the software has the image only where Apptainer was asked for. Modules, and conda's
    environment, are in the same hash: where there are such, the command line has to say it.
    """
    software = data.get("software_stack_hash")
    if software == _md5(""):
        return False
    if software == _md5(str(data[IMAGE])):
        return True
    return snakemake_command.asks_for_containers(sys.argv, folder, os.environ)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()  # as Snakemake does
