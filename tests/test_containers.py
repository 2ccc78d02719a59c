"""The words for Docker's program, and boot/docker.sh, which completes them."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ml_experiment import containers, environments, launch, workspace
from ml_experiment.environments import Lock
from ml_experiment.plan import Job, Plan

EXPERIMENT = """\
name: contained
runtime: docker
environment: x
steps:
  make:
    run: cat {inputs.raw} {inputs.other} > {outputs.made}
    inputs: {raw: data/raw.csv, other: link.csv}
    outputs: {made: made.txt}
    threads: 2
    mem_mb: 300
    env: [TOKEN]
    timeout: 20
  take:
    run: cat {inputs.made} > {outputs.taken}
    inputs: {made: make.made}
    outputs: {taken: taken.txt}
    network: true
    gpus: 1
"""
IMAGE = "sha256:" + "1" * 64


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    place = tmp_path / "a,b"
    (place / "envs/x").mkdir(parents=True)
    (place / "envs/x/image.yaml").write_text("image: a\n")
    sources = environments.declared(place, "x").sources()
    environments.write(place, "x", Lock({"a": IMAGE}, "linux/amd64", sources, IMAGE))
    (place / "data").mkdir()
    (place / "data/raw.csv").write_text("1\n")
    (tmp_path / "elsewhere.csv").write_text("2\n")
    (place / "link.csv").symlink_to(tmp_path / "elsewhere.csv")
    (place / "experiment.yaml").write_text(EXPERIMENT)
    return workspace.open_plan(place / "experiment.yaml")


def job(plan: Plan, name: str) -> Job:
    return next(plan.jobs(plan.steps[name]))


def mounts(words: list[str]) -> dict[str, bool]:
    """Path -> whether it is read-only."""
    found = {}
    for before, text in itertools.pairwise(words):
        if before == "--mount":
            (fields,) = csv.reader([text])
            named = dict(field.partition("=")[::2] for field in fields)
            assert named["source"] == named["target"]
            found[named["source"]] = "readonly" in named
    return found


def test_a_job_sees_its_workspace_and_what_its_inputs_lead_to(plan: Plan) -> None:
    image, *words = containers.of_job(plan, job(plan, "make"))
    assert image == IMAGE
    outside = str(plan.folder.parent / "elsewhere.csv")
    folder = str(plan.folder)
    assert mounts(words) == {folder: False, f"{folder}/data/raw.csv": True, outside: True}
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--memory") + 1] == words[words.index("--memory-swap") + 1] == "300m"
    assert words[words.index("--env") + 1] == "TOKEN"
    assert "--gpus" not in words


def test_links_in_a_folder_are_followed_and_neighbours_seen_together(tmp_path: Path) -> None:
    outside, place = tmp_path / "disk", tmp_path / "p"
    (place / "data/in").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (place / "own.csv").touch()
    (place / "data/own").symlink_to(place / "own.csv")
    (place / "data/one").symlink_to(outside / "one.csv")
    (place / "data/in/all").symlink_to(outside / "deep")
    assert containers.leads_to(str(place), "data") == (str(outside),)
    assert containers.leads_to(str(place), "data/own") == ()
    for number in range(containers.FEW + 1):  # as in a cache of DVC's
        (tmp_path / f"cache/{number}").mkdir(parents=True)
        (place / f"data/in/{number}").symlink_to(tmp_path / f"cache/{number}/file")
    assert containers.leads_to(str(place), "data/in") == (
        str(tmp_path / "cache"),
        str(outside / "deep"),
    )


def test_what_a_step_has_made_is_no_raw_input(plan: Plan) -> None:
    _, *words = containers.of_job(plan, job(plan, "take"))
    assert mounts(words) == {str(plan.folder): False}
    assert words[words.index("--network") + 1] == "host"
    assert words[-1] == "--gpus"
    assert "--memory" not in words


@pytest.mark.parametrize(
    ("devices", "words"),
    [({"CUDA_VISIBLE_DEVICES": "1,3"}, ["--gpus", '"device=1,3"']), ({"CUDA_VISIBLE_DEVICES": ""}, []), ({}, ["--gpus", "all"])],
)  # fmt: skip
def test_what_docker_is_asked_for_by_a_stand_in_that_writes_it_down(
    devices: Mapping[str, str], words: list[str], plan: Plan, tmp_path: Path
) -> None:
    """No engine has GPUs here: `docker` is a program that writes down its words."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > words.txt\n')
    docker.chmod(0o755)
    environ = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environ |= {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "ML_EXPERIMENT_RUN": "1",
        **devices,
    }
    line = launch.line(plan, job(plan, "take"), {}, {}, resumed=False)
    for folder in (".ml_experiment/boot", "logs"):
        (plan.folder / folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=plan.folder, env=environ, check=False
    )
    assert done.returncode == 0, (plan.folder / "logs/take.log").read_text()
    asked = (plan.folder / "words.txt").read_text().splitlines()
    assert asked[:1] == ["run"]
    assert [word for word in asked if word in ("--gpus", "all") or "device=" in word] == words
    named = {after for before, after in itertools.pairwise(asked) if before == "--env"}
    assert {"ML_EXPERIMENT_BOOT", "ML_EXPERIMENT_INPUTS_MADE"} <= named
    assert "ML_EXPERIMENT_RUN" not in named
    place = asked.index(IMAGE)
    assert asked[place - 2 : place] == ["--entrypoint", "bash"]
    assert asked[-5:-1] == ["bash", "-euo", "pipefail", "-c"]


def test_on_the_host_there_is_no_container(plan: Plan) -> None:
    host = workspace.open_plan(plan.folder / "experiment.yaml", {"runtime": "host"})
    assert containers.of_job(host, job(host, "make")) == []
    assert "docker" not in launch.line(host, job(host, "make"), {}, {}, resumed=False)


def test_the_image_is_part_of_the_key_where_jobs_run_in_it(plan: Plan) -> None:
    host = workspace.open_plan(plan.folder / "experiment.yaml", {"runtime": "host"})
    texts = [
        next(t for p, t in workspace.key_texts(each).items() if "make" in p)
        for each in (plan, host)
    ]
    assert IMAGE in texts[0]
    assert IMAGE not in texts[1]
