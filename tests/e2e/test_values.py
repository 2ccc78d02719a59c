"""Values, paths and wildcards of any kind arrive unchanged and are never executed."""

from __future__ import annotations

import json

from tests.e2e.project import Make

NASTY = [
    "plain",
    "two words",
    'it\'s "quoted"',
    "$(touch hacked)",
    "`touch hacked`; touch hacked",
    "a\nb",
    "ünïcode → ok",
    "{braces} * ? [x] \\ ~ # & | < > !",
    "-dash",
    "100%",
]
ECHO = """\
import json
import os
import sys
from pathlib import Path
*values, out = sys.argv[1:]
Path(out).write_text(json.dumps({"argv": values, "env": {
    k: v for k, v in os.environ.items() if k.startswith("ML_EXPERIMENT_")}}))
"""
CALLED = """\
import json


def echo(out, text, case, seed, params):
    with open(out, "w") as file:
        json.dump({"text": text, "case": case, "seed": seed, "params": params}, file)
"""


def test_values_arrive_unchanged(make: Make) -> None:
    data = {
        "name": "nasty",
        "axes": {"case": NASTY},
        "steps": {
            "shell": {
                "run": "python echo.py {params.text} {matrix.case} {params.many} {inputs.odd} {outputs.out}",
                "inputs": {"odd": "in put/it's $(x).txt"},
                "params": {"text": NASTY[3], "many": [1, 2.5, True, None, "x y"]},
                "outputs": {"out": "out put's $(x).json"},
                "matrix": ["case"],
            },
            "function": {
                "call": "called:echo",
                "params": {"text": NASTY[4]},
                "outputs": {"out": "out.json"},
                "matrix": ["case"],
            },
        },
    }
    project = make(json.dumps(data), echo_py=ECHO, called_py=CALLED)
    project.write("in put/it's $(x).txt", "x")
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert not (project.folder / "hacked").exists()
    seen = []
    for path in sorted((project.folder / "results/shell").iterdir()):
        got = json.loads((path / "out put's $(x).json").read_text())
        text, case, *many, odd = got["argv"]
        seen.append(case)
        assert text == NASTY[3]
        assert many == ["1", "2.5", "true", "null", "x y"]
        assert odd == "in put/it's $(x).txt"
        assert got["env"]["ML_EXPERIMENT_MATRIX_CASE"] == case
        assert got["env"]["ML_EXPERIMENT_PARAMS_TEXT"] == text
    assert sorted(seen) == sorted(NASTY)
    cases = []
    for path in sorted((project.folder / "results/function").iterdir()):
        got = json.loads((path / "out.json").read_text())
        cases.append(got["case"])
        assert got["text"] == NASTY[4]
        assert got["params"] == {"text": NASTY[4]}
    assert sorted(cases) == sorted(NASTY)
    assert project.would_run() == {}
