"""What `ml-experiment studies` prints."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from ml_experiment import workspace
from ml_experiment.cli import main as cli
from tests.experiments import write
from tests.studied import FAILED, OPEN, fill

TEXT = """\
axes: {method: [svm, forest]}
steps:
  fit:
    run: python fit.py {matrix.method} {params.C} {params.kind} {metrics}
    params: {C: 1.0, kind: a}
    metrics: metrics.json
    matrix: [method]
  one:
    run: python fit.py {params.C} {metrics}
    params: {C: 1}
    metrics: metrics.json
studies:
  tune:
    step: fit
    space:
      C: {float: [0.001, 1000], log: true}
      kind: [a, b]
    objectives: {accuracy: maximize}
    trials: 3
  front:
    step: one
    space: {C: {int: [1, 9]}}
    objectives: {accuracy: maximize, size: minimize}
    trials: 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    opened = workspace.open_plan(write(tmp_path, TEXT, fit_py=""))
    fill(opened, "tune", [{"accuracy": 0.5}, FAILED, {"accuracy": 0.98765432}])
    fill(opened, "front", [{"accuracy": 0.5, "size": 1}, {"accuracy": 0.6, "size": 2}, OPEN])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert cli.main(["studies", *words]) == code
    gc.enable()
    out, err = capsys.readouterr()
    return err if code else out


def test_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == (
        """\
study  case           trials  failed  pruned  best                                                      state
tune   method=svm     3/3     1       0       accuracy 0.9877 (trial 2)                                 unfinished (not gathered)
tune   method=forest  0/3     0       0                                                                 not begun
front                 2/3     0       0       accuracy 0.6 (trial 1), size 1 (trial 0); 2 on the front  unfinished
"""
    )


def test_the_trials_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "tune") == (
        """\
tune method=svm: 3/3 trials, unfinished (not gathered), best accuracy 0.9877 (trial 2)
  trial  state     accuracy  C      kind  reason
  0      complete  0.5       0.001  a
  1      failed              0.001  a     exit status 1
  2      complete  0.987654  0.001  a
tune method=forest: 0/3 trials, not begun
  no trial has begun; ml-experiment run
"""
    )
    lines = printed(capsys, "tune", "--case", "method=svm", "--sort", "value").splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["2", "0", "1"]


def test_for_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    every = json.loads(printed(capsys, "--json"))
    assert [(row["study"], row["case"], row["state"], row["done"]) for row in every] == [
        ("tune", "method=svm", "unfinished", 3),
        ("tune", "method=forest", "not begun", 0),
        ("front", "", "unfinished", 2),
    ]
    assert every[0]["best"] == [
        {"number": 2, "params": {"C": 0.001, "kind": "a"}, "values": {"accuracy": 0.98765432}}
    ]
    trials = json.loads(printed(capsys, "tune", "--json"))
    assert trials[1] == {
        "study": "tune",
        "case": "method=svm",
        "number": 1,
        "state": "failed",
        "values": {},
        "params": {"C": 0.001, "kind": "a"},
        "reason": "exit status 1",
    }


def test_a_name_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean tune?" in printed(capsys, "tuna", code=2)


def test_no_studies(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, TEXT.partition("studies:")[0])
    assert cli.main(["studies"]) == 0
    assert capsys.readouterr().err == "experiment.yaml declares no studies\n"
    assert printed(capsys, "--json") == "[]\n"
