"""Scripts that read their command line with something else than argparse."""

from __future__ import annotations

from ml_experiment.infer.step import infer_step


def test_click() -> None:
    text = """
import click, json
@click.command()
@click.argument("data", type=click.Path(exists=True))
@click.option("--lr", default=0.1, show_default=True)
@click.option("-o", "--output", "out_path", type=click.File("w"), required=True)
@click.option("--verbose/--quiet", default=False)
@click.option("--tags", multiple=True)
@click.option("--random-state", default=1)
def main(data, lr, out_path, verbose, tags, random_state):
    json.dump({"f1": 1.0}, out_path)
main()
"""
    found = infer_step(text, "cl.py")
    assert found.framework == "click"
    assert found.run == (
        "python cl.py {inputs.data} --lr {params.lr} --output {metrics} --quiet "
        "--random-state {seed}"
    )
    assert found.metrics == "metrics.json"
    assert found.params == {"lr": 0.1}


def test_click_group_runs_one_command() -> None:
    text = """
import click
@click.group()
def cli(): ...
@cli.command()
def prepare(): ...
@cli.command("train")
@click.option("--n-trees", default=3)
def fit(n_trees): ...
cli()
"""
    found = infer_step(text, "cli.py")
    assert found.run == "python cli.py train --n-trees {params.n_trees}"
    assert any("prepare" in note for note in found.notes)


def test_typer() -> None:
    text = """
from typing import Annotated, Optional
from pathlib import Path
import typer, torch
app = typer.Typer()
@app.command()
def train(
    data: Path,
    model_out: Annotated[Path, typer.Option(help="x")] = Path("m.pt"),
    lr: float = typer.Option(1e-3, "--lr"),
    n_layers: int = 2,
    fast: bool = False,
    tag: Optional[str] = None,
):
    torch.save(torch.load(data), model_out)
app()
"""
    found = infer_step(text, "ty.py")
    assert found.run == (
        "python ty.py {inputs.data} --model-out {outputs.model} --lr {params.lr} "
        "--n-layers {params.n_layers} --no-fast"
    )
    assert found.outputs == {"model": "m.pt"}
    assert found.params == {"lr": 0.001, "n_layers": 2}
    run = "import typer\ndef main(name: str, n: int = 3): ...\ntyper.run(main)\n"
    assert infer_step(run, "r.py").run == "python r.py {params.name} --n {params.n}"


def test_fire_absl_hydra_argv() -> None:
    fire = "import fire\ndef train(lr=0.1, out='m.csv'):\n    df.to_csv(out)\nfire.Fire(train)\n"
    assert infer_step(fire, "a.py").run == "python a.py --lr {params.lr} --out {outputs.out}"
    absl = (
        "from absl import app, flags\nFLAGS = flags.FLAGS\n"
        "flags.DEFINE_float('lr', 0.1, '')\nflags.DEFINE_string('data', 'd/x.csv', '')\n"
        "def main(_):\n    open(FLAGS.data)\napp.run(main)\n"
    )
    assert infer_step(absl, "a.py").run == "python a.py --lr {params.lr} --data {inputs.data}"
    hydra = (
        "import hydra\nfrom dataclasses import dataclass\n@dataclass\nclass C:\n    lr: float = 0.1\n"
        "@hydra.main(config_name='c')\ndef main(cfg: C): ...\nmain()\n"
    )
    assert infer_step(hydra, "a.py").run == "python a.py lr={params.lr}"
    argv = (
        "import sys\nsrc = sys.argv[1]\na = float(sys.argv[2])\nread_csv(src).to_csv(sys.argv[3])\n"
    )
    found = infer_step("from pandas import read_csv\n" + argv, "a.py")
    assert found.run == "python a.py {inputs.src} {params.a} {outputs.argument3}"
    for name in ("docopt", "jsonargparse"):
        assert infer_step(f"import {name}", "a.py").notes


def test_deep_learning_script() -> None:
    text = """
import argparse, logging
import torch
from torch.utils.tensorboard import SummaryWriter
from utils import save_checkpoint, load_data
p = argparse.ArgumentParser()
p.add_argument('data', metavar='DIR', nargs='?', default='imagenet')
p.add_argument('--no-cuda', action='store_true', default=False)
p.add_argument('--model_name_or_path', default='bert-base-uncased')
p.add_argument('--logdir', default='runs')
p.add_argument('--save-dir', type=str, default='./checkpoints')
p.add_argument('--log-file', type=str, default='train.log')
p.add_argument('--ckpt', default='best.pth')
args = p.parse_args()
SummaryWriter(log_dir=args.logdir)
logging.basicConfig(filename=args.log_file)
train = load_data(args.data)
model.from_pretrained(args.model_name_or_path)
save_checkpoint(state, args.save_dir)
torch.save(torch.load(args.ckpt), args.ckpt)
torch.save(model.state_dict(), "mnist_cnn.pt")
"""
    found = infer_step(text, "main.py")
    assert found.params == {"data": "imagenet", "model_name_or_path": "bert-base-uncased"}
    assert not found.inputs
    assert found.outputs == {
        "logdir": "runs/",
        "save_dir": "checkpoints/",
        "log": "train.log",
        "ckpt": "best.pth",
        "mnist_cnn": "mnist_cnn.pt",
    }
    notes = " ".join(found.notes)
    assert "--no-cuda" in notes
    assert "both reads and writes" in notes
