"""A Python function as a step."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from tests.boot.jobs import BOOT, Done, Job

GIVEN = {
    "inputs": {"train": "in/train.csv"},
    "outputs": {"model": "out/deep/model.bin"},
    "params": {"C": 1.5, "kernel": "rbf", "opt": {"lr": 0.1}},
    "matrix": {"method": "svm"},
    "checkpoints": {"state": "ckpt/state"},
    "seed": 3,
    "threads": 2,
    "replicate": 1,
    "metrics": "out/metrics/m.json",
}


def call(job: Job, body: str, target: str = "steps.fit:fit", **given: Any) -> Done:
    job.write("steps/fit.py", body)
    return job.run(str(BOOT / "call.py"), target, json.dumps({**GIVEN, **given}))


def metrics(job: Job) -> str:
    return (job.folder / "out/metrics/m.json").read_text(encoding="utf-8")


def test_arguments_by_name(job: Job) -> None:
    done = call(
        job,
        """
        import os, sys
        def fit(C, train, /, method, model, *, state, params, inputs, seed, threads, replicate,
                matrix, outputs, checkpoints, metrics, absent=7, **rest):
            assert (C, train, method, model) == (1.5, "in/train.csv", "svm", "out/deep/model.bin")
            assert params.C == params["C"] == C and params.opt.lr == 0.1
            assert (seed, threads, replicate, absent) == (3, 2, 1, 7)
            assert inputs.train == train and outputs.model == model and matrix.method == method
            assert checkpoints.state == state and metrics == "out/metrics/m.json"
            assert rest == {"kernel": "rbf", "opt": {"lr": 0.1}}, rest
            assert os.path.isdir("out/deep") and os.path.isdir("out/metrics")
            assert sys.path[0] == os.getcwd()
            assert not [path for path in sys.path if path.endswith("boot")]
            return {}
        """,
    )
    assert (done.code, done.err) == (0, "")
    assert metrics(job) == "{}\n"


def test_defaults_of_positional_parameters(job: Job) -> None:
    body = "def fit(a=4, C=2, /, kernel='x'):\n    return {'a': a, 'C': C, kernel: True}\n"
    assert call(job, body).code == 0
    assert metrics(job) == '{\n  "C": 1.5,\n  "a": 4,\n  "rbf": true\n}\n'


def test_pickles_find_classes_and_groups_are_plain_dicts(job: Job) -> None:
    done = call(
        job,
        """
        import copy, pickle
        class Model: pass
        def fit(model, params):
            assert copy.copy(params).C == copy.deepcopy(params).opt["lr"] + 1.4
            assert isinstance(params, dict) and not hasattr(params, "nothing")
            with open(model, "wb") as stream:
                pickle.dump((Model().__class__.__module__, params), stream)
            return {}
        """,
    )
    assert done.code == 0, done.err
    loaded = pickle.loads((job.folder / "out/deep/model.bin").read_bytes())
    assert loaded == ("steps.fit", GIVEN["params"])
    assert type(loaded[1]) is type(loaded[1]["opt"]) is dict


@pytest.mark.engine("numpy")
def test_numbers_of_all_kinds(job: Job) -> None:
    done = call(
        job,
        """
        import numpy as np
        from fractions import Fraction
        class Scalar:
            def item(self): return 2.5
        def fit():
            return {"z": np.float64(0.1), "i": np.int64(3), "b": np.bool_(True), "t": Scalar(),
                    "a": np.array(1.0), "f": Fraction(1, 4), "n": float("nan"), "p": True,
                    "m": -float("inf"), "é": 1}
        """,
    )
    assert done.code == 0, done.err
    found = json.loads(metrics(job))
    assert list(found) == sorted(found)
    assert found.pop("n") != found["z"]
    assert found == {
        "z": 0.1, "i": 3, "b": True, "t": 2.5, "a": 1.0, "f": 0.25, "p": True,
        "m": -float("inf"), "é": 1,
    }  # fmt: skip
    assert "NaN" in metrics(job)
    assert [path.name for path in (job.folder / "out/metrics").iterdir()] == ["m.json"]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("None", "returned nothing and did not write out/metrics/m.json"),
        ("3.0", "returned float, not a mapping"),
        ("{'a': 'b'}", "returned the metric a, which is no number but str"),
        ("{'a': None}", "returned the metric a, which is no number but NoneType"),
        ("{'a': 1j}", "returned the metric a, which is no number but complex"),
        ("{1: 1}", "whose name is no string: 1"),
    ],
)
def test_other_results_are_one_sentence(job: Job, result: str, words: str) -> None:
    done = call(job, f"def fit(): return {result}\n")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith("ml-experiment: steps.fit:fit returned")
    assert words in done.err
    assert not (job.folder / "out/metrics/m.json").exists()
    assert call(job, f"def fit(): return {result}\n", metrics=None).code == 0


def test_a_function_may_write_its_metrics_itself(job: Job) -> None:
    body = "def fit(metrics):\n    with open(metrics, 'w') as s: s.write('{}')\n"
    assert call(job, body).code == 0
    assert metrics(job) == "{}"
    assert call(job, "def fit(): pass\n").code == 1  # that file is of another run


@pytest.mark.parametrize("name", ["live/", "curve.csv", "CURVE.TSV"])
def test_what_is_returned_is_kept_as_json_only(job: Job, name: str) -> None:
    done = call(job, "def fit(): return {'a': 1}\n", metrics=f"out/{name}")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert f"out/{name} is no JSON file; write it and return nothing" in done.err
    body = "import os\ndef fit(metrics): os.makedirs(metrics)\n"
    assert call(job, body, metrics=f"out/{name}").code == 0


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("steps.fti:fit", "there is no module steps.fti"),
        ("steps.fti:fit", "did you mean steps.fit?"),
        ("stops.fit:fit", "did you mean steps?"),
        ("steps.fit:fitt", "there is no function fitt in steps.fit; did you mean fit?"),
        ("steps.fit:value", "steps.fit:value is no function but 'int'"),
        ("steps.fit", "write module:function"),
        ("steps/fit.py:fit", "write module:function"),
    ],
)
def test_a_function_that_is_not_there(job: Job, target: str, words: str) -> None:
    done = call(job, "value = 3\ndef fit(): pass\n", target)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert words in done.err


def test_an_argument_that_nothing_gives(job: Job) -> None:
    done = call(job, "def fit(kernle): pass\n")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    for words in ("steps.fit:fit", "'kernle'", "did you mean kernel?", "inputs (train)"):
        assert words in done.err


def test_an_error_while_importing_shows_its_traceback(job: Job) -> None:
    done = call(job, "import nothing_here\n")
    assert done.code == 1
    assert "nothing_here" in done.err.splitlines()[-1]
    assert "call.py" not in done.err
    assert done.err.splitlines()[1].endswith('steps/fit.py", line 1, in <module>')


def test_an_error_begins_in_the_users_frame(job: Job) -> None:
    done = call(job, "def fit():\n    return 1 / 0\n")
    assert done.code == 1
    assert done.err.splitlines()[1].endswith('steps/fit.py", line 2, in fit')
    assert done.main["exit"] == {"code": 1, "exception": "ZeroDivisionError"}
    assert call(job, "import sys\ndef fit(): sys.exit(5)\n").code == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"input": {}}', '{"inputs": []}'])
def test_a_broken_description_is_one_sentence(job: Job, text: str) -> None:
    done = job.run(str(BOOT / "call.py"), "steps.fit:fit", text)
    assert (done.code, len(done.err.splitlines())) == (2, 1)


def test_a_users_own_call_module(job: Job) -> None:
    job.write("call.py", "def function(C): return {'c': C}\n")
    done = call(job, "", "call:function")
    assert (done.code, done.err) == (0, "")
    assert json.loads(metrics(job)) == {"c": 1.5}


def test_without_boot_variable(job: Job) -> None:
    job.write("call.py", "def function(C): return {'c': C}\n")
    environ = job.environ()
    del environ["ML_EXPERIMENT_BOOT"], environ["PYTHONPATH"]
    command = [str(BOOT / "call.py"), "call:function", json.dumps(GIVEN)]
    assert job.run(*command, environ=environ).code == 0


def test_functions_can_use_processes(job: Job) -> None:
    done = call(
        job,
        """
        import multiprocessing as mp
        def work(params): return params["C"]
        def fit(params):
            with mp.get_context("spawn").Pool(1) as pool:
                return {"c": pool.map(work, [params])[0]}
        """,
    )
    assert done.code == 0, done.err
    assert json.loads(metrics(job)) == {"c": 1.5}
