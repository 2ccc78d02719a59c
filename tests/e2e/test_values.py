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


METRICS = """\
from pathlib import Path
import sys


def write(metrics):
    path = Path(metrics)
    if path.suffix:
        words = {".csv": "epoch,loss\\n0,3\\n1,2\\n", ".tsv": "step\\tloss\\n0\\t3\\n1\\t2\\n"}
        path.write_text(words[path.suffix])
        return
    (path / "plots/metrics").mkdir(parents=True)
    (path / "plots/metrics/loss.tsv").write_text("step\\tloss\\n0\\t3\\n1\\t2\\n")
    (path / "metrics.json").write_text('{"loss": 2, "step": 1}')


if __name__ == "__main__":
    write(sys.argv[1])
"""


def test_metrics_of_every_form(make: Make) -> None:
    project = make(
        "name: forms\nsteps:\n"
        "  csv: {run: 'python forms.py {metrics}', metrics: deep/curve.csv, replicates: 2}\n"
        "  tsv: {call: 'forms:write', metrics: curve.tsv, replicates: 2}\n"
        "  live: {run: 'python forms.py {metrics}', metrics: live/, replicates: 2}\n"
        "  called: {call: 'forms:write', metrics: live/}\n"
        "  use: {run: 'cat {inputs.t} {inputs.m}metrics.json > {outputs.o}; : {inputs.all}',\n"
        "        inputs: {t: live.table, m: called.metrics, all: live.metrics},\n"
        "        outputs: {o: o.txt}}\n",
        forms_py=METRICS,
    )
    assert project.ours("check").returncode == 0
    done = project.ours("run", "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert "called: loss 2" in done.stderr + done.stdout
    for step in ("csv", "tsv", "live"):
        lines = (project.folder / f"results/{step}/summary.csv").read_text().splitlines()
        assert lines[1] == "loss,2.0,0.0,2,2.0,2.0"
    assert '"loss": 2' in (project.folder / "results/use/o.txt").read_text()
    assert project.would_run() == {}
    assert "11 of 11 jobs current" in project.ours("status").stdout


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
