"""The code of a command, found without running it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ml_experiment import sources
from ml_experiment.placeholders import parse


def put(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def run(command: str, folder: Path) -> sources.Code:
    return sources.of_run(parse(command), folder)


def test_a_script_and_all_that_it_imports(tmp_path: Path) -> None:
    put(
        tmp_path,
        s__train="import numpy, helper\nfrom pkg.inner import thing\nfrom lib import z\n",
        s__helper="x = 1",
        pkg__init="",
        pkg__inner="from . import other\nfrom .deep import *\nimport pkg.inner",
        pkg__other="",
        pkg__deep="",
        src__lib="z = 1",
        unused="",
    )
    (tmp_path / "pkg" / "init.py").rename(tmp_path / "pkg" / "__init__.py")
    found = run("python s/train.py {seed}", tmp_path)
    assert list(found.files) == [
        "pkg/__init__.py", "pkg/deep.py", "pkg/inner.py", "pkg/other.py", "s/helper.py", "s/train.py", "src/lib.py",
    ]  # fmt: skip
    assert found.problems == ()


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("python -u -X dev -m pkg.run", ["pkg/run.py"]),
        ("python -um pkg.run", ["pkg/run.py"]),
        ("python -mpkg.run", ["pkg/run.py"]),
        ("torchrun --nproc-per-node 2 -m pkg.run", ["pkg/run.py"]),
        ("python -m app", ["app/__main__.py", "app/work.py"]),
        ("cd pkg && python run.py", ["pkg/run.py"]),
        ("cd nowhere && python a.py", ["a.py"]),
        ("python -m pkg.run", ["pkg/run.py"]),
        ("cd . && env X=1 python3.11 ./a.py > out.txt", ["a.py"]),
        ("tool --script=a.py {seed}", ["a.py"]),
        ("bash -c 'python a.py'", []),
        ("python ../outside.py", []),
        ("cat results/a.py logs-x/a.py .hidden/a.py", []),
        ("python {inputs.x}.py a.py", ["a.py"]),
        ("x " + "a" * 5000, []),
    ],
)
def test_files_that_a_command_names(tmp_path: Path, command: str, files: list[str]) -> None:
    (tmp_path / "outside.py").write_text("")
    folder = put(
        tmp_path / "w", a="", pkg__run="", results__a="", **{"logs-x__a": "", ".hidden__a": ""},
        app__main="import app.work", app__work="",
    )  # fmt: skip
    (folder / "app/main.py").rename(folder / "app/__main__.py")
    found = run(command, folder)
    assert list(found.files) == files
    assert found.problems == ()


def test_modules_are_looked_for_beside_the_program_and_in_the_project(tmp_path: Path) -> None:
    """As Python does, whoever imports them."""
    put(
        tmp_path, code__train="import models.net", models__net="",
        code__models__net="from models.layers import L\nimport common", code__models__layers="",
        code__common="", common="", unused="",
    )  # fmt: skip
    found = [*run("python code/train.py", tmp_path).files]
    assert found == [
        "code/common.py", "code/models/layers.py", "code/models/net.py", "code/train.py",
        "common.py", "models/net.py",
    ]  # fmt: skip
    assert [*sources.of_call("code.train:f", tmp_path).files] == found


def test_a_missing_script_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path, train="")
    assert run("python tarin.py", tmp_path).problems == (
        ("no such script: tarin.py", "did you mean train.py?"),
    )
    assert "folder s is not there" in str(run("Rscript s/a.R", tmp_path).problems)
    assert "no such script" in str(run("python " + "a" * 300 + ".py", tmp_path).problems)


def test_code_that_cannot_be_parsed_is_code(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    put(tmp_path, a="print 'x'", b="'\\d'\n" + "(" * 300, c="'\\d'")
    for name in "abc":
        assert list(run(f"python {name}.py", tmp_path).files) == [f"{name}.py"]
        assert sources.of_call(f"{name}:f", tmp_path).files
    assert not recwarn.list


def test_a_change_is_seen(tmp_path: Path) -> None:
    put(tmp_path, a="x = 1")
    before = run("python a.py", tmp_path).files
    put(tmp_path, a="x = 20")
    assert run("python a.py", tmp_path).files != before


def test_variables_that_the_code_reads(tmp_path: Path) -> None:
    put(tmp_path, a="import b", b="os.environ['ML_EXPERIMENT_PARAMS_X']")
    assert run("python a.py $ML_EXPERIMENT_SEED", tmp_path).variables == {
        "ML_EXPERIMENT_PARAMS_X",
        "ML_EXPERIMENT_SEED",
    }


MODULE = """
import json as j
try:
    from fast import quick
except ImportError:
    def quick(): ...
if True:
    def late(): ...
alias = late
class Model:
    def fit(self): ...
def plain(a, /, b, *rest, c, d=1, **kw): ...
@j.loads
def wrapped(a): ...
"""


@pytest.mark.parametrize(
    "name", ["quick", "late", "alias", "Model", "Model.fit", "plain", "wrapped", "j"]
)
def test_functions_that_are_there(tmp_path: Path, name: str) -> None:
    put(tmp_path, m=MODULE)
    assert sources.of_call(f"m:{name}", tmp_path).problems == ()


def test_a_signature(tmp_path: Path) -> None:
    put(tmp_path, m=MODULE)
    found = sources.of_call("m:plain", tmp_path).signature
    assert found == sources.Signature(("a", "b", "c", "d"), frozenset("abc"), rest=True)
    assert sources.of_call("m:wrapped", tmp_path).signature is None


def test_functions_that_are_not(tmp_path: Path) -> None:
    put(tmp_path, m=MODULE)
    assert sources.of_call("m:plian", tmp_path).problems == (
        ("no function plian in m", "did you mean plain?"),
    )
    put(tmp_path, empty="")
    assert sources.of_call("empty:f", tmp_path).problems
    put(tmp_path, any="from m import *", dyn="def __getattr__(name): ...")
    assert sources.of_call("any:x", tmp_path).problems == ()
    assert sources.of_call("dyn:x", tmp_path).problems == ()


@pytest.mark.parametrize(
    "target", ["json:dumps", "json.decoder:JSONDecoder", "sys:exit", "pytest:main"]
)
def test_installed_modules(tmp_path: Path, target: str) -> None:
    before = set(sys.modules)
    assert sources.of_call(target, tmp_path).problems == ()
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "target", ["no:f", "json.no:f", "json.time:f", "nothing.here.at.all:f", "m.n:f"]
)
def test_modules_that_are_not_there(tmp_path: Path, target: str) -> None:
    put(tmp_path, m="")
    assert "no such module" in str(sources.of_call(target, tmp_path).problems)


def test_a_namespace_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by changing the repository's own experiment at random: it was a KeyError."""
    put(tmp_path / "lib", space__inner__mod="def f(): ...")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    (tmp_path / "w").mkdir()
    assert sources.of_call("space.inner.mod:f", tmp_path / "w").problems == ()
    assert sources.of_call("space.inner.no:f", tmp_path / "w").problems != ()


def test_hand_written_rules(tmp_path: Path) -> None:
    put(tmp_path, a="import b", b="")
    assert list(sources.of_files(["a.py"], tmp_path).files) == ["a.py", "b.py"]
    assert sources.of_files(["c.py"], tmp_path).problems
