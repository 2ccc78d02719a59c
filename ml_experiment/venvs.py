"""Virtual environments: what an environment's list comes to on this machine, for `runtime: host`.

An environment has one where its image.yaml says `host: venv`. What is installed in it is what is
pinned with hashes: in requirements.lock, as in its image, or else in a requirements.txt that has
hashes itself. It is in STATE, in a folder that is named by these pins and this Python, so that
another lock is another folder. adapters/pip.py makes it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_experiment import atomic, environments, hashing, requirements
from ml_experiment.dockerfiles import PINNED
from ml_experiment.errors import UserError
from ml_experiment.plan import STATE

LIST = "requirements.txt"
MADE = "made.json"  # in the folder, written last: without it nothing in there is trusted


def pins(workspace: Path, name: str) -> Path:
    """The file that pins what is installed, with hashes.

    Raises:
        UserError: there is none, or it is not what requirements.txt comes to, or that names a file
            elsewhere.
    """
    from ml_experiment import locks  # noqa: PLC0415  # 40 ms of packaging

    folder = workspace / environments.FOLDER / name
    where = f"{environments.FOLDER}/{name}"
    hint = f"`ml-experiment env lock {name} --host`"
    listed, pinned = folder / LIST, folder / PINNED
    if not listed.exists():
        expected = f"a {LIST}, which a virtual environment is made from"
        raise UserError(f"no {LIST}", where=where, expected=expected)
    if locks.is_hashed(listed):
        return listed
    if not pinned.exists():
        raise UserError(f"no {PINNED}, which pins packages by their hashes", where=where, hint=hint)
    if unmet := locks.unmet(listed, pinned):
        what = f"{PINNED} is not what {LIST} says: {', '.join(unmet)}"
        raise UserError(what, where=where, hint=hint)
    return pinned


def folder(workspace: Path, name: str) -> str:
    """The folder of an environment's virtual environment, relative to the workspace.

    Raises:
        UserError: as of `pins`.
    """
    files = requirements.listed(pins(workspace, name)).files
    text = "".join(file.read_text("utf-8", "replace") for file in files)
    made_of = [text, platform.python_version(), sys.implementation.name, sys.base_prefix]
    digest = hashing.of_text(hashing.canonical(made_of))[:12]
    return f"{STATE}/environments/{name}-{digest}"


def programs(folder: Path) -> Path:
    """Where its `python` is."""
    return folder / "bin"


def is_made(folder: Path) -> bool:
    """Whether it is there whole, and the Python that it was made of still is."""
    return (folder / MADE).exists() and os.access(programs(folder) / "python", os.X_OK)


def set_made(folder: Path, installed: Mapping[str, str]) -> None:
    """Say that it is there whole, and what is in it."""
    atomic.write(folder / MADE, json.dumps(dict(sorted(installed.items())), indent=1) + "\n")
