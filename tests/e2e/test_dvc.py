"""DVC and Snakemake on the same outputs: nothing to do for one where there is nothing for the other."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from ml_experiment.digests import LISTINGS
from ml_experiment.hashing import of_file
from tests.e2e.conftest import Once
from tests.e2e.kept import CLEAN, build, call, clone, copy, edit, to_run
from tests.e2e.project import Make, Project

ONCE = """\
name: once
steps:
  make:
    run: >-
      seq 300000 > {outputs.large}; mkdir -p {outputs.parts};
      echo a > {outputs.parts}/a; echo b > {outputs.parts}/b
    outputs: {large: large.bin, parts: parts/}
    seeding: none
"""
EXPERIMENT = """\
name: kept
seed: 3
params: {n: 300000}
steps:
  make:
    run: python make.py {outputs.big} {params.n} {seed}
    outputs: {big: big.txt}
    metrics: metrics.json
  many:
    run: python many.py {inputs.big} {outputs.folder}
    inputs: {big: make.big}
    outputs: {folder: parts/}
    replicates: 2
  fit:
    run: >-
      echo '{{"value": '{params.x}'}}' > {metrics}; echo {params.x} > {outputs.model}
    params: {x: 0.5}
    outputs: {model: m.txt}
    metrics: metrics.json
  final: {like: fit, params: tune.best.params}
studies:
  tune:
    step: fit
    space: {x: {float: [0, 1]}}
    objectives: {value: minimize}
    trials: 3
"""
MAKE = """\
import json, os, sys
out, n, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3]
open(out, "w").write((seed * (n // len(seed) + 1))[:n])
json.dump({"seed": int(seed)}, open(os.environ["ML_EXPERIMENT_METRICS"], "w"))
"""
MANY = """\
import os, sys
text = open(sys.argv[1]).read()
os.makedirs(sys.argv[2], exist_ok=True)
for i in range(3):
    open(f"{sys.argv[2]}/{i}.txt", "w").write(text[i:] + os.environ["ML_EXPERIMENT_SEED"])
"""
# What is made of files that are too large for Snakemake to compare (1 MB), one of them as another, beside what DVC does not touch, metrics, and by a rule by hand.
CHAIN = """\
name: chain
steps:
  make:
    run: seq 300000 > {outputs.large}
    outputs: {large: large.txt}
    seeding: none
  between:
    run: sed 's/$/,/' {inputs.large} > {outputs.other}
    inputs: {large: make.large}
    outputs: {other: other.txt}
    seeding: none
  same:
    run: >-
      wc {inputs.other}; cp {inputs.large} {outputs.copy}; echo '{{"n": 1}}' > {metrics}
    inputs: {large: make.large, other: between.other}
    outputs: {copy: copy.txt}
    metrics: metrics.json
    seeding: none
"""
BY_HAND = """\
include: "workflow/rules/experiment.smk"


rule all:
    default_target: True
    input: experiment.targets, "results/last.txt"


rule last:
    input: experiment.path("same.copy"), experiment.path("make.large")
    output: "results/last.txt"
    shell: "cat {input:q} > {output:q}"
"""
FILES = {"experiment.yaml": EXPERIMENT, "make.py": MAKE, "many.py": MANY}


@pytest.fixture(scope="session")
def first_kept(once: Once) -> Path:
    """The project after a run. To be copied."""
    return once("kept", lambda folder: build(folder / "project", FILES)) / "project"


@pytest.fixture
def kept(first_kept: Path, tmp_path: Path) -> Path:
    """A copy of that, with its remote."""
    return copy(first_kept, tmp_path / "all")


def test_after_a_run_there_is_nothing_to_do_for_anybody(kept: Path) -> None:
    assert call(kept, "git", "status", "--short") == ""
    for _ in range(2):
        assert CLEAN in call(kept, "dvc", "status")
        assert CLEAN in call(kept, "dvc", "repro")
        assert to_run(kept) == set()
    assert call(kept, "ml-experiment", "dvc", "--check") == ""
    edit(kept, "replicates: 2", "replicates: 1")
    told = call(kept, "ml-experiment", "dvc", "--check", code=1)
    assert "-    - results/many/seed-1/parts" in told
    assert "nothing kept, dvc.yaml is not up to date" in call(
        kept, "snakemake", "-c1", "-f", "final"
    )


@pytest.mark.parametrize("cache", ["copy", "hardlink", "symlink"])
def test_times_are_as_they_were_when_dvc_has_put_links_in_place(make: Make, cache: str) -> None:
    project = make(CHAIN, Snakefile=BY_HAND)
    call(project.folder, "git", "init", "-q")
    call(project.folder, "dvc", "init", "-q")
    call(project.folder, "dvc", "config", "cache.type", cache)
    call(project.folder, "ml-experiment", "dvc")
    assert "DVC: 3 stages" in call(project.folder, "snakemake", "--cores", "2")
    made = project.folder / "results/same/copy.txt"
    assert made.is_symlink() == (cache == "symlink")
    assert (made.stat().st_nlink > 1) == (cache == "hardlink")
    assert to_run(project.folder) == set()
    assert CLEAN in call(project.folder, "dvc", "status")


@pytest.mark.parametrize("cache", ["symlink"])
def test_another_clone_knows_what_was_made_and_runs_what_differs(kept: Path, cache: str) -> None:
    other = clone(kept, "other", cache)
    assert "objects fetched" in call(other, "ml-experiment", "pull")
    assert to_run(other) == set()
    assert CLEAN in call(other, "dvc", "repro")
    path = "results/final/m.txt"
    assert call(other, "ml-experiment", "lineage", path) == call(
        kept, "ml-experiment", "lineage", path
    )

    third = clone(kept, "third", cache)  # where something is changed before anything is there
    edit(third, "x: 0.5", "x: 0.6")
    call(third, "ml-experiment", "pull")
    assert to_run(third) == {"final"}
    call(third, "git", "checkout", "-q", "experiment.yaml")
    call(third, "ml-experiment", "pull")
    assert to_run(third) == set()


def test_faults_are_found_and_mended(kept: Path) -> None:
    assert "no fault found" in call(kept, "ml-experiment", "fsck")
    objects = kept / ".dvc/cache/files/md5"
    lock = (kept / "dvc.lock").read_text()
    digest = re.findall(r"path: results/make/big.txt\n\s+hash: md5\n\s+md5: (\w+)", lock)[-1]
    file = objects / digest[:2] / digest[2:]
    file.chmod(0o644)
    file.write_text("other")
    listing = next(
        each for each in sorted(objects.rglob("*.dir")) if f"{each.parent.name}{each.name}" in lock
    )
    listing.unlink()
    (kept / "results/final/m.txt").unlink()
    found = call(kept, "ml-experiment", "fsck", code=1)
    assert f"cache: results/make/big.txt {digest} has other bytes" in found
    assert f"lacks {listing.parent.name}{listing.name}" in found
    assert "workspace: results/final/m.txt is not there" in found
    assert "3 of 3 faults mended" in call(kept, "ml-experiment", "fsck", "--repair")
    assert "no fault found" in call(kept, "ml-experiment", "fsck")

    (kept / "results/make/big.txt").write_text("by hand")  # nothing is lost
    assert "is not what dvc.lock says" in call(kept, "ml-experiment", "fsck", "--repair", code=1)
    assert (kept / "results/make/big.txt").read_text() == "by hand"

    call(kept, "dvc", "commit", "-f")  # somebody insists
    assert CLEAN in call(kept, "dvc", "status")
    told = call(kept, "ml-experiment", "fsck", code=1)
    assert "dvc.lock: results/make/big.txt has bytes that no record knows" in told
    assert "results/make/big.txt by hand); `dvc repro --force --single-item make` makes it" in told
    call(kept, "git", "checkout", "-q", "--", ".")
    call(kept, "dvc", "checkout", "-q")
    edit(kept, "x: 0.5", "x: 0.6")
    call(kept, "dvc", "commit", "-f")
    told = call(kept, "ml-experiment", "fsck", code=1)
    assert "dvc.lock: results/final/m.txt was made with other values (parameter x)" in told


def test_one_output_with_what_it_is_made_from(kept: Path) -> None:
    other = clone(kept, "other")
    call(other, "ml-experiment", "pull", "results/many/seed-0/parts")
    there = {path.name for path in (other / "results").iterdir()} - {".gitignore"}
    assert there == {"make", "many", "final"}  # its metrics are git's
    assert not (other / "results/many/seed-1/parts").exists()
    assert {*Project(other).would_run("results/many/seed-0/parts")} == set()


def test_check_says_that_the_stages_are_old(kept: Path) -> None:
    edit(kept, "n: 300000", "n: 300001")
    call(kept, "ml-experiment", "check")
    edit(kept, "parts/", "pieces/")
    told = call(kept, "ml-experiment", "check", code=2)
    assert "dvc.yaml:" in told
    assert "+    - results/many/seed-0/pieces:" in told


def test_what_the_run_has_hashed_is_not_read_again(make: Make) -> None:
    """Shown by bytes that changed under the same stat, before the repository is there to keep them."""
    made = make(ONCE)
    call(made.folder, "git", "init", "-q")
    call(made.folder, "ml-experiment", "dvc")
    assert "there is no DVC repository" in call(made.folder, "snakemake", "--cores", "2")
    digests = {}
    for name in ("large.bin", "parts/a", "parts/b"):
        file = made.folder / "results/make" / name
        digests[name] = of_file(file)
        stat = file.stat()
        with file.open("r+b") as open_file:
            open_file.write(b"?")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    call(made.folder, "dvc", "init", "-q")
    told = call(made.folder, "python", "-m", "ml_experiment.services.commit", "experiment.yaml")
    assert json.loads(told) == {"refused": "", "stages": 1}
    objects = {
        "".join(p.parts[-2:]) for p in (made.folder / ".dvc/cache").rglob("*") if p.is_file()
    }
    assert set(digests.values()) <= objects
    assert not (made.folder / LISTINGS).exists()
