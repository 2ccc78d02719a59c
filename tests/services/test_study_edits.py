"""Trials are taken out of a study by the experiment file, and earlier ones are put into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml_experiment import workspace
from ml_experiment.errors import UserError
from ml_experiment.services.study_edits import gone, remove, write
from tests.e2e.project import Project
from tests.experiments import write as written
from tests.services.test_studies import CASES, ONE, tuned
from tests.studied import FAILED, OPEN, fill

__all__ = ["tuned"]
DONE = [{"loss": 2.0}, FAILED, {"loss": 1.0}, OPEN]


def test_a_trial_is_removed_and_the_others_stay(tuned: Project, tmp_path: Path) -> None:
    project = tuned.copy(tmp_path / "tuned")
    before = project.files("results/tune")
    best = int(project.json("results/tune/best.json")["number"])
    done = project.ours("studies", "tune", "--remove", str(best))
    assert done.stdout.splitlines() == [
        f"added to studies.tune.remove in experiment.yaml: {best}",
        "next: ml-experiment run tune",
    ]
    assert project.would_run() == {"tune": 1, "tune.view": 1}
    assert project.snakemake().returncode == 0
    now = project.files("results/tune")
    changed = {path for path in {*before, *now} if before.get(path) != now.get(path)}
    assert {path for path in changed if not path.startswith("results/tune/view/")} == {
        "results/tune/best.json", "results/tune/trials.csv", f"results/tune/trials/{best:05d}.json",
    }  # fmt: skip
    assert project.json("results/tune/best.json")["number"] != best
    again = project.ours("studies", "tune", "--remove", str(best))
    assert (again.returncode, again.stdout) == (0, "nothing to do: removed already\n")


@pytest.mark.parametrize(
    ("number", "told"), [(4, "a number from 0 to 3"), (3, "this trial has not ended")]
)
def test_a_trial_that_is_not_there(tmp_path: Path, number: int, told: str) -> None:
    file = written(tmp_path, ONE, fit_py="")
    opened = workspace.open_plan(file)
    fill(opened, "tune", DONE)
    with pytest.raises(UserError, match=told):
        remove(opened, file, "tune", [0, number])


def test_numbers_are_those_of_all_cases(tmp_path: Path) -> None:
    file = written(tmp_path, CASES, fit_py="")
    opened = workspace.open_plan(file)
    fill(opened, "tune", DONE, case=1)
    change = remove(opened, file, "tune", [2, 0, 2])
    assert change is not None
    assert change.items == (2, 0)


def refused(folder: Path, text: str, overrides: dict[str, str] | None = None) -> str:
    file = written(folder, text, fit_py="")
    before = file.read_bytes()
    opened = workspace.open_plan(file, overrides)
    fill(opened, "tune", DONE)
    with pytest.raises(UserError) as caught:
        remove(opened, file, "tune", [2])
    assert file.read_bytes() == before
    return str(caught.value)


def test_a_study_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"name: base\n{ONE}")
    told = refused(tmp_path, "extends: base.yaml\n")
    assert "studies.tune is not written in this file but in" in told
    assert "base.yaml:6" in told
    assert "write it yourself: studies.tune.remove: [2]" in told
    base = ONE.replace("trials: 4", "trials: 4, remove: [0]")
    (tmp_path / "base.yaml").write_text(f"name: base\n{base}")
    told = refused(tmp_path, "extends: base.yaml\nstudies: {tune: {window: 2}}\n")
    assert "studies.tune.remove is not written in this file but in" in told


def test_a_variant(tmp_path: Path) -> None:
    text = f"{ONE}\nvariants: {{smoke: {{studies.tune.window: 3}}}}\n"
    told = refused(tmp_path, text, {"variant": "smoke"})
    assert "variants.smoke: {studies.tune.remove: [2]}" in told


def test_a_change_that_the_experiment_does_not_take(tmp_path: Path) -> None:
    from ml_experiment.services.study_edits import change

    file = written(tmp_path, ONE, fit_py="")
    with pytest.raises(UserError, match="the experiment would not take it"):
        change(file, ("studies", "tune", "enqueue"), [{"C": 5.0}])


def test_whatever_fails_the_file_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, ONE, fit_py="")
    opened = workspace.open_plan(file)
    fill(opened, "tune", DONE)
    before = file.read_bytes()
    change = remove(opened, file, "tune", [2])
    assert change is not None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match="No space left"):
        write(change)
    assert (file.read_bytes(), sorted(os.listdir(tmp_path))) == (before, names)
    monkeypatch.undo()
    file.write_bytes(before + b"# changed\n")
    with pytest.raises(UserError, match="changed meanwhile"):
        write(change)


def test_the_next_best_may_have_lost_its_outputs(tmp_path: Path) -> None:
    text = ONE.replace("{metrics}", "{metrics} {outputs.m}").replace(
        "params:", "outputs: {m: m.txt}, params:"
    )
    opened = workspace.open_plan(written(tmp_path, text, fit_py=""))
    fill(opened, "tune", DONE)
    assert gone(opened, "tune", [2]) == ["results/tune/trial-00000"]
    (tmp_path / "results/tune/trial-00000/m.txt").touch()
    assert gone(opened, "tune", [2]) == []
