"""A workflow written by hand with `container:`, nothing of ours in it, where only Docker is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ml_experiment import launcher, records
from tests.docker_engine import BASE
from tests.e2e.project import Project

SNAKEFILE = """\
container: "docker://IMAGE"


rule all:
    input: expand("out/{name}.txt", name=["a", "b"]), "out/script.json"


rule shell:
    input: "in/{name}.txt"
    output: "out/{name}.txt"
    group: "both"
    shell: "(cat {input}; echo \\"it's $PWD\\" && id -u && ls -A /etc/debian_version && echo $HOST_TOKEN) > {output}"


rule script:
    input: expand("out/{name}.txt", name=["a", "b"])
    output: "out/script.json"
    params: numbers=[1, 2]
    script: "look.py"


rule wait:
    output: "out/wait.txt"
    shell: "echo here > {output}; sleep 600; true"


rule fail:
    output: "out/fail.txt"
    shell: "exit 41"
"""
LOOK = """\
import json, os, sys
json.dump({
    "home": os.environ["HOME"], "kept": os.environ["KEPT"], "inputs": list(snakemake.input), "numbers": list(snakemake.params.numbers),
    "python": sys.executable, "where": os.environ["APPTAINER_CONTAINER"],
}, open(snakemake.output[0], "w"))
"""


@pytest.fixture(scope="module")
def image(docker: Mapping[str, str]) -> str:
    """The name of an image that the engine has and no registry."""
    name = "ml-experiment-test/tools:1"
    lines = f"FROM {BASE}\nRUN ln -sf python3 /usr/bin/python\nENV KEPT=image\n"
    words = ["docker", "--host", docker["DOCKER_HOST"], "build", "--network", "none", "--tag", name]
    done = subprocess.run([*words, "-"], input=lines, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return name


@pytest.fixture
def foreign(
    image: str, tmp_path: Path, docker: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The workflow, and the launcher on PATH."""
    monkeypatch.setenv("DOCKER_HOST", docker["DOCKER_HOST"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOST_TOKEN", "of this machine")
    monkeypatch.setenv("KEPT", "this machine")
    project = Project(tmp_path / "p")
    for name, text in {"Snakefile": SNAKEFILE.replace("IMAGE", image), "look.py": LOOK}.items():
        project.write(name, text)
    for name in "ab":
        project.write(f"in/{name}.txt", f"{name}\n")
    monkeypatch.setenv("PATH", f"{launcher.folder()}{os.pathsep}{os.environ['PATH']}")
    return project


def containers(project: Project) -> list[str]:
    label = f"label=ml-experiment.workspace={project.folder}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


def test_a_workflow_with_containers_runs_on_docker(foreign: Project) -> None:
    done = foreign.snakemake("--sdm", "apptainer", "--logger", "mlflow")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (foreign.folder / "out/a.txt").read_text()
    uid = os.getuid()
    assert text == f"a\nit's {foreign.folder}\n{uid}\n/etc/debian_version\nof this machine\n"
    seen: dict[str, Any] = dict(foreign.json("out/script.json"))
    assert seen["inputs"] == ["out/a.txt", "out/b.txt"]
    assert (seen["numbers"], seen["kept"]) == ([1, 2], "image")
    assert (seen["python"], seen["home"]) == ("/usr/bin/python", str(foreign.folder))
    (file,) = (foreign.folder / ".snakemake/singularity").glob("*.simg")
    assert seen["where"] == str(file)
    assert containers(foreign) == []
    path = foreign.folder / ".ml_experiment/records.jsonl"
    details = records.details(path, {line["id"] for line in records.lines(path)}).values()
    known = {record["environment"]["image"] for record in details if record["environment"]}
    assert known == {json.loads(file.read_text())["image"]}

    failed = foreign.snakemake("out/fail.txt", "--sdm", "apptainer", "--verbose")
    assert "exit status 41" in failed.stderr
    bad = ("out/b.txt", "--sdm", "apptainer", "--forceall", "--apptainer-args")
    refused = foreign.snakemake(*bad, "--overlay x.img")
    assert refused.returncode == 1
    assert "Docker has no counterpart of an option" in refused.stderr
    assert "--overlay" in refused.stderr
    only = foreign.snakemake(*bad, "--cleanenv --bind in:/elsewhere:ro")
    assert only.returncode == 1
    assert "HOST_TOKEN: unbound variable" in only.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(number: signal.Signals, foreign: Project) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log_file = foreign.folder / "log"
    with log_file.open("wb") as log, subprocess.Popen(
        ["snakemake", "out/wait.txt", "--cores", "1", "--sdm", "apptainer"], cwd=foreign.folder,
        env={**os.environ, "PATH": path}, stdout=log, stderr=log,
        start_new_session=True,
    ) as run:  # fmt: skip
        until = time.monotonic() + 60
        while not (foreign.folder / "out/wait.txt").exists():
            assert time.monotonic() < until, log_file.read_text()
            time.sleep(0.1)
        if number == signal.SIGKILL:
            run.kill()
        else:
            os.killpg(run.pid, number)
        run.wait(60)
    while containers(foreign):
        assert time.monotonic() < until
        time.sleep(0.1)
