"""Projects with git, DVC and a remote beside them, and what tests do in them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.project import Project, scaffold

CACHES = ("copy", "hardlink", "symlink", "reflink")
CLEAN = "Data and pipelines are up to date."

# Files and a folder of 300 kB and 3 MB: Snakemake looks at the content of small ones only. Each begins
# with the seed that it was made with.
LAW = {
    "experiment.yaml": """\
name: law
seed: 3
steps:
  make:
    run: python make.py {outputs.small} {outputs.large} {outputs.folder}
    outputs: {small: small.bin, large: large.bin, folder: parts/}
    metrics: metrics.json
""",
    "make.py": """\
import json, os, random, sys
small, large, folder = sys.argv[1:]
seed = os.environ["ML_EXPERIMENT_SEED"]
os.makedirs(folder, exist_ok=True)
for path in (small, folder + "/small.bin", large, folder + "/large.bin"):
    size = 3_000_000 if "large" in path else 300_000
    open(path, "wb").write(seed.encode() + b" " + random.randbytes(size))
json.dump({"seed": int(seed)}, open(os.environ["ML_EXPERIMENT_METRICS"], "w"))
""",
}
MADE = ("small.bin", "large.bin", "parts/small.bin", "parts/large.bin")


def call(folder: Path, *words: str, code: int | None = 0, **environ: str) -> str:
    """Run a command and return what it says; `code` is the exit code that it must have."""
    quiet = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
    }
    done = Project(folder).call(*words, **quiet, **environ)
    text = done.stdout + done.stderr
    assert code is None or done.returncode == code, text
    return text


def to_run(folder: Path) -> set[str]:
    """The rules that Snakemake would run."""
    return {*Project(folder).would_run()}


def build(folder: Path, files: Mapping[str, str]) -> None:
    """A repository of git and DVC with a remote beside it, after a run of Snakemake."""
    scaffold(folder, dict(files))
    ignored = ("/.snakemake/", "/.ml_experiment/", "/results*/*", "/logs*/", "/mlflow.db*")
    (folder / ".gitignore").write_text("\n".join(ignored) + "\n")
    call(folder, "git", "init", "-q")
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(folder, "git", "config", key, value)
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "remote", "add", "-d", "store", "../remote")
    call(folder, "ml-experiment", "dvc")
    assert re.search(r"DVC: \d+ stage", call(folder, "snakemake", "--cores", "2"))
    commit(folder)
    assert "objects sent" in call(folder, "ml-experiment", "push")


def copy(made: Path, target: Path) -> Path:
    """A copy of such a project, with its remote."""
    shutil.copytree(made.parent, target, symlinks=True)
    return target / made.name


def commit(folder: Path) -> None:
    """Commit everything to git."""
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "x")


def clone(folder: Path, name: str, cache: str = "copy") -> Path:
    """A clone beside it, with the remote and with links of its own kind."""
    made = folder.parent / name
    call(folder, "git", "clone", "-q", str(folder), str(made))
    for key, value in (("user.name", "n"), ("user.email", "n@example.org")):
        call(made, "git", "config", key, value)
    call(made, "dvc", "config", "--local", "cache.type", cache)
    return made


def relink(folder: Path, cache: str) -> None:
    """Outputs as links of some kind into the cache."""
    call(folder, "dvc", "config", "--local", "cache.type", cache)
    call(folder, "dvc", "checkout", "--relink", "-q")


def edit(folder: Path, old: str, new: str) -> None:
    """Change the experiment."""
    Project(folder).edit("experiment.yaml", old, new)


def seed_of(folder: Path) -> int:
    """The seed that all outputs of LAW were made with."""
    outputs = folder / "results/make"
    found = {(outputs / name).read_bytes().partition(b" ")[0] for name in MADE}
    assert found == {str(json.loads((outputs / "metrics.json").read_text())["seed"]).encode()}
    return int(found.pop())
