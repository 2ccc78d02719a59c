"""What a study may say, what is wrong with it, and the steps that it becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ml_experiment import history, keys
from ml_experiment.plan import Plan
from tests.experiments import plan, problem, problems

FIT = (
    "steps:\n"
    "  fit: {run: 'fit {params.x} {outputs.model} {metrics}', params: {x: 1, tol: 0.1}, "
    "outputs: {model: m.txt}, metrics: m.json}\n"
)
STUDY = (
    "  tune: {step: fit, space: {x: {float: [0, 1]}}, objectives: {loss: minimize}, trials: 40}\n"
)


def study(folder: Path, **changed: str) -> Plan:
    return plan(folder, FIT + "studies:\n" + declared(**changed))


def declared(**changed: str) -> str:
    known = {"step": "fit", "space": "{x: {float: [0, 1]}}", "objectives": "{loss: minimize}"}
    known |= {"trials": "40", **changed}
    return "  tune: {" + ", ".join(f"{k}: {v}" for k, v in known.items() if v) + "}\n"


@pytest.mark.parametrize(
    ("changed", "key", "told"),
    [
        ({"step": "fitt"}, "studies.tune.step", "no such step"),
        ({"space": "{}"}, "studies.tune.space", "the space is empty"),
        ({"space": "{x: {float: [1, 0]}}"}, "studies.tune.space.x.float", "wrong way round"),
        ({"space": "{x: {float: [0, 1], log: true}}"}, "studies.tune.space.x.float", "log of"),
        ({"space": "{x: {float: [0, 1], when: {y: 1}}}"}, "studies.tune.space.x.when.y", "no such parameter"),
        ({"space": "{toll: {float: [0, 1]}}"}, "studies.tune.space.toll", "takes this.*did you mean tol"),
        ({"trials": ""}, "studies.tune.trials", "the key `trials` is missing"),
        ({"trials": "0"}, "studies.tune.trials", "a whole number from 1"),
        ({"sampler": "grid"}, "studies.tune.space.x", "points can be counted"),
        ({"sampler": "grid", "space": "{x: [1, 2, 3]}"}, "studies.tune.trials", "the space has 3 points"),
        ({"sampler": "grid", "space": "{x: [1, 2, 3]}", "enqueue": "[{x: 2}]"}, "studies.tune.trials", "3 points, and 1 are enqueued"),
        ({"sampler": "tpee"}, "studies.tune.sampler", "did you mean tpe"),
        ({"sampler": "{tpe: {seed: 3}}"}, "studies.tune.sampler", "follows from the experiment's"),
        ({"sampler": "{tpe: {}, gp: {}}"}, "studies.tune.sampler", "not one sampler"),
        ({"sampler": "cmaes", "objectives": "{a: minimize, b: maximize}"}, "studies.tune.sampler", "several objectives"),
        ({"sampler": "random", "constraints": "{size: {max: 3}}"}, "studies.tune.sampler", "constraints"),
        ({"objectives": "{loss: min}"}, "studies.tune.objectives.loss", "minimize or maximize"),
        ({"pruner": "mean"}, "studies.tune.pruner", "no such pruner"),
        ({"pruner": "hyperband"}, "studies.tune.pruner", "max_resource"),
        ({"pruner": "{successive_halving: {min_resource: auto}}"}, "studies.tune.pruner", "min_resource"),
        ({"pruner": "median", "replicates": "3"}, "studies.tune.pruner", "without replicates"),
        ({"pruner": "median", "objectives": "{a: minimize, b: minimize}"}, "studies.tune.pruner", "one objective"),
        ({"stop": "{target: 1}", "objectives": "{a: minimize, b: minimize}"}, "studies.tune.stop", "one objective"),
        ({"enqueue": "[{x: 2}]"}, "studies.tune.enqueue.0.x", "not in the space"),
        ({"enqueue": "[{z: 2}]"}, "studies.tune.enqueue.0.z", "nothing that is searched"),
        ({"cases": "{m: {a: {trials: 3}}}"}, "studies.tune.cases.m", "not an axis"),
        ({"keep": "some"}, "studies.tune.keep", "best, all"),
        ({"windw": "3"}, "studies.tune.windw", "did you mean window"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, changed: dict[str, str], key: str, told: str) -> None:
    found = problem(tmp_path, FIT + "studies:\n" + declared(**changed))
    assert found.key == key
    assert found.where is not None
    assert re.search(told, str(found), re.DOTALL), str(found)


def test_a_step_without_metrics_and_a_name_that_is_taken(tmp_path: Path) -> None:
    text = FIT + "  tune: {run: 'x > {outputs.o}', outputs: {o: o}}\n"
    found = problems(
        tmp_path,
        text + "studies:\n" + declared() + declared(step="tune").replace("tune:", "other:", 1),
    )
    assert [p.what for p in found] == ["a step has this name", "the step has no metrics"]


def test_a_study_is_two_steps(tmp_path: Path) -> None:
    made = study(tmp_path)
    assert list(made.steps) == ["fit", "tune.trial", "tune"]
    assert made.only_searched == {"fit"}
    job = made.job("tune.trial", {"trial": "00007"})
    assert job.id == "tune/trial-00007"
    assert made.files(job) == [
        "results/tune/trial-00007/status.json",
        "results/tune/trial-00007/m.json",
    ]
    (gather,) = made.jobs(made.steps["tune"])
    assert set(made.outputs(gather)) == {"table", "trials", "best", "best.model"}
    assert len(made.needs(gather)) == 40
    for wrong in ("7", "00040"):
        with pytest.raises(KeyError):
            made.job("tune.trial", {"trial": wrong})


@pytest.mark.parametrize(("window", "trial"), [(1, 39), (4, 30), (8, 39), (32, 39), (40, 39)])
def test_a_trial_waits_for_what_it_is_told_and_for_nothing_else(
    tmp_path: Path, window: int, trial: int
) -> None:
    """All that it waits for, and what that has waited for, are the trials behind its window."""
    made = study(tmp_path, window=str(window))

    def waits(path: str) -> set[int]:
        if path.startswith(".ml_experiment/history"):
            job = made.job("tune.trial", {"trial": "00000"})
            inputs = history.of_marker(made, job, int(path[-5:]))
            return set().union(*map(waits, inputs))
        number = int(path.split("trial-")[1][:5])
        job = made.job("tune.trial", {"trial": f"{number:05d}"})
        return {number}.union(*map(waits, history.of_trial(made, job)))

    job = made.job("tune.trial", {"trial": f"{trial:05d}"})
    direct = history.of_trial(made, job)
    assert set().union(*map(waits, direct)) == set(range(max(0, trial - window + 1)))
    assert len(direct) <= 17


def test_samplers_without_memory_wait_for_nothing_unless_the_study_may_end(tmp_path: Path) -> None:
    made = study(tmp_path, sampler="random")
    job = made.job("tune.trial", {"trial": "00039"})
    assert history.of_trial(made, job) == []
    made = study(tmp_path, sampler="random", stop="{target: 0}")
    assert history.of_trial(made, made.job("tune.trial", {"trial": "00039"}))


def test_keys_say_what_a_trial_sees(tmp_path: Path) -> None:
    def of(trial: int, **changed: str) -> str:
        made = study(tmp_path, **changed)
        return keys.digest(keys.of_case(made, made.job("tune.trial", {"trial": f"{trial:05d}"})))

    for trial in (0, 7, 8, 39):
        assert of(trial) == of(trial, trials="50", keep="all", remove="[3]")
        assert of(trial) != of(trial, space="{x: {float: [0, 2]}}")
        assert of(trial) != of(trial, sampler="random")
    assert of(7) == of(7, window="16")  # it saw nothing, and sees nothing now
    assert of(8) != of(8, window="16")
    assert of(39) != of(39, window="16")
    assert of(39, sampler="grid", space="{x: {int: [0, 50]}}") == of(
        39, sampler="grid", space="{x: {int: [0, 50]}}", window="16"
    )
    assert of(2) != of(2, enqueue="[{}, {}, {x: 0.5}]")
    assert of(4) != of(4, enqueue="[{}, {}, {x: 0.5}]")  # its suggestion names those before
    assert of(1, enqueue="[{x: 0.1}, {}]") == of(1, enqueue="[{x: 0.1}, {}, {x: 0.5}]")


def test_the_best_parameters_of_a_study(tmp_path: Path) -> None:
    text = FIT + "  final: {like: fit, params: tune.best.params}\nstudies:\n" + declared()
    made = plan(tmp_path, text)
    (final,) = made.jobs(made.steps["final"])
    assert made.needs(final) == ["results/tune/best.json"]
    assert made.inputs(final) == {}
    assert final.case.params == {"x": 1, "tol": 0.1}
    found = problem(tmp_path, text.replace("tune.best.params", "tun.best.params"))
    assert "did you mean tune.best.params" in str(found)
    found = problem(tmp_path, text.replace("{loss: minimize}", "{a: minimize, b: minimize}"))
    assert found.key == "steps.final.params_from"


def test_a_study_for_each_case(tmp_path: Path) -> None:
    axes = "axes: {m: [a, b]}\n"
    text = axes + FIT.replace("metrics: m.json", "metrics: m.json, matrix: [m]") + "studies:\n"
    cases = "{m: {b: {space: {tol: [1, 2]}, sampler: grid, trials: null}}}"
    made = plan(tmp_path, text + declared(cases=cases))
    searches = made.steps["tune.trial"].trials_of
    assert searches is not None
    assert searches.counts == {"m=a": 40, "m=b": 2}
    assert [p.name for p in searches.searches["m=b"].parameters] == ["tol"]
    jobs = [job.id for job in made.jobs(made.steps["tune.trial"])]
    assert jobs[0] == "tune/m=a/trial-00000"
    assert jobs[-1] == "tune/m=b/trial-00001"
    last = "  last: {like: fit, params: tune.best.params, matrix: []}\n"
    found = problem(tmp_path, text.replace("studies:\n", last + "studies:\n") + declared())
    assert "give the step `matrix: [m]`" in str(found)


def test_the_number_of_a_trial_is_for_trials(tmp_path: Path) -> None:
    text = FIT.replace("{params.x}", "{params.x} {trial}")
    plan(tmp_path, text + "studies:\n" + declared())
    found = problem(tmp_path, text)
    assert "{trial} names nothing" in found.what


@pytest.mark.parametrize("wrong", ["trials: -1", "sampler: 3", "step: fitt"])
def test_what_a_faulty_study_leads_to_is_not_told(tmp_path: Path, wrong: str) -> None:
    text = (
        FIT + "  final: {like: fit, params: tune.best.params}\n"
        "  use: {run: 'cat {inputs.m} > {outputs.o}', inputs: {m: tune.best.model}, outputs: {o: o}}\n"
        "studies:\n" + declared(**dict([wrong.split(": ")]))
    )
    assert problem(tmp_path, text).key == f"studies.tune.{wrong.partition(':')[0]}"
