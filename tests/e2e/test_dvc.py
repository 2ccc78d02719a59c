"""DVC and Snakemake on the same outputs: nothing to do for one where there is nothing for the other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.project import Project, scaffold

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
CLEAN = "Data and pipelines are up to date."


def call(folder: Path, *words: str, code: int | None = 0) -> str:
    done = Project(folder).call(*words, GIT_CONFIG_GLOBAL=os.devnull, DVC_NO_ANALYTICS="1")
    text = done.stdout + done.stderr
    assert code is None or done.returncode == code, text
    return text


def to_run(folder: Path) -> set[str]:
    """The rules that Snakemake would run."""
    return {*Project(folder).would_run()}


@pytest.fixture(scope="session")
def first_kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of git and DVC with a remote beside it, after a run of Snakemake. To be copied."""
    folder = tmp_path_factory.mktemp("kept") / "project"
    scaffold(folder, {"experiment.yaml": EXPERIMENT, "make.py": MAKE, "many.py": MANY})
    ignored = ("/.snakemake/", "/.ml_experiment/", "/results*/*", "/logs*/", "/mlflow.db*")
    (folder / ".gitignore").write_text("\n".join(ignored) + "\n")
    call(folder, "git", "init", "-q")
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(folder, "git", "config", key, value)
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "remote", "add", "-d", "store", "../remote")
    call(folder, "ml-experiment", "dvc")
    assert "DVC: 4 stages" in call(folder, "snakemake", "--cores", "2")
    commit(folder)
    assert "objects sent" in call(folder, "ml-experiment", "push")
    return folder


@pytest.fixture
def kept(first_kept: Path, tmp_path: Path) -> Path:
    """A copy of that, with its remote."""
    shutil.copytree(first_kept.parent, tmp_path / "all", symlinks=True)
    return tmp_path / "all/project"


def commit(folder: Path) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "x")


def clone(folder: Path, name: str, cache: str = "copy") -> Path:
    made = folder.parent / name
    call(folder, "git", "clone", "-q", str(folder), str(made))
    call(made, "dvc", "config", "--local", "cache.type", cache)
    return made


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "experiment.yaml"
    file.write_text(file.read_text().replace(old, new))


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


def bytes_of(folder: Path) -> bytes:
    return (folder / "results/make/big.txt").read_bytes()


@pytest.mark.parametrize("cache", ["copy", "hardlink", "symlink"])
def test_no_old_bytes_under_new_parameters(kept: Path, cache: str) -> None:
    call(kept, "dvc", "config", "--local", "cache.type", cache)
    call(kept, "dvc", "checkout", "--relink", "-q")
    first = bytes_of(kept)
    edit(kept, "seed: 3", "seed: 4")
    call(kept, "dvc", "repro")
    second = bytes_of(kept)
    assert second != first
    assert CLEAN in call(kept, "dvc", "status")
    assert to_run(kept) == set()

    # What was made before is known, and only put back.
    call(kept, "git", "checkout", "-q", "--", ".")
    call(kept, "dvc", "checkout", "-q")
    assert bytes_of(kept) == first
    call(kept, "ml-experiment", "status")

    refused = call(kept, "snakemake", "--cores", "2", "--config", "seed=99")
    assert "nothing kept, it has values that the experiment file does not have" in refused
    call(kept, "dvc", "commit", code=1)
    call(kept, "dvc", "repro")
    assert bytes_of(kept) == first


@pytest.mark.parametrize("words", [(), ("--temp",)])
def test_dvcs_experiments_have_the_bytes_of_their_parameters(
    kept: Path, words: tuple[str, ...]
) -> None:
    first = bytes_of(kept)
    call(kept, "dvc", "exp", "run", *words, "--name", "seven", "-S", "experiment.yaml:seed=7")
    if words:
        assert bytes_of(kept) == first
        call(kept, "dvc", "exp", "apply", "seven")
    second = bytes_of(kept)
    assert second != first
    call(kept, "ml-experiment", "status")  # all of it is known, also what was made elsewhere
    call(kept, "git", "checkout", "-q", "--", ".")
    call(kept, "dvc", "checkout", "-q")
    assert bytes_of(kept) == first
    call(kept, "ml-experiment", "status")


@pytest.mark.parametrize("cache", ["hardlink", "symlink"])
def test_an_object_with_other_bytes_is_fetched_anew(kept: Path, cache: str) -> None:
    other = clone(kept, "other", cache)
    call(other, "ml-experiment", "pull")
    file = other / "results/make/big.txt"
    right = file.read_bytes()
    status = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as stream:  # through the link, so it is the object in the cache
        stream.write(b"X")
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    file.chmod(0o444)
    file.unlink()
    assert "1 objects fetched" in call(other, "ml-experiment", "pull")
    assert file.read_bytes() == right
    assert to_run(other) == set()


def test_without_a_repository_of_dvcs(kept: Path) -> None:
    (kept / ".dvc").rename(kept / "gone")
    told = call(kept, "snakemake", "-c1", "-f", "results/final/m.txt")
    assert "nothing kept, there is no DVC repository, see `dvc init`" in told
