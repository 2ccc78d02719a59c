"""A record as MLflow gets it."""

from __future__ import annotations

import json
import math
import posixpath
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_experiment import tracked

LINE = {"experiment": "digits", "git": {"commit": "c" * 40}, "run": "R", "started": "2026-11-25T20:00:00Z"}  # fmt: skip


def record(**more: Any) -> dict[str, Any]:
    return {
        "attempt": 1,
        "code": {"fit.py": "0" * 32},
        "ended": "2026-11-25T20:06:45.123Z",
        "environment": {
            "distributions": {"numpy": "2.1"},
            "image": "sha256:1",
            "name": "sklearn",
            "python": "3.11.7",
        },
        "id": "1" * 32,
        "inputs": {"data/raw.csv": {"hash": "a" * 32, "size": 3, "mtime": 1, "inode": 1}},
        "job": "fit/seed-0",
        "key": {"outputs": {"model": "m.bin", "metrics": "metrics.json"}},
        "key_digest": "2" * 32,
        "metrics": {"accuracy": 0.5},
        "outputs": {"results/fit/seed-0/m.bin": {"hash": "b" * 32, "size": 3}},
        "params": {"C": 1.0, "net": {"depth": 3, "empty": {}}},
        "rule": "fit",
        "run": "R",
        "seed": 7,
        "started": "2026-11-25T20:06:40Z",
        "state": "finished",
        "wildcards": {"replicate": "0"},
        **more,
    }


def run(curves: Any = (), **more: Any) -> tracked.Run:
    return tracked.of_record(record(**more), LINE, lambda *_: "maker", dict(curves))


@given(st.text())
def test_names_are_taken_by_mlflow_and_can_be_read_back(name: str) -> None:
    escaped = tracked.escape(name)
    assert re.fullmatch(r"[/\w.\- :]+", escaped)  # mlflow.utils.validation
    normal = posixpath.normpath(escaped)
    assert normal == escaped
    assert normal != "." and not normal.startswith(("..", "/"))  # noqa: PT018
    if len(escaped) < tracked.MAX_NAME:
        assert tracked.unescape(escaped) == name


@given(st.lists(st.sampled_from(["_", "x", "0025", "_x0025_", "%", "/", ".", "_x_"])))
def test_names_that_look_escaped_can_be_read_back_too(parts: list[str]) -> None:
    name = "".join(parts)
    if len(tracked.escape(name)) < tracked.MAX_NAME:
        assert tracked.unescape(tracked.escape(name)) == name


def test_ordinary_names_stay() -> None:
    for name in ("accuracy", "train/loss", "top-5 error", "a_x", "lr.decay"):
        assert tracked.escape(name) == name


def test_tags_say_what_made_it_and_of_what() -> None:
    found = run()
    tag = {name.removeprefix("ml_experiment."): value for name, value in found.tags.items()}
    assert json.loads(tag["inputs"]) == {"data/raw.csv": "a" * 32}
    assert json.loads(tag["outputs"]) == {"results/fit/seed-0/m.bin": "b" * 32}
    assert (tag["rule"], tag["seed"], tag["kind"]) == ("fit", "7", "job")
    ran = {"image": "sha256:1", "name": "sklearn", "python": "3.11.7"}
    assert json.loads(tag["environment"]) == ran
    assert found.found == {"ml_experiment.record": "1" * 32}
    assert found.tags["mlflow.source.git.commit"] == "c" * 40
    assert found.whole is None
    assert run(seed=None).tags["ml_experiment.seed"] == "null"


def test_the_source_is_the_script_and_not_what_it_imports() -> None:
    code = {"a/data.py": "1", "b/fit.py": "2"}
    for key in ({"call": "b.fit:fit"}, {"run": "python b/fit.py {outputs.x}"}):
        assert run(code=code, key=key).tags["mlflow.source.name"] == "b/fit.py"
    assert run(code={}, key=None).tags["mlflow.source.name"] == "fit"


def test_what_is_too_long_for_a_tag_is_in_an_artifact() -> None:
    inputs = {f"data/{index}": {"hash": "a" * 32} for index in range(500)}
    found = run(inputs=inputs)
    assert all(len(value) <= tracked.MAX_VALUE for value in found.tags.values())
    assert found.whole is not None
    assert json.loads(found.whole)["inputs"] == inputs
    assert len(found.datasets) == 500


def test_parameters_are_flat_and_the_seed_is_beside_them() -> None:
    assert run().params == {"C": "1.0", "net.depth": "3", "net.empty": "{}", "seed": "7"}
    assert run(params={"seed": 3}).params == {"seed": "3"}
    assert run(params={}, seed=None).params == {}


def test_curves_end_with_the_final_value_once() -> None:
    curve = [(0, 1.0), (5, 0.5)]
    points = [(p.step, p.value) for p in run({"accuracy": curve}).metrics]
    assert points == curve
    points = [(p.step, p.value) for p in run({"accuracy": [(0, 1.0)]}).metrics]
    assert points == [(0, 1.0), (1, 0.5)]
    (nan,) = run({"loss": [(3, math.nan)]}, metrics={"loss": math.nan}).metrics
    assert nan.step == 3


def test_datasets_name_the_run_that_made_them() -> None:
    (dataset,) = run().datasets
    assert (dataset.name, dataset.digest) == ("data/raw.csv", "a" * 32)
    assert json.loads(dataset.source)["run"] == "maker"
    (gone,) = run(inputs={"x": {"hash": None, "reason": "temporary"}}).datasets
    assert gone.digest == "temporary"
    folder = run(inputs={"d": {"hash": "a" * 32 + ".dir", "files": 3, "size": 9}})
    assert len(folder.datasets[0].digest) == 36  # all that MLflow takes


def test_models_are_known_by_name_or_ending_and_have_requirements() -> None:
    (model,) = run().models
    assert (model.name, model.requirements) == ("fit-model", ("numpy==2.1",))
    outputs = {"results/x/net.pt": {"hash": "c"}, "results/x/plot.png": {"hash": "d"}}
    assert [m.name for m in run(outputs=outputs, key=None).models] == ["fit-net"]
    assert run(state="failed").models == ()


def test_a_study_has_its_best_trial() -> None:
    best = {"number": 6, "params": {"C": 0.5, "net": {"depth": 3}}, "values": {"top-5 %": 1.0}}
    study = tracked.of_best(run(seed=None, params={}, metrics={}), best)
    assert study.params == {"best_trial": "6", "C": "0.5", "net.depth": "3"}
    assert [(p.name, p.value, p.step) for p in study.metrics] == [("top-5 _x0025_", 1.0, 0)]


def test_a_failure_shows_the_end_of_its_log() -> None:
    found = run(state="failed", tail="x" * 9_000 + "the end", exit_code=3)
    assert found.status == "FAILED"
    assert found.tags["ml_experiment.tail"].endswith("the end")
    assert found.tags["ml_experiment.exit_code"] == "3"
    assert found.whole is None


def test_a_run_of_snakemake_is_running_until_it_has_ended() -> None:
    parent = tracked.of_run(LINE)
    assert (parent.status, parent.end) == ("RUNNING", None)
    ended = tracked.of_run({**LINE, "ended": "2026-11-25T20:01:00Z", "state": "killed"})
    assert ended.status == "KILLED"
    assert ended.end == parent.start + 60_000


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"rule": "a", "wildcards": {}, "key_digest": "k"}, None),
        ({"rule": "a", "wildcards": {"m": "x"}, "key_digest": None}, None),
        ({"rule": "a", "wildcards": {"m": "x"}, "key_digest": "k"}, "a"),
        ({"rule": "t.trial", "wildcards": {"trial": "00001"}, "trial": {}}, "t.trial"),
        ({"rule": "t.trial.a", "wildcards": {"trial": "00001"}, "trial": {}}, "t.trial"),
        ({"rule": "t", "wildcards": {}, "key": {"study": {}}}, "t.trial"),
    ],
)
def test_jobs_that_are_many_have_a_run_between(
    record: dict[str, Any], expected: str | None
) -> None:
    assert tracked.group(record) == expected
