"""What `ml-experiment env` prints, with and without an engine."""

from __future__ import annotations

import gc
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from ml_experiment.adapters.terminal import telling
from ml_experiment.cli.main import main
from tests.docker_engine import BASE

CHANGING = f"FROM {BASE}\nRUN cat /proc/sys/kernel/random/uuid > /opt/number\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with two environments, and no engine that answers."""
    for name, files in {"one": {"Dockerfile": CHANGING}, "two": {}}.items():
        (tmp_path / "envs" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "envs" / name / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    return tmp_path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("place")
def test_without_an_engine_what_is_known_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "list"]) == 0
    out, err = capsys.readouterr()
    one, two, *_ = out.splitlines()
    assert one == "one  dockerfile  not locked  -"
    assert two.startswith("two  -           wrong       -  envs/two: nothing to make an image from")
    assert err == "no engine was asked: no Docker engine answers\n"
    assert main(["env", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(entry["name"], entry["state"], entry["base"]) for entry in listed] == [
        ("one", "not locked", [BASE]),
        ("two", "wrong", []),
    ]
    assert main(["env", "check"]) == 2
    assert "no Docker engine answers" in capsys.readouterr().err
    gc.collect()  # the SDK does not close a socket that has reached nothing


@pytest.mark.usefixtures("place")
def test_words_behind_two_dashes_are_a_program_for_the_shell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["env", "list", "--", "ls"]) == 2
    assert "only `env shell` takes a program" in capsys.readouterr().err


def test_with_an_engine(
    docker: Mapping[str, str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    assert main(["env", "check", "one", "--json"]) == 1
    (fault,) = json.loads(capfd.readouterr().out)
    assert fault == {
        "name": "one",
        "what": "there is no image of it",
        "hint": "`ml-experiment env build one`",
    }
    assert main(["env", "build", "one"]) == 0
    out, err = capfd.readouterr()
    image = json.loads((place / "envs/one/image.lock").read_text())["image"]
    assert out == f"one: {image[:19]}\n"
    assert "Step 2/2 : RUN cat" in err
    assert main(["env", "build", "one", "--again"]) == 1
    out, _ = capfd.readouterr()
    assert (
        "is not the image that is locked\n  the packages are the same\n  1 file differs\n    opt/number: content\n"
        in out
    )
    assert "envs/one/image.lock is as it was; `ml-experiment env build one --again --accept`" in out
    assert main(["env", "check", "one"]) == 0
    assert main(["env", "shell", "one", "--", "sh", "-c", "pwd; id -u; exit 3"]) == 3
    assert capfd.readouterr().out.splitlines()[-2:] == [str(place), str(os.getuid())]


def test_lines_are_told_as_they_come() -> None:
    stream = io.StringIO()
    with telling(stream) as say:
        say("Step 1")
        say("  more")
    assert stream.getvalue() == "Step 1\n  more\n"
