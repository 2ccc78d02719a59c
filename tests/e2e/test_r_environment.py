"""A step in R in an image without Python: seeded as on the host, and its record is right."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ml_experiment import records
from ml_experiment.adapters.docker import Engine
from ml_experiment.services import building
from tests.docker_engine import BASE
from tests.e2e.project import Make

WITH_R = "ml-experiment-test/r:1"
EXPERIMENT = """\
name: r
seed: 5
environment: r
runtime: docker
steps:
  fit:
    run: Rscript fit.R {metrics}
    metrics: metrics.json
    replicates: 2
"""
FIT = """\
metrics <- commandArgs(trailingOnly = TRUE)[1]
python <- nchar(Sys.which("python3")) > 0
cat(sprintf('{"drawn": %.15f, "seed": %s, "python": %d}\\n', runif(1), Sys.getenv("ML_EXPERIMENT_SEED"), python),
    file = metrics)
"""


@pytest.fixture(scope="module")
def with_r(docker: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base image with this machine's R in the place of Python: both are of one Debian."""
    context = tmp_path_factory.mktemp("r")
    listed = said("dpkg", "--listfiles", "r-base-core")
    files = [Path(line) for line in listed if "/share/doc/" not in line and "/man/" not in line]
    files = [file for file in files if file.is_file()]
    programs = [f for f in files if f.suffix == ".so" or f.match("bin/exec/R")]
    linked = said("ldd", *(str(program) for program in programs))
    libraries = {Path(line.split(" => ")[1].split(" (")[0]) for line in linked if " => /" in line}
    files += sorted(file.parent.resolve() / file.name for file in libraries)
    names = "\n".join(sorted({str(file).lstrip("/") for file in files}))
    tar = ["tar", "--create", "--dereference", "--directory=/", f"--file={context}/r.tar"]
    subprocess.run([*tar, "--files-from=-"], input=names, text=True, check=True)
    lines = f"FROM {BASE}\nADD r.tar /\nRUN rm -f /usr/bin/python3*\n"
    (context / "Dockerfile").write_text(lines)
    words = ["docker", "--host", docker["DOCKER_HOST"], "build", "--network=none", "--tag", WITH_R]
    subprocess.run([*words, str(context)], check=True, capture_output=True)
    (context / "r.tar").unlink()
    return WITH_R


def said(*words: str) -> list[str]:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.engine("Rscript")
def test_a_step_in_r_runs_in_its_image(
    with_r: str, docker: Mapping[str, str], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    project = make(EXPERIMENT, envs__r__Dockerfile=f"FROM {with_r}\n")
    project.write("fit.R", FIT)
    engine, told = Engine(docker), list[str]()
    lock = building.build(project.folder, "r", engine, told.append).lock
    engine.close()
    assert set(lock.packages["program"]) == {"r"}
    assert lock.packages["r"]["stats"] == lock.packages["program"]["r"]

    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("as variables only; R begins with its own") == 1
    found = [project.json(f"results/fit/seed-{index}/metrics.json") for index in (0, 1)]
    assert [each["python"] for each in found] == [0, 0]
    assert len({each["drawn"] for each in found}) == 2
    path = project.folder / ".ml_experiment/records.jsonl"
    finished = records.read(path).finished
    details = records.details(path, {record["id"] for record in finished.values()})
    record = details[finished["fit/seed-1"]["id"]]
    assert (record["environment"]["image"], record["environment"]["python"]) == (lock.image, None)

    host = project.snakemake("--config", "runtime=host")
    assert host.returncode == 0, host.stderr
    again = [project.json(f"results/fit/seed-{index}/metrics.json") for index in (0, 1)]
    assert [each["drawn"] for each in again] == [each["drawn"] for each in found]
    assert [each["seed"] for each in again] == [each["seed"] for each in found]
