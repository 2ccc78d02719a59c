"""No stale output is ever committed or recorded under new parameters, whichever way it is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kept import CLEAN, call, clone, edit, seed_of, to_run

OTHER = ("seed: 3", "seed: 4")


def assert_sound(folder: Path) -> None:
    """Everybody says that the outputs are what the experiment says, and the cache is whole."""
    assert "1 of 1 jobs current" in call(folder, "ml-experiment", "status")
    assert "no fault found" in call(folder, "ml-experiment", "fsck")
    assert CLEAN in call(folder, "dvc", "status")


def go_back(folder: Path, seed: int) -> None:
    """What was made before is known, and only put back."""
    call(folder, "git", "checkout", "-q", "--", ".")
    call(folder, "dvc", "checkout", "-q")
    assert seed_of(folder) == seed
    assert "1 of 1 jobs current" in call(folder, "ml-experiment", "status")


def test_links_are_of_the_kind_that_the_test_says(lawful: Path, cache: str) -> None:
    for name in ("large.bin", "parts/large.bin"):
        file = lawful / "results/make" / name
        reflink = cache == "reflink" and "shared" in call(lawful, "filefrag", "-v", str(file))
        told = file.is_symlink(), file.stat().st_nlink > 1, reflink
        assert told == (cache == "symlink", cache == "hardlink", cache == "reflink")


def test_dvc_repro_with_another_seed(lawful: Path) -> None:
    first = seed_of(lawful)
    edit(lawful, *OTHER)
    call(lawful, "dvc", "repro")
    assert seed_of(lawful) != first
    assert_sound(lawful)
    assert to_run(lawful) == set()
    go_back(lawful, first)


@pytest.mark.parametrize("words", [(), ("--temp",)])
def test_experiments_of_dvc(lawful: Path, words: tuple[str, ...]) -> None:
    first = seed_of(lawful)
    call(lawful, "dvc", "exp", "run", *words, "--name", "four", "-S", "experiment.yaml:seed=4")
    if words:
        assert seed_of(lawful) == first
        call(lawful, "dvc", "exp", "apply", "four")
    assert seed_of(lawful) != first
    assert "1 of 1 jobs current" in call(lawful, "ml-experiment", "status")
    assert "no fault found" in call(lawful, "ml-experiment", "fsck")
    go_back(lawful, first)


def test_dvc_commit_after_a_run_with_other_values_is_refused(lawful: Path) -> None:
    first, lock = seed_of(lawful), (lawful / "dvc.lock").read_text()
    told = call(lawful, "snakemake", "--cores", "2", "--config", "seed=99")
    assert "nothing kept, it has values that the experiment file does not have" in told
    assert seed_of(lawful) != first
    assert "unable to commit changed stage" in call(lawful, "dvc", "commit", code=1)
    told = call(lawful, "dvc", "commit", "--force", code=1)
    assert "'results/make/records.jsonl' does not exist" in told
    assert (lawful / "dvc.lock").read_text() == lock
    call(lawful, "dvc", "repro")
    assert seed_of(lawful) == first
    assert_sound(lawful)


def test_a_clone_whose_seed_is_changed_before_anything_is_there(lawful: Path, cache: str) -> None:
    first = seed_of(lawful)
    other = clone(lawful, "other", cache)
    edit(other, *OTHER)
    assert "DVC: 1 stage" in call(other, "snakemake", "--cores", "2")
    second = seed_of(other)
    assert second != first
    assert "1 of 1 jobs current" in call(other, "ml-experiment", "status")

    third = clone(lawful, "third", cache)
    edit(third, *OTHER)
    assert "make: stale: seed" in call(third, "ml-experiment", "pull")
    assert seed_of(third) == first
    assert to_run(third) == {"make"}
    call(third, "dvc", "repro")
    assert seed_of(third) == second
    assert_sound(third)
