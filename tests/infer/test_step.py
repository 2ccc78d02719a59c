"""What is read from scripts as people write them."""

from __future__ import annotations

import time

import pytest

from ml_experiment.errors import UserError
from ml_experiment.infer.step import FILL_ME, Proposal, infer_step, step_name, with_output
from ml_experiment.placeholders import parse

TRAIN = """
import argparse, json, os
from pathlib import Path
import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

LR = 0.01

def str2bool(v):
    return v.lower() in ("yes", "true")

def get_args():
    p = argparse.ArgumentParser()
    p.add_argument("train", type=Path)
    g = p.add_argument_group("model")
    g.add_argument("--lr", type=float, default=LR)
    g.add_argument("--epochs", "-e", type=int, default=10 * 2)
    g.add_argument("--hidden", type=int, nargs="+", default=[64, 32])
    g.add_argument("--test-csv", default="data/test.csv")
    p.add_argument("--model-out", default="models/model.joblib")
    p.add_argument("--metrics-file", default="out/scores.json")
    p.add_argument("--fig", default=None)
    p.add_argument("--out_dir", default="runs/exp1")
    p.add_argument("--seed", type=int, default=42)
    p.add_argument("--n-jobs", type=int, default=4)
    p.add_argument("--num-workers", type=int, default=2)
    p.add_argument("--amp", action="store_true")
    p.add_argument("--shuffle", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--norm", type=str2bool, default=True)
    p.add_argument("--device", default=pick())
    p.add_argument("--resume", default=None)
    p.add_argument("--dataset", default="cifar10", choices=["cifar10", "mnist"])
    p.add_argument("--output-dim", type=int, default=3)
    p.add_argument("--output-format", default="csv")
    p.add_argument("--weight-decay", type=float, default=-1e-5)
    p.add_argument("--name", required=True)
    return p.parse_args()

def save(model, where):
    joblib.dump(model, where)

def main():
    args = get_args()
    df = pd.read_csv(args.train)
    test_path = Path(args.test_csv)
    test = pd.read_csv(test_path)
    save(df, args.model_out)
    os.makedirs(args.out_dir, exist_ok=True)
    np.save(os.path.join(args.out_dir, "preds.npy"), [1])
    with open(args.metrics_file, "w") as f:
        json.dump({"accuracy": 1}, f)
    if args.fig:
        plt.savefig(args.fig)

main()
"""


def test_argparse_training_script() -> None:
    found = infer_step(TRAIN, "scripts/train.py")
    assert found.framework == "argparse"
    assert found.name == "train"
    assert found.inputs == {"train": FILL_ME, "test_csv": "data/test.csv"}
    assert found.outputs == {"model": "model.joblib", "fig": "fig.png", "out_dir": "exp1/"}
    assert found.metrics == "scores.json"
    assert found.params == {
        "lr": 0.01,
        "epochs": 20,
        "hidden": [64, 32],
        "num_workers": 2,
        "norm": "True",
        "dataset": "cifar10",
        "output_dim": 3,
        "output_format": "csv",
        "weight_decay": -1e-05,
        "name": FILL_ME,
    }
    assert found.run.startswith("python scripts/train.py {inputs.train} --lr {params.lr} ")
    for part in (
        "--model-out {outputs.model}",
        "--metrics-file {metrics}",
        "--seed {seed}",
        "--n-jobs {threads}",
        "--shuffle",
        "--weight-decay={params.weight_decay}",  # a word that begins with a dash
    ):
        assert f" {part} " in found.run
    for absent in ("--amp", "--device", "--resume"):
        assert absent not in found.run
        assert any(absent in note for note in found.notes)
    assert any("threads: 4" in note for note in found.notes)
    assert any("`params.name`" in note for note in found.notes)


def one(body: str, declared: str = "", imports: str = "") -> Proposal:
    """The proposal for a script with one argument `x`."""
    text = f"import argparse, json\n{imports}\np = argparse.ArgumentParser()\n"
    text += f"p.add_argument('--x'{declared})\nargs = p.parse_args()\n{body}\n"
    return infer_step(text, "a.py")


@pytest.mark.parametrize(
    "body",
    [
        "open(args.x, 'w')",
        "open(args.x, mode='wb')",
        "from pathlib import Path\nPath(args.x).write_text('a')",
        "from pathlib import Path\nwith Path(args.x).open('w') as f: f.write('a')",
        "import torch\ntorch.save(model.state_dict(), args.x)",
        "df.to_parquet(args.x)",
        "df.to_csv(path_or_buf=args.x)",
        "import numpy as np\nnp.save(args.x, y)",
        "from joblib import dump as keep\nkeep(model, args.x)",
        "import pickle\nwith open(args.x, 'wb') as f: pickle.dump(m, f)",
        "out = args.x\nmodel.save(out)",
        "opt = vars(args)\ndf.to_csv(opt['x'])",
        "def f(path):\n    df.to_csv(path)\nf(path=args.x)",
        "def main(x):\n    df.to_csv(x)\nmain(**vars(args))",
        "def main(a):\n    df.to_csv(a.x)\nmain(args)",
        (
            "class T:\n  def __init__(self, a):\n    self.a = a\n  def go(self):\n    df.to_csv(self.a.x)\n"
            "T(args).go()"
        ),
        (
            "class T:\n  def __init__(self, p):\n    self.p = p\n  def go(self):\n    df.to_csv(self.p)\n"
            "T(args.x).go()"
        ),
    ],
)
def test_an_argument_that_is_written_is_an_output(body: str) -> None:
    found = one(body)
    assert list(found.outputs) == ["x"]
    assert found.run == "python a.py --x {outputs.x}"


@pytest.mark.parametrize(
    "body",
    [
        "open(args.x)",
        "import pandas as pd\npd.read_csv(args.x)",
        "import numpy as np\nnp.load(args.x)",
        "import torch\ntorch.load(args.x)",
        "from pathlib import Path\np = Path(args.x)\np.read_text()",
        "for name in ['a']:\n    open(f'{args.x}/{name}.txt')",
        "import os\nos.listdir(args.x)",
        "import h5py\nh5py.File(args.x, 'r')",
        "def walk(p):\n    walk(p); walk(p); walk(p); walk(p); open(p)\nwalk(args.x)",
    ],
)
def test_an_argument_that_is_read_is_an_input(body: str) -> None:
    found = one(body, ", required=True")
    assert found.inputs == {"x": FILL_ME}
    assert found.run == "python a.py --x {inputs.x}"
    assert not found.outputs


@pytest.mark.parametrize(
    ("declared", "params"),
    [
        (", default='relu'", {"x": "relu"}),
        (", default='org/model'", {"x": "org/model"}),
        (", default='https://host/data.csv'", {"x": "https://host/data.csv"}),
        (", default=('a', 'b'), nargs=2", {"x": ["a", "b"]}),
        (", default=''", {"x": ""}),
        (", type=int, required=True", {"x": FILL_ME}),
    ],
)
def test_parameters(declared: str, params: dict[str, object]) -> None:
    assert one("print(args.x)", declared).params == params


@pytest.mark.parametrize(
    "declared",
    [
        "",
        ", default=None",
        ", action='store_true'",
        ", action='count', default=0",
        ", action='append', default=['a']",
        ", nargs='+', default=[]",
        ", type=bool, default=True",
        ", default=compute()",
        ", default=float('inf')",
        ", default='a\\0b'",
        ", default=['a', '\\ud800'], nargs='+'",
        ", default=10 ** 60 * int('" + "9" * 990 + "')",
        f", default={'9' * 1001}",
        ", default='in/\\0.csv'",
    ],
)
def test_what_cannot_be_given_is_left_out_and_said(declared: str) -> None:
    found = one("print(args.x)", declared)
    assert found.run == "python a.py"
    assert any("--x" in note for note in found.notes)


TWO_IN_JSON = """
import argparse, json
p = argparse.ArgumentParser()
p.add_argument("--model", default="model.json")
p.add_argument("--{name}", default="{name}.json")
args = p.parse_args()
with open(args.model, "w") as f:
    json.dump({{"weights": [1], "loss": 0.1}}, f)
json.dump({{"a": 1}}, open(args.{name}, "w"))
"""


@pytest.mark.parametrize("name", ["metrics", "scores", "results", "test_metrics"])
def test_the_name_says_which_file_holds_the_metrics(name: str) -> None:
    found = infer_step(TWO_IN_JSON.format(name=name), "a.py")
    assert found.metrics == f"{name}.json"
    assert found.outputs == {"model": "model.json"}
    assert found.run == f"python a.py --model {{outputs.model}} --{name} {{metrics}}"


def test_the_argument_s_name_counts_more_than_the_file_s() -> None:
    text = TWO_IN_JSON.replace("model", "other").format(name="scores")
    found = infer_step(text.replace("other.json", "metrics.json"), "a.py")
    assert (found.metrics, found.outputs) == ("scores.json", {"other": "metrics.json"})


def test_handles_of_one_name_are_told_apart() -> None:
    """Every file is opened as `f`: what is read is not written, nor is each of them metrics."""
    text = """
import argparse, json
p = argparse.ArgumentParser()
for_data = p.add_argument("--data", default="data.json")
p.add_argument("--a", default="a.json")
p.add_argument("--b", default="b.json")
args = p.parse_args()
with open(args.data) as f:
    data = json.load(f)
with open(args.a, "w") as f, open("log.txt", "w") as g:
    json.dump(data, f)
    found = {"loss": 1}
with open(args.b, "w") as f:
    json.dump(found, f)
"""
    found = infer_step(text, "a.py")
    assert found.inputs == {"data": "data.json"}
    assert found.outputs == {"a": "a.json", "log": "log.txt"}
    assert found.metrics == "b.json"
    assert not any("check it" in note for note in found.notes)


def test_a_model_in_json_is_no_metrics() -> None:
    body = "json.dump({'loss': 1}, open(args.x, 'w'))"
    assert one(body, ", default='model.json'").outputs == {"x": "model.json"}
    assert one(body, ", default='out.json'").metrics == "out.json"
    constants = "import json\njson.dump({'loss': 1}, open('model.json', 'w'))\n"
    assert infer_step(constants, "a.py").metrics is None
    more = constants + "json.dump({'n': 1}, open('scores.json', 'w'))\n"
    assert infer_step(more, "a.py").metrics == "scores.json"
    assert infer_step(more, "a.py").outputs == {"model": "model.json"}


@pytest.mark.parametrize("name", ["metrics", "table", "summary"])
def test_no_output_has_the_name_of_what_is_made_anyway(name: str) -> None:
    text = (
        "import argparse\np = argparse.ArgumentParser()\n"
        f"p.add_argument('--{name}', default='{name}.csv')\nargs = p.parse_args()\n"
        f"df.to_csv(args.{name})\n"
    )
    found = infer_step(text, "a.py")
    assert found.outputs == {f"{name}_file": f"{name}.csv"}
    assert found.run == f"python a.py --{name} {{outputs.{name}_file}}"
    assert infer_step(f"df.to_csv('{name}.csv')\n", "a.py").outputs == {
        f"{name}_file": f"{name}.csv"
    }


def test_no_two_outputs_are_one_file() -> None:
    text = """
import argparse, json
p = argparse.ArgumentParser()
p.add_argument("--a", default="x/Out.json")
p.add_argument("--b", default="y/out.json")
p.add_argument("--metrics", default="z/out.json")
args = p.parse_args()
df.to_json(args.a)
df.to_json(args.b)
json.dump(m, open(args.metrics, "w"))
"""
    found = infer_step(text, "a.py")
    assert found.metrics == "out.json"
    assert found.outputs == {"a": "Out_2.json", "b": "out_3.json"}


def test_a_pattern_is_no_path() -> None:
    found = one("open(args.x)", ", default='data/{}.csv'")
    assert (found.inputs, found.params) == ({}, {"x": "data/{}.csv"})


def test_where_nothing_is_written_what_is_printed_is_kept() -> None:
    found = with_output(infer_step("print(1)\n", "a.py"))
    assert found.run == "python a.py | tee {outputs.printed}"
    assert found.outputs == {"printed": "printed.txt"}
    assert "printed" in found.notes[-1]
    written = infer_step("df.to_csv('a.csv')\n", "a.py")
    assert with_output(written) is written


def test_a_path_in_the_name_or_default_is_a_guess_and_said() -> None:
    found = one("run(args.x)", ", default='data/a.csv'")
    assert found.inputs == {"x": "data/a.csv"}
    assert any("check it" in note for note in found.notes)


def test_subcommands_fixed_lists_and_named_by_code() -> None:
    text = """
import argparse
p = argparse.ArgumentParser()
s = p.add_subparsers()
t = s.add_parser("fit")
t.add_argument("--depth", default=1)
for n in names:
    p.add_argument("--" + n)
args = p.parse_args([])
"""
    notes = " ".join(infer_step(text, "a.py").notes)
    assert "subcommands (fit)" in notes
    assert "line 8" in notes
    assert "fixed list" in notes


def test_constants() -> None:
    text = """
import json, pickle
import pandas as pd
from pathlib import Path
HERE = Path(__file__).resolve().parent
EPOCHS = 20
df = pd.read_csv(HERE / "data" / "x.csv")
Path("models").mkdir(exist_ok=True)
with open("models/model.pkl", "wb") as fh:
    pickle.dump(df, fh)
results = {"acc": 1}
json.dump(results, open("results.json", "w"))
"""
    found = infer_step(text, "src/01_fit-model.py")
    assert found.name == "fit-model"
    assert found.inputs == {"x": "src/data/x.csv"}
    assert found.run == "test -r {inputs.x} && python src/01_fit-model.py"
    assert found.outputs == {"model": "model.pkl"}
    assert found.metrics == "results.json"
    notes = "\n".join(found.notes)
    assert "Line 9 writes to models/model.pkl" in notes
    assert 'os.environ["ML_EXPERIMENT_OUTPUTS_MODEL"]' in notes
    assert 'os.environ["ML_EXPERIMENT_METRICS"]' in notes
    assert "EPOCHS" in notes


def test_notebook_export() -> None:
    text = """# coding: utf-8
# In[1]:
get_ipython().run_line_magic('matplotlib', 'inline')
import pandas as pd
# In[2]:
df = pd.read_csv('../data/iris.csv')
df.to_csv(f'out/{name}.csv')
"""
    found = infer_step(text, "Untitled 1.py")
    assert found.run == "test -r {inputs.iris} && python 'Untitled 1.py'"
    assert found.name == "Untitled_1"
    assert any("Line 7 writes a file" in note for note in found.notes)


def test_the_variables_of_a_job_are_known() -> None:
    text = """
import os, joblib
import pandas as pd
d = pd.read_csv(os.environ["ML_EXPERIMENT_INPUTS_TRAIN"])
joblib.dump(d, os.environ.get("ML_EXPERIMENT_OUTPUTS_MODEL", "m.joblib"))
c = float(os.getenv("ML_EXPERIMENT_PARAMS_C", "1.0"))
open(os.environ["ML_EXPERIMENT_METRICS"], "w")
"""
    found = infer_step(text, "a.py")
    assert found.run == "python a.py"
    assert (found.inputs, found.outputs) == ({"train": FILL_ME}, {"model": "m.joblib"})
    assert (found.params, found.metrics) == ({"c": 1.0}, "metrics.json")


@pytest.mark.parametrize(
    ("script", "text", "run"),
    [
        ("x.R", "", "Rscript x.R"),
        ("x.sh", "", "bash x.sh"),
        ("x.sh", "#!/bin/sh\n", "sh x.sh"),
        ("x.jl", "", "julia x.jl"),
        ("a/x y.R", "", "Rscript 'a/x y.R'"),
        ("tool", "#!/usr/bin/env -S perl -w\n", "perl -w tool"),
        ("tool", "", "./tool"),
        ("a{b}.sh", "", "bash 'a{{b}}.sh'"),
        ("tool", "#!/usr/bin/env python3\nimport sys\n", "python tool"),
    ],
)
def test_other_languages(script: str, text: str, run: str) -> None:
    found = infer_step(text, script)
    assert found.run == run
    assert not parse(found.run).problems


def test_relative_imports_run_as_a_module() -> None:
    assert infer_step("from .x import y", "a/b/c.py").run == "python -m a.b.c"


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = (\n", 2), ("%matplotlib inline\n", 1), ("x = 1\0", None)]
)
def test_what_is_no_python_is_said_with_its_line(text: str, line: int | None) -> None:
    with pytest.raises(UserError, match="not valid Python") as caught:
        infer_step(text, "a.py")
    place = caught.value.problem.where
    assert place is not None
    assert (place.file, place.line) == ("a.py", line)


def test_what_would_never_end_ends() -> None:
    deep = "x = " + "(" * 150 + "1" + ")" * 150 + "\n"
    powers = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--a', default=9**9**9)\n"
    )
    circle = "a = b\nb = a\nopen(a)\ndef f(p):\n    f(p); f(p); f(p + p)\n    open(p)\nf(a)\n"
    chain = (
        "a = 1\n" + "".join(f"a{i} = a{i - 1} + a{i - 1}\n" for i in range(1, 40)) + "open(a39)\n"
    )
    begin = time.monotonic()
    for text in (deep, powers, circle, chain):
        infer_step(text, "a.py")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/Train.py", "Train"),
        ("01 fit.py", "fit"),
        ("训练.py", "step"),
        (".x.py", "x"),
        ("a.b.py", "a_b"),
        ("all.py", "step"),  # `all` is the rule that makes everything
    ],
)
def test_step_names(file: str, name: str) -> None:
    assert step_name(file) == name
