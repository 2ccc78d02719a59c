"""A small project that is run for real, once, and copied by whoever wants to change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.project import FILES, Project, scaffold


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project after a green run. To be copied, not changed."""
    project = scaffold(tmp_path_factory.mktemp("finished") / "small", FILES)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def small(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path / "small")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Project]:
    """A new project of an experiment and files; `a_py=` is a.py, `scripts__a_py=` scripts/a.py."""

    def build(experiment: str, **files: str) -> Project:
        named = {
            name.replace("__", "/").replace("_py", ".py"): text for name, text in files.items()
        }
        return scaffold(tmp_path / "project", {"experiment.yaml": experiment, **named})

    return build
