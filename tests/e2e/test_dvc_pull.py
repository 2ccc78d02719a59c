"""`ml-experiment pull` asks DVC for what is not in place, and for nothing where everything is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e import kept
from tests.e2e.kept import call, commit, edit, seed_of, to_run

LARGE, PARTS = "results/make/large.bin", "results/make/parts"
PULL = (sys.executable, "-X", "importtime", "-m", "ml_experiment.cli.main", "pull")


@pytest.fixture
def project(first_law: Path, tmp_path: Path) -> Path:
    made = kept.copy(first_law, tmp_path / "all")
    call(made, "ml-experiment", "pull")
    return made


def asks_dvc(folder: Path, *targets: str) -> bool:
    """Pull, which fetches nothing; whether DVC was asked."""
    told = call(folder, *PULL, *targets)
    assert "0 objects fetched, 0 records added" in told
    return "dvc.repo" in told


def test_nothing_to_fetch(project: Path) -> None:
    for targets in ((), ("make",), (LARGE,), (f"{PARTS}/small.bin",), (f"./{PARTS}/",)):
        assert not asks_dvc(project, *targets)
    assert to_run(project) == set()
    (project / LARGE).touch()  # the same bytes
    shutil.copyfile(project / LARGE, project / "copy")
    (project / "copy").replace(project / LARGE)
    assert not asks_dvc(project)


def test_what_is_not_in_place_comes_from_dvc(project: Path) -> None:
    seed = seed_of(project)
    (project / PARTS / "small.bin").unlink()
    assert not asks_dvc(project, LARGE)
    assert asks_dvc(project, f"{PARTS}/small.bin")
    assert seed_of(project) == seed
    assert not asks_dvc(project)
    with (project / LARGE).open("r+b") as file:
        file.write(b"9")
    told = call(project, "ml-experiment", "pull", code=2)
    assert "DVC's cache does not have these files as they are" in told
    assert f"value:    {LARGE}\n" in told
    (project / LARGE).unlink()
    shutil.rmtree(project / ".dvc/cache")
    assert "6 objects fetched" in call(project, "ml-experiment", "pull")
    assert seed_of(project) == seed
    shutil.rmtree(project / ".dvc/cache")  # all is in place, and not in the cache
    assert "6 objects fetched" in call(project, "ml-experiment", "pull")
    call(project, "dvc", "config", "--local", "cache.dir", "../cache")
    assert "6 objects fetched" in call(project, "ml-experiment", "pull")
    assert not asks_dvc(project)


def test_another_lock(project: Path) -> None:
    """What a run has committed is in place; what git brings back is not."""
    first = seed_of(project)
    edit(project, "seed: 3", "seed: 4")
    call(project, "snakemake", "--cores", "2")
    second = seed_of(project)
    assert second != first
    assert not asks_dvc(project)
    call(project, "ml-experiment", "push")
    commit(project)
    call(project, "git", "checkout", "-q", "HEAD~", "--", "dvc.lock", "experiment.yaml")
    call(project, "git", "checkout", "-q", "HEAD~", "--", "results")
    shutil.rmtree(project / ".dvc/cache")
    told = call(project, "ml-experiment", "pull", "--remote", "store", code=None)
    assert "DVC's cache does not have these files" in told  # nor has it those of the second seed
    shutil.rmtree(project / ".dvc/cache")
    for name in ("small.bin", "large.bin", "parts", "records.jsonl"):
        path = project / "results/make" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "6 objects fetched" in call(project, "ml-experiment", "pull", "--remote", "store")
    assert seed_of(project) == first
    assert to_run(project) == set()
    assert not asks_dvc(project)
    assert "DVC knows no such remote" in call(
        project, "ml-experiment", "pull", "--remote", "nosuch", code=2
    )


def test_a_stage_that_never_ran_keeps_nothing_from_coming(project: Path) -> None:
    edit(project, "steps:", 'steps:\n  later: {run: "touch {outputs.x}", outputs: {x: x.txt}}')
    call(project, "ml-experiment", "dvc")
    seed = seed_of(project)
    for gone in (PARTS, ".ml_experiment", ".dvc/cache"):
        shutil.rmtree(project / gone)
    call(project, "ml-experiment", "pull")
    assert (project / PARTS / "small.bin").exists()
    assert seed_of(project) == seed
    assert to_run(project) == {"later"}
