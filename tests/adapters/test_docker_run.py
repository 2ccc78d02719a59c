"""Whose containers are left, and what is to be said of images."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ml_experiment import environments, marked, workspace
from ml_experiment.adapters import docker_run
from ml_experiment.environments import Lock
from ml_experiment.errors import UserError
from ml_experiment.living import alive, living
from ml_experiment.plan import Plan

IMAGE = "sha256:" + "1" * 64
EXPERIMENT = """\
name: x
runtime: docker
environment: x
steps: {a: {run: "true > {outputs.o}", outputs: {o: o.txt}}}
"""
DOCKER = """\
#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
  pull*) touch "$0.pulled" ;;
  *inspect*) [ -e "$0.pulled" ] || { echo "Error: No such image: x" >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "envs/x").mkdir(parents=True)
    (tmp_path / "envs/x/image.yaml").write_text("image: a:1\n")
    sources = environments.declared(tmp_path, "x").sources()
    environments.write(tmp_path, "x", Lock({"a:1": IMAGE}, "linux/amd64", sources, IMAGE))
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return workspace.open_plan(tmp_path / "experiment.yaml")


def test_a_run_is_known_by_its_process_and_no_other_of_that_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        run = living(other.pid)
        assert run is not None
        assert alive(run)
        assert not alive(f"{other.pid}.1")
        assert alive(f"{other.pid}.1@another-machine")  # whose jobs may have containers here
        other.kill()
    assert not alive(run)
    assert not alive("")


def test_what_removes_containers_is_no_process_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those are killed two seconds after they were asked to end, and containers may take longer."""
    monkeypatch.setenv(marked.VARIABLE, "this")
    monkeypatch.setenv(docker_run.VARIABLE, "")
    watch = docker_run.Watch(tmp_path)
    try:
        assert watch._process.poll() is None
        assert marked.processes(f"{marked.VARIABLE}=this") == []
    finally:
        watch._process.kill()
        watch._process.communicate()


def test_an_image_of_a_registry_is_fetched_by_a_stand_in(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker` is a program here that has no image until one is pulled."""
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UserError, match="does not have the image that is locked"):
        docker_run.prepare(plan)
    known = environments.read(tmp_path, "x")
    assert known is not None
    environments.write(tmp_path, "x", replace(known, registry="host/a@sha256:2"))
    with pytest.raises(UserError, match="does not have the image that is locked"):
        docker_run.prepare(plan, fetch=False)
    assert docker_run.prepare(plan) == [
        "x: no Python in its image, so jobs get their seeds as variables only"
    ]
    assert "pull --quiet host/a@sha256:2" in Path(f"{program}.log").read_text().splitlines()


def test_without_the_program_it_is_named(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="the program docker is not on this machine"):
        docker_run.prepare(plan)
