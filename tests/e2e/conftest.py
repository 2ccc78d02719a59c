"""A small project that is run for real, once, and copied by whoever wants to change it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import lacking
from tests.e2e import kept
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


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder of some name that all processes of a test run share: one of them makes it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, finished = base / name, base / f"{name}.finished"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                finished.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def serial(once: Once) -> Project:
    """The study of every sampler and pruner, one job at a time. To be copied, not changed."""

    def make(folder: Path) -> None:
        files = {"experiment.yaml": studies.experiment(*studies.SUBJECTS), "fit.py": studies.FIT}
        studies.run(scaffold(folder, {**files, "Snakefile": studies.SNAKEFILE}), cores=1)

    return Project(once("serial", make))


@pytest.fixture(scope="session")
def first_law(once: Once) -> Path:
    """The project of DVC's law after a run. To be copied."""
    return once("law", lambda folder: kept.build(folder / "project", kept.LAW)) / "project"


@pytest.fixture(scope="session")
def with_reflinks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system that has reflinks: XFS, in a file that is mounted for the tests."""
    image = tmp_path_factory.mktemp("reflinks") / "image"
    folder = image.with_name("mounted")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(320 * 2**20)  # the least that mkfs.xfs takes; nearly all of it is a hole
    making = ["mkfs.xfs", "-q", "-m", "reflink=1", str(image)]
    for words in (making, ["mount", "-o", "loop", str(image), str(folder)]):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            lacking(f"no file system with reflinks: {error}")
        if done.returncode:
            lacking(f"no file system with reflinks: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(params=kept.CACHES)
def cache(request: pytest.FixtureRequest) -> str:
    """A kind of link from the workspace into DVC's cache."""
    return str(request.param)


@pytest.fixture
def place(cache: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder in which that kind of link is possible."""
    if cache != "reflink":
        yield tmp_path
        return
    folder = request.getfixturevalue("with_reflinks") / tmp_path.name
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def lawful(first_law: Path, cache: str, place: Path) -> Path:
    """A copy of the project of DVC's law, with its remote; outputs are links of that kind."""
    project = kept.copy(first_law, place / "all")
    kept.relink(project, cache)
    return project
