"""pip with the options that stand in a list: for what is locked, and for what is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_experiment import environments, venvs
from ml_experiment.adapters import pip
from ml_experiment.errors import UserError
from ml_experiment.services import hosting
from tests import wheels

SAID: list[str] = []


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose list says by itself where `one` is; this machine's settings have pip only."""
    for name, value in wheels.settings(wheels.folder(tmp_path / "pips")).items():
        monkeypatch.setenv(name, value)
    wheels.folder(tmp_path / "mine", one="1.0")
    monkeypatch.setenv("SECRET_PLACE", "mine")
    made = tmp_path / "envs/own"
    made.mkdir(parents=True)
    (made / "image.yaml").write_text("host: venv\n")
    (made / "requirements.txt").write_text(
        f"--find-links {tmp_path}/${{SECRET_PLACE}}\n-r base.txt\n"
    )
    (made / "base.txt").write_text("one\n")
    return made


def test_what_is_locked_with_a_lists_options_is_installed_with_them(
    own: Path, tmp_path: Path
) -> None:
    assert hosting.lock(tmp_path, "own", SAID.append)
    assert pip.make(tmp_path, "own", SAID.append)
    place = tmp_path / venvs.folder(tmp_path, "own")
    assert json.loads((place / venvs.MADE).read_text())["one"] == "1.0"
    lock = (own / "requirements.lock").read_text()
    assert "one==1.0" in lock
    assert "mine" not in lock
    assert pip.changed(tmp_path, "own") == {}

    (own / "base.txt").write_text("one>2\n")
    with pytest.raises(UserError, match=r"it has one 1\.0, not >2"):
        pip.make(tmp_path, "own", SAID.append)


def test_a_list_that_has_hashes_is_another_folder_with_another_file_that_it_names(
    own: Path, tmp_path: Path
) -> None:
    (own / "base.txt").write_text("one==1.0 --hash=sha256:00\n")
    before = venvs.folder(tmp_path, "own")
    (own / "base.txt").write_text("one==1.0 --hash=sha256:11\n")
    assert venvs.folder(tmp_path, "own") != before


def test_options_are_for_this_users_eyes_and_nothing_is_left_of_them(own: Path) -> None:
    with pip.options(own / "requirements.txt") as (option, file):
        assert option == "-r"
        (line,) = Path(file).read_text().splitlines()
        assert line.startswith("-f ")
        assert Path(file).parent.stat().st_mode & 0o077 == 0
    assert not Path(file).exists()
    with pip.options(own / "base.txt") as none:
        assert none == []


def test_nothing_is_locked_of_a_file_elsewhere(own: Path, tmp_path: Path) -> None:
    (own / "requirements.txt").write_text("-r ../base.txt\n")
    (tmp_path / environments.FOLDER / "base.txt").write_text("one\n")
    with pytest.raises(UserError, match="is outside of envs/own"):
        hosting.lock(tmp_path, "own", SAID.append)
    assert not (own / "requirements.lock").exists()
