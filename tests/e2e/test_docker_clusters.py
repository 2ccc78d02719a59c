"""Containers on nodes: the image that is locked, or a failure that names it and the node."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import environments, guard, launch, records
from ml_experiment.adapters.docker import Engine
from ml_experiment.environments import Lock
from tests import registry
from tests.docker_engine import BASE
from tests.e2e import imaged
from tests.e2e.project import Project
from tests.e2e.test_clusters import SLURM, project, slurm_cluster, two_nodes

EXPERIMENT = """\
name: nodes
seed: 3
environment: base
runtime: docker
steps:
  make:
    run: python make.py {outputs.seen}
    outputs: {seen: seen.json}
  lacking:
    run: python make.py {outputs.seen}
    outputs: {seen: seen.json}
    environment: gone
"""
MAKE = """\
import json, os, random, sys
found = {"drawn": random.random(), "parent": os.listdir(os.path.dirname(os.getcwd()))}
json.dump(found, open(sys.argv[1], "w"))
"""
SMALL = f"""\
FROM {BASE} AS whole
RUN mkdir /t && cp --parents $(ldd /bin/bash | grep -o '/[^ ]*') /bin/bash /t && echo NUMBER > /t/number
FROM scratch
COPY --from=whole /t /
"""
GONE = "sha256:" + "0" * 64
AWAY = ("--default-resources", "mem_mb=0", "disk_mb=0", "away=1")  # the node that sees nothing
WAYS = {
    "ray": (two_nodes, ("--workflow-profile", "profiles/ray", *AWAY)),
    "slurm": (slurm_cluster, SLURM),
}


@pytest.fixture
def contained(
    docker: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """Two steps: the engine has the image of one."""
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    made = project(tmp_path / "hidden/p", EXPERIMENT)
    made.write("Snakefile", 'include: "workflow/rules/experiment.smk"\n\n\n'
               "rule all:\n    default_target: True\n    input: experiment.targets\n")  # fmt: skip
    made.write("make.py", MAKE)
    made.write("envs/base/Dockerfile", f"FROM {BASE}\nRUN ln -sf python3 /usr/bin/python\n")
    made.write("envs/gone/image.yaml", "image: gone:1\n")
    imaged.build(made.folder, docker)
    sources = environments.declared(made.folder, "gone").sources()
    lock = Lock({"gone:1": GONE}, "linux/amd64", sources, GONE, "gone:1")
    environments.write(made.folder, "gone", lock)
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_node_runs_the_locked_image_or_says_that_it_cannot(way: str, contained: Project) -> None:
    started, words = WAYS[way]
    with started(contained.folder.parent) as environ:
        done = contained.call("snakemake", *words, "--keep-going", **environ)
    assert done.returncode == 1, done.stderr
    assert "on this machine, which need not be so on the nodes" in done.stderr
    seen: dict[str, Any] = dict(contained.json("results/make/seen.json"))
    assert "logs" not in seen["parent"], "the job has seen more than its workspace"
    file = contained.folder / ".ml_experiment/records.jsonl"
    record = records.read(file).finished["make"]
    (detail,) = records.details(file, {record["id"]}).values()
    assert detail["environment"]["image"] == contained.json("envs/base/image.lock")["image"]
    _, _, card = done.stderr.partition("failed: lacking")
    assert f"the Docker engine of {os.uname().nodename} does not have the image" in card, (
        done.stderr
    )
    assert f"this job runs in {GONE} and in no other" in card

    host = contained.snakemake("results/make/seen.json", "--config", "runtime=host")
    assert host.returncode == 0, host.stderr
    assert contained.json("results/make/seen.json")["drawn"] == seen["drawn"]


def test_a_node_fetches_the_image_that_a_registry_has(
    docker: Mapping[str, str], tmp_path: Path
) -> None:
    with registry.running() as address:
        name = f"{address}/some/image:1"
        engine = Engine(docker)
        (tmp_path / "Dockerfile").write_text(SMALL.replace("NUMBER", str(tmp_path)))
        image = engine.build(tmp_path, None, lambda _: None, again=False, what="x").id
        engine.tag(image, name)
        run(docker, "docker", "push", "--quiet", name)
        found = engine.image(image)
        assert found is not None
        (pin,) = found.registry
        run(docker, "docker", "image", "rm", "--force", image)
        told = in_container(docker, tmp_path, image, "--registry", pin)
        assert (told.returncode, told.stdout) == (3, f"{tmp_path}\n"), told.stderr
        run(docker, "docker", "image", "rm", "--force", image)
        engine.close()
    told = in_container(docker, tmp_path, image, "--registry", pin)
    assert told.returncode == 125
    assert f"does not have the image and cannot fetch {pin}" in told.stderr


def test_a_node_without_docker_says_so(docker: Mapping[str, str], tmp_path: Path) -> None:
    told = in_container({"DOCKER_HOST": "unix:///nothing.sock"}, tmp_path, GONE)
    assert told.returncode == 125
    assert f"no Docker engine answers on {os.uname().nodename}, or not to this user" in told.stderr
    for program in ("bash", "getconf", "uname"):
        (tmp_path / program).symlink_to(run({}, "which", program).stdout.strip())
    told = in_container({**docker, "PATH": str(tmp_path)}, tmp_path, GONE)
    assert told.returncode == 125
    assert f"there is no Docker on {os.uname().nodename}" in told.stderr
    assert GONE in told.stderr


def test_a_guard_leaves_no_container_of_its_node(
    docker: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    words = ["docker", "run", "--detach", "--network", "none", "--label"]
    mine, other = (
        run({}, *words, f"ml-experiment.node={node}", BASE, "sleep", "600").stdout.strip()
        for node in ("guarded-1", "guarded-2")
    )
    guard.end_containers("guarded-1")
    listed = run({}, "docker", "ps", "--all", "--quiet", "--no-trunc").stdout.split()
    run({}, "docker", "rm", "--force", other)
    assert mine not in listed
    assert other in listed


def in_container(
    environ: Mapping[str, str], place: Path, image: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """A program in a container, as a job's shell has it."""
    words = ["in_container", image, "1", "0", *options, "--network", "none", "--"]
    words += ["bash", "-c", 'echo "$(</number)"; exit 3']
    line = f". {shlex.quote(str(launch.BOOT / 'docker.sh'))} && {shlex.join(words)}"
    return subprocess.run(
        ["bash", "-c", line], cwd=place, env={**os.environ, **environ}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def run(environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={**os.environ, **environ}, check=True, capture_output=True, text=True
    )
