from __future__ import annotations

from pathlib import Path

import pytest

from ml_experiment import dvclock
from ml_experiment.adapters import dvc
from ml_experiment.dvclock import Out
from tests.e2e.kept import call

ONE, TWO = "a" * 31 + "1", "a" * 31 + "2.dir"
PIPELINE = """\
stages:
  make:
    cmd: x
    outs: [a.txt, b: {persist: true}]
    metrics: [m.json: {cache: false}]
"""
LOCK = f"""\
schema: '2.0'
stages:
  make:
    cmd: x
    outs:
    - {{path: a.txt, hash: md5, md5: {ONE}, size: 1}}
    - {{path: b, hash: md5, md5: {TWO}, nfiles: 1}}
    - {{path: m.json, hash: md5, md5: {ONE}}}
    - {{path: former.txt, hash: md5, md5: {ONE}}}
  former:
    cmd: x
    outs: [{{path: c, hash: md5, md5: {ONE}}}]
"""


def test_what_the_files_say() -> None:
    files = {
        "dvc.yaml": PIPELINE,
        "dvc.lock": LOCK,
        "data/x.csv.dvc": f"outs: [{{path: x.csv, hash: md5, md5: {ONE}}}]",
    }
    assert dvclock.outs(files) == {
        "a.txt": Out(ONE, "make"),
        "b": Out(TWO, "make"),
        "data/x.csv": Out(ONE, "data/x.csv.dvc"),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ONE, ONE[:5]),
        ("hash: md5, ", ""),
        ("schema: '2.0'", "<<<<<<< HEAD"),
        ("schema: '2.0'", "schema: '3.0'"),
        ("a.txt", "/a.txt"),
        ("a.txt", "../a.txt"),
        ("a.txt", "s3://a/b"),
        (f"md5: {ONE}, size: 1", "files: []"),
        ("stages:", "stages: ["),
    ],
)
def test_what_only_dvc_understands(old: str, new: str) -> None:
    assert dvclock.outs({"dvc.yaml": PIPELINE, "dvc.lock": LOCK.replace(old, new)}) is None


def test_stages_that_lie_elsewhere_are_dvcs() -> None:
    files = {"dvc.yaml": PIPELINE.replace("cmd: x", "cmd: x\n    wdir: y"), "dvc.lock": LOCK}
    assert dvclock.outs(files) is None


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
def test_as_dvc_sees_it(tmp_path: Path) -> None:
    """Stages of the user's own too: templates, folders, other pipelines, raw data."""
    folder = tmp_path / "x"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/dvc.yaml").write_text("stages: {s: {cmd: echo s > s, outs: [s]}}")
    (folder / "raw").write_text("raw")
    (folder / "dvc.yaml").write_text("""\
stages:
  each:
    foreach: [1, 2]
    do: {cmd: "echo ${item} > e${item}", outs: ["e${item}"]}
  one:
    cmd: mkdir -p d && echo 1 > d/x && echo 1 > m && echo 1 > p
    outs: [d]
    metrics: [m: {cache: false}]
    plots: [p]
""")
    call(folder, "git", "init", "-q")
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "add", "-q", "raw")
    call(folder, "dvc", "repro", "-q", "--all-pipelines")
    (folder / "ignored").mkdir()
    (folder / "ignored/dvc.yaml").write_text("stages: [")
    (folder / ".gitignore").write_text("/ignored\n")
    files = dvclock.texts(folder)
    assert files is not None
    found = dvclock.outs(files)
    assert found is not None
    assert {path: out.digest for path, out in found.items()} == {
        each.path: each.digest for each in dvc.kept(folder)
    }
    assert {path for path, out in found.items() if not out.declared} == {"e1", "e2"}
