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
STUDY = f"{RESULTS}/tune/best.json"  # a cold job takes seconds: what is made on the host is no more
# How jobs are started in their containers, and which.
WAYS = {"cold": ("-e", "local", STUDY), "warm": ("-e", "forkserver", STUDY)}


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
        for done in (made.ours("env", "build", **docker), made.snakemake(STUDY, *SMOKE)):
            assert done.returncode == 0, done.stdout + done.stderr

    return Project(once("demonstration", make))


@pytest.mark.timeout(600)  # half a gigabyte of packages is fetched, installed and compiled
@pytest.mark.parametrize("way", WAYS)
def test_the_demonstration_is_the_same_in_containers(
    way: str, on_host: Project, docker: Mapping[str, str], tmp_path: Path
) -> None:
    made = on_host.copy(tmp_path / "p")
    shutil.rmtree(made.folder / RESULTS)
    done = made.snakemake(*WAYS[way], *SMOKE, "runtime=docker", **docker)
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = surroundings(on_host), surroundings(made)
    there = {job: found for job, found in there.items() if found["image"]}  # others are the host's
    assert {"prepare", "split", *(f"tune/trial-{trial:05}" for trial in range(6))} <= {*there}
    results = made.files(RESULTS)
    assert {f"{RESULTS}/tune/trials.csv", f"{RESULTS}/tune/trials/00005.json"} <= {*results}
    assert results.items() <= on_host.files(RESULTS).items(), (here, there)

    image = made.json("envs/sklearn/image.lock")["image"]
    assert {found["image"] for found in there.values()} == {image}
    told = made.ours("runs", "diff", "--json")
    differ = {job["job"]: job for job in json.loads(told.stdout)["jobs"]}
    assert {job for job in differ if not differ[job]["only"]} == {*there}
    for job in there:  # what is not the same is in the host's records: it is not what is locked
        assert differ[job]["surroundings"] == {"image": [None, image]}
        assert differ[job]["metrics"] == differ[job]["outputs"] == {}
        assert not there[job].get("differs")
        ran, locked = here[job]["distributions"], there[job]["distributions"]
        others = {name for name in {*ran} & {*locked} if ran[name] != locked[name]}
        assert others == {*here[job]["differs"]} & {*locked}


def surroundings(project: Project) -> dict[str, dict[str, Any]]:
    """Job -> what its programs ran upon, by its last record: image, packages, what is not as locked."""
    file = next((project.folder / ".ml_experiment").glob("records-*.jsonl"))
    last = {name: record["id"] for name, record in records.read(file).finished.items()}
    details = records.details(file, set(last.values()))
    return {
        name: details[identity]["environment"]
        for name, identity in last.items()
        if details[identity]["boot"]
    }
