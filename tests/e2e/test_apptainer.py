"""`runtime: apptainer`: steps as rules with `container:`, run by Docker in Apptainer's place, and recorded."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import environments, records
from ml_experiment.environments import Lock
from tests.docker_engine import BASE
from tests.e2e import imaged
from tests.e2e.project import REPOSITORY, Make, Project, scaffold

EXPERIMENT = """\
name: contained
seed: 3
environment: base
runtime: apptainer
steps:
  draw:
    run: python draw.py {inputs.raw} {outputs.seen} {metrics}
    inputs: {raw: data/raw.csv}
    outputs: {seen: seen.json}
    metrics: metrics.json
    replicates: 2
  fit:
    call: draw:fit
    metrics: metrics.json
studies:
  tune:
    step: fit
    space: {x: [1, 2, 3]}
    objectives: {loss: minimize}
    sampler: grid
"""
DRAW = """\
import json, os, random, sys


def fit(x):
    if x == 2:
        sys.exit(4)
    return {"loss": x, "drawn": random.random()}


if __name__ == "__main__":
    raw, seen, metrics = sys.argv[1:]
    found = {
        "in": os.environ.get("APPTAINER_CONTAINER"), "python": sys.executable, "raw": open(raw).read(),
        "threads": os.environ["OMP_NUM_THREADS"], "uid": os.getuid(),
    }
    json.dump(found, open(seen, "w"))
    json.dump({"drawn": random.random()}, open(metrics, "w"))
"""
SNAKEFILE = """\
include: "workflow/rules/experiment.smk"


rule byhand:
    input: key=experiment.key("byhand", "byhand.py"), made=experiment.path("draw.metrics"),
    output: f"{experiment.results}/byhand/out.txt",
    container: experiment.container()
    params: launch=experiment.launch("byhand"),
    shell: "{params.launch} python byhand.py > {output:q}"


rule all:
    default_target: True
    input: experiment.targets, experiment.path("tune.table"), rules.byhand.output
"""
FILES = {
    "experiment.yaml": EXPERIMENT,
    "Snakefile": SNAKEFILE,
    "draw.py": DRAW,
    "byhand.py": "import random\nprint(random.random())\n",
    "envs/base/Dockerfile": f"FROM {BASE}\nRUN ln -sf python3 /usr/bin/python\n",
}


@pytest.fixture(scope="module")
def locked(docker: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = scaffold(tmp_path_factory.mktemp("locked") / "p", FILES)
    imaged.build(project.folder, docker)
    return project


@pytest.fixture
def contained(
    locked: Project, tmp_path: Path, docker: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A copy of it, whose raw input lies elsewhere, and nothing of another run."""
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = locked.copy(tmp_path / "p")
    disk = Path("/opt") / f"ml-experiment-test-{tmp_path.parent.name}.csv"
    disk.write_text("1\n")
    project.write("data/.keep", "")
    (project.folder / "data/raw.csv").symlink_to(disk)
    yield project
    disk.unlink()


def test_steps_run_in_containers_that_snakemake_starts(contained: Project) -> None:
    done = contained.snakemake("--sdm", "apptainer")
    assert done.returncode == 0, done.stdout + done.stderr
    known = environments.read(contained.folder, "base")
    assert known is not None
    assert known.image is not None
    file = f".ml_experiment/images/base-{known.image[7:19]}.sif"
    seen: dict[str, Any] = dict(contained.json("results/draw/seed-0/seen.json"))
    assert (seen["python"], seen["raw"], seen["threads"]) == ("/usr/bin/python", "1\n", "1")
    assert seen["in"] == file
    table = (contained.folder / "results/tune/trials.csv").read_text()
    assert (table.count("complete"), table.count("failed")) == (2, 1)
    assert "Nothing to be done" in contained.snakemake("--sdm", "apptainer").stderr

    path = contained.folder / ".ml_experiment/records.jsonl"
    found = records.read(path).finished
    details = records.details(path, {record["id"] for record in found.values()})
    for name in ("draw/seed-0", "byhand"):
        environment = details[found[name]["id"]]["environment"]
        assert (environment["name"], environment["image"]) == ("base", known.image), name
        assert environment["python"].startswith("3."), name

    drawn = [contained.json(f"results/draw/seed-{i}/metrics.json")["drawn"] for i in (0, 1)]
    shutil.rmtree(contained.folder / "results")
    other = contained.snakemake("--config", "runtime=docker")
    assert other.returncode == 0, other.stderr
    again = [contained.json(f"results/draw/seed-{i}/metrics.json")["drawn"] for i in (0, 1)]
    assert again == drawn
    assert len({*drawn}) == 2


STAND_IN = """\
#!/bin/sh
# A recording stand-in for Apptainer: it writes down what it is told, and runs the program here.
{ printf '%s\\n' "$APPTAINER_BIND" "$@"; echo; } >> "$0.log"
case "$1" in
  --version) echo "apptainer version 1.4.0" ;;
  pull)
    while [ $# -gt 2 ]; do shift; done
    : > "$1" ;;
  exec)
    until [ "$1" = bash ]; do shift; done
    APPTAINER_CONTAINER=stand-in exec "$@" ;;
esac
"""


def test_the_command_line_for_apptainer_by_a_recording_stand_in(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Apptainer can be had here: the words are Snakemake's, the images and binds are ours."""
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    text = EXPERIMENT.partition("studies:")[0].replace("  fit:", "  fit:\n    environment: own")
    lists = {"envs__base__image.yaml": "image: a/b:1\n", "envs__own__image.yaml": "image: c:1\n"}
    project = make(text, **lists, draw_py=DRAW.replace("def fit(x):", "def fit(x=1):"))
    project.write("data/raw.csv", "1\n")
    pinned = f"registry.example/a/b@sha256:{'2' * 64}"
    for name, registry in {"base": pinned, "own": None}.items():
        sources = environments.declared(project.folder, name).sources()
        lock = Lock({}, "linux/amd64", sources, f"sha256:{'1' * 64}", "x:1", registry)
        environments.write(project.folder, name, lock)
    done = project.call("snakemake", "--cores", "1", "--sdm", "apptainer")  # the log has one writer
    assert done.returncode == 0, done.stdout + done.stderr

    told = [call.split("\n") for call in (tmp_path / "bin/apptainer.log").read_text().split("\n\n")]
    boot = str(REPOSITORY / "ml_experiment/boot")
    pulled, made = ([c[1:] for c in told if c[1:2] == ["pull"] and len(c) == n] for n in (5, 6))
    simg = f"{hashlib.md5(f'docker://{pinned}'.encode()).hexdigest()}.simg"
    assert pulled == [["pull", "--name", simg, f"docker://{pinned}"]]
    sif = f".ml_experiment/images/own-{'1' * 12}.sif"
    source = f"docker-daemon:sha256:{'1' * 64}"
    assert made == [["pull", "--force", "--name", f"{sif}.part", source]]
    ran = [call for call in told if call[1:2] == ["exec"]]
    assert len(ran) == 3
    for call in ran:
        assert call[:4] == [f"{boot}:{boot}:ro", "exec", "--home", str(project.folder)]
        chosen, *words = call[call.index("bash") - 1 :]
        own = "draw:fit" in "".join(words)
        assert chosen == (sif if own else f"{project.folder}/.snakemake/singularity/{simg}")
        assert words[:2] == ["bash", "-c"]
        assert f". {boot}/deployed.sh apptainer 1 " in "\n".join(words)
    path = project.folder / ".ml_experiment/records.jsonl"
    found = records.read(path).finished
    details = records.details(path, {record["id"] for record in found.values()})
    assert details[found["fit"]["id"]]["environment"]["image"] == f"sha256:{'1' * 64}"
    assert "no Python in its image" in done.stderr


def test_a_killed_run_leaves_no_container(contained: Project) -> None:
    contained.edit("draw.py", "    raw, seen", "    import time; time.sleep(600)\n    raw, seen")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["ml-experiment", "run", "--cores", "1", "results/draw/seed-0/metrics.json"]
    with subprocess.Popen(
        words, cwd=contained.folder, env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        until = time.monotonic() + 60
        while not containers(contained):
            assert time.monotonic() < until
            time.sleep(0.1)
        run.kill()
    while containers(contained):
        assert time.monotonic() < until
        time.sleep(0.1)


def containers(project: Project) -> list[str]:
    label = f"label=ml-experiment.workspace={project.folder}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


def test_without_snakemakes_own_option_nothing_runs_outside(contained: Project) -> None:
    done = contained.snakemake("results/draw/seed-0/metrics.json")
    assert done.returncode == 1
    assert (
        "not in the step's environment: with runtime: apptainer Snakemake needs --sdm apptainer"
        in done.stderr
    )
    assert not (contained.folder / "results/draw/seed-0/seen.json").exists()
    assert "again:  snakemake --sdm apptainer --cores 1 --force" in done.stderr
