"""Steps and studies as DVC's stages, and dvc.yaml with the user's own lines in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ml_experiment import dvcfile, stages
from ml_experiment.errors import UserError
from ml_experiment.services import dvc
from tests.experiments import plan, write

TEXT = """\
seed: 3
params: {shared: 1}
axes: {size: [1, 2]}
steps:
  make: {run: "python make.py {inputs.raw} {outputs.big}", inputs: {raw: data/raw.csv}, outputs: {big: big/}}
  fit: {run: "x {inputs.big} {metrics}", inputs: {big: make.big}, metrics: metrics.json, params: {x: 1}}
  final: {like: fit, params: tune.best.params, matrix: [size], metrics: metrics.csv}
studies:
  tune: {step: fit, space: {x: {float: [0, 1]}}, objectives: {value: maximize}, trials: 4}
"""
FILES = {"make_py": "import helper\n", "helper_py": "", "data__raw.csv": "1\n"}


def made(folder: Path, text: str = TEXT) -> dict[str, stages.Stage]:
    file = write(folder, text, **FILES)
    return {stage.name: stage for stage in dvc.proposed(file).stages}


def test_a_stage_for_each_step_that_is_run_and_each_study(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert [*found] == ["make", "final", "tune"]  # `fit` is there for the study alone
    assert found["make"].deps == ("data/raw.csv", "helper.py", "make.py")
    assert found["make"].outs == ("results/make/big", "results/make/records.jsonl")
    assert found["make"].folders == ("results/make/big",)
    assert found["make"].data()["cmd"] == "ml-experiment stage make"


def test_a_study_is_one_folder_and_depends_on_what_its_trials_need(tmp_path: Path) -> None:
    tune = made(tmp_path)["tune"]
    assert tune.outs == ("results/tune", "results/tune.records.jsonl")
    assert tune.deps == ("results/make/big",)
    assert tune.params["experiment.yaml"] == ("seed", "params", "axes", "studies.tune", "steps.fit")


def test_keys_of_the_steps_that_a_step_is_like_and_of_the_files_they_are_in(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\n" + TEXT)
    found = made(tmp_path, "extends: base.yaml\nname: test\nsteps: {fit: {params: {x: 2}}}\n")
    names = ("seed", "params", "steps.final", "steps.fit", "axes")
    assert found["final"].params == {"base.yaml": names, "experiment.yaml": ("steps.fit",)}
    assert "results/tune/best.json" in found["final"].deps
    assert "results/final/size=1/metrics.csv" in found["final"].outs  # no metrics for DVC
    assert found["final"].metrics == ()


def test_what_has_to_be_fetched_for_one_output(tmp_path: Path) -> None:
    found = [*made(tmp_path).values()]
    raw = {"data/raw.csv": "data"}.get  # which DVC keeps as a whole folder
    own = "results/final/records.jsonl"
    path = "results/final/size=1/metrics.csv"
    assert stages.needed(found, [path], raw) == [path, own, "tune", "make", "data"]
    travelling = "results/tune.records.jsonl"
    assert stages.needed(found, ["tune"], raw) == ["tune", travelling, "make", "data"]
    best = "results/tune/best.json"
    assert stages.needed(found, [best], raw) == [best, travelling, "make", "data"]
    assert stages.needed(found, ["data/other.csv"], raw) == ["data/other.csv"]


def test_what_the_user_wrote_into_the_file_stays(tmp_path: Path) -> None:
    now, shown = [*made(tmp_path).values()], stages.shown(plan(tmp_path, TEXT, None, **FILES))
    mine = "# mine\nstages:\n  own:  # a note\n    cmd: echo 'x'\nplots:\n- results/own.csv\n"
    text = dvcfile.merged(mine, now, shown)
    assert text.startswith("# mine\nstages:\n  own:  # a note\n    cmd: echo 'x'\n")
    assert "- results/own.csv\n- results/tune/trials.csv:" in text
    assert dvcfile.merged(text, now, shown) == text
    gone = dvcfile.merged(text, now[:1], {})
    assert ("  final:" in gone, "  own:" in gone, "trials.csv" in gone) == (False, True, False)
    assert dvcfile.merged("", now, shown) == dvcfile.merged("", now, shown)


def test_stages_of_rules_stay_as_their_user_has_left_them(tmp_path: Path) -> None:
    now = [*made(tmp_path).values()]
    cmd = "ml-experiment stage --rule"
    rules = f"stages:\n  paper: {{cmd: {cmd} paper, deps: [a, b], outs: [c: {{persist: true}}]}}\n"
    other = f"  own: {{cmd: {cmd} paper}}\n"  # of another name: nothing to us
    text = dvcfile.merged(rules + other, now, {})
    (paper,) = dvcfile.of_rules(text)
    assert (paper.name, paper.deps, paper.outs, paper.by_hand) == (
        "paper",
        ("a", "b"),
        ("c",),
        True,
    )
    assert dvcfile.of_rules(dvcfile.merged(text, now[:1], {})) == [paper]
    again = dataclasses.replace(paper, outs=("d",))
    (changed,) = dvcfile.of_rules(dvcfile.merged(text, [*now, again], {}))
    assert changed.outs == ("d",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("stages: [a]\n", "no file of DVC's"),
        ("- a\n", "no file of DVC's"),
        ("stages: {\n", "dvc.yaml:2: not valid YAML"),
        ("stages:\n  make: {cmd: mine}\n", "has the name of the step make"),
    ],
)
def test_files_that_cannot_have_stages(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        dvcfile.merged(text, [*made(tmp_path).values()], {})
