"""Profiles for clusters: what is in them is known to Snakemake, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import yamlio
from tests.e2e.project import REPOSITORY, Make, Project

PROFILES = sorted(file.parent.name for file in (REPOSITORY / "profiles").glob("*/config.yaml"))
HERE = ("executor", "max-jobs-per-timespan")  # of this machine
STEP = """\
name: profiles
steps:
  make: {run: "touch {outputs.file}", outputs: {file: file.txt}}
"""
BY_HAND = """\
rule train:
    output: "model.txt"
    resources: gpu=1
    shell: "touch {output}"
"""


@pytest.fixture
def project(make: Make) -> Project:
    made = make(STEP)
    done = made.ours("init", "--profiles")
    assert done.returncode == 0, done.stderr
    return made


def test_init_writes_those_that_the_project_has_not(project: Project) -> None:
    for name in PROFILES:
        path = f"profiles/{name}/config.yaml"
        assert (project.folder / path).read_bytes() == (REPOSITORY / path).read_bytes()
    assert not (project.folder / ".gitignore").exists()
    again = project.ours("init", "--profiles")
    assert again.returncode == 2
    assert "profiles/slurm/config.yaml" in again.stderr


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "default"])
def test_what_default_has_all_have(name: str) -> None:
    """A workflow profile takes the place of profiles/default.

    How many jobs a second may start is for this machine only.
    """
    default, other = (
        yamlio.read((REPOSITORY / f"profiles/{n}/config.yaml").read_text("utf-8"), n).plain()
        for n in ("default", name)
    )
    kept = {key: value for key, value in default.items() if key not in HERE}
    assert {key: other.get(key) for key in kept} == kept


def test_slurm_is_planned_without_a_cluster(project: Project) -> None:
    done = project.call("snakemake", "--dry-run", "--workflow-profile", "profiles/slurm")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mem_mb=2000" in done.stdout
    assert "runtime=60" in done.stdout


def test_kubernetes_is_planned_without_a_cluster(tmp_path: Path) -> None:
    """For rules that are written by hand; it is run nowhere."""
    project = Project(tmp_path)
    project.write("Snakefile", BY_HAND)
    profile = str(REPOSITORY / "profiles/kubernetes")
    done = project.call("snakemake", "--dry-run", "--workflow-profile", profile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "output: /project/files/model.txt (send to storage)" in done.stdout
    assert "gpu_manufacturer=nvidia, scale=0, gpu=1" in done.stdout


@pytest.mark.parametrize("flag", ["--workflow-profile", "--profile"])
def test_steps_on_kubernetes_are_an_error_that_says_what_to_do(project: Project, flag: str) -> None:
    done = project.call("snakemake", "--dry-run", flag, "profiles/kubernetes")
    assert done.returncode == 1
    assert "steps and studies do not go through a storage" in done.stdout + done.stderr
    assert "profiles/ray" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["profiles/slrum"], "", "did you mean profiles/slurm?"),
        (["mine.yaml"], "slurm-account: me\n", "unrecognized arguments: --slurm-account=me"),
        (["mine.yaml"], "executor: slrum\n", "invalid choice: 'slrum' (choose from"),
        (["mine.yaml"], "logger: mlfow\n", "invalid choice: 'mlfow' (choose from 'mlflow')"),
        (["mine.yaml"], "jobs: [\n", "Couldn't parse config file"),
    ],
)  # fmt: skip
def test_a_profile_that_is_wrong(project: Project, words: list[str], text: str, said: str) -> None:
    project.write("mine.yaml", text)
    done = project.call("snakemake", "--dry-run", "--cores", "1", "--workflow-profile", *words)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_retries_of_a_flag_are_for_steps_that_declare_none(make: Make) -> None:
    made = make(
        "name: tries\nsteps:\n"
        "  none: {run: 'echo >> tried.none; exit 3; touch {outputs.f}', outputs: {f: f}}\n"
        "  once: {run: 'echo >> tried.once; exit 3; touch {outputs.f}', outputs: {f: f}, retries: 1}\n"
    )
    done = made.snakemake("--retries", "2", "--keep-going")
    assert done.returncode == 1
    tried = {name: (made.folder / f"tried.{name}").read_text() for name in ("none", "once")}
    assert tried == {"none": "\n\n\n", "once": "\n\n"}
