"""How far a study is while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_experiment import keys
from ml_experiment.model import Bounds
from ml_experiment.plan import Job, Plan
from ml_experiment.progress import EVERY, Progress, Studies
from tests.experiments import plan

TEXT = """\
steps:
  fit: {run: "python fit.py {params.C} {metrics}", params: {C: 1.0}, metrics: metrics.json}
studies:
  tune: {step: fit, space: {C: {float: [0, 1]}}, objectives: {loss: minimize}, trials: 10}
"""


def record(number: int, state: str = "complete", job: str = "", **metrics: float) -> dict[str, Any]:
    return {"job": job or f"trial-{number}", "metrics": metrics, "trial": {"state": state}}


def run(study: Progress, number: int, begun: float, ended: float, **of: Any) -> bool:
    """One trial of one job."""
    made = record(number, **of)
    study.begun(("", number), made["job"], begun)
    return study.ended(("", number), made, ended)


def study(trials: int = 40, **of: Any) -> Progress:
    return Progress(
        "tune", trials, of.pop("objectives", {"accuracy": "maximize"}), todo=trials, **of
    )


def test_a_line() -> None:
    tune = study()
    assert tune.line(0.0) == "tune 0/40"
    assert run(tune, 0, 0.0, 2.0, accuracy=0.5)
    assert not run(tune, 1, 0.0, 2.0, state="failed")
    assert not run(tune, 2, 2.0, 4.0, accuracy=0.4)
    assert run(tune, 3, 2.0, 4.0, accuracy=0.98347)
    assert not run(tune, 4, 4.0, 6.0, state="pruned")
    # 5 trials of 2 s each, in 6 s: 35 more take 42 s
    assert tune.line(6.0) == (
        "tune 5/40, 1 failed, 1 pruned, best accuracy 0.9835 (trial 3), ~42 s to go"
    )


def test_the_end_is_not_guessed_from_two_trials() -> None:
    tune = study(6)
    for number in range(2):
        run(tune, number, number * 10.0, number * 10.0 + 10.0, accuracy=0.5)
    assert tune.left(20.0) is None
    run(tune, 2, 20.0, 30.0, accuracy=0.5)
    assert tune.left(30.0) == pytest.approx(30.0)


def test_as_many_at_once_as_there_were() -> None:
    tune = study(12)
    for number in range(4):  # four at once
        tune.begun(("", number), f"trial-{number}", 0.0)
    for number in range(4):
        tune.ended(("", number), record(number, accuracy=0.5), 10.0)
    assert tune.left(10.0) == pytest.approx(8 * 10 / 4)
    for number in range(4, 8):  # those that run count as well
        tune.begun(("", number), f"trial-{number}", 10.0)
    assert tune.left(15.0) == pytest.approx(8 * 10 / 4)


def test_a_trial_of_several_jobs_is_its_mean() -> None:
    tune = study(4, replicates=2, objectives={"loss": "minimize"})
    for seed in (0, 1):
        tune.begun(("", 0), f"0/seed-{seed}", 0.0)
    assert not tune.ended(("", 0), record(0, job="0/seed-0", loss=1.0), 1.0)
    assert tune.line(1.0) == "tune 0/4"
    assert tune.ended(("", 0), record(0, job="0/seed-1", loss=2.0), 1.0)
    tune.begun(("", 1), "1/seed-0", 1.0)
    tune.ended(("", 1), record(1, job="1/seed-0", state="failed"), 2.0)
    tune.ended(("", 1), record(1, job="1/seed-1", loss=0.0), 2.0)
    assert tune.line(2.0) == "tune 2/4, 1 failed, best loss 1.5 (trial 0)"


def test_what_does_not_count_is_not_the_best() -> None:
    tune = study(constraints={"size": Bounds(min=None, max=5)}, removed=frozenset({1}))
    assert not run(tune, 0, 0.0, 1.0, accuracy=0.9, size=6)
    assert not run(tune, 1, 0.0, 1.0, accuracy=0.9, size=5)
    assert not run(tune, 2, 0.0, 1.0, accuracy=float("nan"), size=5)
    assert not run(tune, 3, 0.0, 1.0, size=5)
    assert run(tune, 4, 0.0, 1.0, accuracy=0.1, size=5)


def test_several_objectives_and_cases() -> None:
    tune = study(objectives={"accuracy": "maximize", "size": "minimize"})
    run(tune, 0, 0.0, 1.0, accuracy=0.9, size=6)
    tune.begun(("method=svm", 0), "svm", 0.0)
    assert tune.ended(("method=svm", 0), record(0, job="svm", accuracy=0.8, size=5), 1.0)
    assert tune.line(1.0) == "tune 2/40, best accuracy 0.9 (trial 0), size 5 (method=svm, trial 0)"


def test_what_an_earlier_run_gave_counts_until_the_trial_runs_again() -> None:
    tune = study(earlier=2)
    tune.known(("", 0), record(0, accuracy=0.9))
    tune.known(("", 1), record(1, accuracy=0.8))
    assert tune.line(0.0) == "tune 2/40, best accuracy 0.9 (trial 0)"
    tune.begun(("", 0), "trial-0", 0.0)
    assert tune.best["accuracy"][0] == 0.8
    assert not tune.ended(("", 0), record(0, accuracy=0.7), 1.0)


def test_an_attempt_that_failed_is_no_result_and_a_stopped_trial_took_no_time() -> None:
    tune = study(10)
    tune.begun(("", 0), "trial-0", 0.0)
    tune.gave_up("trial-0")
    for number in range(3):
        run(tune, number, number * 2.0, number * 2.0 + 2.0, accuracy=0.5)
    run(tune, 3, 6.0, 6.0, state="stopped")
    assert tune.done == 4
    assert tune.left(6.0) == pytest.approx(12.0)


# -- the studies of a run --------------------------------------------------------------------------


def jobs(made: Plan) -> list[Job]:
    return list(made.jobs(made.steps["tune.trial"]))


def earlier(made: Plan, trials: list[Job]) -> dict[str, dict[str, Any]]:
    return {
        job.id: {
            **record(0, job=job.id, loss=3.0),
            "key_digest": keys.digest(keys.of_case(made, job)),
        }
        for job in trials
    }


def ended(studies: Studies, job: Job, at: float, **metrics: float) -> None:
    studies.ended(job, {**record(0, job=job.id), "metrics": metrics}, at)


def test_lines_of_a_run_that_goes_on(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT, fit_py="")
    trials, studies = jobs(made), Studies()
    before = earlier(made, trials[:4])
    before[trials[4].id] = {**before[trials[0].id], "key_digest": "of another declaration"}
    studies.planned = {"tune.trial": 6, "tune": 1}
    studies.begun(made, trials[4], before, 100.0)
    studies.begun(made, trials[5], before, 100.0)
    assert studies.lines(100.0) == ["tune 4/10, best loss 3 (trial 0)"]
    assert studies.news(100.0) == []
    ended(studies, trials[4], 101.0, loss=2.0)
    assert studies.news(101.0) == ["tune 5/10, best loss 2 (trial 4)"]
    ended(studies, trials[5], 102.0, loss=2.5)
    assert studies.news(102.0) == []
    assert studies.news(101.0 + EVERY) == ["tune 6/10, best loss 2 (trial 4)"]
    for job in trials[6:]:
        studies.begun(made, job, before, 140.0)
        ended(studies, job, 141.0, loss=2.5)
    assert studies.lines(141.0) == []
    assert studies.news(1000.0) == []


def test_all_trials_run_again_after_a_change(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT, fit_py="")
    trials, studies = jobs(made), Studies()
    before = earlier(made, trials)
    studies.planned = {"tune.trial": 10}
    studies.begun(made, trials[0], before, 0.0)
    assert studies.lines(0.0) == ["tune 0/10"]


def test_what_was_lost_runs_again_and_the_rest_is_known(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT, fit_py="")
    trials, studies = jobs(made), Studies()
    studies.planned = {"tune.trial": 2}
    studies.begun(made, trials[0], earlier(made, trials), 0.0)
    assert studies.lines(0.0) == ["tune 8/10, best loss 3 (trial 1)"]


def test_other_jobs_are_no_trials(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT, fit_py="")
    studies, (job,) = Studies(), made.jobs(made.steps["tune"])
    studies.begun(made, job, {}, 0.0)
    studies.begun(None, None, {}, 0.0)
    ended(studies, job, 1.0)
    studies.gave_up(job)
    assert studies.lines(1.0) == []
