"""The demonstration in containers: its results are the host's to the byte, where the versions are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import records
from tests.docker_engine import BASE
from tests.e2e.project import Project

SMOKE = ("--config", "variant=smoke")
RESULTS = "results-smoke"
WAYS = {"cold": ("-e", "local")}  # how jobs are started in their containers


@pytest.fixture(scope="module")
def on_host(
    docker: Mapping[str, str], once: Callable[[str, Callable[[Path], None]], Path]
) -> Project:
    """The demonstration as `init` makes it, its image built from its list, after a run on the host."""

    def make(folder: Path) -> None:
        folder.mkdir()
        made = Project(folder)
        assert made.ours("init").returncode == 0
        made.write("envs/sklearn/image.yaml", f"base: {BASE}\n")
        for done in (made.ours("env", "build", **docker), made.snakemake(*SMOKE)):
            assert done.returncode == 0, done.stdout + done.stderr

    return Project(once("demonstration", make))


@pytest.mark.parametrize("way", WAYS)
def test_the_demonstration_is_the_same_in_containers(
    way: str, on_host: Project, docker: Mapping[str, str], tmp_path: Path
) -> None:
    made = on_host.copy(tmp_path / "p")
    shutil.rmtree(made.folder / RESULTS)
    done = made.snakemake(*SMOKE, "runtime=docker", *WAYS[way], **docker)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.files(RESULTS) == on_host.files(RESULTS), (
        surroundings(on_host),
        surroundings(made),
    )
    here, there = surroundings(on_host), surroundings(made)
    image = made.json("envs/sklearn/image.lock")["image"]
    assert {found["image"] for found in here.values()} == {None}
    assert {found["image"] for found in there.values()} == {image}
    told = made.ours("runs", "diff", "--json")
    found = {job["job"]: job for job in json.loads(told.stdout)["jobs"]}
    assert {job for job in found if found[job]["surroundings"] == {"image": [None, image]}} == {
        *here
    }
    assert all(job["metrics"] == job["outputs"] == {} for job in found.values())
    for job in here:  # what is not the same is in the host's records: it is not what is locked
        assert not there[job].get("differs")
        assert here[job]["kernels"] == there[job]["kernels"]
        ran, locked = here[job]["distributions"], there[job]["distributions"]
        others = {name for name in {*ran} & {*locked} if ran[name] != locked[name]}
        assert others == {*here[job]["differs"]} & {*locked}


def surroundings(project: Project) -> dict[str, dict[str, Any]]:
    """Job -> what its program ran upon, by its last record: image, packages, BLAS and its kernels."""
    file = next((project.folder / ".ml_experiment").glob("records-*.jsonl"))
    last = {name: record["id"] for name, record in records.read(file).finished.items()}
    details = records.details(file, set(last.values()))
    found = {}
    for name, detail in ((name, details[identity]) for name, identity in last.items()):
        if detail["boot"]:
            blas = [b for line in detail["boot"] for b in line.get("blas") or ()]
            kernels = {(b["library"], b.get("kernel")) for b in blas}
            found[name] = {**detail["environment"], "kernels": kernels}
    return found
