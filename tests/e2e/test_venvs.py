"""`host: venv`: jobs on the host run with the packages that their environment locks, and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import records
from tests import wheels
from tests.e2e.project import Make, Project

EXPERIMENT = """\
name: venvs
seed: 3
environment: own
steps:
  run:
    run: python use.py {outputs.seen}
    outputs: {seen: seen.json}
  called:
    call: use:seen
    outputs: {file: seen.json}
  plain:
    run: python use.py {outputs.seen}
    outputs: {seen: seen.json}
    environment: plain
  many:
    call: use:seen
    outputs: {file: seen.json}
    replicates: 3
"""
USE = """\
import json
import os
import sys

try:
    from one import VERSION
except ImportError:
    VERSION = None


def seen(file):
    found = {"version": VERSION, "prefix": sys.prefix, "warm": os.getpgrp() == os.getpid()}
    with open(file, "w") as out:
        json.dump(found, out)


if __name__ == "__main__":
    seen(sys.argv[1])
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with two versions of `one`, which is where pip looks."""
    place = wheels.folder(tmp_path / "index", one="1.0")
    return wheels.folder(place, one="2.0")


@pytest.fixture
def project(make: Make) -> Project:
    made = make(EXPERIMENT, use_py=USE)
    made.write("envs/own/requirements.txt", "one<2\n")
    made.write("envs/own/image.yaml", "host: venv\n")
    made.write("envs/plain/requirements.txt", "one\n")
    return made


def environment(project: Project, job: str) -> dict[str, Any]:
    """What the last record of a job says of its environment."""
    file = project.folder / ".ml_experiment/records.jsonl"
    identity = records.read(file).finished[job]["id"]
    found: dict[str, Any] = records.details(file, {identity})[identity]["environment"]
    return found


def venv(project: Project) -> Path:
    (found,) = (project.folder / ".ml_experiment/environments").glob("own-*/")
    return found


def test_jobs_run_with_what_is_locked(project: Project, index: Path) -> None:
    environ: Mapping[str, str] = wheels.settings(index)
    none = project.ours("check")
    assert none.returncode == 2
    assert "no requirements.lock, which pins packages by their hashes" in none.stderr
    assert "to do:    `ml-experiment env lock own --host`" in none.stderr
    locked = project.ours("env", "lock", "own", "--host", **environ)
    assert locked.stdout == "own: envs/own/requirements.lock is written\n", locked.stderr

    done = project.snakemake(**environ)
    assert done.returncode == 0, done.stderr
    assert "making the virtual environment of envs/own, once" in done.stderr
    seen: dict[str, dict[str, Any]] = {
        name: dict(project.json(f"results/{name}/seen.json"))
        for name in ("run", "called", "plain", "many/seed-0", "many/seed-1", "many/seed-2")
    }
    own = {"version": "1.0", "prefix": str(venv(project))}
    for name in ("run", "called", "many/seed-0", "many/seed-1", "many/seed-2"):
        assert {key: seen[name][key] for key in own} == own, name
    assert any(seen[f"many/seed-{number}"]["warm"] for number in range(3))
    assert seen["plain"]["version"] is None
    relative = str(venv(project).relative_to(project.folder))
    found = environment(project, "called")
    assert (found["name"], found["venv"], found["differs"]) == ("own", relative, {})
    assert "venv" not in environment(project, "plain")
    built = project.ours("env", "build", "--host")
    assert built.stdout == f"own: {relative}, as it was\n"
    built = project.ours("env", "build", "plain", "--host")
    assert "jobs on the host run in the current Python" in built.stderr
    listed = project.ours("env", "list", DOCKER_HOST="unix:///nothing").stdout
    assert "on the host: venv, made" in listed
    shell = project.ours("env", "shell", "own", "--host", "--", "python", "-m", "one")
    assert (shell.returncode, shell.stderr) == (0, "")

    other = venv(project) / "bin/python"  # somebody changes what is in there
    words = ["--python", str(other), "install", "--quiet", "--no-deps", "one==2.0"]
    assert project.call("python", "-m", "pip", *words, **environ).returncode == 0
    told = project.ours("env", "check", "own", "--host", "--json")
    (fault,) = json.loads(told.stdout)
    assert (told.returncode, fault["name"]) == (1, "own")
    assert fault["what"] == "its virtual environment was changed: one 2.0, not 1.0"
    done = project.snakemake("--force", "results/called/seen.json")
    assert "own: not as it is locked: one 2.0, not 1.0" in done.stderr
    assert environment(project, "called")["differs"] == {"one": {"locked": "1.0", "ran": "2.0"}}
    tree = project.ours("lineage", "results/called/seen.json").stdout
    assert "not as locked: one 2.0, not 1.0" in tree


def test_one_that_cannot_be_made_is_said_before_anything_runs(
    project: Project, index: Path
) -> None:
    environ = wheels.settings(index)
    assert project.ours("env", "lock", "own", "--host", **environ).returncode == 0
    (index / "one-1.0-py3-none-any.whl").unlink()
    done = project.snakemake("results/run/seen.json", **environ)
    assert done.returncode == 1
    assert "envs/own/requirements.lock: pip cannot get what is asked for" in done.stderr
    assert "No matching distribution found for one==1.0" in done.stderr
    assert not (project.folder / "results/run").exists()
    wheels.folder(index, one="1.0")
    folder = venv(project)  # half made
    (folder / "bin/python").unlink()
    done = project.ours("env", "build", "own", "--host", **environ)
    assert done.stdout == f"own: {folder.relative_to(project.folder)}\n", done.stderr

    moved = folder.rename(folder.with_name("elsewhere"))  # as on a node that does not see it
    done = project.call("bash", "-c", f". {boot('env.sh')} 1 0 {folder}/bin && echo began")
    assert (done.returncode, done.stdout) == (126, "")
    assert "the environment of this job is not on" in done.stderr
    moved.rename(folder)

    project.write("envs/own/requirements.txt", "one>=2\n")
    told = project.ours("check")
    assert told.returncode == 2
    what = "requirements.lock is not what requirements.txt says: it has one 1.0, not >=2"
    assert what in told.stdout + told.stderr


def boot(name: str) -> Path:
    return Path(records.__file__).parent / "boot" / name
