"""The program `apptainer` over Docker: what it pulls stays what it was."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ml_experiment import launcher
from ml_experiment.adapters.docker import Engine
from ml_experiment.services import environments
from tests import registry
from tests.docker_engine import BASE


@pytest.fixture
def apptainer(docker: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program, and a folder to be in."""
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(launcher.folder() / "apptainer")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True)


@pytest.fixture
def address() -> Iterator[str]:
    with registry.running() as found:
        yield found


def push(name: str, content: str) -> str:
    """An image of its own in a registry, which the engine forgets. Gives its id."""
    folder = Path(content)
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /\nENV SAID={content}\n")
    built = run("docker", "build", "--quiet", "--tag", name, str(folder))
    assert run("docker", "push", "--quiet", name).returncode == 0
    assert run("docker", "rmi", "--force", built.stdout.strip()).returncode == 0
    return built.stdout.strip()


def test_a_pulled_image_stays_when_its_name_means_another(
    apptainer: str, address: str, docker: Mapping[str, str], tmp_path: Path
) -> None:
    name = f"{address}/lab/tools:1"
    first = push(name, "first")
    file = tmp_path / launcher.IMAGES / "x.simg"
    done = run(apptainer, "pull", "--name", str(file), f"docker://{name}")
    assert done.returncode == 0, done.stderr
    held = json.loads(file.read_text())
    assert (held["image"], held["variables"]) == (first, ["PATH", "SAID"])
    assert held["registry"].startswith(f"{address}/lab/tools@sha256:")
    engine = Engine(docker)
    assert [each.remark for each in environments.pulled(tmp_path, engine)] == [""]

    second = push(name, "second")
    assert run("docker", "pull", "--quiet", name).returncode == 0
    (told,) = environments.pulled(tmp_path, engine)
    assert second in told.remark
    gone = run(apptainer, "exec", str(file), "nothing")  # it is fetched again, by its digest
    assert (gone.returncode, "exec nothing failed" in gone.stderr) == (127, True), gone.stderr
    assert engine.image(first) is not None
    engine.close()
    again = run(apptainer, "pull", str(file), f"docker://{name}")
    assert (again.returncode, "there is an image of this name" in again.stderr) == (255, True)


def test_what_is_wrong_is_said_as_apptainer_says_it(apptainer: str, tmp_path: Path) -> None:
    real = tmp_path / "real.sif"
    real.write_bytes(b"#!/usr/bin/env run-singularity\n" + bytes(100))
    done = run(apptainer, "exec", "real.sif", "true")
    assert (done.returncode, done.stderr[:8]) == (255, "FATAL:  ")
    assert "not an image that was pulled for Docker" in done.stderr
    assert "there is no such image" in run(apptainer, "exec", "no.sif", "true").stderr
    own = run(apptainer, "pull", "--name", "x.simg", "oras://x/y:1")
    assert "an image in Apptainer's own form" in own.stderr
    assert run(apptainer, "--version").stdout.startswith("apptainer version 1.")
    os.environ["DOCKER_HOST"] = "unix:///nothing.sock"
    assert "no Docker engine answers" in run(apptainer, "--version").stderr


def test_an_archive_and_what_goes_in_and_comes_out(apptainer: str, tmp_path: Path) -> None:
    with Path("x.tar").open("wb") as file:
        subprocess.run(["docker", "save", BASE], check=True, stdout=file)
    pulled = run(apptainer, "build", "x.sif", f"docker-archive:{tmp_path}/x.tar")
    assert pulled.returncode == 0, pulled.stderr
    script = "cat; umask; touch made; exit 7"
    words = [apptainer, "exec", "x.sif", "sh", "-c", script]
    done = subprocess.run(
        words, input="in", text=True, check=False, capture_output=True, umask=0o027
    )
    assert (done.returncode, done.stdout) == (7, "in0027\n"), done.stderr
    status = Path("made").stat()
    assert (status.st_uid, oct(status.st_mode & 0o777)) == (os.getuid(), "0o640")
