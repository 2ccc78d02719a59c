"""`runtime: conda` and `runtime: env-modules`: by Snakemake's own directives, which are recorded here.

Neither conda nor modules can be had here: programs of these names stand in for them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.project import Make, Project

EXPERIMENT = """\
name: deployed
environment: own
steps:
  draw:
    run: python draw.py {metrics}
    metrics: metrics.json
    replicates: 2
"""
DRAW = """\
import json, os, random, sys
found = {"drawn": random.random(), "prefix": os.environ.get("PLACE", "")}
json.dump({"drawn": found["drawn"], "own": int(found["prefix"] == "own")}, open(sys.argv[1], "w"))
"""
SNAKEFILE = """\
include: "workflow/rules/experiment.smk"


rule byhand:
    input: key=experiment.key("byhand", "draw.py"),
    output: f"{experiment.results}/byhand/out.json",
    conda: experiment.conda()
    envmodules: *experiment.envmodules(),
    params: launch=experiment.launch("byhand"),
    shell: "{params.launch} python draw.py {output:q}"


rule all:
    default_target: True
    input: experiment.targets, rules.byhand.output
"""
CONDA = """\
#!/bin/sh
# A recording stand-in for conda.
echo "$@" >> "$0.log"
case "$*" in
  "info --json") echo '{"conda_prefix": "ROOT", "platform": "linux-64"}' ;;
  --version) echo "conda 25.1.0" ;;
  *channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
  *create*)
    until [ "$1" = --prefix ]; do shift; done
    mkdir -p "$2/bin"
    ln -s PYTHON "$2/bin/python" ;;
esac
"""
ACTIVATE = "export CONDA_PREFIX=$1 PLACE=own PATH=$1/bin:$PATH\n"
MODULE = """\
() {
  echo "$@" >> LOG
  if [ "$1" = load ]; then export LOADEDMODULES=$2:$3 PLACE=own; fi
}"""


@pytest.fixture
def deployed(make: Make) -> Project:
    project = make(EXPERIMENT, Snakefile=SNAKEFILE, draw_py=DRAW)
    project.write("envs/own/environment.yml", "dependencies: [python]\n")
    project.write("envs/own/modules.txt", "R/4.3.1\nGCC/12  # for it\n")
    return project


def in_its_environment(project: Project, method: str) -> None:
    """What a run gives with Snakemake's own option, and that nothing runs without it."""
    runtime = ("--config", f"runtime={method}")
    without = project.snakemake(*runtime, "--keep-going")
    assert without.returncode == 1
    assert f"with runtime: {method} Snakemake needs --sdm {method}" in without.stderr
    assert not (project.folder / "results/draw/seed-0/metrics.json").exists()
    done = project.snakemake(*runtime, "--sdm", method)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [project.json(f"results/draw/seed-{index}/metrics.json") for index in (0, 1)]
    found.append(project.json("results/byhand/out.json"))
    assert [each["own"] for each in found] == [1, 1, 1]
    key = json.loads((project.folder / ".ml_experiment/keys/draw.json").read_text())
    assert key["environment"]["runtime"] == method


def test_conda_makes_what_the_step_names(
    deployed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "conda"
    program, activate = root / "bin/conda", root / "bin/activate"
    program.parent.mkdir(parents=True)
    text = CONDA.replace("ROOT", str(root)).replace("PYTHON", sys.executable)
    program.write_text(text)
    program.chmod(0o755)
    activate.write_text(ACTIVATE)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    in_its_environment(deployed, "conda")
    (made,) = [line for line in Path(f"{program}.log").read_text().splitlines() if "create" in line]
    assert f"--prefix {deployed.folder}/.snakemake/conda/" in made
    before = deployed.json("results/draw/seed-1/metrics.json")
    host = deployed.snakemake("--config", "runtime=host")
    assert host.returncode == 0, host.stderr
    assert deployed.json("results/draw/seed-1/metrics.json") == {**before, "own": 0}


def test_modules_are_loaded_by_their_names(
    deployed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("BASH_FUNC_module%%", MODULE.replace("LOG", str(log)))
    monkeypatch.setenv("LOADEDMODULES", "slurm/23:R/4.2.0")  # of whoever has started Snakemake
    in_its_environment(deployed, "env-modules")
    assert set(log.read_text().splitlines()) == {"purge", "load R/4.3.1 GCC/12"}
