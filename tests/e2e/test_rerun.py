"""What makes a job run again, and what does not; with Snakemake's metadata and without it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ml_experiment
from tests.e2e.project import REPOSITORY, Make, Project

FIT = {"fit": 4, "fit.table": 1, "report": 1}
EVERYTHING_AFTER_DATA = {"prepare": 1, **FIT, "other": 1, "byhand": 1}


def _sub(old: str, new: str, name: str = "experiment.yaml") -> Callable[[Project], None]:
    return lambda project: project.edit(name, old, new)


def _touch(project: Project) -> None:
    for script in (project.folder / "scripts").iterdir():
        os.utime(script)


CHANGES: dict[str, tuple[Callable[[Project], object], dict[str, int]]] = {
    "nothing": (lambda _: None, {}),
    "touched scripts": (_touch, {}),
    "reordered keys": (_sub("{low: 1, high: 5}", "{high: 5, low: 1}"), {}),
    "comment in the experiment": (_sub("name: small", "name: small  # digits"), {}),
    "a shared parameter that nobody takes": (_sub("unused: 1", "unused: 2"), {}),
    "seed": (_sub("seed: 7", "seed: 8"), {**FIT, "other": 1, "byhand": 1}),
    "swapped values": (_sub("{low: 1, high: 5}", "{low: 5, high: 1}"), FIT),
    "a renamed parameter": (_sub("params: {low: 1, high: 5}", "params: {low: 1, top: 5}"), FIT),
    "a shared parameter": (_sub("scale: 2", "scale: 3"), EVERYTHING_AFTER_DATA),
    "a helper module": (_sub("low +", "0 + low +", "scripts/helper.py"), FIT),
    "a script": (
        _sub("import random", "import random  #", "scripts/other.py"),
        {"other": 1, "report": 1},
    ),
    "a hand-written rule's script": (
        _sub("import", "import os, ", "scripts/byhand.py"),
        {"byhand": 1},
    ),
    "data": (_sub("3", "4", "data/raw.csv"), EVERYTHING_AFTER_DATA),
    "the environment": (
        _sub("nothing", "numpy", "envs/base/requirements.txt"),
        EVERYTHING_AFTER_DATA,
    ),
    "one replicate more": (
        _sub("replicates: 2", "replicates: 3"),
        {"fit": 2, "fit.table": 1, "report": 1},
    ),
    "one axis value more": (
        _sub("[mean, median]", "[mean, median, mode]"),
        {"fit": 2, "fit.table": 1, "report": 1},
    ),
    "one replicate less": (_sub("replicates: 2", "replicates: 1"), {"fit.table": 1, "report": 1}),
}


@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "no-metadata"])
@pytest.mark.parametrize("change", CHANGES)
def test_runs_again_exactly_what_depends_on_a_change(
    small: Project, change: str, metadata: bool
) -> None:
    apply, expected = CHANGES[change]
    if not metadata:
        shutil.rmtree(small.folder / ".snakemake")
    apply(small)
    if change == "a renamed parameter":
        small.edit("scripts/fit.py", "low, high):", "low, top):\n    high = top")
    assert small.would_run() == expected


def test_neither_cores_nor_place_nor_version_matter(finished: Project, tmp_path: Path) -> None:
    moved = finished.copy(tmp_path / "a folder with spaces" / "moved")
    other = tmp_path / "upgraded"
    shutil.copytree(REPOSITORY / "ml_experiment", other / "ml_experiment")
    init = other / "ml_experiment" / "__init__.py"
    init.write_text(init.read_text().replace(ml_experiment.__version__, "99.0"))
    assert moved.would_run("--cores", "1", PYTHONPATH=str(other)) == {}
    assert moved.ours("--version", PYTHONPATH=str(other)).stdout == "ml-experiment 99.0\n"


def test_a_change_taken_back_runs_nothing(small: Project) -> None:
    before = (small.folder / "experiment.yaml").read_text()
    small.edit("experiment.yaml", "seed: 7", "seed: 8")
    assert small.would_run() != {}
    small.write("experiment.yaml", before)
    assert small.would_run() == {}


def test_a_run_leaves_nothing_to_do_and_a_true_status(small: Project) -> None:
    small.edit("experiment.yaml", "{low: 1, high: 5}", "{low: 2, high: 5}")
    status = small.ours("status")
    assert status.returncode == 1
    assert re.search(r"fit +5 +stale: parameter low", status.stdout)
    assert re.search(r"other +1 +current", status.stdout)
    assert re.search(r"report +1 +stale: data of fit", status.stdout)
    done = small.snakemake()
    assert done.returncode == 0, done.stderr
    assert "small: 6 jobs done (changed: parameter low)" in done.stderr
    assert small.would_run() == {}
    assert small.ours("status").returncode == 0


def test_the_law_also_holds_for_a_real_run_without_metadata(small: Project) -> None:
    before = small.files()
    shutil.rmtree(small.folder / ".snakemake")
    small.edit("experiment.yaml", "seed: 7", "seed: 8")
    assert small.snakemake().returncode == 0
    after = small.files()
    assert before.keys() == after.keys()
    same = {name for name in before if before[name] == after[name]}
    assert same == {"results/prepare/table.csv"}


def test_status_sees_the_code_of_a_hand_written_rule(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "copy")
    assert "byhand: current" in project.ours("status", "byhand").stdout
    project.edit("scripts/byhand.py", "import", "import os, ")
    told = project.ours("status", "byhand")
    assert (told.returncode, told.stdout) == (1, "byhand: stale\n    code scripts/byhand.py\n")


FOLDER = """\
name: folder
steps:
  count:
    run: cat {inputs.words}/*/*.txt > {outputs.all}
    inputs: {words: data/words}
    outputs: {all: all.txt}
    env: [LANGUAGES]
"""


def test_what_lies_in_a_raw_folder_is_data(make: Make) -> None:
    """Snakemake sees of it only when a name in it comes or goes, and not below."""
    project = make(FOLDER, data__words__en__a=".")
    text = project.folder / "data/words/en/a.txt"
    text.write_text("one\n")
    words = {"LANGUAGES": "words/en"}  # passed on, so a secret, but no reason to hide a path
    assert project.snakemake(**words).returncode == 0
    assert project.would_run(**words) == {}
    assert project.ours("status", **words).returncode == 0
    os.utime(text)
    assert project.would_run(**words) == {}
    text.write_text("two\n")
    told = project.ours("status", **words)
    assert (told.returncode, "stale: data data/words\n" in told.stdout) == (1, True), told.stdout
    assert project.would_run(**words) == {"count": 1}
    assert project.snakemake(**words).returncode == 0
    assert (project.folder / "results/count/all.txt").read_text() == "two\n"
    project.edit("experiment.yaml", "  count:", "  counted:")
    shutil.rmtree(project.folder / "results")
    assert project.snakemake(**words).returncode == 0
    told = project.ours("status", **words)
    assert (told.returncode, "1 of 1 jobs current" in told.stdout) == (0, True), told.stdout
