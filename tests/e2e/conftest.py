"""A small project that is run for real, once, and copied by whoever wants to change it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import law as studies
from tests.e2e.project import FILES, Make, Project, scaffold


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


@pytest.fixture
def law(make: Make) -> Make:
    """A new project whose studies are not drawn."""

    def build(experiment: str, **files: str) -> Project:
        return make(experiment, Snakefile=studies.SNAKEFILE, **files)

    return build


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The study of every sampler and pruner, one job at a time. To be copied, not changed.

    The processes of a test run share it: one of them makes it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, finished = base / "serial", base / "serial.finished"
    with (base / "serial.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            files = {
                "experiment.yaml": studies.experiment(*studies.SUBJECTS),
                "fit.py": studies.FIT,
            }
            studies.run(scaffold(folder, {**files, "Snakefile": studies.SNAKEFILE}), cores=1)
            finished.touch()
    return Project(folder)
