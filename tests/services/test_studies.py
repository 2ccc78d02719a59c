"""How far studies are, by the files of their trials: in the middle of a run, and after a crash."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from ml_experiment import workspace
from ml_experiment.errors import UserError
from ml_experiment.plan import Plan
from ml_experiment.services.studies import StudyRow, by_value, studies
from tests.e2e.project import Project, scaffold
from tests.experiments import plan
from tests.studied import FAILED, OPEN, fill

STEP = """\
steps:
  fit: {run: "python fit.py {params.C} {metrics}", params: {C: 1.0}, metrics: metrics.json}
"""
ONE = f"""{STEP}
studies:
  tune: {{step: fit, space: {{C: {{float: [0, 1]}}}}, objectives: {{loss: minimize}}, trials: 4}}
"""
REAL = {
    "experiment.yaml": """\
name: tuned
seed: 7
steps:
  fit: {run: "python fit.py {params.C} {metrics}", params: {C: 1.0}, metrics: metrics.json}
studies:
  tune:
    step: fit
    space: {C: {float: [-1.0, 1.0]}}
    objectives: {loss: minimize}
    trials: 8
""",
    "fit.py": """\
import json
import sys
C = float(sys.argv[1])
if C > 0.5:
    sys.exit("too large")
json.dump({"loss": C * C}, open(sys.argv[2], "w"))
""",
}


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a study of eight trials that has been run. To be copied, not changed."""
    project = scaffold(tmp_path_factory.mktemp("tuned") / "tuned", REAL)
    done = project.ours("run", "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^tune [1-8]/8, .*best loss [0-9.e-]+ \(trial \d\)", done.stderr, re.MULTILINE
    )
    return project


def row(plan: Plan, name: str = "tune", case: str | None = None) -> StudyRow:
    (found,) = studies(plan, name, case)
    return found


def test_a_real_study(tuned: Project) -> None:
    opened = workspace.open_plan(tuned.folder / "experiment.yaml")
    found = row(opened)
    assert (found.state, found.done, found.declared, found.changed) == ("complete", 8, 8, ())
    best = json.loads((tuned.folder / "results/tune/best.json").read_text())
    (first,) = found.best
    assert (first.number, first.params, first.values) == (
        best["number"], best["params"], best["values"],
    )  # fmt: skip
    for trial in found.trials:  # the same as the study's own files say
        own = json.loads(
            (tuned.folder / f"results/tune/trials/{trial.number:05d}.json").read_text()
        )
        assert (trial.state, trial.reason) == (own["state"], own["reason"])
        assert (dict(trial.params), dict(trial.values)) == (own["params"], own["values"])
    assert found.counts["failed"] > 0
    losses = [trial.values["loss"] for trial in by_value(found) if trial.values]
    assert losses == sorted(losses)
    assert [trial.state for trial in by_value(found)][-1] == "failed"


def test_a_change_of_the_declaration_is_seen_before_and_while_it_is_run(
    tuned: Project, tmp_path: Path
) -> None:
    project = tuned.copy(tmp_path / "tuned")
    project.edit("experiment.yaml", "trials: 8", "trials: 9")
    found = row(workspace.open_plan(project.folder / "experiment.yaml"))
    assert (found.state, found.done, found.changed) == ("unfinished", 8, ("trials",))
    project.edit("experiment.yaml", "[-1.0, 1.0]", "[-1.0, 2.0]")
    found = row(workspace.open_plan(project.folder / "experiment.yaml"))
    assert (found.state, found.done) == ("not begun", 0)
    assert {trial.state for trial in found.trials} == {"outdated"}


def test_what_was_removed_by_hand_does_not_count(tuned: Project, tmp_path: Path) -> None:
    project = tuned.copy(tmp_path / "tuned")
    best = row(workspace.open_plan(project.folder / "experiment.yaml")).best[0].number
    project.edit("experiment.yaml", "trials: 8", f"trials: 8\n    remove: [{best}]")
    found = row(workspace.open_plan(project.folder / "experiment.yaml"))
    assert found.trials[best].state == "removed"
    assert found.best[0].number != best
    assert (found.state, found.done, found.changed) == ("unfinished", 8, ("remove",))


def test_a_study_that_has_not_begun(tmp_path: Path) -> None:
    found = row(plan(tmp_path, ONE, fit_py=""))
    assert (found.state, found.done, found.trials, found.best) == ("not begun", 0, (), ())


def test_in_the_middle_of_a_run(tmp_path: Path) -> None:
    opened = plan(tmp_path, ONE, fit_py="")
    fill(opened, "tune", [{"loss": 2.0}, FAILED, OPEN])
    found = row(opened)
    assert [trial.state for trial in found.trials] == ["complete", "failed", "unfinished"]
    assert (found.state, found.done, found.best[0].number) == ("unfinished", 2, 0)
    assert found.trials[1].reason == "exit status 1"


def test_a_file_that_is_broken_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    opened = plan(tmp_path, ONE, fit_py="")
    fill(opened, "tune", [{"loss": 2.0}, {"loss": 1.0}, {"loss": 3.0}, {"loss": 4.0}])
    folder = tmp_path / "results/tune"
    (folder / "trial-00000/metrics.json").write_text('{"los": 1}')
    (folder / "trial-00001/suggestion.json").write_text('{"number": 1')
    shutil.rmtree(folder / "trial-00002")
    found = row(opened)
    assert [trial.state for trial in found.trials] == ["unreadable", "unreadable", "complete"]
    assert found.trials[0].reason == "the metrics have no such value"
    assert (found.state, found.done, found.best[0].number) == ("unfinished", 1, 3)


def test_a_study_that_stopped(tmp_path: Path) -> None:
    opened = plan(tmp_path, ONE.replace("trials: 4", "trials: 4, stop: {target: 1}"), fit_py="")
    fill(opened, "tune", [{"loss": 2.0}, {"loss": 1.0}, OPEN])
    (tmp_path / "results/tune/trial-00002/status.json").write_text('{"state": "stopped"}')
    found = row(opened)
    assert (found.stopped, found.done, len(found.trials)) == (2, 2, 2)


def test_several_objectives_and_a_constraint(tmp_path: Path) -> None:
    text = ONE.replace("loss: minimize", "loss: minimize, speed: maximize")
    text = text.replace("trials: 4", "trials: 4, constraints: {size: {max: 9}}")
    opened = plan(tmp_path, text, fit_py="")
    measured = [(1.0, 5.0, 9.0), (2.0, 6.0, 9.0), (2.0, 4.0, 9.0), (0.0, 9.0, 10.0)]
    fill(opened, "tune", [{"loss": a, "speed": b, "size": c} for a, b, c in measured])
    found = row(opened)
    assert [trial.number for trial in found.best] == [0, 1]
    assert [trial.number for trial in by_value(found)] == [0, 1, 2, 3]
    assert found.trials[3].reason == "out of bounds: size"


CASES = f"""{STEP.replace("params:", "matrix: [method], params:")}
axes: {{method: [svm, forest]}}
studies:
  tune: {{step: fit, space: {{C: {{float: [0, 1]}}}}, objectives: {{loss: minimize}}, trials: 4}}
  other: {{step: fit, space: {{C: [1, 2]}}, objectives: {{loss: minimize}}, sampler: grid}}
"""


def test_cases(tmp_path: Path) -> None:
    opened = plan(tmp_path, CASES, fit_py="")
    fill(opened, "tune", [{"loss": 1.0}], case=1)
    assert [(r.study, r.case, r.done, r.declared) for r in studies(opened)] == [
        ("tune", "method=svm", 0, 4),
        ("tune", "method=forest", 1, 4),
        ("other", "method=svm", 0, 2),
        ("other", "method=forest", 0, 2),
    ]
    assert row(opened, case="method=forest").done == 1


@pytest.mark.parametrize(
    ("name", "case", "hint"),
    [
        ("tun", None, "did you mean tune?"),
        ("tune", "method=svn", "did you mean method=svm?"),
        ("tune", "methd=svm", "did you mean method=svm?"),
    ],
)
def test_a_name_that_is_not_there(tmp_path: Path, name: str, case: str | None, hint: str) -> None:
    with pytest.raises(UserError, match=hint.replace("?", r"\?")):
        studies(plan(tmp_path, CASES, fit_py=""), name, case)


def test_a_thousand_trials_take_no_half_second(tmp_path: Path) -> None:
    opened = plan(tmp_path, ONE.replace("trials: 4", "trials: 1000"), fit_py="")
    fill(opened, "tune", [{"loss": float(number)} for number in range(1000)])
    begun = time.process_time()
    assert row(opened).done == 1000
    assert time.process_time() - begun < 0.5
