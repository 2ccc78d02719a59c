"""The state of a repository, as git has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ml_experiment import repository


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "sub").mkdir()
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_one(made: Path) -> None:
    found = repository.state(made / "sub")
    assert found == repository.Repository(commit=git(made, "rev-parse", "HEAD"))


def test_changes_are_in_the_diff_and_new_files_are_named(made: Path) -> None:
    (made / "a.txt").write_text("two\n")
    (made / "sub" / "new.txt").write_text("x")
    found = repository.state(made / "sub")
    assert found is not None
    assert found.dirty
    assert "-one\n+two\n" in str(found.diff)
    assert found.untracked == ("sub/",)
    git(made, "add", "a.txt")
    staged = repository.state(made)
    assert staged is not None
    assert staged.diff == found.diff


def test_a_password_in_the_address_is_left_out(made: Path) -> None:
    git(made, "remote", "add", "origin", "https://me:secret@host/x.git")
    found = repository.state(made)
    assert found is not None
    assert found.remote == "https://host/x.git"


def test_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert repository.state(tmp_path) == repository.Repository()


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert repository.state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository.state(tmp_path) is None


def test_a_broken_one_says_so(made: Path) -> None:
    (made / ".git" / "config").write_text("[broken\n")
    found = repository.state(made)
    assert found is not None
    assert found.commit is None
    assert "config" in str(found.problem)


def test_a_long_diff_is_left_out(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MOST_DIFF", 5)
    (made / "a.txt").write_text("two\n")
    found = repository.state(made)
    assert found is not None
    assert found.diff is None
    assert "over 5 bytes" in str(found.problem)
