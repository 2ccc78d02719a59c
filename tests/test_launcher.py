"""The program `apptainer` of ours: where it is, and when it is on PATH."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ml_experiment import launcher
from ml_experiment.adapters import snakemake_command
from ml_experiment.errors import UserError


def program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_it_is_offered_where_docker_is_and_apptainer_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert launcher.offer() is None
    program(tmp_path / "bin", "docker")
    assert launcher.offer() == "apptainer"
    assert os.environ["PATH"] == f"{tmp_path}/bin{os.pathsep}{launcher.folder()}"
    assert launcher.offer() == "apptainer"
    assert os.environ["PATH"].count(os.pathsep) == 1
    assert launcher.in_place()
    text = (launcher.folder() / "apptainer").read_text()
    assert shlex.split(text.splitlines()[1])[:2] == ["exec", sys.executable]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "singularity")
    assert launcher.offer() == "singularity"
    assert not launcher.in_place()
    assert os.environ["PATH"] == str(tmp_path / "bin")


def test_a_folder_that_cannot_be_written_to_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the launcher cannot be written"):
        launcher.folder()


def test_nothing_of_the_folder_it_is_called_in_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("json.py", "ml_experiment.py"):
        (tmp_path / name).write_text("raise SystemExit(9)\n")
    words = [str(launcher.folder() / "apptainer"), "exec", "no.sif", "true"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        words, cwd=tmp_path, env=environ, check=False, capture_output=True, text=True
    )
    assert (done.returncode, "there is no such image" in done.stderr) == (255, True), done.stderr


@pytest.mark.parametrize(
    ("words", "profile", "asked"),
    [
        (["--sdm", "apptainer"], "", True),
        (["--use-singularity"], "", True),
        (["snakemake"], "software-deployment-method: apptainer\n", True),
        (["--sdm", "conda"], "executor: local\n", False),
    ],
)
def test_containers_are_asked_for_by_arguments_and_profiles(
    words: list[str], profile: str, asked: bool, tmp_path: Path
) -> None:
    file = tmp_path / "profiles/default/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(profile)
    assert snakemake_command.asks_for_containers(words, tmp_path, {}) == asked
