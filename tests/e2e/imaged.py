"""Projects whose environment `base` has its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ml_experiment.adapters.docker import Engine
from ml_experiment.services import building


def build(folder: Path, docker: Mapping[str, str]) -> None:
    """Build the image of the environment `base` of a project."""
    engine = Engine(docker)
    building.build(folder, "base", engine, lambda _: None)
    engine.close()
