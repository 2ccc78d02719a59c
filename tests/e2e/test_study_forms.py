"""What a study may be: several objectives, constraints, cases, replicates, stops, other languages."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.project import REPOSITORY, Make, Project, scaffold
from tests.e2e.test_tracking import client, job_runs

if TYPE_CHECKING:
    from mlflow.entities import Run

FIT = """\
def fit(model, seed, x=0.5, n=1, method="m", trial=None):
    open(model, "w").write(f"{x} {n} {method} {seed}\\n")
    return {"loss": (x - 0.3) ** 2 + n / 100 + seed % 7 / 1000, "size": n * 10 + x}
"""
TOOL = """\
echo "{\\"loss\\": $ML_EXPERIMENT_PARAMS_X, \\"trial\\": $ML_EXPERIMENT_TRIAL}" > "$1"
echo "1 0.5" >> "$ML_EXPERIMENT_REPORT"
"""
MANY = """\
name: many
seed: 3
axes: {method: [m1, m2], data: [d1, d2]}
steps:
  fit:
    call: fit:fit
    params: {n: 1}
    outputs: {model: model.txt}
    metrics: metrics.json
  tool:
    run: sh tool.sh {metrics}
    params: {x: 1.0}
    metrics: metrics.json
  final:
    like: fit
    matrix: [data, method]
    params: per-case.best.params
    replicates: 2
  use:
    run: cat {inputs.models} {inputs.all} {inputs.best} > {outputs.o}
    inputs: {models: seeds.best.models, all: per-case.best.model, best: seeds.best}
    outputs: {o: o.txt}
    seeding: none
studies:
  seeds:
    step: fit
    space: {x: {float: [0, 1]}, n: "randint(1, 5)"}
    objectives: {loss: minimize}
    constraints: {size: {max: 35}}
    replicates: 3
    trials: 8
    window: 3
    keep: 2
    enqueue: [{x: 0.3, n: 4}, {n: 2}]
  pareto:
    step: fit
    space: {x: "uniform(0, 1)", n: "range(1, 5, 1)"}
    objectives: {size: maximize, loss: minimize}
    sampler: {nsgaii: {population_size: 4}}
    trials: 10
    keep: all
  per-case:
    step: fit
    matrix: [method, data]
    space: {x: "loguniform(0.01, 1)"}
    objectives: {loss: minimize}
    sampler: random
    trials: 3
    cases:
      method:
        m2: {space: {n: "choice([1, 2, 3])"}, sampler: grid, trials: null}
  stops:
    step: fit
    space: {x: {float: [0, 1]}}
    objectives: {loss: minimize}
    trials: 30
    window: 2
    stop: {no_improvement: 4}
  script:
    step: tool
    space: {x: {float: [0, 1], step: 0.25}}
    objectives: {loss: minimize}
    sampler: bruteforce
    timeout: 20s
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("many") / "project"
    project = scaffold(folder, {"experiment.yaml": MANY, "fit.py": FIT, "tool.sh": TOOL})
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    return project


def rows(project: Project, study: str) -> list[dict[str, str]]:
    text = (project.folder / "results" / study / "trials.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def test_constraints_replicates_and_what_is_kept(many: Project) -> None:
    trials = rows(many, "seeds")
    assert (trials[0]["x"], trials[0]["n"], trials[1]["n"]) == ("0.3", "4", "2")  # enqueued
    best = json.loads((many.folder / "results/seeds/best.json").read_text())
    allowed = [t for t in trials if int(t["n"]) * 10 + float(t["x"]) <= 35]
    assert len(allowed) < len(trials)
    assert best["values"]["loss"] == min(float(t["loss"]) for t in allowed)
    models = [many.folder / f"results/seeds/best/seed-{r}/model.txt" for r in range(3)]
    assert [m.read_text().split()[0] for m in models] == [str(best["params"]["x"])] * 3
    assert len({m.read_text().split()[-1] for m in models}) == 3  # each replicate its own seed
    kept = {p.parts[-3] for p in (many.folder / "results/seeds").glob("trial-*/seed-*/model.txt")}
    assert len(kept) == 2
    assert f"trial-{best['number']:05d}" in kept


def test_several_objectives_in_the_order_of_the_file(many: Project) -> None:
    trials = rows(many, "pareto")
    assert list(trials[0])[2:4] == ["size", "loss"]
    front = json.loads((many.folder / "results/pareto/pareto.json").read_text())
    points = [(-float(t["size"]), float(t["loss"])) for t in trials]
    expected = [
        number
        for number, p in enumerate(points)
        if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points)
    ]
    assert [entry["number"] for entry in front] == expected
    assert not (many.folder / "results/pareto/best.json").exists()
    assert len(list((many.folder / "results/pareto").glob("trial-*/model.txt"))) == 10


def test_a_study_for_each_dataset_and_method(many: Project) -> None:
    for data in ("d1", "d2"):
        first = rows(many, f"per-case/method=m1,data={data}")
        assert len(first) == 3
        assert "n" not in first[0]
        second = rows(many, f"per-case/method=m2,data={data}")
        assert sorted(t["n"] for t in second) == ["1", "2", "3"]
    final = many.json("results/final/data=d1,method=m2/seed-0/metrics.json")
    assert final["size"] == 10.5  # n of the study, x as the function has it
    text = (many.folder / "results/use/o.txt").read_text()
    assert text.count("\n") > 3 + 4


def test_a_study_that_has_found_enough(many: Project) -> None:
    trials = rows(many, "stops")
    losses = [float(t["loss"]) for t in trials]

    def enough(seen: list[float]) -> bool:
        return len(seen) > 4 and min(seen[-4:]) >= min(seen[:-4])

    # the first trial that did nothing had seen enough: those behind the window, of two
    assert len(losses) < 30
    assert [enough(losses[: max(0, n - 1)]) for n in range(len(losses) + 1)].index(True) == len(
        losses
    )


def test_a_shell_script_is_a_trial(many: Project) -> None:
    trials = rows(many, "script")
    assert sorted(float(t["loss"]) for t in trials) == [0, 0.25, 0.5, 0.75, 1]
    assert sorted(t["trial"] for t in trials) == list("01234")
    one = json.loads((many.folder / "results/script/trials/00000.json").read_text())
    assert one["reports"] == [[1, 0.5]]
    lines = (many.folder / ".ml_experiment/records.jsonl").read_text().splitlines()
    record = next(r for r in map(json.loads, lines) if r["job"] == "script/trial-00000")
    assert (record["rule"], record["trial"]["state"]) == ("script.trial", "complete")
    assert "results/script/trial-00000/suggestion.json" in record["inputs"]
    assert "results/script/trial-00000/reports.txt" in record["outputs"]


def test_the_best_trials_are_in_mlflow(many: Project) -> None:
    assert many.ours("track").returncode == 0
    server, jobs = client(many), {run.info.run_name: run for run in job_runs(many)}

    def of_study(job: str) -> Run:
        return server.get_run(jobs[job].data.tags["mlflow.parentRunId"])

    best = many.json("results/seeds/best.json")
    assert of_study("seeds").data.metrics == best["values"]
    assert of_study("seeds").data.params["best_trial"] == str(best["number"])
    assert of_study("pareto").data.metrics == {}
    assert of_study("per-case/method=m1,data=d1").data.metrics == {}  # four studies are in it
    for case in ("method=m1,data=d1", "method=m2,data=d2"):
        best = many.json(f"results/per-case/{case}/best.json")
        assert jobs[f"per-case/{case}"].data.metrics == best["values"]


def test_nothing_is_left_to_do_and_all_is_current(many: Project, tmp_path: Path) -> None:
    assert many.would_run() == {}
    states = json.loads(many.ours("status", "--json").stdout)
    assert {state["state"] for state in states} == {"current"}
    again = many.copy(tmp_path / "other")
    assert again.would_run() == {}


def test_what_a_change_runs(many: Project, tmp_path: Path) -> None:
    project = many.copy(tmp_path / "p")
    project.edit("experiment.yaml", "keep: 2", "keep: 2\n    remove: [0]")
    assert project.would_run() == {"seeds": 1, "seeds.view": 1, "use": 1}
    project.edit("experiment.yaml", "trials: 10", "trials: 12")
    would = project.would_run()
    assert (would["pareto.trial"], would["pareto"]) == (2, 1)
    project.edit("experiment.yaml", '"loguniform(0.01, 1)"', '"loguniform(0.1, 1)"')
    assert project.would_run()["per-case.trial"] == 6
    told = "study per-case: 6 trials run again: space x changed"
    assert told in project.snakemake("--dry-run").stderr
    status = project.ours("status", "per-case.trial").stdout
    assert "space x" in status


STEPS = """\
import pathlib


def prepare(raw):
    pathlib.Path(raw).write_text("raw")


def features(raw, table, n=2, kind="a"):
    if n == 4:
        raise SystemExit("no features")
    pathlib.Path(table).write_text(f"{pathlib.Path(raw).read_text()} {n} {kind}")


def scale(table, scaled):
    folder = pathlib.Path(scaled)
    folder.mkdir(exist_ok=True)
    (folder / "x.txt").write_text(pathlib.Path(table).read_text() + " scaled")


def fit(scaled, model, C=1.0):
    text = (pathlib.Path(scaled) / "x.txt").read_text()
    pathlib.Path(model).write_text(f"{text} {C}")
    return {"loss": abs(int(text.split()[1]) - 2.5) + (C - 0.3) ** 2}
"""
PARTS = """\
name: parts
seed: 3
steps:
  prepare: {call: "steps:prepare", outputs: {raw: raw.txt}, seeding: none}
  features:
    call: steps:features
    inputs: {raw: prepare.raw}
    params: {n: 1, kind: b}
    outputs: {table: t.txt}
  scale: {call: "steps:scale", inputs: {table: features.table}, outputs: {scaled: scaled/}}
  fit:
    call: steps:fit
    inputs: {scaled: scale.scaled}
    params: {C: 0.5}
    outputs: {model: m.txt}
    metrics: metrics.json
  again: {like: features, params: tune.best.features.params}
  final: {like: fit, params: tune.best.params, inputs: {scaled: tune.best.scale.scaled}}
studies:
  tune:
    step: fit
    space: {features.n: {int: [1, 4]}, C: {float: [0, 1]}}
    objectives: {loss: minimize}
    sampler: {tpe: {n_startup_trials: 5}}
    trials: 12
    window: 3
"""


DRAWN = """\
name: drawn
seed: 3
steps:
  fit: {call: "fit:fit", outputs: {model: m.txt}, metrics: metrics.json}
  final: {like: fit, params: tune.best.params}
studies:
  tune:
    step: fit
    space: draw:draw
    objectives: {loss: minimize}
    sampler: {tpe: {n_startup_trials: 4}}
    trials: 8
    window: 2
"""
DRAW = """\
def draw(trial):
    print("not to be taken for an answer")
    layers = trial.suggest_int("layers", 1, 3)
    return {"units": [trial.suggest_int(f"units_{i}", 4, 16) for i in range(layers)]}
"""
UNITS = """\
def fit(model, units=(8,)):
    open(model, "w").write(str(units))
    return {"loss": abs(sum(units) - 20)}
"""


def test_a_function_draws_the_space(make: Make, tmp_path: Path) -> None:
    project = make(DRAWN, fit_py=UNITS, draw_py=DRAW)
    other = project.copy(tmp_path / "other")
    assert project.ours("run").returncode == 0
    project.edit("experiment.yaml", "trials: 8", "trials: 12")
    assert project.ours("run").returncode == 0
    other.edit("experiment.yaml", "trials: 8", "trials: 12")
    done = other.call("snakemake", "--cores", "5")
    assert done.returncode == 0, done.stderr
    assert rows(project, "tune") == rows(other, "tune")
    assert len({len(json.loads(t["units"])) for t in rows(project, "tune")}) > 1
    best = json.loads((project.folder / "results/tune/best.json").read_text())
    assert (project.folder / "results/final/m.txt").read_text() == str(best["params"]["units"])
    project.edit("draw.py", "4, 16", "4, 17")
    assert project.would_run()["tune.trial"] == 12
    project.edit("draw.py", "suggest_int", "suggest_integer")
    done = project.ours("run")
    assert done.returncode == 1
    assert "draw:draw: AttributeError" in done.stderr


def test_trials_of_several_steps(make: Make, tmp_path: Path) -> None:
    project = make(PARTS, steps_py=STEPS)
    other = project.copy(tmp_path / "other")
    for one, cores in ((project, "1"), (other, "7")):
        done = one.call("snakemake", "--cores", cores)
        assert done.returncode == 0, done.stderr
    kinds = ("best.json", "trials.csv", "trials/00003.json", "best/features/t.txt", "best/m.txt")
    for name in kinds:
        file = f"results/tune/{name}"
        assert (project.folder / file).read_bytes() == (other.folder / file).read_bytes()
    trials = rows(project, "tune")
    failed = [t for t in trials if t["features.n"] == "4"]
    assert failed
    assert {t["reason"] for t in failed} == {"exit status 1 of features"}
    logs = (project.folder / "logs/tune").glob("trial-*/features.log")
    taken = sum("taken from there" in log.read_text() for log in logs)
    ran = {t["features.n"] for t in trials}
    assert taken == len(trials) - len(failed) - len(ran - {"4"})  # one job at a time: each once
    best = json.loads((project.folder / "results/tune/best.json").read_text())
    n, c = best["params"]["features.n"], best["params"]["C"]
    assert (project.folder / "results/again/t.txt").read_text() == f"raw {n} b"
    assert (project.folder / "results/final/m.txt").read_text() == f"raw {n} b scaled {c}"
    assert not (project.folder / "results/features").exists()
    assert len(list((project.folder / "results/prepare").iterdir())) == 1
    states = json.loads(project.ours("status", "--json").stdout)
    assert {state["state"] for state in states} == {"current"}
    project.edit("steps.py", "(C - 0.3) ** 2}", "(C - 0.2) ** 2}")
    would = project.would_run()
    assert would["tune.trial"] == 12
    assert "prepare" in would  # all four functions are in one file, so all of them are new


def test_trials_written_by_hand(make: Make, tmp_path: Path) -> None:
    """The Snakefile and experiment of docs/studies.md."""
    page = (REPOSITORY / "docs/studies.md").read_text().partition("## Rules written by hand")[2]
    experiment, rule = page.split("```")[1], page.split("```")[3]
    project = make(
        experiment.removeprefix("yaml\n").replace("trials: 40", "trials: 9\n    window: 3"),
        train_py=TRAIN,
        data__txt="1\n",
    )
    (project.folder / "data/txt").rename(project.folder / "data.txt")
    include, _, rest = (project.folder / "Snakefile").read_text().partition("\n")
    project.write("Snakefile", f"{include}\n{rule.removeprefix('python')}\n{rest}")
    other = project.copy(tmp_path / "other")
    for one, cores in ((project, "1"), (other, "5")):
        done = one.call("snakemake", "--cores", cores)
        assert done.returncode == 0, done.stderr
    trials = rows(project, "tune")
    assert trials == rows(other, "tune")
    assert len(trials) == 9
    assert {t["state"] for t in trials} == {"complete", "failed"}
    best = json.loads((project.folder / "results/tune/best.json").read_text())
    model = (project.folder / "results/tune/best/model.txt").read_text().split()
    assert model[0] == str(best["params"]["rate"])
    assert project.would_run() == {}
    project.edit("train.py", "** 2", "** 4")
    assert project.would_run()["tune.trial"] == 9


TRAIN = """\
import json
import os
import random
import sys

data, rate, model, metrics = sys.argv[1:]
assert os.environ["ML_EXPERIMENT_PARAMS_RATE"] == rate
if float(rate) > 0.6:
    sys.exit("it diverges")
with open(model, "w") as file:
    file.write(f"{rate} {random.random()}")
with open(metrics, "w") as file:
    json.dump({"loss": (float(rate) - 0.3) ** 2}, file)
"""
BAD = """\
name: bad
steps:
  fit: {call: "fit:fit", outputs: {model: m.txt}, metrics: m.json}
studies:
  tune: {step: fit, space: {x: {float: [0, 1]}}, objectives: {loss: minimize}, trials: 6, window: 2}
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("{loss:", "{los:"), "the metrics have no such value|did you mean loss"),
        (("trials: 6", "trials: 6, sampler: {tpe: {n_startup: 3}}"), "unexpected keyword argument 'n_startup'|did you mean n_startup_trials?"),
        (("trials: 6", "trials: 6, pruner: {median: {startup: 3}}"), "unexpected keyword argument 'startup'|n_startup_trials"),
        (("trials: 6", "trials: 6, sampler: {tpe: {consider_prior: true}}"), "does nothing any more"),
    ],
)  # fmt: skip
def test_what_shows_when_a_study_runs(make: Make, change: tuple[str, str], told: str) -> None:
    project = make(BAD.replace(*change), fit_py=FIT)
    done = project.ours("run")
    assert done.returncode == 1
    for part in told.split("|"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_check_asks_optuna_for_sampler_and_pruner(make: Make) -> None:
    text = BAD.replace("trials: 6", "trials: 6, sampler: {tpe: {n_startup: 3}}")
    done = make(text, fit_py=FIT).ours("check")
    assert done.returncode == 2
    assert "experiment.yaml:5: studies.tune: the sampler tpe: " in done.stderr


def test_an_enqueued_point_that_cannot_be(make: Make) -> None:
    space = "k: [a, b], x: {float: [0, 1], when: {k: a}}"
    text = BAD.replace("x: {float: [0, 1]}", space).replace(
        "trials: 6", "trials: 6, enqueue: [{k: b, x: 0.3}, {k: a, x: 0.3}, {x: 0.3}]"
    )
    done = make(text, fit_py="def fit(model, k, x=0):\n    return {'loss': x}\n").ours("check")
    assert done.returncode == 2
    assert done.stderr.count("x is there only with another k") == 1


def test_what_no_study_can_be_is_told_at_once(make: Make) -> None:
    more = (
        "trials: 2, enqueue: [{x: 0}, {x: 1}, {x: 0.5}], stop: {},"
        " constraints: {loss: {min: 1, max: 0}, acc: {}, f1: {max: .nan}},"
        " sampler: {tpe: {constraints_func: 1, n_startup_trials: 1}}"
    )
    done = make(BAD.replace("trials: 6", more), fit_py=FIT).ours("check")
    assert done.returncode == 2
    assert "more points than the 2 trials" in done.stderr
    assert "nothing that ends it" in done.stderr
    assert "constraints.loss: the bounds are the wrong way round" in done.stderr
    assert done.stderr.count("no bound") == 2
    assert "a sampler's constraints_func follows from the study's `constraints`" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{tpe: {n_startup_trials: abc}}", "its sampler or its space fails: TypeError"),
        ('{"fit:smp": {}}', "RuntimeError: not today (fit.py:"),
    ],
)
def test_whatever_a_sampler_raises_is_a_sentence(make: Make, options: str, told: str) -> None:
    text = BAD.replace("trials: 6", f"trials: 6, sampler: {options}")
    project = make(text, fit_py=f"{FIT}\n\ndef smp(seed):\n    raise RuntimeError('not today')\n")
    done = project.ours("check")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_first_window_that_fails_shows_how(make: Make) -> None:
    done = make(BAD, fit_py="def fit(model, x):\n    1 / 0\n").ours("run")
    assert done.returncode == 1
    assert "all 2 trials so far have failed, the first is trial 0" in done.stderr
    assert "its log is logs/tune/trial-00000.log and ends with" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr


def test_all_trials_failed(make: Make) -> None:
    project = make(BAD.replace("window: 2", "window: 6"), fit_py="def fit(model, x):\n    1 / 0\n")
    done = project.ours("run")
    assert done.returncode == 1
    assert "all 6 trials failed; the first is trial 0: exit status 1" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr.replace("│", "").split("ZeroDivisionError")[1]


def test_values_that_are_no_numbers_are_failures(make: Make) -> None:
    project = make(
        BAD, fit_py=FIT.replace("return {", "return {'loss': float('nan')} if x > 0.5 else {")
    )
    assert project.ours("run").returncode == 0
    trials = rows(project, "tune")
    failed = [t for t in trials if t["state"] == "failed"]
    assert failed
    assert all(float(t["x"]) > 0.5 and t["reason"] == "loss is nan" for t in failed)


def test_too_many_failures_and_a_timeout(make: Make) -> None:
    slow = FIT.replace(
        "    open(", "    import time\n    time.sleep(9 if trial == 1 else 0)\n    open("
    )
    project = make(BAD.replace("window: 2", "window: 2, timeout: 1s, max_failures: 0"), fit_py=slow)
    done = project.ours("run")
    assert done.returncode == 1
    assert "1 trials have failed, the first is trial 1: timeout" in done.stderr
    assert "tune/trial-00001: a timeout: what is found from here on depends on" in done.stderr
    project.edit("experiment.yaml", "max_failures: 0", "max_failures: 1")
    assert project.ours("run").returncode == 0
    assert rows(project, "tune")[1]["reason"] == "timeout"


@pytest.mark.parametrize("damage", ["edited", "poisoned", "torn"])
def test_a_trial_file_that_was_edited(make: Make, damage: str) -> None:
    project = make(BAD, fit_py=FIT)
    assert project.ours("run").returncode == 0
    file = project.folder / "results/tune/trial-00001/suggestion.json"
    text = file.read_text()
    file.write_text(
        {
            "edited": text.replace('"x":0.', '"x":0.1'),
            "poisoned": text.replace(
                '"state":{}', '"state":{"cma":"gASVIQAAAAAAAACMBXBvc2l4lIwGc3lzdGVt"}'
            ),
            "torn": text[:50],
        }[damage]
    )
    project.edit("experiment.yaml", "trials: 6", "trials: 8")
    done = project.ours("run")
    assert done.returncode == 1
    assert "trial-00001/suggestion.json" in done.stderr
    assert {"torn": "cannot be read"}.get(damage, "was edited") in done.stderr
    file.write_text(text)
    assert project.ours("run").returncode == 0
