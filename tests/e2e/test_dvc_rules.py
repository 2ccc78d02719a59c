"""Rules that were written by hand, as stages of DVC's: their outputs are kept and travel like others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import kept
from tests.e2e.conftest import Once
from tests.e2e.kept import CLEAN, call, clone, commit, edit, to_run
from tests.e2e.project import Project

RULE = """\
include: "workflow/rules/experiment.smk"


rule paper:
    input:
        key=experiment.key("paper", "paper.py"),
        small=experiment.path("make.small"),
    output:
        text=f"{experiment.results}/paper/{{part}}.txt",
        folder=directory(f"{experiment.results}/paper/{{part}}"),
    params: launch=experiment.launch("paper")
    shell: "{params.launch} python paper.py {input.small:q} {output:q}"


rule all:
    default_target: True
    input: experiment.targets, expand(rules.paper.output, part=["a", "b"])
"""
PAPER = """\
import os, random, sys
small, text, folder = sys.argv[1:]
os.makedirs(folder)
for path in (text, folder + "/x.txt"):
    open(path, "w").write(str(os.path.getsize(small)) + str(random.random()))
"""
TEXT, FOLDER = "results/paper/a.txt", "results/paper/a"


@pytest.fixture(scope="session")
def made(once: Once) -> Path:
    files = {**kept.LAW, "Snakefile": RULE, "paper.py": PAPER}
    return once("rules", lambda folder: _build(folder / "project", files)) / "project"


def _build(folder: Path, files: dict[str, str]) -> None:
    kept.build(folder, files)
    assert call(folder, "ml-experiment", "dvc", "--rule", "paper") == "written: dvc.yaml\n"
    assert "nothing to change" in call(folder, "ml-experiment", "dvc")
    call(folder, "dvc", "repro")
    assert CLEAN in call(folder, "dvc", "status")
    commit(folder)
    call(folder, "ml-experiment", "push")


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return kept.copy(made, tmp_path / "all")


def test_the_stage_is_what_the_jobs_read_and_made(made: Path) -> None:
    text = (made / "dvc.yaml").read_text()
    _, _, stage = text.partition("  paper:\n")
    assert stage.splitlines()[:8] == [
        "    cmd: ml-experiment stage --rule paper",
        "    deps:",
        "    - results/make/small.bin",
        "    - paper.py",
        "    params:",
        "    - experiment.yaml:",
        "      - seed",
        "    outs:",
    ]
    for path in (TEXT, FOLDER, "results/paper/b.txt", "results/paper.records.jsonl"):
        assert f"    - {path}:\n        persist: true\n" in stage
    assert "no stage of this rule" in call(made, "ml-experiment", "stage", "--rule", "papr", code=2)
    told = call(made, "ml-experiment", "dvc", "--rule", "papr", code=2)
    assert "did you mean paper?" in told


def test_a_clone_has_nothing_to_do_and_the_same_lineage(project: Path) -> None:
    other = clone(project, "other")
    assert "3 records added" in call(other, "ml-experiment", "pull")
    assert to_run(other) == set()
    assert CLEAN in call(other, "dvc", "repro")
    assert "3 of 3 jobs current" in call(other, "ml-experiment", "status")
    for path in (TEXT, FOLDER):
        words = ("ml-experiment", "lineage", path)
        assert call(other, *words) == call(project, *words)
    assert "no fault found" in call(other, "ml-experiment", "fsck")

    third = clone(project, "third")
    call(third, "ml-experiment", "pull", TEXT)
    assert (third / TEXT).read_bytes() == (project / TEXT).read_bytes()
    assert (third / "results/make/small.bin").exists()


def test_what_is_changed_in_a_clone_before_anything_is_there(project: Path) -> None:
    before = (project / TEXT).read_bytes()
    other = clone(project, "other")
    Project(other).edit("paper.py", "import os", "import  os")
    assert "paper" in call(other, "ml-experiment", "pull")
    assert to_run(other) == {"paper"}
    assert "DVC: 2 stages" in call(other, "snakemake", "--cores", "2")
    assert CLEAN in call(other, "dvc", "status")

    edit(other, "seed: 3", "seed: 4")
    assert "seed" in call(other, "ml-experiment", "status", "paper", code=1)
    call(other, "dvc", "repro")
    after = (other / TEXT).read_bytes()
    assert after != before
    assert to_run(other) == set()
    commit(other)
    call(other, "ml-experiment", "push")
    told = call(other, "ml-experiment", "status", "paper", "--remote")
    assert "the remote has everything" in told
    call(project, "git", "pull", "-q", "../other", "HEAD")
    call(project, "ml-experiment", "pull")
    assert (project / TEXT).read_bytes() == after
    assert to_run(project) == set()


def test_nothing_of_other_values_is_kept(project: Path) -> None:
    before, lock = (project / TEXT).read_bytes(), (project / "dvc.lock").read_text()
    call(project, "snakemake", "--cores", "2", "--config", "seed=99")
    told = call(project, "dvc", "commit", "--force", "paper", code=1)
    assert "'results/paper.records.jsonl' does not exist" in told
    assert (project / "dvc.lock").read_text() == lock
    call(project, "dvc", "repro")
    assert (project / TEXT).read_bytes() == before
    assert CLEAN in call(project, "dvc", "status")
    (project / TEXT).write_text("by hand")
    told = call(project, "snakemake", "--cores", "2", "--force", "results/make/small.bin")
    assert "DVC: 1 stage" in told  # not that of the rule
    assert "results/paper/a.txt" in call(project, "dvc", "status")
