"""Scripts as people write them, added to a new project: the experiment takes each step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_experiment import workspace
from ml_experiment.infer.step import FILL_ME
from ml_experiment.plan import StepPlan
from ml_experiment.services.add import propose, write

ARGPARSE_JSON = """
import argparse, csv, json, random

def train(rows, rate):
    return {"weights": [rate], "loss": 0.5}

p = argparse.ArgumentParser()
p.add_argument("--data", default="data/points.csv")
p.add_argument("--rate", type=float, default=0.1)
p.add_argument("--model", default="model.json")
p.add_argument("--metrics", default="metrics.json")
p.add_argument("--seed", type=int, default=0)
args = p.parse_args()
random.seed(args.seed)
with open(args.data, newline="") as file:
    rows = list(csv.DictReader(file))
model = train(rows, args.rate)
with open(args.model, "w") as file:
    json.dump(model, file)
with open(args.metrics, "w") as file:
    json.dump({"loss": model["loss"]}, file)
"""

SKLEARN = """
import argparse
from pathlib import Path
import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("-o", "--output-dir", type=Path, default=Path("out"))
    parser.add_argument("--n-estimators", type=int, default=100)
    parser.add_argument("--max-features", nargs="+", type=float, default=[0.5, 0.7])
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--random-state", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()

def main():
    args = parse()
    frame = pd.read_csv(args.train)
    model = RandomForestClassifier(args.n_estimators, n_jobs=args.n_jobs).fit(frame)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, args.output_dir / "model.joblib")
    np.savetxt(args.output_dir / "predictions.txt", model.predict(pd.read_csv(args.test)))

if __name__ == "__main__":
    main()
"""

CLICK = """
import json
import click
import pandas as pd

@click.command()
@click.argument("table", type=click.Path(exists=True))
@click.option("--threshold", default=0.5, show_default=True)
@click.option("--method", type=click.Choice(["a", "b"]), default="a")
@click.option("--scores", type=click.Path(), default="scores.json")
@click.option("--table-out", "summary", type=click.Path(), default="summary.csv")
@click.option("--fast/--no-fast", default=False)
def main(table, threshold, method, scores, summary, fast):
    frame = pd.read_csv(table)
    frame.to_csv(summary)
    with open(scores, "w") as file:
        json.dump({"f1": 1.0}, file)

main()
"""

TYPER = """
from pathlib import Path
import torch
import typer

def main(
    data: Path = Path("data/train.pt"),
    checkpoint: Path = typer.Option("model.pt", help="where the model goes"),
    lr: float = 1e-3,
    hidden: int = 64,
    amp: bool = False,
):
    x = torch.load(data)
    torch.save({"x": x}, checkpoint)

if __name__ == "__main__":
    typer.run(main)
"""

CONSTANTS = """
import json
import pickle
from pathlib import Path
import pandas as pd

DATA = Path("data")
EPOCHS = 20
RESULTS = Path("results")

frame = pd.read_csv(DATA / "iris.csv")
RESULTS.mkdir(exist_ok=True)
with open(RESULTS / "model.pkl", "wb") as handle:
    pickle.dump(frame, handle)
metrics = {"accuracy": 0.9}
(RESULTS / "metrics.json").write_text(json.dumps(metrics))
frame.describe().to_csv(RESULTS / "summary.csv")
"""

CSV_ROWS = """
import argparse, csv, sys
parser = argparse.ArgumentParser()
parser.add_argument("--inputs", nargs="+", default=["data/a.csv", "data/b.csv"])
parser.add_argument("--results", default="results.csv")
parser.add_argument("--delimiter", default=";")
args = parser.parse_args()
with open(args.results, "w", newline="") as out:
    writer = csv.writer(out, delimiter=args.delimiter)
    for path in args.inputs:
        with open(path) as file:
            writer.writerows(csv.reader(file))
"""

SYS_ARGV = """
import sys
import numpy as np
source, target = sys.argv[1], sys.argv[2]
rate = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
x = np.load(source)
np.save(target, x * rate)
"""

PRINTS = """
import random
scores = [random.random() for _ in range(10)]
print("mean", sum(scores) / len(scores))
"""

VARIABLES = """
import json, os
rate = float(os.environ.get("ML_EXPERIMENT_PARAMS_RATE", "0.1"))
with open(os.environ["ML_EXPERIMENT_INPUTS_TRAIN"]) as file:
    text = file.read()
with open(os.environ["ML_EXPERIMENT_OUTPUTS_MODEL"], "w") as file:
    file.write(text)
with open(os.environ["ML_EXPERIMENT_METRICS"], "w") as file:
    json.dump({"rate": rate}, file)
"""

EVALUATE = """
import argparse, json
import joblib
import matplotlib.pyplot as plt
import pandas as pd
ap = argparse.ArgumentParser()
ap.add_argument("--model-path", required=True)
ap.add_argument("--test-data", required=True)
ap.add_argument("--metrics", default="out/report.json")
ap.add_argument("--report", default="out2/report.json")
ap.add_argument("--table", default="table.csv")
ap.add_argument("--plot", default="roc.png")
ap.add_argument("--title", default="ROC: 'test' {set} # 1")
a = ap.parse_args()
model = joblib.load(a.model_path)
frame = pd.read_csv(a.test_data)
json.dump({"accuracy": 1.0}, open(a.metrics, "w"))
json.dump({"accuracy": 1.0, "rows": len(frame)}, open(a.report, "w"))
frame.to_csv(a.table)
plt.title(a.title)
plt.savefig(a.plot)
"""

R = "args <- commandArgs(TRUE)\nwrite.csv(read.csv(args[1]), args[2])\n"

# The file's name: its text, and the inputs, outputs and metrics of the step.
SCRIPTS: dict[str, tuple[str, dict[str, object], dict[str, str], str | None]] = {
    "train.py": (
        ARGPARSE_JSON,
        {"data": "data/points.csv"},
        {"model": "model.json"},
        "metrics.json",
    ),
    "scripts/fit forest.py": (
        SKLEARN,
        {"train": FILL_ME, "test": FILL_ME},
        {"output_dir": "out/"},
        None,
    ),
    "tables.py": (CLICK, {"table": FILL_ME}, {"summary_file": "summary.csv"}, "scores.json"),
    "all.py": (TYPER, {"data": "data/train.pt"}, {"checkpoint": "model.pt"}, None),
    "01_iris.py": (
        CONSTANTS,
        {"iris": "data/iris.csv"},
        {"model": "model.pkl", "summary_file": "summary.csv"},
        "metrics.json",
    ),
    "join.py": (
        CSV_ROWS,
        {"inputs": ("data/a.csv", "data/b.csv")},
        {"results": "results.csv"},
        None,
    ),
    "scale.py": (SYS_ARGV, {"source": FILL_ME}, {"target": "target.npy"}, None),
    "mean.py": (PRINTS, {}, {"printed": "printed.txt"}, None),
    "job.py": (VARIABLES, {"train": FILL_ME}, {"model": "model"}, "metrics.json"),
    "evaluate.py": (
        EVALUATE,
        {"model": FILL_ME, "test_data": FILL_ME},
        {"report": "report_2.json", "table_file": "table.csv", "plot": "roc.png"},
        "report.json",
    ),
    "tidy.R": (R, {}, {"printed": "printed.txt"}, None),
}


def taken(folder: Path, name: str, text: str, file: str = "experiment.yaml") -> StepPlan:
    """The step that the experiment has once a script was added to a project without steps."""
    experiment, script = folder / file, folder / name
    experiment.write_text("name: paper\nsteps: {}\n" if file.endswith("yaml") else '{"name": "x"}')
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)
    addition = propose(script, experiment)
    given = addition.proposal.inputs.values()
    for path in [p for part in given for p in ([part] if isinstance(part, str) else part)]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    write(addition)
    return workspace.open_plan(experiment).steps[addition.proposal.name]


@pytest.mark.parametrize("file", ["experiment.yaml", "experiment.json"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_experiment_takes_the_step(tmp_path: Path, name: str, file: str) -> None:
    text, inputs, outputs, metrics = SCRIPTS[name]
    step = taken(tmp_path, name, text, file).step
    assert (step.inputs, step.outputs, step.metrics) == (inputs, outputs, metrics)


def test_one_project_takes_them_all(tmp_path: Path) -> None:
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text("name: paper\nsteps: {}\n")
    for name, (text, *_) in SCRIPTS.items():
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
        write(propose(script, experiment))
        workspace.open_plan(experiment)
    assert len(workspace.open_plan(experiment).steps) == len(SCRIPTS)


TEXT = st.one_of(
    st.text(max_size=20),  # half surrogate pairs and NUL among them
    st.text("{}\\/.-~$ '\"#%*", max_size=8),
    st.builds("{}/{}".format, st.text("a.", max_size=4), st.sampled_from(["x.csv", "m.json", ""])),
)
VALUE = st.one_of(TEXT, st.integers(), st.floats(), st.lists(TEXT, max_size=3), st.none())


@settings(max_examples=150, deadline=None)
@given(data=VALUE, out=VALUE, metrics=VALUE, rate=VALUE)
def test_whatever_the_defaults_are(
    tmp_path_factory: pytest.TempPathFactory,
    data: object,
    out: object,
    metrics: object,
    rate: object,
) -> None:
    def declared(name: str, default: object) -> str:
        inf = "from math import inf, nan\n" if isinstance(default, float) else ""
        many = ", nargs='+'" if isinstance(default, list) else ""
        return f"{inf}p.add_argument('--{name}', default={default!a}{many})\n"

    values = {"data": data, "out": out, "metrics": metrics, "rate": rate}
    text = (
        "import argparse, json\np = argparse.ArgumentParser()\n"
        + "".join(declared(name, default) for name, default in values.items())
        + "args = p.parse_args()\nrows = open(args.data).read()\n"
        + "open(args.out, 'w').write(rows)\njson.dump({'loss': 1}, open(args.metrics, 'w'))\n"
    )
    folder = tmp_path_factory.mktemp("p")
    (folder / "experiment.yaml").write_text("name: x\n")
    (folder / "fit.py").write_text(text)
    write(propose(folder / "fit.py", folder / "experiment.yaml"))
    assert "fit" in workspace.open_plan(folder / "experiment.yaml").steps
